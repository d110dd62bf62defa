import { describe, expect, it } from 'vitest';
import { failsBefore, losesReply, parseStored } from '../support/faulty-store.ts';
import { codeOf, type Instance, timing, World } from '../support/world.ts';

const untilDue = '33m';
const interval = timing.rotationInterval / 1000;

async function expectVerifies(instance: Instance, token: string, why: string): Promise<void> {
  expect(await codeOf(instance.authority.verify(token)), `P8: ${why}`).toBe('done');
}

/** Every instance reads the store until none finds anything new. */
async function settle(world: World): Promise<void> {
  await world.refreshAll();
  await world.refreshAll();
}

function expectOneDocument(world: World): void {
  const revisions = world.instances.map(({ keyRing }) => keyRing.revision);
  expect(new Set(revisions).size, `all must end on one document, got revisions ${revisions.join(', ')}`).toBe(
    1,
  );
  const active = world.instances.map(({ activeKid }) => activeKid);
  expect(new Set(active).size, 'all must sign with one key').toBe(1);
}

describe('P8: a store that lost data is healed', () => {
  it('P8: after a wipe, any running instance puts everything back', async () => {
    const world = new World();
    const [instance, other] = await world.startMany(2);
    await world.clock.advance(untilDue);
    await instance.rotator.checkAndRotateKeys();
    await settle(world);
    const token = await instance.sign();
    const before = instance.keySet;

    world.shared.wipe();
    await instance.keyRing.refresh();

    const [healed] = instance.events('healed');
    expect(
      healed?.restoredKids.toSorted((a, b) => a.localeCompare(b)),
      'the event must say what was restored',
    ).toEqual(before.keys.map(({ kid }) => kid).toSorted((a, b) => a.localeCompare(b)));
    const after = await world.shared.document();
    expect(
      after.keys.map(({ kid }) => kid),
      'no key may be missing',
    ).toEqual(before.keys.map(({ kid }) => kid));
    expect((await world.shared.current())?.revision, 'the revision must go on, not start over').toBe(
      (world.shared.history.at(-2)?.revision ?? 0) + 1,
    );
    await settle(world);
    expectOneDocument(world);
    await expectVerifies(other ?? instance, token, 'a token must outlive the loss of the store');
    const late = await world.start();
    await expectVerifies(late, token, 'an instance that starts after the healing must know its key');
  });

  it('P8: a wipe is healed by itself within one refresh interval', async () => {
    const world = new World();
    const instance = await world.start();
    world.shared.wipe();

    await world.clock.advance(timing.refreshInterval / 1000);

    expect((await world.shared.current())?.revision, 'nobody should have to call anything').toBe(2);
    expect(instance.events('healed').length, 'healed once').toBe(1);
  });

  it('P8: a key that a fresh instance made on the wiped store, and its tokens, survive the healing', async () => {
    const world = new World();
    const holder = await world.start();
    const oldToken = await holder.sign();
    world.shared.wipe();
    const fresh = await world.start();
    const newToken = await fresh.sign();
    expect(fresh.activeKid, 'it could not know better').not.toBe(holder.activeKid);

    await holder.keyRing.refresh();
    await settle(world);

    expectOneDocument(world);
    for (const instance of world.instances) {
      await expectVerifies(instance, oldToken, 'the old key must verify everywhere');
      await expectVerifies(
        instance,
        newToken,
        'the newest revision alone would lose the key of the fresh instance',
      );
    }
    const { keys } = await world.shared.document();
    expect(
      keys.filter((key) => key.hasPrivateKey && key.deactivatesAt === undefined).length,
      'one of the two signs on',
    ).toBe(1);
  });

  it('P8: an old backup that is restored loses nothing that happened since', async () => {
    const world = new World();
    const [instance] = await world.startMany(2);
    const backup = await world.shared.stored();
    await world.clock.advance(untilDue);
    await instance.rotator.checkAndRotateKeys();
    await world.clock.advance(1100);
    await instance.rotator.checkAndRotateKeys();
    await settle(world);
    const token = await instance.sign();
    const { activeKid } = instance;
    expect(activeKid, 'the second key signs by now').not.toBe(parseStored(backup).keys[0]?.kid);

    await world.shared.put(backup);
    await settle(world);

    expectOneDocument(world);
    expect(instance.activeKid, 'the key that signs must stay the one that signs').toBe(activeKid);
    const late = await world.start();
    await expectVerifies(late, token, 'a token by the newer key must verify at an instance that starts now');
    const { keys } = await world.shared.document();
    expect(keys[0]?.hasPrivateKey, 'the private half that was destroyed must not come back').toBe(false);
  });

  it('P8: two commits with the same revision, after a split brain, are joined', async () => {
    const world = new World();
    const [left, right] = await world.startMany(2);
    if (right === undefined) throw new Error('two instances');
    const common = await world.shared.stored();
    await left.rotator.rotateNow({ emergency: true });
    const leftToken = await left.sign();
    await world.shared.put(common);
    await right.rotator.rotateNow({ emergency: true });
    const rightToken = await right.sign();
    expect(left.keyRing.revision, 'this is the hard case: the revision cannot tell them apart').toBe(
      right.keyRing.revision,
    );

    await settle(world);

    expectOneDocument(world);
    for (const instance of world.instances) {
      await expectVerifies(instance, leftToken, 'a token of one side must verify on both');
      await expectVerifies(instance, rightToken, 'a token of the other side must verify on both');
    }
    expect((await world.shared.document()).keys.length, 'the first key, and one of each side').toBe(3);
  });

  it('P4: a key that one side of a split brain ended and the other signed on with outlives the last token', async () => {
    const world = new World();
    const [ending, apart] = await world.startMany(2);
    if (apart === undefined) throw new Error('two instances');
    const common = await world.shared.stored();
    const { activeKid } = apart;
    await ending.rotator.rotateNow({ emergency: true });
    const ended = await world.shared.stored();
    await world.shared.put(common);
    ending.store.always = failsBefore;
    // As long as that the expiry that the ending side wrote is nearer than the end of a token that is signed now.
    for (let passed = 0; passed < 1200; passed += 60) {
      await world.clock.advance(60);
      await apart.keyRing.refresh();
    }
    const token = await apart.sign();
    await world.shared.put(ended);
    ending.store.always = undefined;

    await settle(world);

    expectOneDocument(world);
    expect(apart.activeKid, 'the emergency stands').not.toBe(activeKid);
    await world.clock.advance(timing.tokenLifetime / 1000 - 1);
    for (const { rotator } of world.instances) await rotator.checkAndRotateKeys();
    expect(ending.key(activeKid), 'its tokens are valid: it must not be pruned').toBeDefined();
    for (const instance of world.instances)
      await expectVerifies(instance, token, 'a valid token must verify on both sides');
  });

  it('P8: five holders that heal a wipe at once converge on one document', async () => {
    const world = new World();
    const instances = await world.startMany(5);
    await instances[0].rotator.rotateNow();
    await settle(world);
    const before = world.shared.history.length;
    world.shared.wipe();

    await Promise.all(instances.map(async ({ keyRing }) => keyRing.refresh()));
    await settle(world);

    expectOneDocument(world);
    expect(world.shared.history.length - before, 'one heals, the others see that it was done').toBe(1);
    expect(world.count('healed'), 'one event over the fleet').toBe(1);
  });

  it('P8: a document that covers what is held is adopted whatever its revision', async () => {
    const world = new World();
    const instance = await world.start();
    const older = await world.shared.stored();
    await instance.rotator.rewrap({ force: true });
    await instance.rotator.rewrap({ force: true });
    expect(instance.keyRing.revision, 'two commits that changed nothing of the keys').toBe(3);

    await world.shared.put(older);
    await instance.keyRing.refresh();

    expect(instance.keyRing.revision, 'nothing is lost, so nothing is to be healed').toBe(1);
    expect(instance.events('healed').length, 'nothing is lost, so nothing is to be healed').toBe(0);
    expect((await world.shared.current())?.etag, 'it must not be overwritten').toBe(older.etag);
  });

  it('P8: the reply to the healing write may be lost too', async () => {
    const world = new World();
    const instance = await world.start();
    const { activeKid } = instance;
    world.shared.wipe();
    instance.store.next('compareAndSwap', losesReply);

    await instance.keyRing.refresh();

    expect((await world.shared.document()).keys[0]?.kid, 'it was healed').toBe(activeKid);
    expect(instance.keyRing.health().status, 'and is in use').toBe('fresh');
  });

  it('P8: what a heal wrote confirms nothing: only a later read does', async () => {
    const world = new World();
    const instance = await world.start();
    await world.clock.advance(1);
    const confirmedAt = instance.keyRing.health().lastRefreshAt;
    world.shared.wipe();
    instance.store.next('load', async (execute) => {
      const result = await execute();
      instance.store.next('load', failsBefore);
      return result;
    });
    await world.clock.advance(5);

    expect(await codeOf(instance.keyRing.refresh()), 'the read after the heal failed').toBe(
      'store_unavailable',
    );

    expect(
      instance.keyRing.health().lastRefreshAt,
      'the age must count from the last read that was confirmed',
    ).toBe(confirmedAt);
  });
});

