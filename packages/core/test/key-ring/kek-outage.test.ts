import { describe, expect, it } from 'vitest';
import { localEncrypter } from '../../src/local-encrypter.ts';
import type { KeyEncrypter } from '../../src/ports.ts';
import { failsBefore } from '../support/faulty-store.ts';
import { codeOf, CountingEncrypter, errorOf, timing, World } from '../support/world.ts';

const untilDue = '33m';

describe('P7: an outage of the KEK service stops nothing that is loaded', () => {
  it('P7: signing, verifying, publishing and refreshing go on without it', async () => {
    const world = new World();
    const instance = await world.start();
    world.encrypter.isDown = true;

    for (let i = 0; i < 20; i++) {
      await world.clock.advance(80);
      expect(
        await codeOf(instance.sign().then(async (token) => instance.authority.verify(token))),
        'service goes on',
      ).toBe('done');
    }

    expect(instance.keyRing.publication().keys.length, 'publishing goes on').toBe(1);
    expect(instance.keyRing.health(), 'all is well').toMatchObject({ status: 'fresh', code: undefined });
    expect(instance.events('encrypter_error').length, 'nobody even noticed').toBe(0);
  });

  it('P7: a rotation that is under way ends: activation, retirement and pruning need no KEK', async () => {
    const world = new World();
    const instance = await world.start();
    const first = instance.activeKid;
    await world.clock.advance(untilDue);
    await instance.rotator.checkAndRotateKeys();
    const second = instance.pendingKid;
    instance.rotator.start();
    world.encrypter.isDown = true;

    await world.clock.advance(1100);
    expect(instance.activeKid, 'the next key took over').toBe(second);
    expect(
      instance.key(first)?.hasPrivateKey,
      'the private half of the old one must be destroyed all the same',
    ).toBe(false);
    expect(instance.events('retired').length, 'reported').toBe(1);

    await world.clock.advance(1400);
    expect(instance.key(first), 'pruned').toBeUndefined();
    expect(await codeOf(instance.sign()), 'the key that is left signs on').toBe('done');
  });

  it('P7: only the publication of a new key waits, says so, and is made up for', async () => {
    const world = new World();
    const instance = await world.start();
    instance.rotator.start();
    world.encrypter.isDown = true;
    await world.clock.advance('3h');

    const result = await instance.rotator.checkAndRotateKeys();
    expect(result, 'the reason').toMatchObject({
      outcome: 'postponed',
      error: { code: 'kek_unavailable', retryable: true },
    });
    expect(
      await codeOf(instance.sign()),
      'the present key must sign on: late rotation is better than none',
    ).toBe('done');
    expect((await world.shared.document()).keys.length, 'no key may be made').toBe(1);

    world.encrypter.isDown = false;
    await world.clock.advance((timing.refreshInterval / 1000) * 1.3);
    expect(instance.events('rotated').length, 'the first one, and now the next, by itself').toBe(2);
  });

  it('P7: roll back works', async () => {
    const world = new World();
    const instance = await world.start();
    const { activeKid } = instance;
    const { kid } = await instance.rotator.rotateNow();
    world.encrypter.isDown = true;

    const result = await instance.rotator.rollback();

    expect(result.kid, 'the pending key is withdrawn').toBe(kid);
    expect(instance.key(activeKid)?.deactivatesAt, 'the active one signs on').toBeUndefined();
  });

  it('P7: a wiped store is healed', async () => {
    const world = new World();
    const instance = await world.start();
    world.encrypter.isDown = true;
    world.shared.wipe();

    await instance.keyRing.refresh();

    expect(
      (await world.shared.document()).keys[0]?.kid,
      'both failures at once are no reason to lose the key',
    ).toBe(instance.activeKid);
  });

  it('P7: other instances need no KEK either to follow what was sealed under the data key that they know', async () => {
    const world = new World();
    const [instance, other] = await world.startMany(2);
    await instance.rotator.rotateNow();
    await world.refreshAll();
    world.encrypter.isDown = true;
    await instance.rotator.rollback();

    await other?.keyRing.refresh();

    expect(other?.keyRing.revision, 'it must follow').toBe(instance.keyRing.revision);
  });

  it('P9: revocation falls back to the present data key; the next publication takes a fresh one', async () => {
    const world = new World();
    const [instance, other] = await world.startMany(2);
    const token = await instance.sign();
    const before = (await world.shared.document()).sealed.dataKey;
    world.encrypter.isDown = true;

    const result = await instance.rotator.revoke(instance.activeKid, { reason: 'laptop stolen' });
    await other?.keyRing.refresh();

    expect(result.committed, 'what must not wait must not wait').toBe(true);
    expect((await world.shared.document()).sealed.dataKey, 'the present data key').toBe(before);
    expect(await codeOf(instance.authority.verify(token)), 'revoked here').toBe('key_revoked');
    expect(await codeOf(other?.authority.verify(token) ?? Promise.resolve()), 'revoked elsewhere').toBe(
      'key_revoked',
    );
    expect(result.activeKid, 'a new key signs at once').toBe(other?.activeKid);

    world.encrypter.isDown = false;
    await instance.rotator.rotateNow();
    expect((await world.shared.document()).sealed.dataKey, 'the leaked one must not live on').not.toBe(
      before,
    );
  });

  it('P9: with the KEK up, a revocation takes a fresh data key', async () => {
    const world = new World();
    const instance = await world.start();
    const before = (await world.shared.document()).sealed.dataKey;

    await instance.rotator.revoke(instance.activeKid, { reason: 'laptop stolen' });

    expect(
      (await world.shared.document()).sealed.dataKey,
      'who holds the old one must not open the new key',
    ).not.toBe(before);
  });

  it('P7: a KEK that hangs costs one deadline', async () => {
    const world = new World();
    const instance = await world.start({
      encrypter: Object.assign(new CountingEncrypter(), { isDown: false }),
    });
    const hanging = world.instance();
    await instance.keyRing.close();
    const asked = new Promise<void>((resolve) => {
      world.encrypter.encrypt = async () => {
        resolve();
        return new Promise(() => {});
      };
    });
    world.shared.wipe();

    const ready = hanging.rotator.checkAndRotateKeys();
    await asked;
    await world.clock.advance(timing.commitDeadline / 1000);

    expect(await ready, 'not for ever').toMatchObject({
      outcome: 'postponed',
      error: { code: 'kek_unavailable' },
    });
  });
});

