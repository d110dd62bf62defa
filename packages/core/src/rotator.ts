import type { JsonWebKey, KeyObject } from 'node:crypto';
import type { Algorithm } from './algorithms.ts';
import { JwtAuthorityError, type AnyJwtAuthorityError } from './errors.ts';
import { failureOf } from './events.ts';
import { importKeyPair } from './key-import.ts';
import { backOff } from './key-ring/back-off.ts';
import type { KeyRing } from './key-ring/key-ring.ts';
import {
  addImportedKey,
  dueSteps,
  retireAlgorithm,
  rollBackPending,
  rotateNow,
  type RewrapOptions,
  type RewrapResult,
  type RollBackResult,
  type RotateNowResult,
} from './key-ring/transitions.ts';
import { explain, type Explanation } from './explain.ts';
import type { ImportRole } from './key-set/changes.ts';
import { maxReasonLength } from './key-set/document.ts';
import { makesKey, plan, upcoming, type Step } from './key-set/plan.ts';
import { checkAlgorithm, type KeyPair } from './algorithms.ts';
import {
  checkBoolean,
  checkMethods,
  checkOneOf,
  checkOptions,
  checkText,
  milliseconds,
  misuse,
  type Duration,
} from './options.ts';

export interface JwksRotatorOptions {
  readonly keyRing: KeyRing;
}

/** What {@link JwksRotator.checkAndRotateKeys} did, and why. */
export type CheckResult =
  /** This instance committed these steps. */
  | { readonly outcome: 'rotated'; readonly steps: readonly Step[] }
  /** Nothing is due. `nextAt`: when something will be, epoch milliseconds. */
  | { readonly outcome: 'not_due'; readonly nextAt: number | undefined }
  /** It was due, and another instance did it; its key set has been adopted. */
  | { readonly outcome: 'lost_race' }
  /** It is due and cannot be done now: see `error.code`. Try again later; a started rotator does. */
  | { readonly outcome: 'postponed'; readonly error: AnyJwtAuthorityError };

export interface RevocationResult {
  readonly kid: string;
  /** `false`: the store could not be told. This instance refuses the key already and goes on trying. */
  readonly committed: boolean;
  /** The key that signs now, of the revoked key's algorithm if there is one. */
  readonly activeKid: string | undefined;
  /** When every instance in contact with the store knows, epoch milliseconds (sooner where the store pushes). `undefined` if not committed. */
  readonly instancesKnowBy: number | undefined;
  /** When the last cache that honours the JWKS's `max-age` and `stale-if-error` has let go of the key, epoch milliseconds. */
  readonly cachesKnowBy: number | undefined;
}

export interface ImportKeyOptions {
  /**
   * `next` (default): published now, signs after the propagation delay. `first`: signs at once; only where nothing else
   * can. `verify-only`: only verifies the tokens that are out already.
   */
  readonly as?: ImportRole;
  /** Default: the `alg` of the JWK, else what the kind of key implies. Needed for RSA, unless its JWK says. */
  readonly alg?: Algorithm;
  /** Default: the `kid` of the JWK, else the thumbprint (RFC 7638). */
  readonly kid?: string;
  /** How long tokens that this key has signed elsewhere may live. Default: the policy's `maxTokenLifetime`. */
  readonly tokenLifetime?: Duration;
}

/**
 * Rotates the keys of one key set: by itself once started, and at an operator's word. Any number of rotators in any number
 * of processes may run at once: each due rotation commits once.
 */
export class JwksRotator {
  readonly #keyRing: KeyRing;
  #checking: Promise<CheckResult> | undefined;
  #started: AbortController | undefined;
  #cancelTimer = (): void => {};
  /** When the timer that is set runs, and before when none may, after failures; by the monotonic clock. */
  #runAt = Infinity;
  #notBefore = -Infinity;
  #jitter = 0;
  #failures = 0;

  /** @throws {TypeError} */
  constructor(options: JwksRotatorOptions) {
    checkOptions(options, 'JwksRotator', ['keyRing']);
    checkMethods(options.keyRing, 'keyRing', ['ready', 'commit', 'revoke']);
    this.#keyRing = options.keyRing;
  }

  /**
   * Does what is due: makes the first key set, publishes the next key, destroys private halves that no longer sign, removes
   * expired keys. Calls nothing if nothing is due. Concurrent calls share one run.
   *
   * @throws `JwtAuthorityError` for what waiting does not mend: `kek_not_configured`, `document_rejected`,
   *   `document_unsupported`, `store_unreadable`, `closed`.
   */
  async checkAndRotateKeys(): Promise<CheckResult> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  async #check(): Promise<CheckResult> {
    const keyRing = this.#keyRing;
    try {
      await keyRing.ready();
      const due = this.plan();
      if (due.length === 0) return { outcome: 'not_due', nextAt: this.#nextAt() };
      const steps: Step[] = [];
      // Housekeeping takes no KEK and goes first: a KMS that is down must not delay the end of a private half.
      for (const which of ['housekeeping', 'making keys'] as const) {
        if (!this.plan().some((step) => makesKey(step) === (which === 'making keys'))) continue;
        steps.push(...(await keyRing.commit(dueSteps(which))).result);
      }
      return steps.length === 0 ? { outcome: 'lost_race' } : { outcome: 'rotated', steps };
    } catch (error) {
      if (JwtAuthorityError.is(error) && error.retryable) return { outcome: 'postponed', error };
      throw error;
    }
  }

