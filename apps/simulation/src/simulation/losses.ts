import type { StoredKeySet } from '@jwt-authority/core';
import { duration, type Kind, type Kinds, type Incident } from './incident.ts';
import { makeKey } from './key-pool.ts';
import { isAuthentic } from './ledger.ts';
import { documentOf, type Document } from './store.ts';
import type { World } from './world.ts';

/** A loss that nobody can heal is not promised to be: somebody must know all that the store has, and reach it; and the last one must be over. */
function mayLose(world: World): boolean {
  if (
    world.isSplit ||
    world.now - world.lossAt <
      world.checker.liveness.bound + world.longest.staleBound + world.longest.propagationDelay
  )
    return false;
  const { current } = world.stores[0] ?? {};
  if (current === undefined || !isAuthentic(world.ledger, current)) return false;
  return world.instances.some(
    ({ process, disturbedUntil, isBeyond }) =>
      process?.isUp === true &&
      !isBeyond &&
      disturbedUntil < world.now &&
      process.authority?.keyRing.revision === current.revision &&
      process.confirmed?.stored?.etag === current.etag,
  );
}

function loss(
  choose: (world: World, current: StoredKeySet, incident: Incident) => StoredKeySet | 'nothing' | undefined,
): Kind['happen'] {
  return (world, _instance, incident) => {
    const [store] = world.stores;
    if (store?.current === undefined || !mayLose(world)) return false;
    const chosen = choose(world, store.current, incident);
    if (chosen === undefined) return false;
    world.lossAt = world.now;
    const before = store.current;
    store.put(chosen === 'nothing' ? undefined : chosen);
    if (chosen === 'nothing') return true;
    if (isAuthentic(world.ledger, chosen)) world.look(chosen, before);
    else if (cannotBeJudged(world, chosen)) {
      // Protocol 3, rule 2: nobody puts anything in place of what it cannot judge. An operator must.
      world.scheduler.after(world.longest.staleBound / 2, () => {
        if (store.current !== chosen) return;
        world.note('an operator puts the last good document back');
        world.counts.add('an operator puts back what nobody may judge');
        world.lossAt = world.now;
        store.put(before);
      });
    }
    return true;
  };
}

const algorithms: ReadonlySet<unknown> = new Set(['Ed25519', 'EdDSA', 'RS256']);

/** It looks as if sealed by another KEK, or made by a later version. */
function cannotBeJudged(world: World, stored: StoredKeySet): boolean {
  const document = documentOf(stored);
  if (document === undefined) return false;
  // Altered: nothing need be as its type says.
  const { format, sealed, keys }: { readonly [Name in keyof Document]: unknown } = document;
  const wrapped: unknown = Reflect.get(Object(sealed), 'dataKey');
  const isOfKnownKek =
    typeof wrapped === 'string' && world.keks.some(({ id }) => wrapped.startsWith(`${id}:v1:`));
  return (
    !isOfKnownKek ||
    format !== 1 ||
    !Array.isArray(keys) ||
    keys.some((key: unknown) => !algorithms.has(Reflect.get(Object(key), 'alg')))
  );
}

/** Somebody who may write to the store, and does not hold the KEK, changes the document under its own name. */
function tamper(
  change: (document: Document, world: World, incident: Incident) => string | undefined,
): Kind['happen'] {
  return loss((world, current, incident) => {
    const document = documentOf(current);
    const text = document === undefined ? undefined : change(structuredClone(document), world, incident);
    return text === undefined || text === current.document ? undefined : { ...current, document: text };
  });
}

/** The network is whole again; one side's data is what stays. */
export function unite(world: World, which: number): void {
  if (!world.isSplit) return;
  const [store, other] = world.stores;
  if ((which >> 8) % 2 === 1) store?.put(other?.current);
  world.isSplit = false;
  world.lossAt = world.now;
  for (const instance of world.instances) {
    instance.side = 0;
    instance.disturb();
  }
  world.note('the sides are one again');
}

