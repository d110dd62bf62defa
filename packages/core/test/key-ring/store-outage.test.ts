import { describe, expect, it } from 'vitest';
import { jwksResponse } from '../../src/jwks.ts';
import { failsBefore, hangs, waitsFor } from '../support/faulty-store.ts';
import { codeOf, codeOfCall, errorOf, timing, World } from '../support/world.ts';

const staleBound = timing.staleBound / 1000;

describe('P7: an outage of the store does not stop the service', () => {
  it('P7: signing goes on from memory up to the stale bound, then says stale; verification goes on', async () => {
    const world = new World();
    const instance = await world.start();
    const token = await instance.sign();
    instance.store.always = failsBefore;

    await world.clock.advance(staleBound);
    expect(await codeOf(instance.sign()), 'at the stale bound it must still sign').toBe('done');

    await world.clock.advance(1);
    const error = await errorOf(instance.sign());
    expect(error?.code, 'beyond it others may not be able to verify what is signed').toBe('stale');
    expect(error?.retryable, 'the caller may try again').toBe(true);
    expect(error?.message, 'it must give age and bound').toContain('251 s ago, the bound is 250 s');
    const verified = await instance.authority.verifyWithHeader(token, { clockTolerance: '1h' });
    expect(verified.keySetAge, 'and the verifier is told how old its knowledge is').toBe(251);
    await world.clock.advance('30d');
    expect(
      await codeOf(instance.authority.verify(token, { clockTolerance: '1y' })),
      'known keys verify for ever',
    ).toBe('done');
  });

  it('P7: who prefers it can refuse to verify when stale', async () => {
    const world = new World();
    const instance = await world.start();
    const { JwtAuthority } = await import('../../src/authority.ts');
    const strict = new JwtAuthority({ keyRing: instance.keyRing, verifyWhenStale: 'refuse' });
    const token = await instance.sign();
    expect(await codeOf(strict.verify(token)), 'fresh: accepted').toBe('done');
    instance.store.always = failsBefore;
    await world.clock.advance(staleBound + 1);

    expect(await codeOf(strict.verify(token, { clockTolerance: '1h' })), 'stale: refused').toBe('stale');
  });

  it('P7: the stale bound of the document holds if it is shorter than the own one', async () => {
    const world = new World();
    await world.start({ policy: { staleBound: 130 } });
    const other = await world.start();
    other.store.always = failsBefore;

    await world.clock.advance(131);

    expect(other.keyRing.staleBound, 'the shorter of the two').toBe(130_000);
    expect(await codeOf(other.sign()), 'whoever published last may prune by its own bound').toBe('stale');
  });

  it('P7: health goes from fresh to stale and back, with an event each, once', async () => {
    const world = new World();
    const instance = await world.start();
    expect(instance.events('fresh').length, 'it began fresh').toBe(1);
    const freshSince = instance.keyRing.health().since;
    instance.store.always = failsBefore;
    for (let passed = 0; passed < 1000; passed += 20) await world.clock.advance(20);

    const health = instance.keyRing.health();
    expect(health, 'status and reason').toMatchObject({
      status: 'stale',
      code: 'store_unavailable',
      revision: 1,
    });
    expect(health.since, 'since when').toBeGreaterThan(freshSince + timing.staleBound);
    expect(health.since, 'noticed with the next attempt').toBeLessThan(
      world.clock.now() - 1_000_000 + timing.staleBound + 2 * timing.refreshInterval,
    );
    expect(instance.events('stale').length, 'one alarm, not one per attempt').toBe(1);
    expect(instance.events('stale')[0]?.lastRefreshAt, 'it must say since when nothing was heard').toBe(
      health.lastRefreshAt,
    );

    instance.store.always = undefined;
    await world.clock.advance(timing.refreshInterval / 1000);
    expect(instance.keyRing.health(), 'it must recover by itself').toMatchObject({
      status: 'fresh',
      code: undefined,
    });
    expect(instance.events('fresh').length, 'one all-clear').toBe(2);
    expect(await codeOf(instance.sign()), 'and sign again').toBe('done');
  });

  it('P7: a stale instance that is asked to sign looks at the store first, so that a nap costs nothing', async () => {
    const world = new World();
    const instance = await world.start();
    instance.store.always = failsBefore;
    await world.clock.advance('1h');
    expect(await codeOf(instance.sign()), 'the store is down').toBe('stale');
    instance.store.always = undefined;
    await world.clock.advance(14.9);
    const loads = instance.store.calls.load;

    const results = await Promise.all(Array.from({ length: 50 }, async () => codeOf(instance.sign())));

    // Within the cool-down after the last failure it says stale without asking; after it, one read serves all.
    const asked = instance.store.calls.load - loads;
    expect(asked, 'fifty requests are no reason for fifty reads').toBeLessThanOrEqual(1);
    await world.clock.advance(2);
    expect(await codeOf(instance.sign()), 'and then it signs').toBe('done');
    expect(new Set(results).size, 'all fifty had the same answer').toBe(1);
  });

  it('P7: the JWKS is served from memory up to the stale bound, then 503 with the reason, so that caches use what they have', async () => {
    const world = new World();
    const instance = await world.start();
    const request = new Request('https://auth.example.com/.well-known/jwks.json');
    instance.store.always = failsBefore;
    await world.clock.advance(staleBound);
    expect((await jwksResponse(instance.authority, request)).status, 'at the stale bound').toBe(200);

    await world.clock.advance(1);
    const response = await jwksResponse(instance.authority, request);

    expect(response.status, 'an outdated JWKS would overwrite better ones in caches').toBe(503);
    expect(await response.json(), 'the reason').toEqual({ error: 'stale' });
    expect(response.headers.get('cache-control'), 'the failure must not be cached').toBe('no-store');
    expect(await codeOfCall(() => instance.keyRing.publication()), 'the same in code').toBe('stale');
  });

  it('P7: a token by an unknown key is "cannot tell" while the store is down, not "invalid"', async () => {
    const world = new World();
    const [cutOff, other] = await world.startMany(2);
    if (other === undefined) throw new Error('two instances');
    cutOff.store.always = failsBefore;
    await other.rotator.rotateNow({ emergency: true });
    const token = await other.sign();
    await world.clock.advance(20);

    const error = await errorOf(cutOff.authority.verify(token));
    expect(error?.code, 'a valid token must not be called invalid').toBe('unknown_kid_while_stale');
    expect(error?.retryable, 'a gateway should answer 503, not 401').toBe(true);

    cutOff.store.always = undefined;
    await world.clock.advance(20);
    expect(await codeOf(cutOff.authority.verify(token)), 'once the store answers, so does it').toBe('done');
  });

  it('a cold start with the store down says store_unavailable, keeps trying, and recovers by itself', async () => {
    const world = new World();
    const instance = world.instance();
    instance.store.always = failsBefore;

    expect(await codeOf(instance.keyRing.ready()), 'the code').toBe('store_unavailable');
    expect(await codeOf(instance.sign()), 'a sign tries again and says the same').toBe('store_unavailable');
    expect(instance.keyRing.health(), 'health says why').toMatchObject({
      status: 'unusable',
      code: 'store_unavailable',
    });
    instance.store.always = undefined;
    await world.clock.advance(timing.refreshInterval / 1000);

    expect(instance.keyRing.age, 'it must have read the store by itself').toBeLessThan(
      timing.refreshInterval,
    );
    await instance.rotator.checkAndRotateKeys();
    expect(await codeOf(instance.sign()), 'and work').toBe('done');
  });

  it('a store that never answers costs one deadline, not for ever', async () => {
    const world = new World();
    const instance = await world.start();
    instance.store.next('load', hangs);

    const refresh = codeOf(instance.keyRing.refresh());
    await world.clock.advance(timing.commitDeadline / 1000);

    expect(await refresh, 'every client hangs for ever on a frozen server; we do not').toBe(
      'store_unavailable',
    );
    expect(
      instance.events('store_error').at(-1)?.message,
      'it must say what was asked and for how long',
    ).toContain('did not answer load within 10000 ms');
    expect(await codeOf(instance.keyRing.refresh()), 'the next read must not wait for the lost one').toBe(
      'done',
    );
  });

  it('an answer that comes after its deadline is dropped', async () => {
    const world = new World();
    const instance = await world.start();
    let answer = (): void => {};
    instance.store.next('load', waitsFor(new Promise<void>((resolve) => (answer = resolve))));
    const refresh = codeOf(instance.keyRing.refresh());
    await world.clock.advance(timing.commitDeadline / 1000 + 1);
    expect(await refresh, 'too late').toBe('store_unavailable');
    const { age } = instance.keyRing;

    answer();
    await world.clock.advance(0);

    expect(instance.keyRing.age, 'nothing may count as confirmed that began this long ago').toBe(age);
  });
});

describe('rotation while the store is down', () => {
  it('is postponed, with the reason, and done by itself when the store is back', async () => {
    const world = new World();
    const instance = await world.start();
    instance.rotator.start();
    await world.clock.advance('30m');
    instance.store.always = failsBefore;
    await world.clock.advance('10m');

    const result = await instance.rotator.checkAndRotateKeys();
    expect(result, 'the reason').toMatchObject({
      outcome: 'postponed',
      error: { code: 'store_unavailable' },
    });
    expect(instance.events('rotation_error').length, 'the background runs report it').toBeGreaterThan(0);

    instance.store.always = undefined;
    await world.clock.advance((timing.refreshInterval / 1000) * 2.5);
    expect(instance.pendingKid, 'made up for by itself').not.toBe(instance.activeKid);
  });
});
