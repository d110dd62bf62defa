import { randomBytes, randomUUID } from 'node:crypto';
import type { KeySetStore, StoredKeySet } from '@jwt-authority/core';
import { type CaseOptions, check } from './cases.ts';

export interface KeySetStoreCaseOptions extends CaseOptions {
  /** `load` gives `storeTime`: the store has a clock of its own. Default false: then it must not give one. */
  readonly storeTime?: boolean | undefined;
  /** The store has `watch`. Default false: then it must not have it. */
  readonly watch?: boolean | undefined;
  /** The time by which a store without `storeTime` judges `notAfter`, epoch milliseconds. Default `Date.now`. */
  readonly now?: (() => number) | undefined;
  /** Releases a store that a case opened. */
  readonly close?: ((store: KeySetStore) => Promise<void>) | undefined;
  /** Closes the client under a store, as an application does on its way out. Without it, that case is not listed. */
  readonly closeClient?: ((store: KeySetStore) => Promise<void>) | undefined;
  /** Stops the service from answering, for all clients, and lets it go on. Without it, those cases are not listed. */
  readonly freezing?:
    | {
        readonly freeze: () => Promise<void>;
        readonly thaw: () => Promise<void>;
        /** The longest time that a call to the frozen service may take until it fails, in milliseconds. */
        readonly deadline: number;
      }
    | undefined;
}

/** What one case works with. */
export class StoreSession {
  readonly namespace: string = `contract-${randomBytes(6).toString('hex')}`;
  readonly patience: number;
  readonly #open: (namespace: string) => KeySetStore | Promise<KeySetStore>;
  readonly #options: KeySetStoreCaseOptions;
  readonly #opened: KeySetStore[] = [];

  constructor(
    open: (namespace: string) => KeySetStore | Promise<KeySetStore>,
    options: KeySetStoreCaseOptions,
  ) {
    this.#open = open;
    this.#options = options;
    this.patience = options.patience ?? 4000;
  }

  async open(namespace: string = this.namespace): Promise<KeySetStore> {
    const store = await this.#open(namespace);
    this.#opened.push(store);
    return store;
  }

  async close(): Promise<void> {
    for (const store of this.#opened) await this.#options.close?.(store);
  }

  /** What time it is for the store. */
  async now(store: KeySetStore): Promise<number> {
    return (await store.load()).storeTime ?? this.#options.now?.() ?? Date.now();
  }

  /** Compare-and-swap with plenty of time. */
  async write(store: KeySetStore, next: StoredKeySet, expected?: StoredKeySet): Promise<boolean> {
    return store.compareAndSwap(next, expected, (await this.now(store)) + 60_000);
  }

  /** A store on which one key set has been committed. */
  async openWritten(): Promise<{ store: KeySetStore; first: StoredKeySet }> {
    const store = await this.open();
    const first = keySet(1);
    check(
      await this.write(store, first),
      'compareAndSwap(next, undefined) on an empty namespace was refused: no first key set can ever be made',
    );
    return { store, first };
  }
}

export function keySet(revision: number, document = `{"revision":${revision}}`): StoredKeySet {
  return { revision, etag: randomUUID(), updatedAt: 1_790_000_000_000 + (revision % 1000), document };
}

/** Checks that exactly `expected` is stored. `why` says what it means if it is not. */
export async function checkStored(
  store: KeySetStore,
  expected: StoredKeySet | undefined,
  why: string,
): Promise<void> {
  const { stored } = await store.load();
  if (expected === undefined || stored === undefined) {
    const [has, wanted] = [stored, expected].map((one) => (one === undefined ? 'nothing' : 'a key set'));
    check(has === wanted, `${has} is stored, must be ${wanted}. ${why}`);
    return;
  }
  const fields = ['revision', 'etag', 'updatedAt', 'document'] as const;
  const other = fields.filter((field) => stored[field] !== expected[field]);
  check(other.length === 0, `what is stored differs in ${other.join(', ')} from what must be. ${why}`);
}
