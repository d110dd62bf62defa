import { expect } from 'vitest';
import { Fleet, leaked } from '../src/fleet.ts';
import type { WatchedKek } from '../src/watched-kek.ts';

export interface Station {
  readonly kek: WatchedKek;
  /** Takes the KEK out of the world, once the key set has moved on. */
  readonly destroy?: () => Promise<void>;
}

/**
 * Moves a key set from KEK to KEK as the documents say, under load and through rotations, destroys each KEK when it is
 * not needed any more, and restarts everything without it.
 */
export async function proveChange(stations: readonly Station[]): Promise<Fleet['figures']> {
  const fleet = new Fleet();
  const [first, ...others] = stations;
  if (first === undefined) throw new Error('nothing to start from');
  try {
    await fleet.deploy([first.kek]);
    fleet.startLoad();
    await fleet.advance(400);
    let from = first;
    for (const to of others) {
      await changeTo(fleet, from, to);
      from = to;
    }
  } finally {
    await fleet.close();
  }
  expect(fleet.lost, 'P1: no token may be refused, by any instance or by the JWKS').toEqual([]);
  expect(fleet.figures.verified, 'and there were some').toBeGreaterThan(1000 * stations.length);
  const dataKeys = stations.flatMap(({ kek }) => kek.dataKeys);
  expect(leaked(fleet.store, fleet.privateKeys, dataKeys), 'P5: no plaintext key in any document').toBe(0);
  return fleet.figures;
}

async function changeTo(fleet: Fleet, from: Station, to: Station): Promise<void> {
  await fleet.deploy([from.kek, to.kek]);
  await fleet.deploy([to.kek, from.kek]);
  expect(fleet.first.rotator.explain().keks, 'before: one is to seal, the other opens').toEqual([
    { id: to.kek.id, seals: true, opens: false },
    { id: from.kek.id, seals: false, opens: true },
  ]);

  const [revision = 0, kid] = [fleet.first.keyRing.revision, fleet.first.keyRing.signingKey().kid];
  const results = await Promise.all(fleet.instances.map(async ({ rotator }) => rotator.rewrap()));
  expect(results.filter(({ committed }) => committed).length, 'rewrap is one commit, whoever calls it').toBe(
    1,
  );
  expect((await fleet.store.load()).stored?.revision, 'and no other').toBe(revision + 1);
  expect((await fleet.first.rotator.rewrap()).committed, 'again: nothing to do').toBe(false);
  for (const { keyRing } of fleet.instances) await keyRing.refresh();
  expect(fleet.first.keyRing.signingKey().kid, 'no key was made for it').toBe(kid);
  expect(fleet.first.rotator.explain().keks, 'after: the old one can be taken out').toEqual([
    { id: to.kek.id, seals: true, opens: true },
    { id: from.kek.id, seals: false, opens: false },
  ]);

  await fleet.deploy([to.kek]);
  await from.destroy?.();
  const before = { ...from.kek.calls };
  await fleet.restart([to.kek]);
  expect(fleet.first.keyRing.signingKey().kid, 'after a restart without the old KEK').toBe(kid);
  await fleet.advance(3500);
  expect(fleet.first.keyRing.signingKey().kid, 'and it goes on rotating').not.toBe(kid);
  expect(from.kek.calls, 'nobody asks the old KEK any more').toEqual(before);
}