  /** What is due now, as far as this instance knows. Pure: reads memory only. */
  plan(): readonly Step[] {
    const { keySet, policy, clock } = this.#keyRing;
    return plan(keySet, clock.now(), policy);
  }

  /** What will happen when, why the active key is the active one, and what holds things up if something does. Reads memory only. */
  explain(): Explanation {
    return explain(this.#keyRing);
  }

  /**
   * Publishes a next key now, or lets it sign now.
   *
   * Without `emergency` it takes over after the propagation delay, as in any rotation. With it, the pending key, else a new
   * one, signs at once: verifiers with a cached JWKS may refuse its tokens until they fetch again. `alg`: default the first
   * configured one.
   *
   * @throws `JwtAuthorityError`: `store_unavailable`, `kek_unavailable`, `clock_skew`, `commit_conflict`, `closed`.
   */
  async rotateNow(
    options: { readonly emergency?: boolean; readonly alg?: Algorithm } = {},
  ): Promise<RotateNowResult> {
    checkOptions(options, 'rotateNow', ['emergency', 'alg']);
    const { emergency = false } = options;
    checkBoolean(emergency, 'emergency');
    const { result } = await this.#keyRing.commit(rotateNow(this.#algorithm(options.alg), emergency));
    return result;
  }

  /**
   * Revokes a key: it leaves the JWKS and verifies nothing any more, here at once, elsewhere as the result says. If it was
   * the active key, the pending one takes over, else a new one, in the same commit. Cannot be undone.
   *
   * `reason` is kept in the key set: up to 500 characters, no secrets.
   *
   * @throws `JwtAuthorityError` with code `unknown_kid` if the key set has no such key.
   */
  async revoke(kid: string, options: { readonly reason: string }): Promise<RevocationResult> {
    checkText(kid, 'kid');
    checkOptions(options, 'revoke', ['reason']);
    const reason = checkText(options.reason, 'reason', maxReasonLength);
    if (!reason.isWellFormed()) throw misuse('reason', 'be well-formed Unicode', reason);
    const keyRing = this.#keyRing;
    const { committed } = await keyRing.revoke(kid, reason);
    const { refreshInterval, jwksMaxAge, staleIfError } = keyRing.policy;
    const now = keyRing.clock.now();
    return {
      kid,
      committed,
      activeKid: this.#activeKid(keyRing.keySet?.keys.find((key) => key.kid === kid)?.alg),
      instancesKnowBy: committed ? now + refreshInterval : undefined,
      cachesKnowBy: committed ? now + refreshInterval + jwksMaxAge + staleIfError : undefined,
    };
  }

  #activeKid(alg: Algorithm | undefined): string | undefined {
    for (const candidate of [alg, undefined]) {
      try {
        return this.#keyRing.signingKey(candidate).kid;
      } catch {
        // No active key of this algorithm, or none at all.
      }
    }
    return undefined;
  }

