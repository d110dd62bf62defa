import type { KeySetStore, LoadResult, StoredKeySet } from '@jwt-authority/core';

/** A store that remembers every document that was ever written to it. It does not push. */
export class RecordingStore implements KeySetStore {
  readonly written: StoredKeySet[] = [];
  #real: KeySetStore;
  readonly #make: () => KeySetStore;

  constructor(make: () => KeySetStore) {
    this.#make = make;
    this.#real = make();
  }

  get namespace(): string {
    return this.#real.namespace;
  }

  /** Loses everything. */
  wipe(): void {
    this.#real = this.#make();
  }

  async load(): Promise<LoadResult> {
    return this.#real.load();
  }

  async compareAndSwap(...args: Parameters<KeySetStore['compareAndSwap']>): Promise<boolean> {
    const written = await this.#real.compareAndSwap(...args);
    if (written) this.written.push(args[0]);
    return written;
  }
}
