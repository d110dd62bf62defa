import type { Algorithm, KeyPair } from '../algorithms.ts';
import type { Clock } from '../clock.ts';
import { JwtAuthorityError } from '../errors.ts';
import type { KeyRingEvents } from '../events.ts';
import type { CryptoExecutor } from '../executor.ts';
import { parseDocument, type KeySet } from '../key-set/document.ts';
import type { KeySetPolicy } from '../key-set/policy.ts';
import { validate } from '../key-set/validate.ts';
import { replace, retire } from '../key-set/changes.ts';
import { stoppedKids } from '../key-set/plan.ts';
import type { StoredKeySet } from '../ports.ts';
import { reportChanges } from './changes-seen.ts';
import { isSameCommit, Judge } from './judge.ts';
import { reconcile, type Reconciliation } from './reconcile.ts';
import { isWrappedAlike, sealKeySet, type DataKey, type PrivateKeys, type RandomBytes } from './sealing.ts';
import { elapsed, moment, type KekService, type Loaded, type Moment, type StoreService } from './services.ts';
import type { Transition } from './transitions.ts';
import { KeySetView } from './view.ts';

/** What the keeper works with. */
export interface KeeperParts {
  readonly namespace: string;
  readonly store: StoreService;
  readonly kek: KekService;
  readonly policy: KeySetPolicy;
  readonly clock: Clock;
  readonly executor: CryptoExecutor;
  readonly events: KeyRingEvents;
  readonly randomBytes: RandomBytes;
  readonly generateKeyPair: (alg: Algorithm) => Promise<KeyPair>;
}

/** A write to be made: the key set, its place in the chain, and what it is sealed with. */
interface Write {
  readonly keySet: KeySet;
  readonly revision: number;
  readonly privateKeys: PrivateKeys;
  readonly dataKey: DataKey;
  /** The keys that this very write brings into the world. */
  readonly made: readonly string[];
}

/** A join to be written: what it is made of, and a key pair if it needs one. */
interface Healing {
  readonly action: Extract<Reconciliation, { kind: 'heal' }>;
  readonly view: KeySetView | undefined;
  readonly held: KeySetView;
  readonly spare: KeyPair | undefined;
}

// Every lost race means that somebody else committed: this many in a row is no longer bad luck.
const maxAttempts = 32;
// A store that takes reads and fails on writes, for long, must not fill the memory.
const maxUnseen = 100;

/**
 * Keeps one key set in step with its store: loads, judges, heals, commits. The one place that reads and writes it, one
 * operation at a time.
 */
export class KeySetKeeper {
  readonly #parts: KeeperParts;
  readonly #judge: Judge;
  #view: KeySetView | undefined;
  #confirmed: Moment | undefined;
  #clockDifference = 0;
  #putBack: Moment | undefined;
  /** Keys made here that may have been stored, and were not seen yet: a lost reply must not lose the count of rotations. */
  readonly #unseen = new Set<string>();
  #queue: Promise<unknown> = Promise.resolve();
  #refreshing: Promise<void> | undefined;

  /** Called with every view that is newly held, and whether it may hold a key that caches cannot know yet. */
  onAdopted: (unsettled: boolean) => void = () => {};

  constructor(parts: KeeperParts) {
    this.#parts = parts;
    this.#judge = new Judge(parts);
  }

  /** The key set that this instance goes by; `undefined` before the first load and while the store is empty. */
  get view(): KeySetView | undefined {
    return this.#view;
  }

  /** When the last successful refresh began. */
  get confirmed(): Moment | undefined {
    return this.#confirmed;
  }

  /** This machine's clock minus the store's, in milliseconds. */
  get clockDifference(): number {
    return this.#clockDifference;
  }

