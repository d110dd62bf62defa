import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { generateKeyPair } from '../../src/algorithms.ts';
import { executesLate, failsBefore, hangs, losesReply } from '../support/faulty-store.ts';
import { SkewedClock, timing, World } from '../support/world.ts';

/** The first key is due for a successor this long after it was made. */
const untilDue = '33m';

describe('P2: exactly one rotation, however many instances try', () => {
  it('P2: of 12 instances that start together on an empty store, one makes the first key', async () => {
    const world = new World();
    const instances = Array.from({ length: 12 }, () => world.instance());

    const results = await Promise.all(instances.map(async ({ rotator }) => rotator.checkAndRotateKeys()));

    const outcomes = results.map(({ outcome }) => outcome);
    expect(outcomes.filter((outcome) => outcome === 'rotated').length, 'one instance must win').toBe(1);
    expect(
      outcomes.filter((outcome) => outcome === 'lost_race').length,
      'every other must learn that it lost',
    ).toBe(11);
    expect(world.count('rotated'), 'one event over the whole fleet: this is what operators count').toBe(1);
    const { keys } = await world.shared.document();
    expect(keys.length, 'three replicas that mint three keys are the classic fault').toBe(1);
    for (const { activeKid } of instances) {
      expect(activeKid, 'a loser must hold the key set of the winner at once').toBe(keys[0]?.kid);
    }
  });

  it('P2: of 12 instances whose rotation falls due together, one publishes and the others hold its key', async () => {
    const world = new World();
    const instances = await world.startMany(12);
    await world.clock.advance(untilDue);
    const before = world.shared.history.length;

    const results = await Promise.all(instances.map(async ({ rotator }) => rotator.checkAndRotateKeys()));

    expect(results.filter(({ outcome }) => outcome === 'rotated').length, 'one instance must win').toBe(1);
    expect(results.filter(({ outcome }) => outcome === 'lost_race').length, 'the others must lose').toBe(11);
    expect(world.count('rotated'), 'the first key and this one').toBe(2);
    expect(world.shared.history.length - before, 'a due rotation is one commit').toBe(1);
    const revisions = new Set(instances.map(({ keyRing }) => keyRing.revision));
    expect(revisions.size, 'every loser must have adopted the revision of the winner').toBe(1);
    expect(
      new Set(instances.map(({ pendingKid }) => pendingKid)).size,
      'all must know the same next key',
    ).toBe(1);
  });

  it('P2: ten started rotators make one key per interval over twelve intervals, each one publish and one retire', async () => {
    const world = new World();
    const instances = await world.startMany(10);
    for (const { rotator } of instances) rotator.start();

    await world.clock.advance((timing.rotationInterval / 1000) * 12);

    // The first, and one per interval: each is due an interval after its predecessor took over, plus deadline and jitter.
    expect(world.count('rotated'), 'neither doubled nor missed').toBe(1 + 12);
    const madeBy = instances.filter((instance) => instance.events('rotated').length > 0).length;
    expect(madeBy, 'the work must not depend on one instance').toBeGreaterThan(2);
    const document = await world.shared.document();
    const withPrivateHalf = document.keys.filter(({ hasPrivateKey }) => hasPrivateKey);
    expect(
      withPrivateHalf.length,
      'what no longer signs must have lost its private half',
    ).toBeLessThanOrEqual(2);
  });

  it('P2: an instance that dies before its write reaches the store leaves the rotation to the others', async () => {
    const world = new World();
    const [dying, other] = await world.startMany(2);
    await world.clock.advance(untilDue);
    const before = dying.store.calls.compareAndSwap;
    dying.store.next('compareAndSwap', hangs);
    const unfinished = dying.rotator.checkAndRotateKeys();
    // Its clock stands still: it has died as far as anybody can tell.
    while (dying.store.calls.compareAndSwap === before) await new Promise((resolve) => setImmediate(resolve));

    const result = await other?.rotator.checkAndRotateKeys();

    expect(result?.outcome, 'the rotation must not wait for the dead').toBe('rotated');
    expect((await world.shared.document()).keys.length, 'one new key').toBe(2);
    await world.clock.advance(11);
    expect((await unfinished).outcome, 'the dead one, had it lived, would have been told to try again').toBe(
      'postponed',
    );
  });

  it('P2: an instance that dies after its write leaves nothing to do for the others', async () => {
    const world = new World();
    const [dying, other] = await world.startMany(2);
    await world.clock.advance(untilDue);
    await dying.rotator.checkAndRotateKeys();
    await dying.keyRing.close();

    const result = await other?.rotator.checkAndRotateKeys();

    expect(result?.outcome, 'another instance made the key: it must be adopted, not doubled').toBe(
      'lost_race',
    );
    expect(world.count('rotated'), 'the first key and this one').toBe(2);
    expect(other?.pendingKid, 'the survivor must know the key of the dead').toBe(dying.pendingKid);
  });

  it('P2: a second rotateNow while one is pending makes no key, in another process or the same', async () => {
    const world = new World();
    const [one, another] = await world.startMany(2);

    const results = await Promise.all([
      one.rotator.rotateNow(),
      one.rotator.rotateNow(),
      another?.rotator.rotateNow(),
    ]);

    expect(
      results.map((result) => String(result?.outcome)).toSorted((x, y) => x.localeCompare(y)),
      'one rotates, two are told of it',
    ).toEqual(['already_pending', 'already_pending', 'rotated']);
    expect(new Set(results.map((result) => result?.kid)).size, 'all three must name the same key').toBe(1);
    expect((await world.shared.document()).keys.length, 'one new key').toBe(2);
  });
});

