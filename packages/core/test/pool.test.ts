import { describe, expect, it } from 'vitest';
import {
  createAuthorityPool,
  localEncrypter,
  type AuthorityPoolOptions,
  type KeySetStore,
} from '../src/index.ts';
import { fakeClock, type FakeClock } from '../src/testing.ts';
import { memoryStore } from '../../store-memory/src/index.ts';
import { observedStore, verdict, type ObservedStore } from './support/authorities.ts';

/** Stores of tenants that outlive the authorities on them, as those on one Redis do. */
function tenants(clock: FakeClock): {
  readonly store: (tenant: string) => KeySetStore;
  readonly stores: Map<string, ObservedStore>;
} {
  const stores = new Map<string, ObservedStore>();
  const store = (tenant: string): KeySetStore => {
    const known = stores.get(tenant) ?? observedStore(memoryStore({ namespace: tenant, clock }));
    stores.set(tenant, known);
    return known;
  };
  return { store, stores };
}

function setUp(options: Partial<AuthorityPoolOptions> = {}) {
  const clock = fakeClock();
  const { store, stores } = tenants(clock);
  const pool = createAuthorityPool({
    store,
    encrypter: localEncrypter.forTests(),
    clock,
    algorithms: ['ES256'],
    ...options,
  });
  return { pool, clock, stores };
}

describe('a pool of authorities', () => {
  it('loads one per tenant on first use, with keys and an issuer of its own', async () => {
    const { pool, stores } = setUp({ issuer: (tenant) => `https://${tenant}.example.com` });
    expect(stores.size, 'nothing before it is asked for').toBe(0);
    const a = await pool.get('a');
    const b = await pool.get('b');
    const { token } = await a.sign({ sub: 'user-1' });

    expect((await a.verify(token)).iss).toBe('https://a.example.com');
    expect(await verdict(b.verify(token)), 'a token of one tenant is nothing to another').toBe('unknown_kid');
    expect(await pool.get('a'), 'held').toBe(a);
    await pool.close();
  });

  it('concurrent calls share one load', async () => {
    const { pool, stores } = setUp();
    const all = await Promise.all(Array.from({ length: 50 }, async () => pool.get('a')));
    expect(new Set(all).size).toBe(1);
    expect(stores.get('a')?.calls, 'as many calls as one start takes').toBeLessThan(10);
    await pool.close();
  });

  it('holds so many; the one not asked for longest serves a while longer, then ends', async () => {
    const { pool, clock } = setUp({ maxAuthorities: 2, closeAfter: '1m' });
    const a = await pool.get('a');
    const b = await pool.get('b');
    await pool.get('a');
    await pool.get('c');

    expect(await verdict(b.sign({})), 'who holds it is in the middle of something').toBe('accepted');
    await clock.advance('61s');
    expect(await verdict(b.sign({})), 'then it is closed').toBe('closed');
    expect(await pool.get('a'), 'the one asked for more lately stays').toBe(a);
    const { token } = await (await pool.get('b')).sign({});
    expect(await verdict((await pool.get('b')).verify(token)), 'asked for again, it is loaded again').toBe(
      'accepted',
    );
    await pool.close();
    expect(clock.timers, 'nothing is left behind, of those let go neither').toBe(0);
  });

  it('a load that failed is not held: the next call tries again', async () => {
    const clock = fakeClock();
    const down = observedStore(memoryStore({ clock }));
    down.state = 'down';
    const { pool } = setUp({
      clock,
      store(tenant) {
        if (tenant === 'nobody') throw new Error('there is no such tenant');
        return down;
      },
    });
    expect(await verdict(pool.get('a'))).toBe('store_unavailable');
    down.state = 'up';
    expect(await verdict(pool.get('a'))).toBe('accepted');
    await expect(pool.get('nobody'), 'what "store" throws is the caller’s').rejects.toThrow(
      'there is no such tenant',
    );
    await expect(pool.get('nobody')).rejects.toThrow('there is no such tenant');
    await pool.close();
  });

  it('P10: tenants refresh at times of their own, not in a herd', async () => {
    const { pool, clock, stores } = setUp({ maxAuthorities: 200, refreshInterval: 60 });
    for (let i = 0; i < 100; i++) await pool.get(`tenant-${i}`);
    const reads = (): number => [...stores.values()].reduce((sum, { calls }) => sum + calls, 0);
    const perSecond: number[] = [];
    for (let second = 0; second < 120; second++) {
      const before = reads();
      await clock.advance(1);
      perSecond.push(reads() - before);
    }
    const later = perSecond.slice(60);
    expect(Math.max(...later), 'the worst second after a first minute, of a hundred tenants').toBeLessThan(
      25,
    );
    expect(
      later.reduce((sum, count) => sum + count, 0),
      'each about once in a minute',
    ).toBeGreaterThan(80);
    await pool.close();
  });

  it('after close() it says closed', async () => {
    const { pool, clock } = setUp();
    await using held = pool;
    const a = await held.get('a');
    await pool.close();
    expect(await verdict(pool.get('a'))).toBe('closed');
    expect(await verdict(a.sign({}))).toBe('closed');
    expect(clock.timers).toBe(0);
  });

  it.each([
    [{ store: memoryStore() }, /^"store" must be a function that gives the store of a tenant/],
    [{ maxAuthorities: 0 }, /^"maxAuthorities" must be/],
    [{ closeAfter: -1 }, /^"closeAfter" must be/],
    [{ tenants: 5 }, /^"tenants" is not an option of createAuthorityPool/],
    [{ propagationDelay: 60, jwksMaxAge: 600 }, /^"propagationDelay" \(60 s\) must be at least/],
  ])('P11: wrong options fail at construction: %j', (wrong, message) => {
    // Deliberately wrong, as from JavaScript.
    expect(() => setUp(wrong as unknown as Partial<AuthorityPoolOptions>)).toThrow(message);
  });

  it('refuses what is no name of a tenant', async () => {
    const { pool } = setUp();
    await expect(pool.get('')).rejects.toThrow(/^"tenant" must/);
    // Deliberately wrong, as from JavaScript.
    await expect(pool.get(5 as unknown as string)).rejects.toThrow(/^"tenant" must/);
  });
});