/** What happens to the data of the store. */
export const losses: Kinds = {
  'store wiped': { weight: 4, only: 'loses', happen: loss(() => 'nothing') },
  'old backup restored': {
    weight: 5,
    only: 'loses',
    happen: loss(({ ledger }, current, { which }) => {
      const older = ledger.backups.filter(({ etag }) => etag !== current.etag);
      return older[which % Math.max(1, older.length)];
    }),
  },
  'last write lost': { weight: 5, only: 'loses', happen: loss(({ stores }) => stores[0]?.previous) },
  'split brain': {
    weight: 4,
    only: 'loses',
    happen(world, _instance, { which, size }) {
      const [store, other] = world.stores;
      if (!mayLose(world) || store === undefined || other === undefined || world.instances.length < 2)
        return false;
      other.put(store.current);
      world.isSplit = true;
      world.lossAt = world.now;
      world.instances.forEach((instance, index) => {
        instance.side = (which >> (index % 16)) & 1;
      });
      world.scheduler.after(duration(world, size), () => unite(world, which));
      return true;
    },
  },
  'a byte flipped': {
    weight: 2,
    only: 'loses',
    happen: loss((_world, current, { which }) => {
      const bytes = Buffer.from(current.document);
      const at = which % bytes.length;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (which % 7));
      return { ...current, document: bytes.toString() };
    }),
  },
  'document cut short': {
    weight: 1,
    only: 'loses',
    happen: loss((_world, current, { size }) => ({
      ...current,
      document: current.document.slice(0, Math.floor(size * current.document.length)),
    })),
  },
  'public key injected': {
    weight: 2,
    only: 'loses',
    happen: tamper((document, _world, { which }) => {
      const { pair } = makeKey('Ed25519', 4000 + (which % 50), 'x');
      const [model] = document.keys;
      if (model === undefined) return undefined;
      const { privateKey: _, ...key } = pair;
      return JSON.stringify({
        ...document,
        keys: [
          ...document.keys,
          { ...model, ...key, hasPrivateKey: false, deactivatesAt: 1, expiresAt: 8e15 },
        ],
      });
    }),
  },
  'keys swapped': {
    weight: 1,
    only: 'loses',
    happen: tamper((document) => {
      const [first, second, ...rest] = document.keys;
      if (first === undefined || second === undefined) return undefined;
      return JSON.stringify({
        ...document,
        keys: [{ ...first, publicJwk: second.publicJwk }, { ...second, publicJwk: first.publicJwk }, ...rest],
      });
    }),
  },
  'expiry extended': {
    weight: 1,
    only: 'loses',
    happen: tamper((document) =>
      JSON.stringify({
        ...document,
        keys: document.keys.map((key) =>
          key.expiresAt === undefined ? key : { ...key, expiresAt: key.expiresAt + 1e9 },
        ),
      }),
    ),
  },
  'revocation erased': {
    weight: 2,
    only: 'loses',
    happen: tamper((document) =>
      JSON.stringify({
        ...document,
        keys: document.keys.map(({ revokedAt: _, revocationReason: __, ...key }) => key),
      }),
    ),
  },
  'revision altered': {
    weight: 1,
    only: 'loses',
    happen: loss((_world, current, { which }) => ({
      ...current,
      revision: current.revision + 1 + (which % 5),
    })),
  },
  'document of another namespace': {
    weight: 1,
    only: 'loses',
    happen: (world, instance, incident) =>
      world.foreign !== undefined && loss(() => world.foreign)(world, instance, incident),
  },
  'old document under the present name': {
    weight: 2,
    only: 'loses',
    happen: loss(({ ledger }, current, { which }) => {
      const { document } = ledger.backups[which % Math.max(1, ledger.backups.length)] ?? {};
      return document === undefined || document === current.document ? undefined : { ...current, document };
    }),
  },
};
