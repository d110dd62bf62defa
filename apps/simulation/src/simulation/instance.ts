import {
  createJwtAuthority,
  inlineExecutor,
  JwtAuthorityError,
  type Clock,
  type KeyEncrypter,
  type KeySetPolicyOptions,
  type KeySetStore,
  type LoadResult,
  type RotatingJwtAuthority,
  type StoredKeySet,
} from '@jwt-authority/core';
import type { Carrier, KekMood, SimulatedKek } from './kek.ts';
import { makeKey, type MadeKey } from './key-pool.ts';
import type { Random } from './random.ts';
import type { Owner, Scheduler } from './scheduler.ts';
import { documentOf, type SimulatedStore } from './store.ts';

/** What the network between an instance and its store may do. */
export type LinkFault =
  | 'slow'
  | 'minutes late'
  | 'refuses'
  | 'hangs'
  | 'loses replies'
  | 'hangs after the effect'
  | 'executes late'
  | 'duplicates';

/** A load that an instance has taken note of. */
export interface Reading {
  /** True times. */
  readonly beganAt: number;
  readonly executedAt: number;
  readonly stored: StoredKeySet | undefined;
  /** Those not revoked, and when they expire. */
  readonly kids: ReadonlyMap<string, number>;
  readonly revoked: ReadonlySet<string>;
}

/** What an instance finds around itself. */
export interface Surroundings {
  readonly scheduler: Scheduler;
  readonly commitDeadline: number;
  readonly restartDelay: number;
  readonly storeHasClock: boolean;
  readonly storePushes: boolean;
  storeOf(instance: Instance): SimulatedStore;
  onKeyMade(key: MadeKey): void;
  onEvent(process: Process, name: string, payload: object): void;
  onCommitting(process: Process, next: StoredKeySet): void;
  note(what: string): void;
  unexpected(error: unknown): void;
}

/** One running process of an instance: everything that a crash ends. */
export class Process implements Owner {
  readonly instance: Instance;
  isDead = false;
  isPaused = false;
  diedAt: number = Infinity;
  authority: RotatingJwtAuthority | undefined;
  onPush: (() => void) | undefined;
  lastRead: Reading | undefined;
  /** The last reading that the key ring went by, as it says itself. */
  confirmed: Reading | undefined;
  /** It slept for longer than a key lives: of what it knew, only revocations count. */
  overslept = false;
  /** When the last reading that was asked for began. */
  askedAt: number = -Infinity;

  constructor(instance: Instance) {
    this.instance = instance;
  }

  get name(): string {
    return this.instance.name;
  }

  /** It can be asked something. */
  get isUp(): boolean {
    return !this.isDead && !this.isPaused && this.authority !== undefined;
  }
}

const letters = 'abcdefghijklmnopqrstuvwxyz';

/** A place in the fleet: its clock, its way to the store and the KEK, its settings; and the process that runs there. */
export class Instance {
  readonly name: string;
  readonly #world: Surroundings;
  readonly #random: Random;
  /** Which of the stores it reaches: 1 during a split brain, on the minority's side. */
  side = 0;
  ahead: number;
  /** How far this machine's monotonic clock is behind, by the time it slept. */
  slept = 0;
  policy: KeySetPolicyOptions;
  keks: readonly SimulatedKek[];
  link: { fault: LinkFault; until: number; chance: number } | undefined;
  kek: { mood: KekMood; until: number } = { mood: 'well', until: 0 };
  /** Until when something was wrong here. */
  disturbedUntil: number;
  /** Its clock is beyond the tolerance, or its reads are stale: what it does is outside of the promises. */
  isBeyond = false;
  staleReads: StoredKeySet | undefined;
  process: Process | undefined;
  #keysMade = 0;

