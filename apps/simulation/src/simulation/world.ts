import type { StoredKeySet } from '@jwt-authority/core';
import { Checker } from './checker.ts';
import { makeForeign } from './foreign.ts';
import { Instance, type Process, type Surroundings } from './instance.ts';
import { SimulatedKek } from './kek.ts';
import type { MadeKey } from './key-pool.ts';
import { isAuthentic, Ledger } from './ledger.ts';
import type { Observed } from './observed.ts';
import { Random } from './random.ts';
import { quiescence, Scheduler } from './scheduler.ts';
import type { Settings, Timing } from './settings.ts';
import { documentOf, SimulatedStore, type Commit, type Document } from './store.ts';
import { describe, sketch, start } from './timeline.ts';
import { extreme, timingOf } from './timing.ts';
import { cacheHabits, RemoteVerifier } from './verifiers.ts';
import { Workload } from './workload.ts';

/** Counts what was hit, by kind. */
export class Counts {
  readonly counts: Map<string, number> = new Map();

  add(name: string, times = 1): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + times);
  }
}

/** The fleet, its stores, the verifiers elsewhere, and the observer who sees it all. */
export class World implements Surroundings, Observed {
  readonly settings: Settings;
  readonly scheduler: Scheduler = new Scheduler(start);
  readonly random: Random;
  readonly ledger: Ledger = new Ledger();
  readonly checker: Checker;
  readonly instances: readonly Instance[];
  readonly verifiers: readonly RemoteVerifier[];
  readonly stores: SimulatedStore[];
  readonly keks: SimulatedKek[];
  readonly shortest: Timing;
  readonly longest: Timing;
  readonly counts: Counts;
  readonly violations: string[] = [];
  readonly timeline: string[] = [];
  lossAt: number = -Infinity;
  rotatedByHandAt: number = -Infinity;
  /** Who is at the command of an operator. */
  readonly commands: Set<{ readonly process: Process }> = new Set();
  readonly emergencies: Set<Process> = new Set();
  emergencyAt: number = -Infinity;
  isSplit = false;
  /** Milliseconds that the store's clock is ahead. */
  storeAhead: number;
  /** Whether tokens are signed and verified meanwhile. */
  isBusy = true;
  readonly #keepsTimeline: boolean;