describe('P8: a revocation is never undone', () => {
  it.each(['wipe', 'backup'] as const)('P8: by a %s', async (loss) => {
    const world = new World();
    const [instance] = await world.startMany(2);
    const token = await instance.sign();
    const backup = await world.shared.stored();
    await instance.rotator.revoke(instance.activeKid, { reason: 'laptop stolen' });
    await settle(world);

    if (loss === 'wipe') world.shared.wipe();
    else await world.shared.put(backup);
    await settle(world);

    for (const { authority } of world.instances) {
      expect(await codeOf(authority.verify(token)), 'a thief must not win by restoring a backup').toBe(
        'key_revoked',
      );
    }
    const late = await world.start();
    expect(await codeOf(late.authority.verify(token)), 'an instance that starts now must know as well').toBe(
      'key_revoked',
    );
  });

  it('P8: by a backup that is older than the tombstone', async () => {
    const world = new World();
    const instance = await world.start();
    const token = await instance.sign();
    const revokedKid = instance.activeKid;
    const backup = await world.shared.stored();
    await instance.rotator.revoke(revokedKid, { reason: 'laptop stolen' });
    instance.rotator.start();
    await world.clock.advance(2 * interval);
    expect(
      instance.key(revokedKid),
      'the tombstone must be gone for this test to mean anything',
    ).toBeUndefined();

    await world.shared.put(backup);
    await settle(world);

    expect(instance.key(revokedKid), 'it has departed and must not come back').toBeUndefined();
    const late = await world.start();
    expect(
      await codeOf(late.authority.verify(token, { clockTolerance: '1y' })),
      'nor at an instance that starts now',
    ).toBe('unknown_kid');
  });

  it('P8: by a backup so old that even the list of departed keys has forgotten it', async () => {
    const world = new World();
    const instance = await world.start();
    await world.clock.advance(untilDue);
    await instance.rotator.checkAndRotateKeys();
    await world.clock.advance(1100);
    const revokedKid = instance.activeKid;
    const backup = await world.shared.stored();
    await instance.rotator.revoke(revokedKid, { reason: 'laptop stolen' });
    instance.rotator.start();
    const horizon = instance.keySet.horizon / 1000;
    // One refresh at a time, as in real life: an instance that was asleep for so long would be another story.
    for (let passed = 0; passed < 2 * horizon + 2 * interval; passed += 200) await world.clock.advance(200);
    expect(
      instance.keySet.departed.some(({ kid }) => kid === revokedKid),
      'it must be forgotten for this test to mean anything',
    ).toBe(false);

    await world.shared.put(backup);
    await settle(world);

    expect(instance.key(revokedKid), 'a key older than anybody remembers is gone, not new').toBeUndefined();
    expect(
      (await world.shared.document()).keys.some(({ kid }) => kid === revokedKid),
      'nor in the store',
    ).toBe(false);
  });
});

