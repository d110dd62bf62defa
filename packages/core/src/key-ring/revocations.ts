import { JwtAuthorityError } from '../errors.ts';
import type { KeyRingEvents } from '../events.ts';
import type { KeySetKeeper } from './keeper.ts';
import { revokeKey } from './transitions.ts';

/** Revocations as this instance knows them: they hold here from the first moment, and in the store once it was told. */
export class Revocations {
  readonly #keeper: KeySetKeeper;
  readonly #events: KeyRingEvents;
  /** Reasons of those that the store was not told of yet, by `kid`. */
  readonly #uncommitted = new Map<string, string>();

  constructor(keeper: KeySetKeeper, events: KeyRingEvents) {
    this.#keeper = keeper;
    this.#events = events;
  }

  /** Those that the store was not told of yet. */
  get uncommitted(): readonly string[] {
    return [...this.#uncommitted.keys()];
  }

  /** Whether this key is refused here, although the key set does not say so yet. */
  isUncommitted(kid: string): boolean {
    return this.#uncommitted.has(kid);
  }

  /** `committed: false`: refused here, and tried again with every refresh. @throws `unknown_kid`, or why nothing is known of it. */
  async revoke(kid: string, reason: string): Promise<{ readonly committed: boolean }> {
    const record = this.#keeper.view?.record(kid);
    const isNew = record !== undefined && record.revokedAt === undefined && !this.#uncommitted.has(kid);
    // Before the store is asked, which may take its time.
    if (isNew) this.#uncommitted.set(kid, reason);
    try {
      await this.#commit(kid, reason);
      return { committed: true };
    } catch (error) {
      if (record === undefined || !JwtAuthorityError.is(error) || error.code === 'unknown_kid') throw error;
      if (record.revokedAt !== undefined) return { committed: true };
      if (isNew) this.#events.report('revoked', { kid, alg: record.alg, reason, committed: false });
      return { committed: false };
    }
  }

  /** Tells the store of those that it could not be told of. What fails is tried again the next time. */
  async commitAll(): Promise<void> {
    for (const [kid, reason] of this.#uncommitted) {
      await this.#commit(kid, reason).catch((error: unknown) => {
        if (!JwtAuthorityError.is(error)) throw error;
      });
    }
  }

  async #commit(kid: string, reason: string): Promise<void> {
    try {
      await this.#keeper.commit(revokeKey(kid, reason));
      this.#uncommitted.delete(kid);
    } catch (error) {
      // Neither the store nor anybody's memory has it: there is nothing left to revoke.
      if (JwtAuthorityError.is(error) && error.code === 'unknown_kid') this.#uncommitted.delete(kid);
      throw error;
    }
  }
}