  constructor(
    world: Surroundings,
    index: number,
    random: Random,
    start: { ahead: number; policy: KeySetPolicyOptions; keks: readonly SimulatedKek[] },
  ) {
    this.name =
      index < letters.length
        ? letters.charAt(index)
        : `${letters.charAt(index % 26)}${letters.charAt(Math.floor(index / 26) - 1)}`;
    this.#world = world;
    this.#random = random;
    this.ahead = start.ahead;
    this.policy = start.policy;
    this.keks = start.keks;
    this.disturbedUntil = world.scheduler.now;
  }

  get now(): number {
    return Math.round(this.#world.scheduler.now + this.ahead);
  }

  /** Something goes wrong here, for `duration` milliseconds. */
  disturb(duration = 0): void {
    this.disturbedUntil = Math.max(this.disturbedUntil, this.#world.scheduler.now + duration);
  }

  /** Starts a process; one that cannot load its key set ends, and is started again. */
  start(): void {
    const process = new Process(this);
    this.process = process;
    this.disturb();
    void this.#boot(process);
  }

  async #boot(process: Process): Promise<void> {
    const world = this.#world;
    try {
      process.authority = await createJwtAuthority({
        ...this.policy,
        store: this.#store(process),
        encrypter: this.#encrypters(process),
        clock: this.#clock(process),
        executor: inlineExecutor,
        randomBytes: (size) => this.#random.bytes(size),
        generateKeyPair: async (alg) => {
          const made = makeKey(alg, this.#keysMade++, this.name);
          world.onKeyMade(made);
          // Making one takes a while; RSA keys of 4096 bits take seconds.
          await this.#wait(process, this.#random.between(1, 2000));
          return made.pair;
        },
        logger: this.#logger(process),
      });
      this.disturb();
      world.note(`${this.name} is up at revision ${process.authority.keyRing.revision}`);
    } catch (error) {
      if (!JwtAuthorityError.is(error)) return world.unexpected(error);
      world.note(`${this.name} could not start: ${error.code}`);
      process.isDead = true;
      world.scheduler.after(world.restartDelay, () => {
        if (this.process === process) this.start();
      });
    }
  }

  crash(): void {
    if (this.process !== undefined) {
      this.process.isDead = true;
      this.process.diedAt = this.#world.scheduler.now;
    }
    this.process = undefined;
  }

  #clock(process: Process): Clock {
    const { scheduler } = this.#world;
    return {
      now: () => this.now,
      monotonic: () => scheduler.now - this.slept,
      setTimer: (callback, delay) => scheduler.after(delay, () => void callback(), process, true),
    };
  }

  #logger(
    process: Process,
  ): Record<'debug' | 'info' | 'warn' | 'error', (fields: object, message: string) => void> {
    const report = (payload: object, message: string): void => {
      if (!process.isDead) this.#world.onEvent(process, message.slice('jwt-authority: '.length), payload);
    };
    return { debug: report, info: report, warn: report, error: report };
  }

