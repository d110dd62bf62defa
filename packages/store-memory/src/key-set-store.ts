import { checkMethods, checkNamespace, checkOptions, systemClock } from '@jwt-authority/core';
import type { Clock, KeySetStore, LoadResult, StoredKeySet } from '@jwt-authority/core';

export interface MemoryStoreOptions {
  /** Whose key set this is: 1 to 128 letters, digits or `. _ : -`. Default `'default'`. */
  readonly namespace?: string | undefined;
  /** Where `storeTime` comes from, by which `notAfter` is judged. Default: the clock of this machine. */
  readonly clock?: Clock | undefined;
}

/**
 * Keeps the key set of one namespace in this object, as long as the process lives: for tests and for a single process that
 * may lose its keys when it ends. Authorities of one process share a key set by being given the same object; two calls
 * make two separate stores.
 *
 * Every operation is atomic, since none of them waits. `load` and `compareAndSwap` copy. `watch` calls back in a
 * microtask after each commit, also after one by the same authority; the callback must not throw.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function memoryStore(options: MemoryStoreOptions = {}): Required<KeySetStore> {
  checkOptions(options, 'memoryStore', ['namespace', 'clock']);
  const { namespace = 'default', clock = systemClock } = options;
  checkNamespace(namespace);
  checkMethods(clock, 'clock', ['now', 'monotonic', 'setTimer']);
  return new MemoryStore(namespace, clock);
}

class MemoryStore implements KeySetStore {
  readonly namespace: string;
  readonly #clock: Clock;
  readonly #watchers = new Set<{ readonly onChange: () => void }>();
  #stored: StoredKeySet | undefined;

  constructor(namespace: string, clock: Clock) {
    this.namespace = namespace;
    this.#clock = clock;
  }

  async load(): Promise<LoadResult> {
    const storeTime = this.#clock.now();
    return this.#stored === undefined ? { storeTime } : { stored: copy(this.#stored), storeTime };
  }

  async compareAndSwap(
    next: StoredKeySet,
    expected: Pick<StoredKeySet, 'revision' | 'etag'> | undefined,
    notAfter: number,
  ): Promise<boolean> {
    if (this.#stored?.etag === next.etag) return true;
    if (this.#stored?.revision !== expected?.revision || this.#stored?.etag !== expected?.etag) return false;
    if (this.#clock.now() > notAfter) return false;
    this.#stored = copy(next);
    for (const watcher of this.#watchers) {
      queueMicrotask(() => {
        if (this.#watchers.has(watcher)) watcher.onChange();
      });
    }
    return true;
  }

  async watch(onChange: () => void): Promise<() => Promise<void>> {
    // An object of its own: the same callback may be given twice, and each is stopped by itself.
    const watcher = { onChange };
    this.#watchers.add(watcher);
    return async () => {
      this.#watchers.delete(watcher);
    };
  }
}

function copy({ revision, etag, updatedAt, document }: StoredKeySet): StoredKeySet {
  return { revision, etag, updatedAt, document };
}
