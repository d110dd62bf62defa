import type { KeyObject } from 'node:crypto';
import type { Algorithm } from '../algorithms.ts';
import type { Clock } from '../clock.ts';
import { JwtAuthorityError, type AnyJwtAuthorityError } from '../errors.ts';
import { KeyRingEvents } from '../events.ts';
import type { CryptoExecutor } from '../executor.ts';
import type { KeyRecord, KeySet } from '../key-set/document.ts';
import type { KeySetPolicy } from '../key-set/policy.ts';
import { publishedKeys } from '../key-set/states.ts';
import { checkBoolean, checkOptions, inSeconds } from '../options.ts';
import { Activations } from './activations.ts';
import { HealthTracker, type Health } from './health.ts';
import { KeySetKeeper } from './keeper.ts';
import { resolveOptions, type KeyRingOptions } from './options.ts';
import { Refresher } from './refresher.ts';
import { Revocations } from './revocations.ts';
import { makerOf, type RandomBytes } from './sealing.ts';
import { elapsed, KekService, type KekUse, StoreService } from './services.ts';
import { reseal, type RewrapOptions, type RewrapResult, type Transition } from './transitions.ts';
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
  /** @internal */
  readonly executor: CryptoExecutor;
  readonly #kek: KekService;
  readonly #keeper: KeySetKeeper;
  readonly #unknownKids: UnknownKids;
  readonly #randomBytes: RandomBytes;
  readonly #revocations: Revocations;
  readonly #activations: Activations;
  readonly #refresher: Refresher;
  #unsettledUntil = -Infinity;
  readonly #health: HealthTracker;
  readonly #closing = new AbortController();

  /** @throws {TypeError} for options that are missing, of the wrong kind, contradictory or unknown. */
  constructor(options: KeyRingOptions) {
    const { store, encrypters, clock, logger, executor, randomBytes, makeKeyPair, policy } =
      resolveOptions(options);
    this.namespace = store.namespace;
    this.policy = policy;
    this.clock = clock;
    this.executor = executor;
    this.events = new KeyRingEvents(this.namespace, () => clock.now(), logger);
    this.#randomBytes = randomBytes;
    const { namespace, events } = this;
    const deadline = policy.commitDeadline;
    const storeService = new StoreService(store, clock, deadline, events);
    this.#kek = new KekService(encrypters, { namespace, clock, deadline, events, randomBytes });
    const { modulusLength } = policy;
    this.#keeper = new KeySetKeeper({
      namespace,
      store: storeService,
      kek: this.#kek,
      policy,
      clock,
      executor,
      events,
      randomBytes,
      generateKeyPair: async (alg) => makeKeyPair(alg, { modulusLength }),
    });
    this.#revocations = new Revocations(this.#keeper, events);
    this.#activations = new Activations(clock, events);
    this.#keeper.onAdopted = (unsettled) => this.#onAdopted(unsettled);
    this.#unknownKids = new UnknownKids(clock, policy.refreshInterval);
    this.#health = new HealthTracker(events, () => clock.now());
    this.#refresher = new Refresher({
      keeper: this.#keeper,
      store: storeService,
      clock,
      events,
      refreshInterval: policy.refreshInterval,
      random: () => this.random(),
      onBegin: () => this.#unknownKids.attempted(),
      onEnd: () => {
        this.#lookForActivations();
        this.#updateHealth();
      },
      whenReached: async () => this.#revocations.commitAll(),
    });
  }

  /**
   * Loads the key set, once, and from then on keeps it fresh. Resolves also if the store is empty.
   *
   * @throws `JwtAuthorityError`: `store_unavailable`, `store_unreadable`, `kek_not_configured`, `kek_unavailable`,
   *   `document_rejected`, `document_unsupported`, `closed`. Call it again to try again.
   */
  async ready(): Promise<void> {
    this.#checkOpen();
    if (this.#keeper.confirmed === undefined) await this.refresh();
  }

  /** Reads the store now. Concurrent calls share one read. @throws as {@link KeyRing.ready}. */
  async refresh(): Promise<void> {
    this.#checkOpen();
    await this.#refresher.refresh();
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
      if (key !== undefined && !this.#revocations.isUncommitted(key.kid)) return key;
    }
    throw new JwtAuthorityError('no_active_key', view.whyNoSigningKey(alg, now));
  }

  /** The published key of this `kid`, or why there is none. Reads memory only. */
  verificationKey(kid: string): VerificationKey | 'revoked' | undefined {
    this.#checkOpen();
    const view = this.#keeper.view;
    if (this.#revocations.isUncommitted(kid) || view?.record(kid)?.revokedAt !== undefined) return 'revoked';
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
    const asks = this.#unknownKids.mayAsk(kid);
    // A read that is under way may bring it: of a thousand tokens of a new key, the second is as good as the first.
    if (asks || (this.#refresher.isRefreshing && !this.#unknownKids.isKnownAsUnknown(kid))) {
      await this.refresh().catch(() => {});
    }
    const key = this.verificationKey(kid);
    if (key !== undefined) return key;
    if (this.#refresher.failure !== undefined || this.age > this.staleBound) {
      throw new JwtAuthorityError(
        'unknown_kid_while_stale',
        `the token names a key that is not known here, and the store could not be asked for ${inSeconds(this.age)} s`,
      );
    }
    if (asks) this.#unknownKids.remember(kid);
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
    const { refreshInterval, clockTolerance } = this.policy;
    // What the last publisher left for caches, if that is less than this policy has: the next key may sign so much earlier.
    const forCaches = Math.max(0, view.keySet.propagationDelay - this.staleBound - 2 * clockTolerance);
    const jwksMaxAge = Math.min(this.policy.jwksMaxAge, forCaches);
    return {
      keys: publishedKeys(view.keySet, now).filter(({ kid }) => !this.#revocations.isUncommitted(kid)),
      // Around a key that had to sign at once, caches should turn over quickly.
      maxAge: now < this.#unsettledUntil ? Math.min(jwksMaxAge, refreshInterval) : jwksMaxAge,
      staleIfError: Math.min(this.policy.staleIfError, forCaches - jwksMaxAge),
    };
  }

  #freshView(purpose: 'sign' | 'publish'): KeySetView {
    this.#checkOpen();
    const { age, staleBound } = this;
    const { view } = this.#keeper;
    if (view === undefined) {
      throw age === Infinity
        ? (this.#refresher.failure ??
            new JwtAuthorityError('not_initialised', 'the key set has not been loaded yet'))
        : new JwtAuthorityError(
            'not_initialised',
            `the store holds no key set for namespace "${this.namespace}" yet`,
          );
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
  async commit<Result>(
    transition: Transition<Result>,
  ): Promise<{ readonly result: Result; readonly committed: boolean }> {
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
      return await this.#revocations.revoke(kid, reason);
    } finally {
      this.#updateHealth();
    }
  }

  /** Keys that are refused here and that the store could not be told of yet. */
  get uncommittedRevocations(): readonly string[] {
    return this.#revocations.uncommitted;
  }

  /**
   * Seals the key set under a fresh data-encryption key of the first encrypter, after a change of KEK or of its version.
   *
   * One KEK call and one commit, all of it or nothing; none if that KEK sealed it already, in its present version: any
   * number of instances may do it, and it may be done again. `force`: commit in any case, if the data-encryption key may
   * have leaked. Afterwards, {@link KeyRing.keks} says which KEKs are still needed.
   *
   * @throws as {@link KeyRing.ready}, and `commit_conflict`.
   */
  async rewrap(options: RewrapOptions = {}): Promise<RewrapResult> {
    checkOptions(options, 'rewrap', ['force']);
    const { force = false } = options;
    checkBoolean(force, 'force');
    await this.ready();
    const before = this.#keeper.view?.dataKey.wrapped;
    const { result, committed } = await this.commit(reseal(force));
    const to = this.#kek.primary;
    return {
      committed,
      from: committed && before !== undefined ? this.#kek.labelOf(before) : to,
      to,
      kids: committed ? result.kids : [],
    };
  }

  /** The encrypters given, the first one first, and what the key set as this instance knows it needs each of them for. */
  get keks(): readonly KekUse[] {
    return this.#kek.uses(this.#keeper.view?.dataKey.wrapped);
  }

  /** The label of the encrypter that the key set is sealed by. */
  get sealedBy(): string | undefined {
    const wrapped = this.#keeper.view?.dataKey.wrapped;
    return wrapped === undefined ? undefined : this.#kek.labelOf(wrapped);
  }

  /** The KEK as the key set itself names it, and its version if it has one: `vault:transit/jwt:v3`. */
  get sealedUnder(): string | undefined {
    const wrapped = this.#keeper.view?.dataKey.wrapped;
    return wrapped === undefined ? undefined : makerOf(wrapped);
  }

  /** This machine's clock minus the store's in milliseconds, as of the last load; 0 if the store has none. */
  get clockDifference(): number {
    return this.#keeper.clockDifference;
  }

  health(): Health {
    const state = this.#updateHealth();
    const failure = this.#refresher.failure ?? this.#signingFailure();
    const lastRefreshAt = this.#keeper.confirmed?.wall;
    return {
      ...state,
      code: failure?.code,
      reason: failure?.message,
      revision: this.revision,
      lastRefreshAt,
    };
  }

  #signingFailure(): AnyJwtAuthorityError | undefined {
    try {
      this.signingKey();
      return undefined;
    } catch (error) {
      if (JwtAuthorityError.is(error)) return error;
      throw error;
    }
  }

  #updateHealth(): Pick<Health, 'status' | 'since'> {
    return this.#health.update(this.#signingFailure(), this.#keeper.confirmed);
  }

  #onAdopted(unsettled: boolean): void {
    this.#unknownKids.clear();
    if (unsettled) this.#unsettledUntil = this.clock.now() + this.staleBound;
    this.#lookForActivations();
  }

  #lookForActivations(): void {
    const { view } = this.#keeper;
    if (view !== undefined && !this.#isClosed) this.#activations.look(view);
  }

  /** From 0 (inclusive) to 1 (exclusive), for jitter. @internal */
  random(): number {
    const [byte = 0, another = 0] = this.#randomBytes(2);
    return (byte * 256 + another) / 65_536;
  }

  /** Aborted when this key ring is closed. @internal */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new JwtAuthorityError('closed', 'this key ring has been closed');
  }

  /** Stops all timers and the watch. What is under way ends by itself. The store stays open: it is the caller's. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#activations.stop();
    await this.#refresher.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
