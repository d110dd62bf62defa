import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkNamespace, JwtAuthorityError } from '@jwt-authority/core';
import type { KeySetStore, LoadResult, StoredKeySet } from '@jwt-authority/core';
import { describe } from 'vitest';
import { keySetStoreCases } from '../src/index.ts';
import { type Mutant, proveSuite } from './suites.ts';

type Expected = Pick<StoredKeySet, 'revision' | 'etag'> | undefined;

/** A service in memory with clients, each behaviour of which can be replaced. */
class World {
  readonly data = new Map<string, StoredKeySet>();
  readonly changes = new EventEmitter();
  thawed: Promise<void> | undefined;
  thaw = (): void => undefined;
  readonly closed = new WeakSet<KeySetStore>();
  declared = { storeTime: true, watch: true };

  now = (): number => Date.now();
  checkName = (namespace: string): string => checkNamespace(namespace);
  keyOf = (namespace: string): string => namespace;
  copyIn = (next: StoredKeySet): StoredKeySet => ({ ...next });
  copyOut = (stored: StoredKeySet): StoredKeySet => ({ ...stored });
  get = (key: string): StoredKeySet | undefined => this.data.get(key);
  put = (key: string, next: StoredKeySet): void => void this.data.set(key, next);
  refused = (): Error => new JwtAuthorityError('store_unavailable', 'The service does not answer');
  reach = async (): Promise<void> => {
    if (this.thawed === undefined) return;
    await sleep(20);
    throw this.refused();
  };
  beforeWrite = async (): Promise<void> => undefined;
  isOwn = (stored: StoredKeySet | undefined, next: StoredKeySet): boolean => stored?.etag === next.etag;
  fits = (stored: StoredKeySet | undefined, expected: Expected): boolean =>
    stored?.etag === expected?.etag && stored?.revision === expected?.revision;
  isLate = (notAfter: number): boolean => this.now() > notAfter;
  swap = (key: string, next: StoredKeySet, expected: Expected, notAfter: number): boolean => {
    const stored = this.get(key);
    if (this.isOwn(stored, next)) return true;
    if (!this.fits(stored, expected) || this.isLate(notAfter)) return false;
    this.put(key, this.copyIn(next));
    this.changes.emit('change', key);
    return true;
  };
  loaded = (stored: StoredKeySet | undefined): LoadResult => ({
    ...(stored === undefined ? {} : { stored: this.copyOut(stored) }),
    storeTime: this.now(),
  });
  watch = async (key: string, onChange: () => void): Promise<() => Promise<void>> => {
    const listener = (changed: string): void => {
      if (changed === key) queueMicrotask(() => onChange());
    };
    this.changes.setMaxListeners(0).on('change', listener);
    return async () => void this.changes.off('change', listener);
  };

  open(namespace: string): KeySetStore {
    this.checkName(namespace);
    const key = this.keyOf(namespace);
    const reach = async (): Promise<void> => {
      if (this.closed.has(store)) throw this.refused();
      await this.reach();
    };
    const store: KeySetStore = {
      namespace,
      load: async () => {
        await reach();
        return this.loaded(this.get(key));
      },
      compareAndSwap: async (next, expected, notAfter) => {
        await reach();
        await this.beforeWrite();
        return this.swap(key, next, expected, notAfter);
      },
      ...(this.declared.watch ? { watch: (onChange: () => void) => this.watch(key, onChange) } : {}),
    };
    return this.adjust(store);
  }
  adjust = (store: KeySetStore): KeySetStore => store;
}

const suite = {
  makeWorld: () => new World(),
  cases: (world: World) =>
    keySetStoreCases((namespace) => world.open(namespace), {
      ...world.declared,
      patience: 300,
      closeClient: async (store) => void world.closed.add(store),
      freezing: {
        freeze: async () => {
          world.thawed = new Promise((resolve) => (world.thaw = resolve));
        },
        thaw: async () => {
          world.thaw();
          world.thawed = undefined;
        },
        deadline: 200,
      },
    }),
};

const alter = (change: (document: string) => string) => (world: World) => {
  world.copyIn = (next) => ({ ...next, document: change(next.document) });
};
const races = ['of two clients that commit at once, one wins', 'of fifty commits at once, one wins'];
const firstRace = 'of ten clients that make the first key set at once, one wins';
const noLoss = 'writers that try until they succeed lose nothing of one another';
const exact = 'another client reads exactly what was written';
const frozen = 'a frozen service is an error in time, and no write happens after its notAfter';
const told = "watch tells of another client's commit";

