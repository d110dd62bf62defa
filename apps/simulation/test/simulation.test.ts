import { describe, expect, it } from 'vitest';
import { fuzzDocuments } from '../src/fuzz-documents.ts';
import { fuzzTokens } from '../src/fuzz-tokens.ts';
import { findPlanted, misfits } from '../src/planted.ts';
import { plantedBugs } from '../src/planted-bugs.ts';
import { makeHistory, run } from '../src/simulation/history.ts';
import { shrink } from '../src/simulation/shrink.ts';

const seeds = Array.from({ length: 10 }, (_, index) => index + 1);

describe('the simulated fleet', () => {
  it.each(seeds)('P1 to P9 hold after each of 400 steps of history %i', async (seed) => {
    const { violation, steps } = await run(makeHistory(seed, 400));
    expect(violation, `replay with: pnpm simulate --seed ${seed} --steps 400`).toBeUndefined();
    expect(steps, 'a history that ends early shows nothing').toBe(400);
  });

  it('P1 to P9 hold with RS256, too', async () => {
    const { violation } = await run(makeHistory(7, 300, { algorithms: ['RS256'] }));
    expect(violation, 'no rule depends on the algorithm').toBeUndefined();
  });

  it('a store without a clock of its own shares that of its users, also while it drifts', async () => {
    const seed = 1_675_538_219;
    const { settings, incidents } = makeHistory(seed, 1000);
    const drift = incidents.find(({ what, size }) => what === 'clock drifts' && size < 0.1);
    expect(settings.storeHasClock, 'a folder on one machine').toBe(false);
    expect(drift, 'fifteen times 0.7 s, more than a commit deadline').toBeDefined();
    const { violation } = await run({ seed, steps: 1000, settings, incidents });
    expect(violation, 'nobody is refused by a clock that it cannot have').toBeUndefined();
  });

  it('replays: the same seed gives the same history to the last line', async () => {
    const [first, second] = [
      await run(makeHistory(5, 400), undefined, true),
      await run(makeHistory(5, 400), undefined, true),
    ];
    expect(first.timeline.length, 'something happens').toBeGreaterThan(20);
    expect(second.timeline, 'a failure that cannot be replayed cannot be understood').toEqual(first.timeline);
  });

  it('shrinks nothing where nothing fails', async () => {
    const history = makeHistory(3, 100);
    expect(await shrink(history), 'there is no violation to keep').toBe(history);
  });
});

describe('the checker is checked', () => {
  it('finds bugs that are planted in core', async () => {
    const quick = ['a new key signs at once', 'associated data without the revision'];
    const found = await findPlanted(
      plantedBugs.filter(({ name }) => quick.includes(name)),
      1,
      20,
    );
    const missed = found.filter(({ histories }) => histories === undefined).map(({ name }) => name);
    expect(missed, 'a checker that misses these proves nothing').toEqual([]);
    expect(found.length, 'both were planted').toBe(quick.length);
  }, 120_000);

  it('knows where to plant every bug of the list', async () => {
    expect(await misfits(plantedBugs), 'what a bug replaces must stand once in the sources').toEqual([]);
  });
});

describe('fuzz', () => {
  it('P6: of 20,000 altered tokens none is accepted, and none crashes', async () => {
    const { failures, outcomes } = await fuzzTokens(20_000, 1);
    expect(failures, 'refused with an error of ours').toEqual([]);
    expect(Object.keys(outcomes).length, 'many ways to be wrong were tried').toBeGreaterThan(10);
  });

  it('P6: no altered document is taken, the last good one stays, and it is reported once', async () => {
    const { failures, tried } = await fuzzDocuments(13);
    expect(failures, 'refused with the right code').toEqual([]);
    expect(tried, 'many alterations were tried').toBeGreaterThan(500);
  });
});
