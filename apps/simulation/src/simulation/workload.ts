import { JwtAuthorityError } from '@jwt-authority/core';
import type { Process } from './instance.ts';
import type { Token } from './ledger.ts';
import { documentOf } from './store.ts';
import type { RemoteVerifier } from './verifiers.ts';
import type { World } from './world.ts';

/** What goes on all the time: tokens are signed, and verified at instances and elsewhere, with real signatures. */
export class Workload {
  readonly #world: World;
  #signings = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** One piece of work: a token is signed, or verified somewhere. */
  begin(): void {
    const process = this.#world.anyProcess();
    if (process === undefined) return;
    const dice = this.#world.random.next();
    if (dice < 0.5) return void this.#sign(process);
    const { tokens } = this.#world.ledger;
    // The latest one often: whoever has not read the store since must look for its key.
    const token =
      tokens.length === 0 || this.#world.random.chance(0.4) ? tokens.at(-1) : this.#world.random.pick(tokens);
    if (token === undefined) return;
    if (dice < 0.75) return void this.#verify(process, token);
    void this.#verifyElsewhere(this.#world.random.pick(this.#world.verifiers), token);
  }

  async #sign(process: Process): Promise<void> {
    const { authority } = process;
    if (authority === undefined) return;
    const lifetime = authority.keyRing.policy.tokenLifetime / 1000;
    const tooLong = this.#world.random.chance(0.05);
    const expiresIn = tooLong
      ? lifetime * 10
      : this.#world.random.chance(0.5)
        ? undefined
        : Math.max(1, Math.round(lifetime * this.#world.random.next()));
    try {
      const { token, kid } = await authority.sign({ sub: `user-${this.#signings++}` }, { expiresIn });
      if (tooLong) this.#world.violated(`P4: ${process.name} signed for ten times the longest lifetime`);
      if (process.isDead) return;
      // RFC 7519: written by the code under test, read here without it.
      const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
        exp: number;
      };
      const signed: Token = { token, kid, expiresAt: exp * 1000 };
      this.#world.counts.add('signed');
      if (process.instance.isBeyond) return;
      this.#world.checker.signed(process, kid, signed.expiresAt);
      this.#world.ledger.signed(signed, this.#world.now);
    } catch (error) {
      if (!JwtAuthorityError.is(error)) return this.#world.unexpected(error);
      this.#world.counts.add(`sign: ${error.code}`);
      const mayHappen = [
        'stale',
        'no_active_key',
        'token_lifetime_exceeded',
        'not_initialised',
        'store_unavailable',
        'document_rejected',
        'kek_unavailable',
        'kek_not_configured',
      ];
      if (!mayHappen.includes(error.code))
        this.#world.violated(`P7: ${process.name} could not sign: ${error.code}`);
    }
  }

  async #verify(process: Process, token: Token): Promise<void> {
    const { authority, instance } = process;
    const facts = this.#world.ledger.keys.get(token.kid);
    if (authority === undefined || facts === undefined) return;
    const wasAsked =
      this.#world.now - process.askedAt <
      this.#world.longest.refreshInterval / 4 + this.#world.commitDeadline;
    const since = this.#world.now;
    let code = 'accepted';
    try {
      await authority.verify(token.token);
    } catch (error) {
      if (!JwtAuthorityError.is(error)) return this.#world.unexpected(error);
      code = error.code;
    }
    if (process.isDead) return;
    this.#world.counts.add(`verify: ${code}`);
    const isLive =
      token.expiresAt - this.#world.longest.clockTolerance > this.#world.now && !facts.triedToRevoke;
    if (code === 'accepted') {
      if (process.confirmed?.revoked.has(token.kid) === true)
        this.#world.violated(`P9: ${process.name} accepted a token of ${token.kid}, which is revoked`);
      if (token.expiresAt + 3 * this.#world.longest.clockTolerance < since && !instance.isBeyond)
        this.#world.violated(
          `P4: ${process.name} accepted a token ${this.#world.now - token.expiresAt} ms after its end`,
        );
      return;
    }
    if (!isLive || instance.isBeyond || code === 'unknown_kid_while_stale') return;
    // A key that had to sign at once is found by looking, unless the store was asked a moment ago, or lost it.
    const stored = this.#world.storeOf(instance).current;
    const isThere =
      stored !== undefined && (documentOf(stored)?.keys?.some?.(({ kid }) => kid === token.kid) ?? false);
    const isExcused =
      code === 'unknown_kid' &&
      (wasAsked ||
        !isThere ||
        facts.presentSince > since ||
        instance.disturbedUntil > since - 1 ||
        this.#world.lossAt > since - this.#world.longest.staleBound);
    if (!isExcused)
      this.#world.violated(`P1: ${process.name} refused a valid token of ${token.kid}: ${code}`);
  }

  async #verifyElsewhere(verifier: RemoteVerifier, token: Token): Promise<void> {
    const facts = this.#world.ledger.keys.get(token.kid);
    if (facts === undefined) return;
    const verdict = await verifier.verify(token);
    this.#world.counts.add(`${verifier.habits.name}: ${verdict}`);
    const isLive =
      token.expiresAt - this.#world.longest.clockTolerance > this.#world.now && !facts.triedToRevoke;
    if (verdict === 'bad signature')
      this.#world.violated(
        `P1: "${verifier.habits.name}" took a valid signature of ${token.kid} for a bad one`,
      );
    const { cache } = verifier;
    if (verdict !== 'unknown key' || !isLive || cache === undefined || cache.usableUntil <= this.#world.now)
      return;
    if (this.#world.checker.mustKnow(facts, cache.reading))
      this.#world.violated(
        `P1: the verifier "${verifier.habits.name}" refused a valid token of ${token.kid}`,
      );
  }
}
