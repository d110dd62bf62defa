import type { KeyObject } from 'node:crypto';
import type { Algorithm } from '../algorithms.ts';
import type { Clock } from '../clock.ts';
import { JwtAuthorityError, type AnyJwtAuthorityError } from '../errors.ts';
import { failureOf, KeyRingEvents } from '../events.ts';
import type { KeyRecord, KeySet } from '../key-set/document.ts';
import type { KeySetPolicy } from '../key-set/policy.ts';
import { publishedKeys } from '../key-set/states.ts';
import { inSeconds } from '../options.ts';
import { HealthTracker, type Health } from './health.ts';
import { KeySetKeeper } from './keeper.ts';
import { resolveOptions, type KeyRingOptions } from './options.ts';
import type { RandomBytes } from './sealing.ts';
import { elapsed, KekService, StoreService } from './services.ts';
import { reseal, revokeKey, type Transition } from './transitions.ts';
import { UnknownKids } from './unknown-kids.ts';
import type { KeySetView, SigningKey, VerificationKey } from './view.ts';

/** What the JWKS holds now, and how long caches may keep it. */
export interface Publication {
  readonly keys: readonly KeyRecord[];
  /** Milliseconds. */
  readonly maxAge: number;
  readonly staleIfError: number;
}

let readPrivateKey: (keyRing: KeyRing, kid: string) => KeyObject | undefined;

/** The private half of a key, in clear: for `@jwt-authority/core/compat` only, and not exported from the package's root. */
export function privateKeyOf(keyRing: KeyRing, kid: string): KeyObject | undefined {
  return readPrivateKey(keyRing, kid);
}

/**
 * One instance's view of one key set: loads it, keeps it fresh, unseals its private halves, heals what the store lost,
 * and commits changes. Signing, verifying and publishing go by memory; no call to a store or KEK service per token.
 *
 * Nothing happens before {@link KeyRing.ready} is called (an authority and a rotator do it on first use). Close it when
 * done: it has timers (which do not keep the process alive) and may watch the store.
 */
export class KeyRing {
  static {
    readPrivateKey = (keyRing, kid) => keyRing.#keeper.view?.privateKeys.get(kid);
  }

  readonly namespace: string;
  readonly policy: KeySetPolicy;
  readonly clock: Clock;
  readonly events: KeyRingEvents;
  readonly #store: StoreService;
  readonly #kek: KekService;
  readonly #keeper: KeySetKeeper;
  readonly #unknownKids: UnknownKids;
  readonly #randomBytes: RandomBytes;
  /** Revocations that the store could not be told of yet. */
  readonly #uncommitted = new Map<string, string>();
  readonly #activeKids = new Map<Algorithm, string>();
  #ready: Promise<void> | undefined;
  #watching: Promise<() => Promise<void>> | undefined;
  #cancelRefresh = (): void => {};
  #cancelActivation = (): void => {};
  #failures = 0;
  #failure: AnyJwtAuthorityError | undefined;
  #unsettledUntil = -Infinity;
  readonly #health: HealthTracker;
  #closed = false;