  constructor(seed: number, settings: Settings, counts: Counts, keepsTimeline: boolean) {
    this.settings = settings;
    this.counts = counts;
    this.#keepsTimeline = keepsTimeline;
    this.random = new Random(seed).fork(2);
    const [first] = settings.policies;
    this.shortest = extreme(settings.policies, Math.min);
    this.longest = extreme(settings.policies, Math.max);
    this.keks = ['one', 'two'].map((name, index) => new SimulatedKek(name, seed + index));
    const { scheduler } = this;
    this.storeAhead = settings.storeAhead;
    const storeClock = {
      now: (): number => Math.round(scheduler.now + this.storeAhead),
      monotonic: (): number => scheduler.now,
      setTimer: (callback: () => void | Promise<void>, delay: number): (() => void) =>
        scheduler.after(delay, () => void callback()),
    };
    this.stores = [0, 1].map(
      (side) => new SimulatedStore(storeClock, (commit) => this.#onCommit(commit, side)),
    );
    this.instances = settings.ahead.map(
      (ahead, index) =>
        new Instance(this, index, this.random.fork(100 + index), {
          ahead,
          policy: first,
          keks: this.keks.slice(0, 1),
        }),
    );
    const timing = timingOf(first);
    const allowed = timing.propagationDelay - timing.staleBound - 2 * timing.clockTolerance;
    this.verifiers = cacheHabits(allowed).map(
      (habits) =>
        new RemoteVerifier(habits, {
          now: () => scheduler.now,
          anyProcess: () => this.anyProcess(),
          onPublished: (process, keys) => this.#onPublished(process, keys),
        }),
    );
    this.checker = new Checker(this, (violation) => this.violated(violation));
  }

  get now(): number {
    return this.scheduler.now;
  }

  get commitDeadline(): number {
    return this.longest.commitDeadline;
  }

  get restartDelay(): number {
    return this.shortest.refreshInterval / 3;
  }

  get storeHasClock(): boolean {
    return this.settings.storeHasClock;
  }

  get storePushes(): boolean {
    return this.settings.storePushes;
  }

  storeOf(instance: Instance): SimulatedStore {
    const store = this.stores[instance.side];
    if (store === undefined) throw new Error('an instance has a store');
    return store;
  }

  note(what: string): void {
    if (!this.#keepsTimeline) return;
    const seconds = (this.now - start) / 1000;
    this.timeline.push(`${seconds.toFixed(1).padStart(10)} s  ${what}`);
  }

  /** Who shares the clock of this instance: all, if the store is a folder on their one machine. */
  sharingClock(instance: Instance): readonly Instance[] {
    return this.storeHasClock ? [instance] : this.instances;
  }

  /** Sets the clock of this instance's machine: the store's, too, if that has none of its own. */
  setClock(instance: Instance, ahead: number): void {
    if (!this.storeHasClock) this.storeAhead = ahead;
    for (const other of this.sharingClock(instance)) other.ahead = ahead;
  }

  violated(violation: string): void {
    this.note(`VIOLATION ${violation}`);
    this.violations.push(violation);
  }

  /** Whatever is not an error of ours: a bug. */
  unexpected(error: unknown): void {
    this.violated(`unexpected: ${error instanceof Error ? `${error.name} ${error.message}` : String(error)}`);
  }

  onDoubled(kids: readonly string[]): void {
    this.violated(`P2: one command made ${kids.join(' and ')}`);
  }

  onKeyMade(key: MadeKey): void {
    this.ledger.made.set(key.pair.kid, key);
  }

  onEvent(process: Process, name: string, payload: object): void {
    this.counts.add(`event: ${name}`);
    if (name === 'refreshed') {
      const horizon = process.authority?.keyRing.keySet?.horizon ?? Infinity;
      if (this.now - (process.confirmed?.beganAt ?? this.now) > horizon - 4 * this.longest.clockTolerance)
        process.overslept = true;
      process.confirmed = process.lastRead;
    } else if (this.#keepsTimeline) this.note(`${process.name}   ${name} ${describe(payload)}`);
    const text = JSON.stringify(payload);
    for (const { secrets } of this.ledger.made.values())
      if (secrets.some((secret) => text.includes(secret)))
        this.violated(`P5: the event ${name} holds a private key`);
  }

  onCommitting(process: Process, next: StoredKeySet): void {
    this.ledger.authentic.set(next.etag, next);
    if (process.authority !== undefined)
      for (const { step } of process.authority.rotator.plan()) this.counts.add(`due: ${step}`);
    else if (this.storeOf(process.instance).current === undefined) this.counts.add('due: initialise');
  }

  #onCommit(commit: Commit, side: number): void {
    const { stored, before, by } = commit;
    if (this.#keepsTimeline) this.note(`${by} committed revision ${stored.revision}: ${sketch(stored)}`);
    this.look(stored, before);
    this.checker.committed(commit);
    // What an instance does that goes by wrong time, reads or keys counts as a loss for the others.
    if (this.instances.some(({ name, isBeyond }) => name === by && isBeyond)) this.lossAt = this.now;
    const document = documentOf(stored);
    if (document !== undefined && this.random.chance(0.2)) this.ledger.backups.push(stored);
    for (const instance of this.instances) if (instance.side === side && this.storePushes) instance.push();
  }

  /** Takes down what a store has now. */
  look(stored: StoredKeySet, before: StoredKeySet | undefined): void {
    const document = documentOf(stored);
    const previous = before === undefined ? undefined : documentOf(before);
    const had = new Set(previous?.keys?.map?.(({ kid }) => kid));
    const { now } = this;
    const { clockTolerance } = this.longest;
    for (const key of document?.keys ?? []) {
      let facts = this.ledger.keys.get(key.kid);
      const made = this.ledger.made.get(key.kid);
      if (made === undefined) continue;
      if (facts === undefined) {
        facts = {
          kid: key.kid,
          alg: key.alg,
          made,
          firstStoredAt: now,
          presentSince: now,
          requiredDelay: Math.max(document?.propagationDelay ?? 0, previous?.propagationDelay ?? 0),
          requiredAgain: 0,
          immediate:
            key.activatesAt <= now + clockTolerance && this.#mayBeImmediate(key.alg, document, before),
          activatesAt: key.activatesAt,
          latestExpiry: -Infinity,
          sampleToken: undefined,
          triedToRevoke: false,
          revokedAt: undefined,
        };
        this.ledger.keys.set(key.kid, facts);
      } else {
        if (!had.has(key.kid)) {
          facts.presentSince = now;
          facts.requiredAgain = document?.propagationDelay ?? 0;
        }
        if (
          key.activatesAt < facts.activatesAt &&
          key.activatesAt <= now + clockTolerance &&
          this.#mayBeImmediate(key.alg, document, before)
        )
          facts.immediate = true;
        facts.activatesAt = key.activatesAt;
      }
      if (key.revokedAt !== undefined) {
        facts.revokedAt ??= now;
        facts.triedToRevoke = true;
      }
    }
  }

  /**
   * Whether a key may sign at once: nothing was there before, or nothing that signs, an operator wants it, the one that
   * signed has just been revoked, or the store lost something.
   */
  #mayBeImmediate(alg: string, document: Document | undefined, before: StoredKeySet | undefined): boolean {
    const { now, longest } = this;
    const previous =
      before === undefined || !isAuthentic(this.ledger, before) ? undefined : documentOf(before);
    if (previous === undefined) return true;
    if (now - this.lossAt < this.checker.liveness.bound + longest.staleBound) return true;
    if (this.#isUnderWay(this.emergencies) || now - this.emergencyAt < 20 * this.commitDeadline) return true;
    const revoked = new Set(
      document?.keys.filter(({ revokedAt }) => revokedAt !== undefined).map(({ kid }) => kid),
    );
    const signers = previous.keys.filter(
      ({ hasPrivateKey, activatesAt, deactivatesAt = Infinity }) =>
        hasPrivateKey &&
        activatesAt <= now + longest.clockTolerance &&
        deactivatesAt > now - longest.clockTolerance,
    );
    return signers.length === 0 || signers.some((key) => key.alg === alg && revoked.has(key.kid));
  }

  /** What a process that died had sent may still be executed. */
  #isUnderWay(processes: Iterable<Process>): boolean {
    return [...processes].some(
      ({ diedAt }) => this.now - diedAt < 20 * this.commitDeadline || diedAt === Infinity,
    );
  }

  get isCommanded(): boolean {
    return this.#isUnderWay([...this.commands].map(({ process }) => process));
  }

  #onPublished(process: Process, keys: readonly object[]): void {
    for (const jwk of keys) {
      const kid: unknown = Reflect.get(jwk, 'kid');
      const isOurs = typeof kid === 'string' && this.ledger.keys.has(kid);
      if (!isOurs) this.violated(`P6: ${process.name} published ${String(kid)}, which nobody stored`);
      if ('d' in jwk || 'p' in jwk || 'q' in jwk)
        this.violated(`P5: ${process.name} published a private key`);
    }
  }

  /** Any process that is up, as a load balancer picks it. */
  anyProcess(): Process | undefined {
    const up = this.instances.flatMap(({ process, isBeyond }) =>
      process?.isUp === true && !isBeyond ? [process] : [],
    );
    return up.length === 0 ? undefined : this.random.pick(up);
  }

  /** What the store or somebody alive knows as revoked. */
  revoked(): ReadonlySet<string> {
    const [store] = this.stores;
    const document =
      isAuthentic(this.ledger, store?.current) && store?.current ? documentOf(store.current) : undefined;
    const sets = this.instances.map(({ process }) =>
      process?.isUp === true ? process.authority?.keyRing.keySet : undefined,
    );
    const keys = [document, ...sets].flatMap((keySet) => keySet?.keys ?? []);
    return new Set(keys.filter(({ revokedAt }) => revokedAt !== undefined).map(({ kid }) => kid));
  }

  /** An authentic document of another namespace, under the same KEK. */
  foreign: StoredKeySet | undefined;

  async #makeForeign(): Promise<void> {
    const [kek] = this.keks;
    const [policy] = this.settings.policies;
    if (kek !== undefined) this.foreign = await makeForeign(kek, policy, this.random);
  }

  /** Starts everybody, and the work that goes on all the time. */
  begin(): void {
    if (this.settings.loses) void this.#makeForeign();
    for (const instance of this.instances)
      this.scheduler.after(this.random.between(0, this.random.chance(0.3) ? 50 : 30_000), () =>
        instance.start(),
      );
    const workload = new Workload(this);
    const pace = this.shortest.refreshInterval / 4;
    const work = (): void => {
      if (this.isBusy) workload.begin();
      this.scheduler.after(this.random.between(0.2, 1.8) * pace, work);
    };
    this.scheduler.after(pace, work);
  }

  /** One step: the next event, what follows from it, and the look at everything. */
  async step(): Promise<void> {
    this.scheduler.step();
    await quiescence();
    this.checker.step();
  }
}
