import { storeError, type RedisCalls } from './calls.ts';
import type { RedisSubscription } from './connection.ts';

/** One connection for all watches of a store, as long as there is one. */
export class SharedSubscription {
  readonly #calls: RedisCalls;
  readonly #watchers = new Set<{ readonly onChange: () => void }>();
  #subscription: RedisSubscription | undefined;

  constructor(calls: RedisCalls) {
    this.#calls = calls;
  }

  /** Resolves to the function that ends this watch, and closes the connection with the last one. */
  async add(onChange: () => void): Promise<() => Promise<void>> {
    // An object of its own: the same callback may be given twice, and each is stopped by itself.
    const watcher = { onChange };
    this.#watchers.add(watcher);
    try {
      await this.#calls.withDeadline(this.#open().subscribed);
    } catch (error) {
      this.#remove(watcher);
      const { namespace } = this.#calls.names;
      throw storeError(`watch the key set "${namespace}" in Redis`, this.#calls.explain(error));
    }
    return async () => this.#remove(watcher);
  }

  #open(): RedisSubscription {
    const { connection, names } = this.#calls;
    this.#subscription ??= connection.subscribe(names.channel, () => {
      for (const { onChange } of this.#watchers) onChange();
    });
    return this.#subscription;
  }

  #remove(watcher: { readonly onChange: () => void }): void {
    if (!this.#watchers.delete(watcher) || this.#watchers.size > 0) return;
    this.#subscription?.close();
    this.#subscription = undefined;
  }
}