describe('commits whose fate is unknown', () => {
  it('P2: a write that happened and whose reply was lost counts as committed, once', async () => {
    const world = new World();
    const instance = await world.start();
    await world.clock.advance(untilDue);
    instance.store.next('compareAndSwap', losesReply);

    const result = await instance.rotator.checkAndRotateKeys();

    expect(result.outcome, 'a lost reply must not turn a won race into its opposite').toBe('rotated');
    expect(instance.events('rotated').length, 'the first key and this one').toBe(2);
    expect((await world.shared.document()).keys.length, 'one new key').toBe(2);
  });

  it('P2: a write that happened is counted once also if the store falls silent right after it', async () => {
    const world = new World();
    const instance = await world.start();
    await world.clock.advance(untilDue);
    instance.store.next('compareAndSwap', async (execute) => {
      await execute();
      instance.store.next('load', failsBefore);
      throw new Error('socket hang up');
    });

    const result = await instance.rotator.checkAndRotateKeys();
    expect(result.outcome, 'nobody can know yet').toBe('postponed');
    expect(instance.events('rotated').length, 'not reported before it is known').toBe(1);
    await instance.keyRing.refresh();
    await instance.keyRing.refresh();

    expect(instance.events('rotated').length, 'it did happen, by this instance, once').toBe(2);
    expect((await instance.rotator.checkAndRotateKeys()).outcome, 'nothing is left to do').toBe('not_due');
    expect((await world.shared.document()).keys.length, 'one new key').toBe(2);
  });

  it('P2: a write that never happened is not counted', async () => {
    const world = new World();
    const instance = await world.start();
    await world.clock.advance(untilDue);
    instance.store.next('compareAndSwap', failsBefore);

    const failed = await instance.rotator.checkAndRotateKeys();
    expect(failed.outcome, 'the store did not take it').toBe('postponed');
    const again = await instance.rotator.checkAndRotateKeys();

    expect(again.outcome, 'the next try must do it').toBe('rotated');
    expect(instance.events('rotated').length, 'the first key and the one that was stored').toBe(2);
    expect((await world.shared.document()).keys.length, 'one new key').toBe(2);
  });

  it.each([
    { clock: 'right', skew: 0 },
    { clock: '25 s ahead, which is tolerated', skew: 25_000 },
  ])(
    'P3: an abandoned write that a client executes too late is refused by the store (clock $clock)',
    async ({ skew }) => {
      const world = new World();
      const instance = await world.start({ clock: new SkewedClock(world.clock, skew) });
      await world.clock.advance(untilDue);
      const { fault, release } = executesLate();
      instance.store.next('compareAndSwap', fault);
      const result = await instance.rotator.checkAndRotateKeys();
      expect(result.outcome, 'the write seems to have failed').toBe('postponed');

      await world.clock.advance(timing.commitDeadline / 1000 + 1);
      await release();

      const { keys } = await world.shared.document();
      expect(keys.length, 'published this late, the key would sign before caches could know it').toBe(1);
    },
  );

  it('P2: an abandoned write that is executed in time counts, and nothing is made in its place', async () => {
    const world = new World();
    const [instance, other] = await world.startMany(2);
    await world.clock.advance(untilDue);
    const { fault, release } = executesLate();
    instance.store.next('compareAndSwap', fault);
    await instance.rotator.checkAndRotateKeys();

    await release();
    const result = await other?.rotator.checkAndRotateKeys();
    const own = await instance.rotator.checkAndRotateKeys();

    expect(result?.outcome, 'the key is there').toBe('lost_race');
    expect(own.outcome, 'the key is there, by whomever').not.toBe('postponed');
    expect((await world.shared.document()).keys.length, 'one new key').toBe(2);
    expect(world.count('rotated'), 'the first key and this one').toBe(2);
  });

  it('P3: a commit that takes longer than its deadline is planned again, so that the key is published in time', async () => {
    const world = new World();
    let isSlow = false;
    const instance = await world.start({
      randomBytes: (size) => {
        // The nonce: between the plan and the write, the machine stops for a while.
        if (isSlow && size === 12) {
          isSlow = false;
          world.clock.step(timing.commitDeadline + 5000);
        }
        return randomBytes(size);
      },
    });
    await world.clock.advance(untilDue);
    isSlow = true;

    const result = await instance.rotator.checkAndRotateKeys();

    expect(isSlow, 'the machine must have stopped').toBe(false);
    expect(result.outcome, 'it must still come to its end').toBe('rotated');
    expect(instance.store.calls.compareAndSwap, 'the late plan must never be sent').toBe(2);
    const pending = instance.key(instance.pendingKid);
    expect(
      (pending?.activatesAt ?? 0) - world.clock.now(),
      'the key must be published for the whole propagation delay',
    ).toBeGreaterThanOrEqual(timing.propagationDelay);
  });
});