  async #wait(process: Process, delay: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#world.scheduler.after(delay, resolve, process);
    });
  }

  get #linkFault(): LinkFault | undefined {
    if (this.link === undefined || this.link.until < this.#world.scheduler.now) return undefined;
    return this.#random.chance(this.link.chance) ? this.link.fault : undefined;
  }

  get #kekMood(): KekMood {
    return this.kek.until < this.#world.scheduler.now ? 'well' : this.kek.mood;
  }

  #store(process: Process): KeySetStore {
    const world = this.#world;
    const store = (): SimulatedStore => world.storeOf(this);
    const link: KeySetStore = {
      namespace: 'default',
      load: async () => {
        const beganAt = world.scheduler.now;
        process.askedAt = beganAt;
        let reading: Reading | undefined;
        // Later than the deadline, nobody waits for it any more. Behind core's own timer: the process may stop between them.
        let isLate = false;
        queueMicrotask(() => {
          const late = (): void => {
            isLate = true;
          };
          world.scheduler.after(world.commitDeadline, late, process, true);
        });
        const result = await this.#travel<LoadResult>(process, async () => {
          const loaded = await store().load();
          const stored = this.staleReads ?? loaded.stored;
          reading = readingOf(stored, beganAt, world.scheduler.now);
          return {
            ...(stored !== undefined && { stored }),
            ...(world.storeHasClock && loaded.storeTime !== undefined && { storeTime: loaded.storeTime }),
          };
        });
        if (!isLate) process.lastRead = reading;
        return result;
      },
      compareAndSwap: async (next, expected, notAfter) => {
        world.onCommitting(process, next);
        return this.#travel(process, async () => store().compareAndSwap(next, expected, notAfter, this.name));
      },
    };
    if (!world.storePushes) return link;
    return {
      ...link,
      watch: async (onChange) => {
        process.onPush = onChange;
        return async () => {
          process.onPush = undefined;
        };
      },
    };
  }

  /** The store of this instance has changed. */
  push(): void {
    const { process } = this;
    if (process === undefined || this.#linkFault !== undefined) return;
    this.#world.scheduler.after(this.#random.between(1, 50), () => process.onPush?.(), process);
  }

  /** A request, its effect and its reply, each at its time, or not at all. */
  async #travel<T>(process: Process, execute: () => Promise<T>): Promise<T> {
    const { scheduler, commitDeadline } = this.#world;
    const random = this.#random;
    const fault = this.#linkFault;
    const latency = (): number =>
      random.chance(0.05) ? random.between(50, commitDeadline / 2) : random.between(1, 50);
    return new Promise<T>((resolve, reject) => {
      const fail = (): void => reject(new Error('the simulated network failed'));
      const deliver = (reply: () => void, delay = latency()): unknown =>
        scheduler.after(delay, reply, process);
      const arrive = (delay: number, then: (result: T) => void = () => {}): void => {
        scheduler.after(delay, () => void execute().then(then));
      };
      const answer = (result: T): void => void deliver(() => resolve(result));
      switch (fault) {
        case undefined:
          return arrive(latency(), answer);
        case 'slow':
          return arrive(random.between(0, commitDeadline * 1.2), (result) =>
            deliver(() => resolve(result), random.between(0, commitDeadline)),
          );
        case 'minutes late':
          return arrive(random.between(60_000, 600_000), answer);
        case 'refuses':
          return void deliver(fail);
        case 'hangs':
          return;
        case 'loses replies':
          return arrive(latency(), () => deliver(fail));
        case 'hangs after the effect':
          return arrive(latency());
        case 'executes late':
          deliver(fail);
          return arrive(random.between(0, commitDeadline * 10));
        case 'duplicates':
          arrive(latency(), answer);
          return arrive(random.between(50, commitDeadline * 10));
      }
    });
  }

  #encrypters(process: Process): readonly [KeyEncrypter, ...KeyEncrypter[]] {
    const carrier: Carrier = {
      mood: () => this.#kekMood,
      call: async (work) => {
        const mood = this.#kekMood;
        if (mood === 'hangs') return new Promise(() => {});
        await this.#wait(
          process,
          mood === 'slow'
            ? this.#random.between(0, this.#world.commitDeadline * 1.5)
            : this.#random.between(1, 80),
        );
        if (mood === 'down') throw new Error('the simulated KEK is down');
        return work();
      },
    };
    const [first, ...rest] = this.keks.map((kek) => kek.encrypter(carrier));
    if (first === undefined) throw new Error('an instance has a KEK');
    return [first, ...rest];
  }
}

function readingOf(stored: StoredKeySet | undefined, beganAt: number, executedAt: number): Reading {
  const keys = (stored === undefined ? undefined : documentOf(stored))?.keys ?? [];
  return {
    beganAt,
    executedAt,
    stored,
    kids: new Map(
      keys
        .filter(({ revokedAt }) => revokedAt === undefined)
        .map(({ kid, expiresAt = Infinity }) => [kid, expiresAt]),
    ),
    revoked: new Set(keys.filter(({ revokedAt }) => revokedAt !== undefined).map(({ kid }) => kid)),
  };
}