describe('P7: a process that starts cold while the KEK is down', () => {
  it('P7: says kek_unavailable and never mints in place of what it cannot read', async () => {
    const world = new World();
    const running = await world.start();
    world.encrypter.isDown = true;
    const cold = world.instance();

    expect(await codeOf(cold.keyRing.ready()), 'the code').toBe('kek_unavailable');
    const result = await cold.rotator.checkAndRotateKeys();
    expect(result, 'a key that is only temporarily unreadable is never replaced').toMatchObject({
      outcome: 'postponed',
      error: { code: 'kek_unavailable' },
    });
    for (const work of [
      cold.sign(),
      cold.rotator.rotateNow({ emergency: true }),
      cold.rotator.revoke('any', { reason: 'x' }),
    ]) {
      expect(await codeOf(work), 'it can do none of this').toBe('kek_unavailable');
    }
    expect(cold.store.calls.compareAndSwap, 'nothing may have been written').toBe(0);
    expect(cold.events('encrypter_error')[0], 'reported, with the label').toMatchObject({
      encrypter: world.encrypter.id,
      code: 'kek_unavailable',
    });

    world.encrypter.isDown = false;
    await world.clock.advance(timing.refreshInterval / 1000);
    expect(cold.activeKid, 'it must recover by itself').toBe(running.activeKid);
  });

  it('P7: on an empty store it waits as well', async () => {
    const world = new World();
    world.encrypter.isDown = true;
    const cold = world.instance();

    const result = await cold.rotator.checkAndRotateKeys();

    expect(result, 'a key set that nobody can seal is none').toMatchObject({
      outcome: 'postponed',
      error: { code: 'kek_unavailable' },
    });
    expect(await world.shared.current(), 'nothing stored').toBeUndefined();
  });

  it('P7: a running instance whose KEK is down keeps what it holds when another one publishes, up to the stale bound', async () => {
    const world = new World();
    const [instance, other] = await world.startMany(2);
    if (other === undefined) throw new Error('two instances');
    const cutOff = new CountingEncrypter({
      id: world.encrypter.id,
      canDecrypt: (encrypted) => world.encrypter.canDecrypt(encrypted),
      encrypt: async (...args) => world.encrypter.encrypt(...args),
      decrypt: async (...args) => world.encrypter.decrypt(...args),
    });
    const lonely = await world.start({ encrypter: cutOff });
    cutOff.isDown = true;
    await other.rotator.rotateNow();

    expect(await codeOf(lonely.keyRing.refresh()), 'it cannot judge the new document').toBe(
      'kek_unavailable',
    );
    expect(lonely.activeKid, 'so it keeps what it has').toBe(instance.activeKid);
    expect(lonely.events('tampered').length, 'an outage is not an attack').toBe(0);
    expect(lonely.events('healed').length, 'and not a loss').toBe(0);
    await world.clock.advance(timing.staleBound / 1000 + 1);
    expect(await codeOf(lonely.sign()), 'it is not confirmed either').toBe('stale');
  });
});