const mutants: Mutant<World>[] = [
  {
    what: 'has another namespace',
    caughtBy: ['a store knows its namespace'],
    break: (world) => (world.adjust = (store) => ({ ...store, namespace: 'default' })),
  },
  {
    what: 'gives an empty key set for none',
    caughtBy: ['what was never written is absent'],
    break: (world) =>
      (world.get = (key) => world.data.get(key) ?? { revision: 0, etag: '', updatedAt: 0, document: '' }),
  },
  {
    what: 'takes an empty document for none',
    caughtBy: ['an empty document is not an absent one'],
    break: (world) =>
      (world.loaded = (stored) =>
        stored?.document ? { stored, storeTime: Date.now() } : { storeTime: Date.now() }),
  },
  { what: 'trims', caughtBy: [exact], break: alter((text) => text.trim()) },
  { what: 'ends at NUL', caughtBy: [exact], break: alter((text) => text.split('\0')[0] ?? '') },
  { what: 'normalises Unicode', caughtBy: [exact], break: alter((text) => text.normalize()) },
  {
    what: 'drops a byte order mark',
    caughtBy: [exact],
    break: alter((text) => new TextDecoder().decode(new TextEncoder().encode(text))),
  },
  { what: 'changes line ends', caughtBy: [exact], break: alter((text) => text.replaceAll('\r\n', '\n')) },
  { what: 'keeps 16 KB', caughtBy: [exact], break: alter((text) => text.slice(0, 16_384)) },
  {
    what: 'writes as Latin 1',
    caughtBy: [exact],
    break: alter((text) => Buffer.from(text, 'latin1').toString('latin1')),
  },
  {
    what: 'loses updatedAt',
    caughtBy: [exact],
    break: (world) => (world.copyIn = (next) => ({ ...next, updatedAt: Date.now() })),
  },
  {
    what: 'reads a replica that is late',
    caughtBy: [exact, noLoss],
    break: (world) => {
      const replica = new Map<string, StoredKeySet>();
      world.put = (key, next) => {
        const previous = world.data.get(key);
        if (previous !== undefined) replica.set(key, previous);
        world.data.set(key, next);
      };
      world.loaded = (stored) => {
        const [key] = [...world.data].find(([, value]) => value === stored) ?? [''];
        const seen = replica.get(key);
        return { ...(seen === undefined ? {} : { stored: seen }), storeTime: Date.now() };
      };
    },
  },
  {
    what: 'replaces lone surrogates',
    caughtBy: ['lone surrogates are refused or come back exactly'],
    break: alter((text) => Buffer.from(text).toString()),
  },
  {
    what: 'wants the next revision',
    caughtBy: ['revisions may jump, up to the largest safe integer'],
    break: (world) => {
      const { swap } = world;
      world.swap = (key, next, expected, notAfter) =>
        next.revision === (expected?.revision ?? 0) + 1 && swap(key, next, expected, notAfter);
    },
  },
  {
    what: 'keeps revisions in 32 bits',
    caughtBy: ['revisions may jump, up to the largest safe integer'],
    break: (world) => (world.copyIn = (next) => ({ ...next, revision: Math.trunc(next.revision) | 0 })),
  },
  {
    what: 'keeps a reference',
    caughtBy: ['a store keeps copies and gives out copies'],
    break: (world) => (world.copyIn = (next) => next),
  },
  {
    what: 'gives out a reference',
    caughtBy: ['a store keeps copies and gives out copies'],
    break: (world) => (world.copyOut = (stored) => stored),
  },
  {
    what: 'gives its time in seconds',
    caughtBy: ['load gives the time of the store'],
    break: (world) => (world.now = () => Date.now() / 1000),
  },
  {
    what: 'gives no time of an empty namespace',
    caughtBy: ['load gives the time of the store'],
    break: (world) => {
      const { loaded } = world;
      world.loaded = (stored) => (stored === undefined ? {} : loaded(stored));
    },
  },
  {
    what: 'goes back in time',
    caughtBy: ['load gives the time of the store'],
    break: (world) => {
      let time = Date.now();
      world.now = () => (time -= 5);
    },
  },
  {
    what: 'mixes namespaces with a common beginning',
    caughtBy: ['namespaces do not touch one another'],
    break: (world) => (world.keyOf = (name) => name.split(':')[0] ?? ''),
  },
  {
    what: 'cuts namespaces short',
    caughtBy: ['namespaces do not touch one another'],
    break: (world) => (world.keyOf = (name) => name.slice(0, 24)),
  },
  {
    what: 'confuses . and -',
    caughtBy: ['namespaces do not touch one another'],
    break: (world) => (world.keyOf = (name) => name.replaceAll('.', '-')),
  },
  {
    what: 'keeps namespaces as members of an object',
    caughtBy: ['names of object members are ordinary namespaces'],
    break: (world) => {
      const data: Record<string, StoredKeySet> = {};
      world.get = (key) => data[key];
      world.put = (key, next) => (data[key] ??= next);
    },
  },
  {
    what: 'ignores case in namespaces',
    caughtBy: ['namespaces that differ in case are kept apart or refused'],
    break: (world) => (world.keyOf = (name) => name.toLowerCase()),
  },
  {
    what: 'takes namespaces for paths',
    caughtBy: ['hostile namespaces are refused with a TypeError or kept apart'],
    break: (world) => {
      world.checkName = (name) => name;
      world.keyOf = (name) => new URL(name, 'file:///').pathname;
    },
  },
  {
    what: 'refuses namespaces with another error',
    caughtBy: ['hostile namespaces are refused with a TypeError or kept apart'],
    break: (world) =>
      (world.checkName = (name) => {
        if (!/^[\w.:-]+$/.test(name)) throw new Error('bad name');
        return checkNamespace(name);
      }),
  },
  {
    what: 'lets the last writer win',
    caughtBy: [
      'compareAndSwap with nothing expected is refused on an existing key set',
      'compareAndSwap with something expected is refused on an empty namespace',
      'compareAndSwap with another revision is refused',
      'a repeated commit does not undo a later one',
      noLoss,
      ...races,
    ],
    break: (world) => (world.fits = () => true),
  },
  {
    what: 'writes whatever it answers',
    caughtBy: ['compareAndSwap with nothing expected is refused on an existing key set'],
    break: (world) => {
      const { swap } = world;
      world.swap = (key, next, expected, notAfter) => {
        const answer = swap(key, next, expected, notAfter);
        world.put(key, next);
        return answer;
      };
    },
  },
  {
    what: 'overwrites if nothing is expected',
    caughtBy: ['compareAndSwap with nothing expected is refused on an existing key set', firstRace],
    break: (world) => {
      const { fits } = world;
      world.fits = (stored, expected) => expected === undefined || fits(stored, expected);
    },
  },
  {
    what: 'writes what should exist',
    caughtBy: ['compareAndSwap with something expected is refused on an empty namespace'],
    break: (world) => {
      const { fits } = world;
      world.fits = (stored, expected) => stored === undefined || fits(stored, expected);
    },
  },
  {
    what: 'looks at etags only',
    caughtBy: ['compareAndSwap with another revision is refused'],
    break: (world) => (world.fits = (stored, expected) => stored?.etag === expected?.etag),
  },
  {
    what: 'looks at revisions only',
    caughtBy: ['compareAndSwap with the same revision and another etag is refused'],
    break: (world) => (world.fits = (stored, expected) => stored?.revision === expected?.revision),
  },
  {
    what: 'takes its own commit for a lost race',
    caughtBy: [
      'the same commit repeated is true again',
      'a commit that overtakes its own repetition is true twice',
      'a repeated commit is true even after its notAfter',
    ],
    break: (world) => (world.isOwn = () => false),
  },
  {
    what: 'calls a superseded commit a success',
    caughtBy: ['a repeated commit does not undo a later one'],
    break: (world) => {
      const seen = new Set<string>();
      world.isOwn = (_stored, next) => seen.size === seen.add(next.etag).size;
    },
  },
  {
    what: 'ignores notAfter',
    caughtBy: ['a write after its notAfter is refused'],
    break: (world) => (world.isLate = () => false),
  },
  {
    what: 'takes notAfter for seconds',
    caughtBy: ['a write after its notAfter is refused'],
    break: (world) => (world.isLate = (notAfter) => Date.now() / 1000 > notAfter),
  },
  {
    what: 'looks at the clock before the etag',
    caughtBy: ['a repeated commit is true even after its notAfter'],
    break: (world) => {
      const { swap } = world;
      world.swap = (key, next, expected, notAfter) =>
        !world.isLate(notAfter) && swap(key, next, expected, notAfter);
    },
  },
  {
    what: 'compares, waits and then swaps',
    caughtBy: [...races, firstRace, noLoss],
    break: (world) =>
      (world.adjust = (store) => ({
        ...store,
        compareAndSwap: async (next, expected, notAfter) => {
          const { stored } = await store.load();
          if (world.isOwn(stored, next)) return true;
          if (!world.fits(stored, expected) || world.isLate(notAfter)) return false;
          await sleep(1);
          world.put(store.namespace, { ...next });
          return true;
        },
      })),
  },
  {
    what: 'looks for its own etag before it waits, and not after',
    caughtBy: ['a commit that overtakes its own repetition is true twice'],
    break: (world) =>
      (world.adjust = (store) => ({
        ...store,
        compareAndSwap: async (next, expected, notAfter) => {
          const { stored } = await store.load();
          if (world.isOwn(stored, next)) return true;
          await sleep(1);
          return (
            !world.isOwn(world.get(store.namespace), next) &&
            world.swap(store.namespace, next, expected, notAfter)
          );
        },
      })),
  },
  {
    what: 'never tells of changes',
    caughtBy: [told],
    break: (world) => (world.watch = async () => async () => undefined),
  },
  {
    what: 'tells once',
    caughtBy: [told],
    break: (world) => {
      world.watch = async (_key, onChange) => {
        world.changes.once('change', onChange);
        return async () => void world.changes.off('change', onChange);
      };
    },
  },
  {
    what: 'resolves watch to nothing',
    caughtBy: [told],
    break: (world) => (world.watch = (async () => undefined) as unknown as World['watch']),
  },
  {
    what: 'does not stop',
    caughtBy: ['each watch of a store is told, and stops by itself'],
    break: (world) => {
      const { watch } = world;
      world.watch = async (key, onChange) => {
        await watch(key, onChange);
        return async () => undefined;
      };
    },
  },
  {
    what: 'stops all watches at once',
    caughtBy: ['each watch of a store is told, and stops by itself'],
    break: (world) => {
      const { watch } = world;
      world.watch = async (key, onChange) => {
        await watch(key, onChange);
        return async () => void world.changes.removeAllListeners('change');
      };
    },
  },
  {
    what: 'cannot be watched again',
    caughtBy: ['watch can be stopped twice, and started anew'],
    break: (world) => {
      const { watch } = world;
      let stopped = false;
      world.watch = async (key, onChange) => {
        const stop = await watch(key, () => stopped || onChange());
        return async () => {
          stopped = true;
          await stop();
        };
      };
    },
  },
  {
    what: 'cannot be stopped twice',
    caughtBy: ['watch can be stopped twice, and started anew'],
    break: (world) => {
      const { watch } = world;
      world.watch = async (key, onChange) => {
        let stop: (() => Promise<void>) | undefined = await watch(key, onChange);
        return async () => {
          if (stop === undefined) throw new Error('stopped already');
          await stop();
          stop = undefined;
        };
      };
    },
  },
  {
    what: 'piles up listeners',
    caughtBy: ['watch leaves nothing behind'],
    break: (world) => {
      const client = new EventEmitter();
      world.watch = async (_key, onChange) => {
        client.on('change', onChange);
        return async () => void client.off('change', onChange);
      };
    },
  },
  {
    what: 'leaves timers running',
    caughtBy: ['watch leaves nothing behind'],
    break: (world) => {
      const { watch } = world;
      world.watch = async (key, onChange) => {
        setTimeout(() => undefined, 700);
        return watch(key, onChange);
      };
    },
  },
  {
    what: 'calls a closed client an empty store',
    caughtBy: ['a closed client is a clear error'],
    break: (world) =>
      (world.adjust = (store) => ({
        ...store,
        load: () => (world.closed.has(store) ? Promise.resolve({}) : store.load()),
      })),
  },
  {
    what: 'lets errors of its client through',
    caughtBy: ['a closed client is a clear error', frozen],
    break: (world) => (world.refused = () => new Error('Connection is closed: redis://user:password@host')),
  },
  {
    what: 'waits for ever for a frozen service',
    caughtBy: [frozen],
    break: (world) => (world.reach = async () => world.thawed),
  },
  {
    what: 'executes what was given up late, whatever notAfter says',
    caughtBy: [frozen],
    break: (world) => {
      const { reach } = world;
      world.adjust = (store) => ({
        ...store,
        compareAndSwap: async (next, expected, notAfter) => {
          if (world.thawed !== undefined) void world.thawed.then(() => world.put(store.namespace, next));
          await reach();
          return store.compareAndSwap(next, expected, notAfter);
        },
      });
    },
  },
];

describe('keySetStoreCases', () => {
  proveSuite(suite, mutants);
});

describe('keySetStoreCases without declared abilities', () => {
  const plain = {
    makeWorld: (): World => {
      const world = new World();
      const { loaded } = world;
      world.loaded = (stored) => {
        const { storeTime: _, ...result } = loaded(stored);
        return result;
      };
      world.declared = { storeTime: false, watch: false };
      return world;
    },
    cases: (world: World) =>
      keySetStoreCases((namespace) => world.open(namespace), { patience: 300 }).filter(({ name }) =>
        name.includes('as declared'),
      ),
  };
  proveSuite(plain, [
    {
      what: 'has a time of its own',
      caughtBy: ['load gives no time, as declared'],
      break: (world) => (world.loaded = () => ({ storeTime: Date.now() })),
    },
    {
      what: 'can be watched',
      caughtBy: ['there is no watch, as declared'],
      break: (world) => (world.adjust = (store) => ({ ...store, watch: async () => async () => undefined })),
    },
  ]);
});