describe('P8: an instance that slept for longer than a key lives', () => {
  it('P8: does not bring back what was pruned meanwhile', async () => {
    const world = new World();
    const [awake, sleeper] = await world.startMany(2);
    if (sleeper === undefined) throw new Error('two instances');
    const { activeKid } = sleeper;
    sleeper.store.always = failsBefore;
    awake.rotator.start();
    const { horizon } = awake.keySet;
    // Long enough for the first key to be forgotten by the list of departed ones too.
    for (let passed = 0; passed < 4 * horizon; passed += 200_000) await world.clock.advance(200);
    expect(
      awake.keySet.departed.some(({ kid }) => kid === activeKid),
      'must be forgotten for this test to mean anything',
    ).toBe(false);
    sleeper.store.always = undefined;

    await sleeper.keyRing.refresh();

    expect(sleeper.events('healed').length, 'what it remembers is over').toBe(0);
    expect(sleeper.keyRing.revision, 'it must adopt what the others have').toBe(awake.keyRing.revision);
    expect(sleeper.key(activeKid), 'the pruned key must stay gone').toBeUndefined();
  });

  it('P8: still knows what was revoked, and leaves somebody who signs', async () => {
    const world = new World();
    const [gone, sleeper] = await world.startMany(2);
    if (sleeper === undefined) throw new Error('two instances');
    const token = await sleeper.sign();
    const backup = await world.shared.stored();
    await sleeper.rotator.revoke(sleeper.activeKid, { reason: 'laptop stolen' });
    await gone.keyRing.close();
    // Everybody sleeps; then an operator restores a backup from before the revocation.
    sleeper.store.always = failsBefore;
    await world.clock.advance((2 * sleeper.keySet.horizon) / 1000);
    await world.shared.put(backup);
    sleeper.store.always = undefined;

    await sleeper.keyRing.refresh();

    expect(
      await codeOf(sleeper.authority.verify(token, { clockTolerance: '1y' })),
      'revoked is revoked',
    ).toBe('key_revoked');
    const newToken = await sleeper.sign();
    await expectVerifies(sleeper, newToken, 'the only key of the backup is revoked: a new one must be there');
    expect(
      (await world.shared.document()).keys.find(({ kid }) => kid === parseStored(backup).keys[0]?.kid)
        ?.revokedAt,
      'the store must know',
    ).toBeDefined();
  });
});

