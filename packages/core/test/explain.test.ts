import { describe, expect, it } from 'vitest';
import { failsBefore } from './support/faulty-store.ts';
import { SkewedClock, timing, World } from './support/world.ts';

describe('explain', () => {
  it('names the active key and why it is this one, what is due, and what comes in order', async () => {
    const world = new World();
    const { rotator, activeKid, keySet } = await world.start();
    const [key] = keySet.keys;
    const explanation = rotator.explain();

    expect(explanation).toMatchObject({
      namespace: 'default',
      revision: 1,
      sealedBy: world.encrypter.id,
      due: [],
      heldUpBy: [],
    });
    expect(explanation.active).toEqual([
      {
        alg: 'ES256',
        kid: activeKid,
        why: `of the keys that may sign it took over last, at ${new Date(key?.activatesAt ?? 0).toISOString()}`,
      },
    ]);
    expect(explanation.keys, 'durations in seconds, times in epoch milliseconds').toMatchObject([
      {
        kid: activeKid,
        state: 'active',
        hasPrivateKey: true,
        tokenLifetime: 300,
        activatesAt: key?.activatesAt,
      },
    ]);
    expect(explanation.upcoming, 'one publication ahead').toEqual([
      {
        at: (key?.activatesAt ?? 0) + timing.rotationInterval - timing.propagationDelay,
        what: 'publish',
        alg: 'ES256',
      },
    ]);
    expect(explanation.health.status).toBe('fresh');
  });

  it('tells the whole way of a key once a rotation is under way', async () => {
    const world = new World();
    const { rotator, activeKid } = await world.start();
    const { kid, activatesAt } = await rotator.rotateNow();
    const { active, upcoming } = rotator.explain();

    expect(active[0]?.why, 'when it ends').toContain(
      `and signs until ${new Date(activatesAt).toISOString()}`,
    );
    expect(upcoming.map(({ what, kid: of }) => [what, of])).toEqual([
      ['deactivate', activeKid],
      ['activate', kid],
      ['retire', activeKid],
      ['expire', activeKid],
      ['prune', activeKid],
    ]);
    expect(
      upcoming.map(({ at }) => at),
      'in the order of time',
    ).toEqual(upcoming.map(({ at }) => at).toSorted((a, b) => a - b));
  });

  it('tells what is due as soon as it is, before anybody does it', async () => {
    const world = new World();
    const { rotator } = await world.start();
    await world.clock.advance('33m');
    expect(rotator.explain().due).toEqual([expect.objectContaining({ step: 'publish', alg: 'ES256' })]);
  });
});

describe('explain says what holds things up', () => {
  it('an empty store that this instance may not fill', async () => {
    const { rotator, keyRing } = new World().instance({ policy: { initialise: 'never' } });
    await keyRing.ready();
    const explanation = rotator.explain();
    expect(explanation).toMatchObject({
      revision: undefined,
      sealedBy: undefined,
      keys: [],
      active: [],
      upcoming: [],
    });
    expect(explanation.heldUpBy, 'with the way out').toContainEqual(
      expect.stringContaining('rotateNow() makes new ones'),
    );
  });

  it('a store that does not answer', async () => {
    const { rotator, keyRing, store } = await new World().start();
    store.always = failsBefore;
    await keyRing.refresh().catch(() => {});
    const { heldUpBy, health } = rotator.explain();
    expect(health.code).toBe('store_unavailable');
    expect(heldUpBy).toEqual([health.reason]);
  });

  it('a clock that differs from the store’s', async () => {
    const world = new World();
    const clock = new SkewedClock(world.clock, -90_000);
    await world.start();
    const { rotator, keyRing } = world.instance({ clock });
    await keyRing.ready();
    expect(rotator.explain().heldUpBy).toContainEqual(
      expect.stringMatching(/clock and the store's differ by 90 s/),
    );
  });

  it('a roll back, and until when', async () => {
    const world = new World();
    const { rotator } = await world.start();
    await rotator.rotateNow();
    const { publishNotBefore } = await rotator.rollback();
    expect(rotator.explain().heldUpBy).toEqual([
      `after a roll back, no key is published before ${new Date(publishNotBefore).toISOString()}`,
    ]);
  });

  it('a key that was made by a clock far ahead, and how to mend it', async () => {
    const world = new World();
    const clock = new SkewedClock(world.clock, 30 * 86_400_000);
    await world.start();
    const stranger = world.instance({ clock, hasClock: false });
    const { kid } = await stranger.rotator.rotateNow();
    const { rotator } = await world.start();
    expect(rotator.explain().heldUpBy).toContainEqual(
      expect.stringMatching(`key ${kid} activates only at .*rollback\\(\\)`),
    );
    await rotator.rollback();
    expect(rotator.explain().heldUpBy, 'the remedy it names works').not.toContainEqual(
      expect.stringContaining(kid),
    );
  });
});
