import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplayStore } from '@jwt-authority/core';
import { type CaseOptions, check } from './cases.ts';

export interface ReplayStoreCaseOptions extends CaseOptions {
  /** Moves the clock of all stores of this factory on, in milliseconds. Without it, cases wait in real time: 7 s in all. */
  readonly advance?: ((ms: number) => void | Promise<void>) | undefined;
  /** The store takes numbers as well as strings. Default false. */
  readonly numbers?: boolean | undefined;
  /** Releases a store that a case opened. */
  readonly close?: ((store: ReplayStore) => Promise<void>) | undefined;
  /** Closes the client under a store, as an application does on its way out. Without it, that case is not listed. */
  readonly closeClient?: ((store: ReplayStore) => Promise<void>) | undefined;
  /** Stops the service from answering, for all clients, and lets it go on. Without it, that case is not listed. */
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
export class ReplaySession {
  readonly name: string = `contract-${randomBytes(6).toString('hex')}`;
  readonly patience: number;
  readonly #open: (name: string) => ReplayStore | Promise<ReplayStore>;
  readonly #options: ReplayStoreCaseOptions;
  readonly #opened: ReplayStore[] = [];

  constructor(open: (name: string) => ReplayStore | Promise<ReplayStore>, options: ReplayStoreCaseOptions) {
    this.#open = open;
    this.#options = options;
    this.patience = options.patience ?? 4000;
  }

  async open(name: string = this.name): Promise<ReplayStore> {
    const store = await this.#open(name);
    this.#opened.push(store);
    return store;
  }

  async close(): Promise<void> {
    for (const store of this.#opened) await this.#options.close?.(store);
  }

  async pass(ms: number): Promise<void> {
    await (this.#options.advance === undefined ? sleep(ms) : this.#options.advance(ms));
  }
}

export const replayed = 'A one-time token could be used twice';
export const denied = 'A token that nobody has used is refused';

/** Checks an answer, which must be exactly this, not something that counts as it. */
export function checkIs(answer: unknown, expected: boolean, message: string): void {
  check(answer === expected, message);
}

/** Lets all clients claim at once, fifty times in all. */
export async function checkOneClaim(clients: readonly ReplayStore[], value: string): Promise<void> {
  const claimants = Array.from({ length: 50 }, (_, index) => clients[index % clients.length]);
  const claims = await Promise.all(claimants.map(async (client) => client?.claim(value, 60)));
  const firsts = claims.filter(Boolean).length;
  check(
    firsts === 1,
    `${firsts} of 50 claims of one value at once were true, must be one. ${firsts === 0 ? denied : replayed}`,
  );
}
