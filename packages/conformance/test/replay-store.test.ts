import { setTimeout as sleep } from 'node:timers/promises';
import { JwtAuthorityError, misuse } from '@jwt-authority/core';
import type { ReplayStore } from '@jwt-authority/core';
import { describe } from 'vitest';
import { replayStoreCases } from '../src/index.ts';
import { type Mutant, proveSuite } from './suites.ts';

/** A service in memory with clients, each behaviour of which can be replaced. */
class World {
  time = 1_790_000_000_000;
  readonly ends = new Map<string, number>();
  readonly closed = new WeakSet<ReplayStore>();
  frozen = false;

  keyOf = (name: string, value: unknown): string => `${name} ${typeof value} ${String(value)}`;
  checkValue = (value: unknown): void => {
    const valid = typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value));
    if (!valid) throw misuse('value', 'be a string or number', value);
  };
  checkTtl = (ttl: unknown): void => {
    const valid = typeof ttl === 'number' && ttl > 0 && ttl <= 31_557_600_000;
    if (!valid) throw misuse('ttlSeconds', 'be above 0', ttl);
  };
  refused = (): Error => new JwtAuthorityError('replay_store_unavailable', 'The service does not answer');
  reach = async (): Promise<void> => {
    if (!this.frozen) return;
    await sleep(20);
    throw this.refused();
  };
  endOf = (ttl: number): number => this.time + Math.ceil(ttl * 1000);
  knows = (key: string): boolean => (this.ends.get(key) ?? -Infinity) > this.time;
  put = (key: string, ttl: number): void => void this.ends.set(key, this.endOf(ttl));
  claim = async (key: string, ttl: number): Promise<boolean> => {
    if (this.knows(key)) return false;
    this.put(key, ttl);
    return true;
  };
  delete = (key: string): void => void this.ends.delete(key);
  adjust = (store: ReplayStore): ReplayStore => store;

  open(name: string): ReplayStore {
    const reach = async (value: string): Promise<string> => {
      this.checkValue(value);
      if (this.closed.has(store)) throw this.refused();
      await this.reach();
      return this.keyOf(name, value);
    };
    const store: ReplayStore = this.adjust({
      has: async (value) => this.knows(await reach(value)),
      add: async (value, ttl) => {
        this.checkTtl(ttl);
        this.put(await reach(value), ttl);
      },
      delete: async (value) => this.delete(await reach(value)),
      claim: async (value, ttl) => {
        this.checkTtl(ttl);
        return this.claim(await reach(value), ttl);
      },
    });
    return store;
  }
}

const suite = {
  makeWorld: () => new World(),
  cases: (world: World) =>
    replayStoreCases((name) => world.open(name), {
      numbers: true,
      patience: 300,
      advance: (ms) => void (world.time += ms),
      closeClient: async (store) => void world.closed.add(store),
      freezing: {
        freeze: async () => void (world.frozen = true),
        thaw: async () => void (world.frozen = false),
        deadline: 200,
      },
    }),
};

const once = 'a value is claimed once';
const fifty = 'of fifty claims at once, one is true';
const has = 'has knows what was added or claimed, in every client';
const added = 'an added value cannot be claimed';
const deleted = 'a deleted value can be claimed again, no other';
const apart = 'stores of different names do not touch';
const alike = 'values that are alike are not the same';
const numbers = 'a number is not its text';
const valid = 'what is no value is refused with a TypeError';
const time = 'a value is remembered for its time, and forgotten after it';
const fiftyOver = 'of fifty claims at once of a value whose time is over, one is true';
const replaces = 'add replaces an earlier time, a refused claim does not';
const fractions = 'fractions of a second are kept';
const long = 'long times are kept';
const noTime = 'a time that is no number above 0 is refused with a TypeError, and forgets nothing';
const closed = 'a closed client is a clear error';
const frozen = 'a frozen service is an error in time';

const confuse =
  (change: (value: string) => string) =>
  (world: World): void => {
    world.keyOf = (name, value) => `${name} ${typeof value} ${change(String(value))}`;
  };