describe('a KEK that is not configured', () => {
  it('is named as the way to mend it', async () => {
    const world = new World('prod');
    const old = localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id: '2025' });
    const instance = await world.start({ encrypter: old });
    await instance.rotator.rewrap({ force: true });
    const current = localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id: '2026' });
    const wrong = world.instance({ encrypter: current });

    const error = await errorOf(wrong.keyRing.ready());

    expect(error?.code, 'not the same as an outage').toBe('kek_not_configured');
    expect(error?.retryable, 'waiting does not mend it').toBe(false);
    expect(error?.message, 'as in scenarios.md').toBe(
      'the key set of namespace "prod" (revision 2) is sealed by "local:2025", but the encrypters given are "local:2026". ' +
        'Add it to "encrypter" as a previous one.',
    );
    expect(await codeOf(wrong.rotator.checkAndRotateKeys()), 'and never minted over').toBe(
      'kek_not_configured',
    );
    expect(wrong.store.calls.compareAndSwap, 'nothing written').toBe(0);
  });

  it('names a KEK of another kind by what its wrapped text says', async () => {
    const world = new World('prod');
    const arn = 'kms:arn:aws:kms:eu-central-1:111122223333:key/1111';
    const real = localEncrypter.forTests();
    const kms = {
      id: 'kms:alias/jwt',
      canDecrypt: (text: string) => text.startsWith('kms:'),
      encrypt: async (key: Uint8Array, context: Readonly<Record<string, string>>) =>
        `${arn}:v1:${(await real.encrypt(key, context)).split(':').at(-1)}`,
      decrypt: async () => new Uint8Array(32),
    };
    await world.start({ encrypter: kms });
    const wrong = world.instance({
      encrypter: [
        localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id: '2026' }),
        localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id: '2025' }),
      ],
    });

    const error = await errorOf(wrong.keyRing.ready());

    expect(error?.message, 'the ARN tells which key it is').toContain(
      `is sealed by "${arn}", but the encrypters given are "local:2026", "local:2025"`,
    );
  });
});

