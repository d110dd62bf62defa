import type { Clock, KeySet, StoredKeySet } from '@jwt-authority/core';
import { memoryStore } from '@jwt-authority/store-memory';

/** The public part of a stored document, and its sealed part: read by the observer without the help of core. */
export type Document = KeySet & { readonly sealed: { readonly dataKey: string } };

/** A write that was executed. */
export interface Commit {
  readonly at: number;
  readonly stored: StoredKeySet;
  readonly before: StoredKeySet | undefined;
  readonly by: string;
}

const parsed = new WeakMap<StoredKeySet, Document | undefined>();

/** `undefined` if it is no document at all: somebody has put garbage there. */
export function documentOf(stored: StoredKeySet): Document | undefined {
  if (!parsed.has(stored)) {
    try {
      // Written by core, or altered by an incident: only looked at, and where it matters compared with what core wrote.
      parsed.set(stored, JSON.parse(stored.document) as Document);
    } catch {
      parsed.set(stored, undefined);
    }
  }
  return parsed.get(stored);
}

/** The real memory store, and what may happen to its data besides commits. */
export class SimulatedStore {
  readonly #clock: Clock;
  readonly #onCommit: (commit: Commit) => void;
  #real: ReturnType<typeof memoryStore>;
  #current: StoredKeySet | undefined;
  #previous: StoredKeySet | undefined;

  constructor(clock: Clock, onCommit: (commit: Commit) => void) {
    this.#clock = clock;
    this.#onCommit = onCommit;
    this.#real = memoryStore({ clock });
  }

  /** What is stored now, and what was before the last commit. */
  get current(): StoredKeySet | undefined {
    return this.#current;
  }

  get previous(): StoredKeySet | undefined {
    return this.#previous;
  }

  async load(): Promise<{ readonly stored?: StoredKeySet; readonly storeTime?: number }> {
    return this.#real.load();
  }

  async compareAndSwap(
    next: StoredKeySet,
    expected: Pick<StoredKeySet, 'revision' | 'etag'> | undefined,
    notAfter: number,
    by: string,
  ): Promise<boolean> {
    const before = this.#current;
    const done = await this.#real.compareAndSwap(next, expected, notAfter);
    if (done && before?.etag !== next.etag) {
      this.#previous = before;
      this.#current = next;
      this.#onCommit({ at: this.#clock.now(), stored: next, before, by });
    }
    return done;
  }

  /** Puts this in place of what is stored, as a loss does, or somebody who may write to the store. */
  put(stored: StoredKeySet | undefined): void {
    this.#real = memoryStore({ clock: this.#clock });
    this.#current = stored;
    this.#previous = undefined;
    if (stored !== undefined) void this.#real.compareAndSwap(stored, undefined, Infinity);
  }
}