  /** Reads the store, adopts what it has or heals it. Concurrent calls share one read. */
  async refresh(): Promise<void> {
    this.#refreshing ??= this.#exclusively(async () => {
      await this.#synchronise();
    }).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /**
   * Makes a transition: what it needs is made first, then in one go load, decide, seal and write within the commit
   * deadline; again from the load if the race was lost.
   */
  async commit<Result>(
    transition: Transition<Result>,
  ): Promise<{ readonly result: Result; readonly committed: boolean }> {
    const newPairs: KeyPair[] = [];
    let dataKey: DataKey | 'present' | undefined = transition.dataKey === 'present' ? 'present' : undefined;
    if (this.#view === undefined || !transition.trustsMemory) await this.refresh();
    // The first round decides on what is held, only to learn what to prepare: key pairs and wrapping take their time.
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const round = async (): Promise<CommitRound<Result>> =>
        this.#attempt(transition, newPairs, dataKey, attempt > 0);
      const outcome = attempt === 0 ? await round() : await this.#exclusively(round);
      switch (outcome.kind) {
        case 'done':
          return { result: outcome.result, committed: outcome.committed };
        case 'needs_keys':
          newPairs.push(...(await Promise.all(outcome.algorithms.map(this.#parts.generateKeyPair))));
          break;
        case 'needs_data_key':
          dataKey = await this.#dataKeyFor(transition);
          break;
        case 'again':
          break;
      }
    }
    throw new JwtAuthorityError(
      'commit_conflict',
      `the key set changed ${maxAttempts} times while this change was being committed; try again`,
    );
  }

  async #attempt<Result>(
    transition: Transition<Result>,
    newPairs: readonly KeyPair[],
    dataKey: DataKey | 'present' | undefined,
    mayWrite: boolean,
  ): Promise<CommitRound<Result>> {
    const loaded = mayWrite ? await this.#synchronise() : undefined;
    if (!transition.despiteClockSkew) this.#checkClock();
    const decided = moment(this.#parts.clock);
    const { now, policy } = this.#decisionTime(decided);
    const decision = transition.decide(this.#view?.keySet, now, newPairs, policy);
    if ('needs' in decision) return { kind: 'needs_keys', algorithms: decision.needs };
    if (decision.keySet === undefined) {
      return { kind: 'done', result: decision.result, committed: false };
    }
    const sealing = dataKey === 'present' ? this.#view?.dataKey : dataKey;
    if (sealing === undefined) return { kind: 'needs_data_key' };
    if (loaded === undefined) return { kind: 'again' };
    if (transition.unlessWrappedAlike === true && isWrappedAlike(sealing, this.#view?.dataKey)) {
      return { kind: 'done', result: decision.result, committed: false };
    }
    // Whatever this commit is for: private halves that no longer sign do not outlive it (P5).
    const keySet = retire(decision.keySet, stoppedKids(decision.keySet, now, policy));
    const revision = (loaded.stored?.revision ?? 0) + 1;
    const brought = [...newPairs, ...(transition.importing === undefined ? [] : [transition.importing])];
    const privateKeys = new Map([
      ...(this.#view?.privateKeys ?? []),
      ...brought.map(({ kid, privateKey }) => [kid, privateKey] as const),
    ]);
    const inKeySet = new Set(keySet.keys.map(({ kid }) => kid));
    const made = newPairs.map(({ kid }) => kid).filter((kid) => inKeySet.has(kid));
    const write: Write = { keySet, revision, privateKeys, dataKey: sealing, made };
    if (!(await this.#write(write, loaded, decided))) return { kind: 'again' };
    return { kind: 'done', result: decision.result, committed: true };
  }

  /**
   * What a decision goes by: this machine's clock, or the store's if the two differ by more than the tolerance. What must
   * not wait is decided all the same then; it signs at once by either clock, since nobody knows which of them is right.
   */
  #decisionTime(decided: Moment): { readonly now: number; readonly policy: KeySetPolicy } {
    const { policy } = this.#parts;
    const difference = this.#clockDifference;
    if (!this.#isSkewed) return { now: Math.floor(decided.wall), policy };
    const clockTolerance = policy.clockTolerance + Math.ceil(Math.abs(difference));
    return { now: Math.floor(decided.wall - difference), policy: { ...policy, clockTolerance } };
  }

  get #isSkewed(): boolean {
    return Math.abs(this.#clockDifference) > this.#parts.policy.clockTolerance;
  }

  async #dataKeyFor(transition: Transition<unknown>): Promise<DataKey | 'present'> {
    try {
      return await this.#parts.kek.create();
    } catch (error) {
      // A revocation does not wait for the KEK: the next publication brings a fresh key.
      if (transition.dataKey === 'fresh-or-present' && this.#view !== undefined) return 'present';
      throw error;
    }
  }

  #checkClock(): void {
    const { clockTolerance } = this.#parts.policy;
    if (!this.#isSkewed) return;
    const direction = this.#clockDifference > 0 ? 'ahead of' : 'behind';
    throw new JwtAuthorityError(
      'clock_skew',
      `this machine's clock is ${Math.round(Math.abs(this.#clockDifference))} ms ${direction} the store's, the tolerance is ${clockTolerance} ms: ` +
        'no key is published, retired or removed from here until the clocks agree',
    );
  }

  /** Brings this instance and the store together. Resolves to the load after which both hold the same document. */
  async #synchronise(): Promise<Loaded> {
    let spare: KeyPair | undefined;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const loaded = await this.#load();
      const { stored } = loaded;
      if (stored !== undefined && isSameCommit(stored, this.#view?.stored)) {
        this.#confirm(loaded, false);
        return loaded;
      }
      const judgement =
        stored === undefined ? undefined : await this.#judge.judge(stored, this.#view?.dataKey);
      if (judgement?.kind === 'rejected' && !this.#mayPutBack()) throw judgement.error;

      const view = judgement?.kind === 'authentic' ? judgement.view : undefined;
      const { policy, clock } = this.#parts;
      const held = this.#view;
      const decided = moment(clock);
      const age = this.#confirmed === undefined ? 0 : elapsed(clock, this.#confirmed);
      const action = reconcile(
        view && { keySet: view.keySet, revision: view.stored.revision },
        held && { keySet: held.keySet, revision: held.stored.revision, age },
        Math.floor(decided.wall),
        policy,
      );
      if (action.kind === 'empty' || (action.kind === 'adopt' && view === undefined)) {
        if (judgement?.kind === 'rejected') throw judgement.error;
        this.#confirm(loaded, false);
        return loaded;
      }
      if (action.kind === 'adopt') {
        if (view !== undefined) this.#adopt(view);
        this.#confirm(loaded, true);
        return loaded;
      }
      if (action.joined.needsNewKey && spare === undefined) {
        // Made outside of the commit deadline; then everything is looked at again.
        spare = await this.#parts.generateKeyPair(policy.algorithms[0]);
        continue;
      }
      if (held !== undefined) await this.#heal({ action, view, held, spare }, loaded, decided);
      // A heal of its own confirms nothing: the next round does.
    }
    throw new JwtAuthorityError(
      'commit_conflict',
      'the store kept changing while it was being healed; try again',
    );
  }

  async #load(): Promise<Loaded> {
    const { store, events } = this.#parts;
    const loaded = await store.load();
    const wasSkewed = this.#isSkewed;
    this.#clockDifference = loaded.clockDifference;
    if (this.#isSkewed && !wasSkewed) events.report('clock_skew', { difference: loaded.clockDifference });
    return loaded;
  }

  /** Whether what this instance holds may be put back in place of a rejected document: at most once per stale bound. */
  #mayPutBack(): boolean {
    const { clock, policy } = this.#parts;
    if (this.#view === undefined) return false;
    if (this.#putBack !== undefined && elapsed(clock, this.#putBack) < policy.staleBound) return false;
    this.#putBack = moment(clock);
    return true;
  }

  async #heal(healing: Healing, loaded: Loaded, decided: Moment): Promise<void> {
    const { action, view, held, spare } = healing;
    const { joined, revision } = action;
    const base = joined.base === 'stored' && view !== undefined ? view : held;
    const privateKeys = new Map([...(view?.privateKeys ?? []), ...held.privateKeys, ...base.privateKeys]);
    if (spare !== undefined) privateKeys.set(spare.kid, spare.privateKey);
    const { policy } = this.#parts;
    const now = Math.floor(decided.wall);
    const signing =
      joined.needsNewKey && spare !== undefined ? replace(joined.keySet, policy, now, spare) : joined.keySet;
    // A clock that is ahead would destroy what others sign with.
    const keySet = this.#isSkewed ? signing : retire(signing, stoppedKids(signing, now, policy));
    const write: Write = { keySet, revision, privateKeys, dataKey: base.dataKey, made: [] };
    if (!(await this.#write(write, loaded, decided))) return;
    const before = new Set(view?.keySet.keys.map(({ kid }) => kid));
    const restoredKids = keySet.keys.map(({ kid }) => kid).filter((kid) => !before.has(kid));
    this.#parts.events.report('healed', { revision, restoredKids });
    this.onAdopted(true);
  }

  /** Seals and writes. `false`: lost the race, or too late. Holds what it wrote. */
  async #write(write: Write, loaded: Loaded, decided: Moment): Promise<boolean> {
    const { namespace, store, policy, clock, executor, randomBytes } = this.#parts;
    const { keySet, revision, privateKeys, dataKey, made } = write;
    const etag = Buffer.from(randomBytes(16)).toString('base64url');
    const document = sealKeySet(keySet, privateKeys, dataKey, { namespace, revision, etag }, randomBytes);
    const broken = validate(keySet) ?? problemOf(document);
    if (broken !== undefined) throw new TypeError(`a change would break the key set: ${broken}`);
    const stored: StoredKeySet = { revision, etag, updatedAt: Math.round(clock.now()), document };
    const late = elapsed(clock, decided);
    if (late > policy.commitDeadline) return false;
    // In the store's time if it has one: from the end of the load, so that the round trip makes it earlier, never later.
    const decidedAt =
      loaded.storeTime === undefined
        ? decided.wall
        : loaded.storeTime + (decided.monotonic - loaded.ended.monotonic);
    const held = keySet.keys
      .filter((key) => key.hasPrivateKey)
      .flatMap(({ kid }) => {
        const privateKey = privateKeys.get(kid);
        return privateKey === undefined ? [] : [[kid, privateKey] as const];
      });
    const view = new KeySetView({ stored, keySet, dataKey, privateKeys: new Map(held) }, executor);
    this.#expectToSee(made);
    try {
      const notAfter = Math.floor(decidedAt) + policy.commitDeadline;
      if (!(await store.compareAndSwap(stored, loaded.stored, notAfter))) {
        for (const kid of made) this.#unseen.delete(kid);
        return false;
      }
    } catch (error) {
      // Nobody knows whether that was written; the store does.
      const now = await this.#load();
      if (now.stored?.etag !== etag) throw error;
    }
    this.#adopt(view);
    return true;
  }

  #expectToSee(kids: readonly string[]): void {
    for (const kid of kids) this.#unseen.add(kid);
    for (const kid of this.#unseen) if (this.#unseen.size > maxUnseen) this.#unseen.delete(kid);
  }

  #adopt(view: KeySetView): void {
    const { events } = this.#parts;
    const before = this.#view;
    this.#view = view;
    const { revision } = view.stored;
    if (before !== undefined) reportChanges(events, before.keySet, view.keySet, revision);
    for (const { kid, alg, activatesAt } of view.keySet.keys) {
      if (this.#unseen.delete(kid)) events.report('rotated', { kid, alg, revision, activatesAt });
    }
    const known = new Set(before?.keySet.keys.map(({ kid }) => kid));
    const now = this.#parts.clock.now();
    // A key that signs without having been published here before: caches may not know it.
    this.onAdopted(
      view.keySet.keys.some(
        (key) =>
          !known.has(key.kid) && key.activatesAt <= now && now - key.createdAt < view.keySet.staleBound,
      ),
    );
  }

  #confirm(loaded: Loaded, changed: boolean): void {
    this.#confirmed = loaded.began;
    this.#judge.settle();
    this.#parts.events.report('refreshed', { revision: this.#view?.stored.revision, changed });
  }

  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }
}

/** What no instance could read must not be written. */
function problemOf(document: string): string | undefined {
  const parsed = parseDocument(document);
  return parsed.kind === 'document' ? undefined : parsed.problem;
}

type CommitRound<Result> =
  | { readonly kind: 'done'; readonly result: Result; readonly committed: boolean }
  | { readonly kind: 'needs_keys'; readonly algorithms: readonly Algorithm[] }
  | { readonly kind: 'needs_data_key' }
  | { readonly kind: 'again' };
