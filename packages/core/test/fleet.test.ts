import { expect, it } from 'vitest';
import { runFleet } from './support/fleet.ts';

// FLEET_RUNS=200 FLEET_SEED=1000 tries other histories; a failing seed replays exactly.
const runs = Number(process.env['FLEET_RUNS'] ?? 5);
const firstSeed = Number(process.env['FLEET_SEED'] ?? 1);
const seeds = Array.from({ length: runs }, (_, i) => firstSeed + i);

it.each(seeds)(
  'P1 P2 P3 P9: a fleet under faults that lose no data loses no token (seed %i)',
  async (seed) => {
    const { violations, figures } = await runFleet(seed, 500, false);
    expect(violations, 'every promise must hold after every step').toEqual([]);
    expect(figures.rotated, 'a history without a rotation shows nothing').toBeGreaterThan(1);
  },
);

it.each(seeds)('P8 P9: a store that loses data is healed, and revocations stay (seed %i)', async (seed) => {
  const { violations, figures } = await runFleet(seed, 500, true);
  expect(violations, 'every promise must hold after every step').toEqual([]);
  expect(figures.rotated, 'a history without a rotation shows nothing').toBeGreaterThan(1);
});
