import { expect, it } from 'vitest';
import { World } from '../support/world.ts';

it('P1: an instance with a longer propagation delay does not let caches outlast the delay of whoever publishes', async () => {
  const world = new World();
  // Everything used up: stale bound 250 + caches 125 + 125 + twice the tolerance 30.
  const quick = await world.start({
    policy: {
      propagationDelay: 560,
      staleBound: 250,
      jwksMaxAge: 125,
      staleIfError: 125,
      clockTolerance: 30,
    },
  });
  const slow = await world.start({
    policy: {
      propagationDelay: 1120,
      staleBound: 500,
      jwksMaxAge: 300,
      staleIfError: 250,
      clockTolerance: 30,
    },
  });
  const read = world.clock.now();
  const { activatesAt } = await quick.rotator.rotateNow();
  slow.store.always = async () => Promise.reject(new Error('unreachable'));
  // The last moment at which it publishes what it read before.
  await world.clock.advance(249);
  const { keys, maxAge, staleIfError } = slow.keyRing.publication();
  expect(keys.length, 'it does not know the next key').toBe(1);

  const { clockTolerance } = slow.keyRing.policy;
  expect(staleIfError, 'a header has no negative seconds').toBeGreaterThanOrEqual(0);
  const keptUntil = world.clock.now() + maxAge + staleIfError;
  expect(
    keptUntil + clockTolerance,
    `the next key signs ${(activatesAt - read) / 1000} s after the reading, and a cache of it must be over by then`,
  ).toBeLessThanOrEqual(activatesAt);
  expect(maxAge, 'caching goes on').toBeGreaterThan(0);
});
