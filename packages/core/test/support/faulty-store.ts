import type { Clock } from '../../src/clock.ts';
import type { KeySet, SealedPrivateKeys } from '../../src/key-set/document.ts';
import type { KeySetStore, LoadResult, StoredKeySet } from '../../src/ports.ts';
import { memoryStore } from '../../../store-memory/src/index.ts';

/** A text that stands for what errors of clients carry: it must never be seen again. */
const connectionSecret = 'hunter2-in-a-connection-string';

function connectionError(): Error {
  return Object.assign(new Error(`connect ECONNREFUSED redis://app:${connectionSecret}@db:6379`), {
    code: 'ECONNREFUSED',
  });
}

/** Something that goes wrong on the way of one call to the store and back. `execute` is the real call. */
export type Fault = <T>(execute: () => Promise<T>) => Promise<T>;

const never = async (): Promise<never> => new Promise<never>(() => {});

/** The call does not reach the store. */
export const failsBefore: Fault = async () => {
  throw connectionError();
};

/** The store does what it was asked, and the reply is lost. */
export const losesReply: Fault = async (execute) => {
  await execute();
  throw connectionError();
};

/** The call does not reach the store, and nobody says so. */
export const hangs: Fault = never;

/** The call arrives after `wait` has ended. */
export function waitsFor(wait: Promise<unknown>): Fault {
  return async (execute) => {
    await wait;
    return execute();
  };
}

/** The caller is told that it failed; the client executes it when `release` is called, as clients do after a reconnect. */
export function executesLate(): { readonly fault: Fault; readonly release: () => Promise<unknown> } {
  let late: (() => Promise<unknown>) | undefined;
  return {
    fault: async (execute) => {
      late = execute;
      throw connectionError();
    },
    release: async () => late?.(),
  };
}

export type StoreMethod = 'load' | 'compareAndSwap';

export type StoredDocument = KeySet & { readonly sealed: SealedPrivateKeys };

export function parseStored({ document }: StoredKeySet): StoredDocument {
  return JSON.parse(document) as StoredDocument;
}

/** What a fleet shares: a real memory store, and what may happen to it besides commits. */
export class SharedStore {
  readonly namespace: string;
  readonly clock: Clock;
  /** Everything that was ever stored, oldest first. */
  readonly history: StoredKeySet[] = [];
  #real: Required<KeySetStore>;

  constructor(clock: Clock, namespace: string) {
    this.clock = clock;
    this.namespace = namespace;
    this.#real = memoryStore({ namespace, clock });
  }

  get real(): Required<KeySetStore> {
    return this.#real;
  }

  async current(): Promise<StoredKeySet | undefined> {
    return (await this.#real.load()).stored;
  }

  /** What is stored; there must be something. */
  async stored(): Promise<StoredKeySet> {
    const stored = await this.current();
    if (stored === undefined) throw new Error('nothing is stored');
    return stored;
  }

  async document(): Promise<StoredDocument> {
    return parseStored(await this.stored());
  }

  /** Loses everything. */
  wipe(): void {
    this.#real = memoryStore({ namespace: this.namespace, clock: this.clock });
  }

  /** Puts this in place of whatever is stored, as somebody can who may write to the store. */
  async put(stored: StoredKeySet): Promise<void> {
    this.wipe();
    await this.#real.compareAndSwap(stored, undefined, Infinity);
  }

  /** Replaces what is stored by what `change` makes of it. */
  async alter(change: (stored: StoredKeySet) => StoredKeySet): Promise<void> {
    await this.put(change(await this.stored()));
  }
}

/** The way of one instance to the shared store: counts the calls, and lets them go wrong. */
export class FaultyStore implements KeySetStore {
  readonly namespace: string;
  readonly calls: Record<StoreMethod, number> = { load: 0, compareAndSwap: 0 };
  /** Goes for every call while it is set. */
  always: Fault | undefined;
  watch?: (onChange: () => void) => Promise<() => Promise<void>>;
  watchers = 0;
  readonly #shared: SharedStore;
  readonly #hasClock: boolean;
  readonly #faults: Record<StoreMethod, Fault[]> = { load: [], compareAndSwap: [] };

  constructor(
    shared: SharedStore,
    options: { readonly watches?: boolean; readonly hasClock?: boolean } = {},
  ) {
    this.namespace = shared.namespace;
    this.#shared = shared;
    this.#hasClock = options.hasClock ?? true;
    if (options.watches === true) this.watch = async (onChange) => this.#watch(onChange);
  }

  /** These happen to the next calls of `method`, one each. */
  next(method: StoreMethod, ...faults: readonly Fault[]): void {
    this.#faults[method].push(...faults);
  }

  async load(): Promise<LoadResult> {
    return this.#call('load', async () => {
      const { storeTime, ...rest } = await this.#shared.real.load();
      return this.#hasClock && storeTime !== undefined ? { ...rest, storeTime } : rest;
    });
  }

  async compareAndSwap(
    next: StoredKeySet,
    expected: Pick<StoredKeySet, 'revision' | 'etag'> | undefined,
    notAfter: number,
  ): Promise<boolean> {
    return this.#call('compareAndSwap', async () => {
      const done = await this.#shared.real.compareAndSwap(next, expected, notAfter);
      if (done) this.#shared.history.push(next);
      return done;
    });
  }

  async #call<T>(method: StoreMethod, execute: () => Promise<T>): Promise<T> {
    this.calls[method]++;
    const fault = this.#faults[method].shift() ?? this.always;
    return fault === undefined ? execute() : fault(execute);
  }

  async #watch(onChange: () => void): Promise<() => Promise<void>> {
    const stop = await this.#shared.real.watch(onChange);
    this.watchers++;
    return async () => {
      this.watchers--;
      await stop();
    };
  }
}