describe('commits of different kinds at once', () => {
  it('all of them land, none undoes another', async () => {
    const world = new World();
    const instances = await world.startMany(7);
    const [a, b, c, d, e, f, g] = instances;
    const first = a.activeKid;
    const imported = await Promise.all(
      Array.from({ length: 4 }, async () => generateKeyPair('ES256', { modulusLength: 2048 })),
    );
    const [old, one, two, three] = imported.map(({ privateKey }) => privateKey);
    if (old === undefined || one === undefined || two === undefined || three === undefined)
      throw new Error('no keys');
    const { kid: oldKid } = await a.rotator.importKey(old, { as: 'verify-only' });
    await world.refreshAll();

    await Promise.all([
      a.rotator.rotateNow(),
      b?.rotator.revoke(oldKid, { reason: 'found in a backup' }),
      c?.rotator.importKey(one, { as: 'verify-only' }),
      d?.rotator.importKey(two, { as: 'verify-only' }),
      e?.rotator.importKey(three, { as: 'verify-only' }),
      f?.rotator.rewrap({ force: true }),
      g?.rotator.rewrap({ force: true }),
    ]);

    const { keys } = await world.shared.document();
    expect(keys.length, 'the first, the next, and four imported ones').toBe(6);
    expect(
      keys.find(({ kid }) => kid === oldKid)?.revokedAt,
      'the revocation must not be lost',
    ).toBeDefined();
    expect(
      keys.find(({ kid }) => kid === first)?.deactivatesAt,
      'the rotation must not be lost',
    ).toBeDefined();
    await world.refreshAll();
    expect(
      new Set(instances.map(({ keyRing }) => keyRing.revision)).size,
      'all must end on one revision',
    ).toBe(1);
  });

  it('says commit_conflict, and stays usable, when it loses every race', async () => {
    const world = new World();
    const [unlucky, busy] = await world.startMany(2);
    unlucky.store.always = async (execute) => {
      const result = await execute();
      // Whenever it has looked, another commits.
      if (typeof result === 'object') await busy?.rotator.rewrap({ force: true });
      return result;
    };

    const lost = unlucky.rotator.rewrap({ force: true });

    await expect(lost, 'it must end, and say how').rejects.toMatchObject({
      code: 'commit_conflict',
      retryable: true,
    });
    unlucky.store.always = undefined;
    await expect(unlucky.rotator.rewrap({ force: true }), 'and work again afterwards').resolves.toMatchObject(
      {
        kids: [unlucky.activeKid],
      },
    );
  });
});