  /** @throws {TypeError} for options that are missing, of the wrong kind, contradictory or unknown. */
  constructor(options: KeyRingOptions) {
    const { store, encrypters, clock, logger, executor, randomBytes, makeKeyPair, policy } = resolveOptions(options);
    this.namespace = store.namespace;
    this.policy = policy;
    this.clock = clock;
    this.events = new KeyRingEvents(this.namespace, () => clock.now(), logger);
    this.#randomBytes = randomBytes;
    const { namespace, events } = this;
    const deadline = policy.commitDeadline;
    this.#store = new StoreService(store, clock, deadline, events);
    this.#kek = new KekService(encrypters, { namespace, clock, deadline, events, randomBytes });
    const { modulusLength } = policy;
    this.#keeper = new KeySetKeeper({
      namespace,
      store: this.#store,
      kek: this.#kek,
      policy,
      clock,
      executor,
      events,
      randomBytes,
      generateKeyPair: async (alg) => makeKeyPair(alg, { modulusLength }),
    });
    this.#keeper.onAdopted = (unsettled) => this.#onAdopted(unsettled);
    this.#unknownKids = new UnknownKids(clock, policy.refreshInterval);
    this.#health = new HealthTracker(events, () => clock.now());
  }

  /**
   * Loads the key set, once, and from then on keeps it fresh. Resolves also if the store is empty.
   *
   * @throws `JwtAuthorityError`: `store_unavailable`, `store_unreadable`, `kek_not_configured`, `kek_unavailable`,
   *   `document_rejected`, `document_unsupported`, `closed`. Call it again to try again.
   */
  async ready(): Promise<void> {
    this.#checkOpen();
    if (this.#keeper.confirmed !== undefined) return;
    this.#ready ??= this.refresh().finally(() => {
      this.#ready = undefined;
    });
    await this.#ready;
  }

  /** Reads the store now. Concurrent calls share one read. @throws as {@link KeyRing.ready}. */
  async refresh(): Promise<void> {
    this.#checkOpen();
    this.#unknownKids.attempted();
    try {
      await this.#keeper.refresh();
      this.#failures = 0;
      this.#failure = undefined;
      this.#watching ??= this.#store.watch(() => void this.#refreshInBackground());
    } catch (error) {
      this.#failures++;
      this.#failure = asOurs(error);
      throw error;
    } finally {
      this.#updateHealth();
      this.#scheduleRefresh();
    }
    await this.#commitRevocations();
  }

  /** The key set as this instance knows it; `undefined` before the first load and while the store is empty. */
  get keySet(): KeySet | undefined {
    return this.#keeper.view?.keySet;
  }

  get revision(): number | undefined {
    return this.#keeper.view?.stored.revision;
  }

  /** Milliseconds since the last successful refresh began; `Infinity` before the first. By whichever clock says more: the monotonic one stands still while a machine sleeps. */
  get age(): number {
    const { confirmed } = this.#keeper;
    return confirmed === undefined ? Infinity : elapsed(this.clock, confirmed);
  }

  /** How old the last successful refresh may be, in milliseconds: the smaller of this policy's and the document's bound. */
  get staleBound(): number {
    return Math.min(this.policy.staleBound, this.keySet?.staleBound ?? Infinity);
  }

  /**
   * The key to sign with now: of `alg`, else of the first configured algorithm that has an active key, else of any.
   *
   * @throws `JwtAuthorityError`: `stale`, `not_initialised`, `no_active_key`, `closed`.
   */
  signingKey(alg?: Algorithm): SigningKey {
    const view = this.#freshView('sign');
    const now = this.clock.now();
    const candidates = alg === undefined ? [...this.policy.algorithms, ...view.algorithms] : [alg];
    for (const candidate of candidates) {
      const key = view.signingKey(candidate, now);
      if (key !== undefined && !this.#uncommitted.has(key.kid)) return key;
    }
    throw new JwtAuthorityError('no_active_key', this.#whyNoKey(view, alg, now));
  }

  #whyNoKey(view: KeySetView, alg: Algorithm | undefined, now: number): string {
    const what = alg === undefined ? 'no key' : `no key of ${alg}`;
    const next = view.keySet.keys
      .filter((key) => key.hasPrivateKey && key.activatesAt > now && (alg === undefined || key.alg === alg))
      .map((key) => key.activatesAt);
    if (next.length === 0) return `${what} is active, and none is coming`;
    return `${what} is active yet; the next one signs ${inSeconds(Math.min(...next) - now)} s from now`;
  }

  /** The published key of this `kid`, or why there is none. Reads memory only. */
  verificationKey(kid: string): VerificationKey | 'revoked' | undefined {
    this.#checkOpen();
    const view = this.#keeper.view;
    if (this.#uncommitted.has(kid) || view?.record(kid)?.revokedAt !== undefined) return 'revoked';
    return view?.verificationKey(kid, this.clock.now());
  }

  /**
   * As {@link KeyRing.verificationKey}, after a look at the store for a `kid` that is not known here: at most one read per
   * quarter of the refresh interval, however many unknown ones come.
   *
   * @throws `JwtAuthorityError`: `unknown_kid`, or `unknown_kid_while_stale` if the store could not be asked.
   */
  async findVerificationKey(kid: string): Promise<VerificationKey | 'revoked'> {
    await this.ready();
    if (this.#unknownKids.mayAsk(kid)) await this.refresh().catch(() => {});
    const key = this.verificationKey(kid);
    if (key !== undefined) return key;
    if (this.#failure !== undefined || this.age > this.staleBound) {
      throw new JwtAuthorityError(
        'unknown_kid_while_stale',
        `the token names a key that is not known here, and the store could not be asked for ${inSeconds(this.age)} s`,
      );
    }
    this.#unknownKids.remember(kid);
    throw new JwtAuthorityError('unknown_kid', 'the token names a key that this key set does not have');
  }

  /** Refreshes if the last refresh is too old to sign by; what that throws is dropped, the caller's own check says `stale`. */
  async refreshIfStale(): Promise<void> {
    await this.ready();
    if (this.age > this.staleBound && this.#unknownKids.cooledDown) await this.refresh().catch(() => {});
  }

  /** What to publish now. @throws `JwtAuthorityError`: `stale`, `not_initialised`, `closed`. */
  publication(): Publication {
    const view = this.#freshView('publish');
    const now = this.clock.now();
    const { jwksMaxAge, refreshInterval, staleIfError } = this.policy;
    return {
      keys: publishedKeys(view.keySet, now).filter(({ kid }) => !this.#uncommitted.has(kid)),
      // Around a key that had to sign at once, caches should turn over quickly.
      maxAge: now < this.#unsettledUntil ? Math.min(jwksMaxAge, refreshInterval) : jwksMaxAge,
      staleIfError,
    };
  }

  #freshView(purpose: 'sign' | 'publish'): KeySetView {
    this.#checkOpen();
    const { age, staleBound } = this;
    const { view } = this.#keeper;
    if (view === undefined) {
      throw age === Infinity
        ? (this.#failure ?? new JwtAuthorityError('not_initialised', 'the key set has not been loaded yet'))
        : new JwtAuthorityError('not_initialised', `the store holds no key set for namespace "${this.namespace}" yet`);
    }
    if (age > staleBound) {
      throw new JwtAuthorityError(
        'stale',
        `the key set was last read ${inSeconds(age)} s ago, the bound is ${inSeconds(staleBound)} s: ` +
          `what would ${purpose === 'sign' ? 'be signed now, others may not verify' : 'be published now may be outdated'}`,
      );
    }
    return view;
  }

  /**
   * Makes a change of the key set: loads, decides, seals, writes by compare-and-swap, and starts over if the race was
   * lost. The rotator's methods are the ones to use.
   *
   * @internal
   */
  async commit<Result>(transition: Transition<Result>): Promise<{ readonly result: Result; readonly committed: boolean }> {
    await this.ready();
    const outcome = await this.#keeper.commit(transition);
    this.#updateHealth();
    return outcome;
  }

  /**
   * Revokes a key: at once here, and in the store as soon as it can be told.
   *
   * @internal
   */
  async revoke(kid: string, reason: string): Promise<{ readonly committed: boolean }> {
    await this.ready();
    try {
      await this.#keeper.commit(revokeKey(kid, reason));
      this.#uncommitted.delete(kid);
      return { committed: true };
    } catch (error) {
      const failure = asOurs(error);
      const record = this.#keeper.view?.record(kid);
      if (record === undefined || !failure.retryable) throw error;
      if (!this.#uncommitted.has(kid)) this.events.report('revoked', { kid, alg: record.alg, reason, committed: false });
      this.#uncommitted.set(kid, reason);
      return { committed: false };
    } finally {
      this.#updateHealth();
    }
  }

  async #commitRevocations(): Promise<void> {
    for (const [kid, reason] of this.#uncommitted) {
      try {
        await this.#keeper.commit(revokeKey(kid, reason));
        this.#uncommitted.delete(kid);
      } catch (error) {
        if (!asOurs(error).retryable) this.#uncommitted.delete(kid);
      }
    }
  }

  /**
   * Seals the key set under a fresh data-encryption key of the first encrypter: after a change of KEK, or the leak of one.
   * One commit; safe to repeat. `from` and `to` are labels of encrypters.
   *
   * @throws as {@link KeyRing.ready}, and `commit_conflict`.
   */
  async rewrap(): Promise<{ readonly from: string | undefined; readonly to: string; readonly kids: readonly string[] }> {
    await this.ready();
    const from = this.sealedBy;
    const { result } = await this.commit(reseal);
    return { from, to: this.#kek.primary, kids: result.kids };
  }

  /** The label of the encrypter that the key set is sealed by. */
  get sealedBy(): string | undefined {
    const wrapped = this.#keeper.view?.dataKey.wrapped;
    return wrapped === undefined ? undefined : this.#kek.labelOf(wrapped);
  }

  /** This machine's clock minus the store's in milliseconds, as of the last load; 0 if the store has none. */
  get clockDifference(): number {
    return this.#keeper.clockDifference;
  }

  health(): Health {
    const state = this.#updateHealth();
    const failure = this.#failure ?? this.#signingFailure();
    const lastRefreshAt = this.#keeper.confirmed?.wall;
    return { ...state, code: failure?.code, reason: failure?.message, revision: this.revision, lastRefreshAt };
  }

  #signingFailure(): AnyJwtAuthorityError | undefined {
    try {
      this.signingKey();
      return undefined;
    } catch (error) {
      return asOurs(error);
    }
  }

  #updateHealth(): Pick<Health, 'status' | 'since'> {
    return this.#health.update(this.#signingFailure(), this.#keeper.confirmed);
  }

  #onAdopted(unsettled: boolean): void {
    this.#unknownKids.clear();
    if (unsettled) this.#unsettledUntil = this.clock.now() + this.staleBound;
    this.#noteActivations();
  }

  /** Reports keys that took over, and looks again when the next one does: activation needs no commit. */
  #noteActivations(): void {
    const { view } = this.#keeper;
    this.#cancelActivation();
    if (view === undefined || this.#closed) return;
    const now = this.clock.now();
    for (const alg of view.algorithms) {
      const kid = view.signingKey(alg, now)?.kid;
      const previousKid = this.#activeKids.get(alg);
      if (kid === undefined || kid === previousKid) continue;
      this.#activeKids.set(alg, kid);
      this.events.report('activated', { kid, alg, previousKid, revision: view.stored.revision });
    }
    const { until } = view.unchangedAround(now);
    if (until < Infinity) this.#cancelActivation = this.clock.setTimer(() => this.#noteActivations(), until - now);
  }

  #scheduleRefresh(): void {
    this.#cancelRefresh();
    if (this.#closed) return;
    const { refreshInterval } = this.policy;
    // After a failure sooner, doubling up to the interval: it is the longest time between two attempts.
    const longest = this.#failures === 0 ? refreshInterval : Math.min(refreshInterval, (refreshInterval / 16) * 2 ** this.#failures);
    const delay = longest * (0.75 + this.random() / 4);
    this.#cancelRefresh = this.clock.setTimer(async () => this.#refreshInBackground(), delay, { idle: true });
  }

  async #refreshInBackground(): Promise<void> {
    if (this.#closed) return;
    // Reported by the services already; the next attempt is scheduled.
    await this.refresh().catch(() => {});
  }

  /** From 0 (inclusive) to 1 (exclusive), for jitter. @internal */
  random(): number {
    const [byte = 0, another = 0] = this.#randomBytes(2);
    return (byte * 256 + another) / 65_536;
  }

  #checkOpen(): void {
    if (this.#closed) throw new JwtAuthorityError('closed', 'this key ring has been closed');
  }

  /** Stops all timers and the watch. What is under way ends by itself. The store stays open: it is the caller's. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRefresh();
    this.#cancelActivation();
    try {
      await (await this.#watching)?.();
    } catch (error) {
      this.events.report('store_error', failureOf(error));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** The failure as an error of ours: what the services threw is one already; anything else is a fault of this library. */
function asOurs(error: unknown): AnyJwtAuthorityError {
  if (JwtAuthorityError.is(error)) return error;
  throw error;
}