const mutants: Mutant<World>[] = [
  {
    what: 'claims always',
    caughtBy: [once, fifty, added],
    break: (world) => (world.claim = async () => true),
  },
  {
    what: 'claims never',
    caughtBy: [once, fifty, deleted],
    break: (world) => (world.claim = async () => false),
  },
  {
    what: 'answers 1 and 0',
    caughtBy: [once],
    break: (world) => {
      const { claim } = world;
      world.claim = async (key, ttl) => Number(await claim(key, ttl)) as unknown as boolean;
    },
  },
  {
    what: 'looks first and adds later',
    caughtBy: [fifty, fiftyOver],
    break: (world) =>
      (world.claim = async (key, ttl) => {
        if (world.knows(key)) return false;
        await sleep(1);
        world.put(key, ttl);
        return true;
      }),
  },
  {
    what: 'takes over what is over without care',
    caughtBy: [fiftyOver],
    break: (world) => {
      const { claim } = world;
      world.claim = async (key, ttl) => {
        if (!world.ends.has(key)) return claim(key, ttl);
        if (world.knows(key)) return false;
        await sleep(1);
        world.put(key, ttl);
        return true;
      };
    },
  },
  {
    what: 'remembers per client',
    caughtBy: [once, has],
    break: (world) => {
      let clients = 0;
      const open = world.open.bind(world);
      world.open = (name) => open(`${name} ${(clients += 1)}`);
    },
  },
  {
    what: 'claims what it is asked for',
    caughtBy: [has],
    break: (world) => (world.knows = (key) => world.ends.size === world.ends.set(key, Infinity).size),
  },
  {
    what: 'has nothing',
    caughtBy: [has],
    break: (world) => (world.adjust = (store) => ({ ...store, has: async () => false })),
  },
  {
    what: 'keeps added and claimed values apart',
    caughtBy: [added],
    break: (world) => {
      const claimed = new Set<string>();
      world.claim = async (key) => claimed.size !== claimed.add(key).size;
    },
  },
  { what: 'deletes nothing', caughtBy: [deleted], break: (world) => (world.delete = () => undefined) },
  {
    what: 'deletes all that begins so',
    caughtBy: [deleted],
    break: (world) =>
      (world.delete = (key) => {
        for (const other of world.ends.keys()) if (other.startsWith(key)) world.ends.delete(other);
      }),
  },
  {
    what: 'ignores its name',
    caughtBy: [apart],
    break: (world) => (world.keyOf = (_name, value) => `${typeof value} ${String(value)}`),
  },
  { what: 'ignores case', caughtBy: [alike], break: confuse((value) => value.toLowerCase()) },
  { what: 'splits at :', caughtBy: [alike], break: confuse((value) => value.split(':')[0] ?? '') },
  { what: 'ends at NUL', caughtBy: [alike], break: confuse((value) => value.split('\0')[0] ?? '') },
  { what: 'normalises Unicode', caughtBy: [alike], break: confuse((value) => value.normalize()) },
  { what: 'cuts values short', caughtBy: [alike], break: confuse((value) => value.slice(0, 4096)) },
  {
    what: 'takes texts for numbers',
    caughtBy: [alike],
    break: confuse((value) => (value.trim() === '' ? value : String(Number(value)).replace('NaN', value))),
  },
  {
    what: 'keeps values as members of an object',
    caughtBy: [alike],
    break: (world) => {
      const ends: Record<string, number> = {};
      world.keyOf = (_name, value) => String(value);
      world.claim = async (key) => {
        if (key in ends) return false;
        ends[key] = 1;
        return true;
      };
    },
  },
  {
    what: 'confuses 1 and "1"',
    caughtBy: [numbers],
    break: (world) => (world.keyOf = (name, value) => `${name} ${String(value)}`),
  },
  {
    what: 'takes anything for a value',
    caughtBy: [valid],
    break: (world) => (world.checkValue = () => undefined),
  },
  {
    what: 'never forgets',
    caughtBy: [time, replaces, fractions],
    break: (world) => (world.knows = (key) => world.ends.has(key)),
  },
  {
    what: 'takes seconds for milliseconds',
    caughtBy: [time, fractions],
    break: (world) => (world.endOf = (ttl) => world.time + ttl),
  },
  {
    what: 'forgets a second early',
    caughtBy: [time, fractions],
    break: (world) => (world.endOf = (ttl) => world.time + ttl * 1000 - 1000),
  },
  {
    what: 'claims once in its life',
    caughtBy: [time, fiftyOver],
    break: (world) => {
      const seen = new Set<string>();
      world.claim = async (key, ttl) => {
        if (seen.has(key)) return false;
        seen.add(key);
        world.put(key, ttl);
        return true;
      };
    },
  },
  {
    what: 'keeps the first time',
    caughtBy: [replaces],
    break: (world) =>
      (world.put = (key, ttl) => void (world.knows(key) || world.ends.set(key, world.endOf(ttl)))),
  },
  {
    what: 'prolongs by refused claims',
    caughtBy: [replaces],
    break: (world) =>
      (world.claim = async (key, ttl) => {
        const known = world.knows(key);
        world.put(key, ttl);
        return !known;
      }),
  },
  {
    what: 'rounds up to seconds',
    caughtBy: [fractions],
    break: (world) => (world.endOf = (ttl) => world.time + Math.ceil(ttl) * 1000),
  },
  {
    what: 'rounds down to seconds',
    caughtBy: [fractions],
    break: (world) => (world.endOf = (ttl) => world.time + Math.floor(ttl) * 1000),
  },
  {
    what: 'counts in 32 bits, as timers do',
    caughtBy: [long],
    break: (world) => (world.endOf = (ttl) => world.time + ((ttl * 1000) | 0)),
  },
  { what: 'takes any time', caughtBy: [noTime], break: (world) => (world.checkTtl = () => undefined) },
  {
    what: 'forgets values added with no time',
    caughtBy: [noTime],
    break: (world) => {
      const { checkTtl, put } = world;
      world.checkTtl = (ttl) => (ttl === 0 ? undefined : checkTtl(ttl));
      world.put = (key, ttl) => (ttl === 0 ? void world.ends.delete(key) : put(key, ttl));
    },
  },
  {
    what: 'lets errors of its client through',
    caughtBy: [closed, frozen],
    break: (world) => (world.refused = () => new Error('Connection is closed')),
  },
  {
    what: 'says true when it cannot know',
    caughtBy: [closed, frozen],
    break: (world) =>
      (world.adjust = (store) => ({
        ...store,
        claim: (value, ttl) => store.claim(value, ttl).catch(() => true),
      })),
  },
  {
    what: 'waits for ever for a frozen service',
    caughtBy: [frozen],
    break: (world) => (world.reach = () => (world.frozen ? new Promise(() => undefined) : Promise.resolve())),
  },
];

describe('replayStoreCases', () => {
  proveSuite(suite, mutants);
});

describe('replayStoreCases in real time', () => {
  const realTime = {
    makeWorld: (): World => {
      const world = new World();
      Object.defineProperty(world, 'time', { get: () => Date.now() });
      return world;
    },
    cases: (world: World) =>
      replayStoreCases((name) => world.open(name)).filter(({ name }) => name === fractions),
  };
  proveSuite(realTime, [
    {
      what: 'forgets early',
      caughtBy: [fractions],
      break: (world) => (world.endOf = (ttl) => world.time + ttl * 100),
    },
  ]);
});