  /**
   * Withdraws a published key that does not sign yet. `publishNotBefore`: when the next one may be published, epoch
   * milliseconds; default one propagation delay from now.
   *
   * @throws `JwtAuthorityError` with code `not_applicable` if no key is pending.
   */
  async rollback(
    options: { readonly alg?: Algorithm; readonly publishNotBefore?: number } = {},
  ): Promise<RollBackResult> {
    checkOptions(options, 'rollback', ['alg', 'publishNotBefore']);
    const { publishNotBefore } = options;
    if (
      publishNotBefore !== undefined &&
      !(Number.isSafeInteger(publishNotBefore) && publishNotBefore >= 0 && publishNotBefore <= 8.64e15)
    ) {
      throw misuse('publishNotBefore', 'be whole epoch milliseconds', publishNotBefore);
    }
    return (await this.#keyRing.commit(rollBackPending(this.#algorithm(options.alg), publishNotBefore)))
      .result;
  }

  /**
   * Ends the signing of an algorithm that is no longer configured, now instead of after a rotation interval. Its keys go on
   * verifying. The result names the keys that stopped.
   *
   * @throws `JwtAuthorityError` with code `not_applicable` if it is configured, or nothing else could sign.
   */
  async retireAlgorithm(alg: Algorithm): Promise<{ readonly kids: readonly string[] }> {
    return (await this.#keyRing.commit(retireAlgorithm(checkAlgorithm(alg, 'alg')))).result;
  }

  /**
   * Brings in a key made elsewhere, so that a team can move here without invalidating tokens: PEM (PKCS#8), JWK or
   * `KeyObject`, private.
   *
   * @throws `JwtAuthorityError`: `unusable_key`, `key_exists`, `not_applicable`, and as {@link JwksRotator.rotateNow}.
   */
  async importKey(
    key: string | JsonWebKey | KeyObject,
    options: ImportKeyOptions = {},
  ): Promise<{ readonly kid: string; readonly activatesAt: number }> {
    checkOptions(options, 'importKey', ['as', 'alg', 'kid', 'tokenLifetime']);
    const { as = 'next', alg, kid, tokenLifetime } = options;
    const role = checkOneOf(as, 'as', ['first', 'next', 'verify-only']);
    const lifetime =
      tokenLifetime === undefined
        ? this.#keyRing.policy.tokenLifetime
        : milliseconds(tokenLifetime, 'tokenLifetime');
    if (lifetime < 1000) throw misuse('tokenLifetime', 'be at least 1 s', tokenLifetime);
    const pair: KeyPair = await importKeyPair(key, {
      name: 'key',
      executor: this.#keyRing.executor,
      ...(alg !== undefined && { alg }),
      ...(kid !== undefined && { kid }),
    });
    return (await this.#keyRing.commit(addImportedKey(pair, role, lifetime))).result;
  }

  /** Re-seals the key set under the first encrypter: see {@link KeyRing.rewrap}. */
  async rewrap(options: RewrapOptions = {}): Promise<RewrapResult> {
    return this.#keyRing.rewrap(options);
  }

  /** Rotates by itself from now on, until {@link JwksRotator.stop}, the signal, or the key ring's end. Failures are reported as `rotation_error` and tried again. */
  start(options: { readonly signal?: AbortSignal } = {}): void {
    checkOptions(options, 'start', ['signal']);
    const { closed, events } = this.#keyRing;
    if (this.#started !== undefined || options.signal?.aborted === true || closed.aborted) return;
    const started = new AbortController();
    this.#started = started;
    const arm = (): void => this.#arm();
    events.on('refreshed', arm);
    started.signal.addEventListener('abort', () => events.off('refreshed', arm), { once: true });
    for (const signal of [options.signal, closed]) {
      signal?.addEventListener('abort', () => this.stop(), { once: true, signal: started.signal });
    }
    this.#drawJitter();
    this.#arm();
  }

  /** Ends what {@link JwksRotator.start} began. A commit under way ends by itself. */
  stop(): void {
    this.#cancelTimer();
    this.#runAt = Infinity;
    this.#started?.abort();
    this.#started = undefined;
  }

  /** One timer, for the next moment at which something is due; looked at anew whenever the store was read. */
  #arm(): void {
    if (this.#started === undefined || this.#checking !== undefined) return;
    const { clock } = this.#keyRing;
    const nextAt = this.plan().length > 0 ? clock.now() : this.#nextAt();
    if (nextAt === undefined) return;
    const wait = Math.max(0, nextAt - clock.now()) + this.#jitter;
    const runAt = Math.max(clock.monotonic() + wait, this.#notBefore);
    // What is set already and comes sooner stays: reads of the store, however many, must not put it off again and again.
    if (runAt >= this.#runAt) return;
    this.#cancelTimer();
    this.#runAt = runAt;
    this.#cancelTimer = clock.setTimer(async () => this.#run(), runAt - clock.monotonic());
  }

  async #run(): Promise<void> {
    this.#runAt = Infinity;
    const { clock, policy, events } = this.#keyRing;
    try {
      const result = await this.checkAndRotateKeys();
      if (result.outcome === 'postponed') throw result.error;
      this.#failures = 0;
    } catch (error) {
      if (JwtAuthorityError.is(error) && error.code === 'closed') return this.stop();
      this.#failures++;
      this.#notBefore = clock.monotonic() + backOff(policy.refreshInterval, this.#failures);
      events.report('rotation_error', failureOf(error));
    }
    this.#drawJitter();
    this.#arm();
  }

  /** Many instances see the same moment: spread, the first is done before the others begin. */
  #drawJitter(): void {
    this.#jitter = (this.#keyRing.policy.refreshInterval / 4) * this.#keyRing.random();
  }

  #nextAt(): number | undefined {
    const { keySet, policy, clock } = this.#keyRing;
    if (keySet === undefined) return undefined;
    // Activation, and the deactivation and expiry that the document sets, need nobody.
    return upcoming(keySet, clock.now(), policy).find(
      ({ what, kid }) => !['activate', 'deactivate', 'expire'].includes(what) || kid === undefined,
    )?.at;
  }

  #algorithm(alg: Algorithm | undefined): Algorithm {
    return alg === undefined ? this.#keyRing.policy.algorithms[0] : checkAlgorithm(alg, 'alg');
  }
}