describe('a change of KEK', () => {
  it('previous encrypters open, the first one seals, and rewrap() makes the old one needless', async () => {
    const world = new World();
    const makeEncrypter = (id: string): CountingEncrypter =>
      new CountingEncrypter(localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id }));
    const [before, after] = [makeEncrypter('2025'), makeEncrypter('2026')];
    const old = await world.start({ encrypter: before });
    const token = await old.sign();
    const { activeKid } = old;
    await old.keyRing.close();

    const both = await world.start({ encrypter: [after, before] });
    expect(both.activeKid, 'the old KEK opens').toBe(activeKid);
    expect(both.keyRing.sealedBy, 'status says which').toBe('local:2025');
    const result = await both.rotator.rewrap();
    expect(result, 'what was done').toEqual({
      committed: true,
      from: 'local:2025',
      to: 'local:2026',
      kids: [activeKid],
    });
    expect(both.keyRing.sealedBy, 'status says which').toBe('local:2026');
    expect(both.rotator.explain().sealedUnder, 'as the key set itself has it').toBe('local:2026:v1');
    expect(both.rotator.explain().keks, 'and which are still needed: not the old one').toEqual([
      { id: 'local:2026', seals: true, opens: true },
      { id: 'local:2025', seals: false, opens: false },
    ]);

    before.isDown = true;
    const only = await world.start({ encrypter: after });
    expect(only.activeKid, 'the old KEK can be dropped').toBe(activeKid);
    expect(await codeOf(only.authority.verify(token)), 'no token is lost').toBe('done');
    expect(only.events('rotated').length, 'and no key was made').toBe(0);
  });

  it('rewrap() is one commit, whoever does it and however often', async () => {
    const world = new World();
    const makeEncrypter = (id: string): CountingEncrypter =>
      new CountingEncrypter(localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id }));
    const [before, after] = [makeEncrypter('2025'), makeEncrypter('2026')];
    await (await world.start({ encrypter: before })).keyRing.close();
    const fleet = await world.startMany(5, { encrypter: [after, before] });
    expect(fleet[0].rotator.explain().keks, 'both are needed: one opens, the other is to seal').toEqual([
      { id: 'local:2026', seals: true, opens: false },
      { id: 'local:2025', seals: false, opens: true },
    ]);

    const results = await Promise.all(fleet.map(async ({ rotator }) => rotator.rewrap()));
    const again = await fleet[0].rotator.rewrap();

    expect(results.filter(({ committed }) => committed).length, 'a deploy hook runs in every pod').toBe(1);
    expect(again, 'nothing is left to do').toEqual({
      committed: false,
      from: 'local:2026',
      to: 'local:2026',
      kids: [],
    });
    for (const { keyRing } of fleet) await keyRing.refresh();
    expect(
      fleet.map(({ keyRing }) => keyRing.revision),
      'one commit after the first',
    ).toEqual([2, 2, 2, 2, 2]);
  });

  it('rewrap({ force: true }) brings a fresh data key under the same KEK', async () => {
    const world = new World();
    const instance = await world.start();
    const before = (await world.shared.document()).sealed.dataKey;
    expect((await instance.rotator.rewrap({ force: true })).committed, 'for one that leaked').toBe(true);
    expect((await world.shared.document()).sealed.dataKey, 'another one').not.toBe(before);
  });

  it('rewrap() that fails in the middle leaves all as it was, and can be done again', async () => {
    const world = new World();
    const before = localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id: '2025' });
    const after = new CountingEncrypter(localEncrypter.forTests());
    await (await world.start({ encrypter: before })).keyRing.close();
    const both = await world.start({ encrypter: [after, before] });
    after.isDown = true;
    expect(await codeOf(both.rotator.rewrap()), 'the new KEK is down').toBe('kek_unavailable');
    expect(both.keyRing.sealedBy, 'still the old one').toBe('local:2025');
    after.isDown = false;
    both.store.always = failsBefore;
    expect(await codeOf(both.rotator.rewrap()), 'the store is down').toBe('store_unavailable');
    both.store.always = undefined;
    expect((await both.rotator.rewrap()).committed, 'done again').toBe(true);
  });

  it('P6: a KEK of the same name that is another one is named, and nothing is made in its place', async () => {
    const world = new World();
    const make = (): KeyEncrypter =>
      localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id: '2026' });
    await world.start({ encrypter: make() });
    const wrong = world.instance({ encrypter: make() });
    const error = await errorOf(wrong.rotator.checkAndRotateKeys());
    expect(error?.code, 'it will never open').toBe('document_rejected');
    expect(error?.message, 'says which KEK to look at').toContain(
      'or the "local:2026" given here is not the KEK',
    );
    expect(wrong.store.calls.compareAndSwap, 'nothing written').toBe(0);
  });

  it('any rotation re-seals under the first encrypter in passing', async () => {
    const world = new World();
    const before = localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id: '2025' });
    const after = localEncrypter({ key: crypto.getRandomValues(new Uint8Array(32)), id: '2026' });
    const old = await world.start({ encrypter: before });
    await old.keyRing.close();
    const both = await world.start({ encrypter: [after, before] });

    await both.rotator.rotateNow();

    expect(both.keyRing.sealedBy, 'sealed by the first').toBe('local:2026');
    const only = await world.start({ encrypter: after });
    expect(only.activeKid, 'the key of before opens under the new KEK').toBe(both.activeKid);
  });
});
