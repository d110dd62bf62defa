import { keySetStoreCases, registerCases } from '@jwt-authority/conformance';
import type { Clock, KeySetStore } from '@jwt-authority/core';
import { describe, expect, it } from 'vitest';
import { memoryStore } from '../src/index.ts';

describe('the contract of KeySetStore', () => {
  const stores = new Map<string, KeySetStore>();
  const open = (namespace: string): KeySetStore => {
    const store = stores.get(namespace) ?? memoryStore({ namespace });
    stores.set(namespace, store);
    return store;
  };
  registerCases(it, keySetStoreCases(open, { storeTime: true, watch: true }));
});

describe('memoryStore', () => {
  const first = { revision: 1, etag: 'a', updatedAt: 5, document: 'x' };

  it('judges notAfter and gives storeTime by the clock it was given', async () => {
    let now = 1000;
    const clock: Clock = { now: () => now, monotonic: () => 0, setTimer: () => () => {} };
    const store = memoryStore({ clock });
    expect(await store.load(), 'nothing but the time of the given clock').toEqual({ storeTime: 1000 });
    now = 1001;
    expect(await store.compareAndSwap(first, undefined, 1000), 'one millisecond late is late').toBe(false);
    now = 1000;
    expect(await store.compareAndSwap(first, undefined, 1000), 'notAfter itself is in time').toBe(true);
  });

  it('keeps two stores apart, also of the same namespace', async () => {
    const [one, two] = [memoryStore(), memoryStore()];
    await one.compareAndSwap(first, undefined, Infinity);
    expect((await two.load()).stored, 'a store of its own, so that tests do not share keys').toBeUndefined();
    expect(one.namespace, 'the documented default').toBe('default');
  });

  it('calls no watch that was stopped between the commit and the microtask', async () => {
    const store = memoryStore();
    let calls = 0;
    const stop = await store.watch(() => (calls += 1));
    const committing = store.compareAndSwap(first, undefined, Infinity);
    await stop();
    await committing;
    expect(calls, 'whoever stopped it may be closed already').toBe(0);
  });

  it('calls a watch whose callback stops another one, and not the other one', async () => {
    const store = memoryStore();
    const calls: string[] = [];
    let stopSecond = async (): Promise<void> => {};
    await store.watch(() => {
      calls.push('first');
      void stopSecond();
    });
    stopSecond = await store.watch(() => calls.push('second'));
    await store.compareAndSwap(first, undefined, Infinity);
    await Promise.resolve();
    expect(calls, 'a stopped watch is not called').toEqual(['first']);
  });

  it.each([
    ['an unknown option', { name: 'x' }, /"name" is not an option of memoryStore/],
    ['a namespace that is none', { namespace: '../x' }, /"namespace" must be 1 to 128/],
    [
      'a clock that is none',
      { clock: { now: () => 0 } },
      /"clock" must be an object with monotonic\(\), setTimer\(\)/,
    ],
    ['no object', 'default', /"memoryStore" must be given an options object/],
  ])('P11: refuses %s', (_what, options, message) => {
    // Wrong on purpose.
    expect(() => memoryStore(options as object), 'wrong use is a TypeError').toThrow(TypeError);
    expect(() => memoryStore(options as object), 'wrong options fail at once and by name').toThrow(message);
  });
});