describe("initialise: 'never'", () => {
  it('an instance that starts on an empty store makes nothing, says so, and goes on once there is a key set', async () => {
    const world = new World();
    const waiting = world.instance({ policy: { initialise: 'never' } });

    const result = await waiting.rotator.checkAndRotateKeys();

    expect(result.outcome, 'nothing is due for it').toBe('not_due');
    expect(await world.shared.current(), 'it must not make a key set').toBeUndefined();
    expect(await codeOf(waiting.sign()), 'the code must tell').toBe('not_initialised');
    expect(waiting.rotator.explain().heldUpBy.join('\n'), 'an operator must be told what to do').toContain(
      'rotateNow()',
    );
    expect(waiting.keyRing.health().code, 'health must tell').toBe('not_initialised');
    const initialiser = await world.start();
    await world.clock.advance(timing.refreshInterval / 1000);
    expect(waiting.activeKid, 'it must pick up the key set by itself').toBe(initialiser.activeKid);
  });

  it('P8: on a wiped store it waits for a holder to heal instead of minting', async () => {
    const world = new World();
    const holder = await world.start();
    world.shared.wipe();
    const waiting = await world.start({ policy: { initialise: 'never' } });
    expect(await codeOf(waiting.sign()), 'it must not mint').toBe('not_initialised');

    await holder.keyRing.refresh();
    await waiting.keyRing.refresh();

    expect(waiting.activeKid, 'the old key, not a new one').toBe(holder.activeKid);
    expect((await world.shared.document()).keys.length, 'nobody minted').toBe(1);
  });

  it('the command to rotate makes the first key set all the same', async () => {
    const world = new World();
    const instance = world.instance({ policy: { initialise: 'never' } });

    const result = await instance.rotator.rotateNow();

    expect(result, 'the first key signs at once').toMatchObject({
      outcome: 'rotated',
      kid: instance.activeKid,
    });
  });
});
