import { inspect } from 'node:util';
import { registerCases, replayStoreCases } from '@jwt-authority/conformance';
import type { Clock, ReplayStore } from '@jwt-authority/core';
import { describe, expect, it } from 'vitest';
import { memoryReplayStore } from '../src/index.ts';

/** A clock that is moved by hand: all of it, or only the wall clock as when somebody sets the time. */
function handClock(): Clock & { wall: number; steady: number } {
  return {
    wall: 1_790_000_000_000,
    steady: 0,
    now() {
      return this.wall;
    },
    monotonic() {
      return this.steady;
    },
    setTimer: () => () => {},
  };
}

describe('the contract of ReplayStore', () => {
  const clock = handClock();
  const stores = new Map<string, ReplayStore>();
  const open = (name: string): ReplayStore => {
    const store = stores.get(name) ?? memoryReplayStore({ clock });
    stores.set(name, store);
    return store;
  };
  const advance = (ms: number): void => {
    clock.wall += ms;
    clock.steady += ms;
  };
  registerCases(it, replayStoreCases(open, { numbers: true, advance }));
});

describe('memoryReplayStore', () => {
  const full = /The replay store is full: it remembers 2 values .* Raise "maxEntries"/s;

  it('fails closed when it is full, and forgets nothing that may still be replayed', async () => {
    const clock = handClock();
    const store = memoryReplayStore({ clock, maxEntries: 2 });
    await store.claim('a', 60);
    await store.claim('b', 30);
    await expect(store.claim('c', 60), 'making room would let "a" or "b" be replayed').rejects.toThrow(full);
    await expect(store.claim('c', 60), 'in a way that verifyOnce understands').rejects.toHaveProperty(
      'code',
      'replay_store_unavailable',
    );
    await expect(store.add('c', 60), 'adding makes no room either').rejects.toThrow(full);
    expect(await store.claim('a', 60), 'a value it knows is still refused, not an error').toBe(false);
    await expect(store.add('b', 30), 'a value it knows needs no room').resolves.toBeUndefined();
    clock.wall += 30_000;
    clock.steady += 30_000;
    expect(await store.claim('c', 60), '"b" is over, so there is room again').toBe(true);
    expect(await store.has('a'), '"a" is not over').toBe(true);
    await expect(store.claim('d', 60), 'full again, by "a" and "c"').rejects.toThrow(full);
    await store.delete('a');
    expect(await store.claim('d', 60), 'delete makes room').toBe(true);
  });

  it('reclaims memory in passing, without timers', async () => {
    const clock = handClock();
    const store = memoryReplayStore({ clock, maxEntries: 5000 });
    for (let round = 0; round < 20; round += 1) {
      for (let index = 0; index < 4000; index += 1) await store.claim(`${round}.${index}`, 1);
      clock.wall += 1000;
      clock.steady += 1000;
    }
    expect(await store.claim('last', 1), '80,000 values came and went through room for 5,000').toBe(true);
  });

  it('a wall clock that steps ahead and back brings no used value back', async () => {
    const clock = handClock();
    const store = memoryReplayStore({ clock, maxEntries: 2 });
    await store.claim('a', 60);
    await store.claim('b', 60);
    clock.wall += 3_600_000;
    await expect(store.claim('c', 60), 'nothing has really ended').rejects.toThrow(full);
    clock.wall -= 3_600_000;
    expect(await store.claim('a', 60), 'its token is valid again, and was used').toBe(false);
  });

  it('a wall clock that steps back keeps values as long as their tokens are valid', async () => {
    const clock = handClock();
    const store = memoryReplayStore({ clock });
    await store.claim('a', 60);
    clock.steady += 100_000;
    clock.wall -= 1000;
    expect(await store.claim('a', 60), 'by the wall clock, the token has 61 s to live').toBe(false);
  });

  it('shows no value when it is inspected', async () => {
    const store = memoryReplayStore();
    await store.claim('a-secret-id', 60);
    expect(
      inspect(store, { showHidden: true, depth: 9 }) + JSON.stringify(store),
      'values may be secret',
    ).not.toContain('a-secret-id');
  });

  it.each([
    ['an unknown option', { max: 1 }, /"max" is not an option of memoryReplayStore/],
    ['room for nothing', { maxEntries: 0 }, /"maxEntries" must be a whole number from 1 to 10000000/],
    ['room that is no number', { maxEntries: '5' }, /"maxEntries" must be a whole number/],
    ['a clock that is none', { clock: {} }, /"clock" must be an object with now\(\)/],
  ])('P11: refuses %s', (_what, options, message) => {
    // Wrong on purpose.
    expect(() => memoryReplayStore(options as object), 'wrong use is a TypeError').toThrow(TypeError);
    expect(() => memoryReplayStore(options as object), 'wrong options fail at once and by name').toThrow(
      message,
    );
  });
});
