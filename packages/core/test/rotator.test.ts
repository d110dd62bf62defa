import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { JwksRotator } from '../src/rotator.ts';
import { failsBefore, losesReply } from './support/faulty-store.ts';
import { codeOf, codeOfCall, errorOf, SkewedClock, timing, World } from './support/world.ts';

/** The first key is due for a successor this long after it was made. */
const untilDue = '33m';
/** From publishing to taking over, and a little more. */
const propagation = '18m';

describe('checkAndRotateKeys', () => {
  it('says what it did: the first key set, and then that nothing is due, and when something will be', async () => {
    const world = new World();
    const { rotator, keyRing } = world.instance();

    expect(await rotator.checkAndRotateKeys(), 'an empty store gets its first key set').toEqual({
      outcome: 'rotated',
      steps: [{ step: 'initialise', algorithms: ['ES256'] }],
    });
    const nextAt =
      (keyRing.keySet?.keys[0]?.activatesAt ?? 0) + timing.rotationInterval - timing.propagationDelay;
    expect(await rotator.checkAndRotateKeys(), 'the next key is published a propagation delay ahead').toEqual(
      {
        outcome: 'not_due',
        nextAt,
      },
    );
  });

  it('a rotation is two commits: publish, and after the activation retire; then prune', async () => {
    const world = new World();
    const { rotator, keySet } = await world.start();
    const first = keySet.keys[0]?.kid ?? '';
    const outcomes: unknown[] = [];
    for (const wait of [untilDue, propagation, '24m'] as const) {
      await world.clock.advance(wait);
      outcomes.push(await rotator.checkAndRotateKeys());
    }

    expect(outcomes, 'each with the key that it is about').toEqual([
      { outcome: 'rotated', steps: [expect.objectContaining({ step: 'publish', alg: 'ES256' })] },
      { outcome: 'rotated', steps: [{ step: 'retire', kids: [first] }] },
      { outcome: 'rotated', steps: [{ step: 'prune', kids: [first] }] },
    ]);
    const { keys, departed } = await world.shared.document();
    expect(keys.length, 'the expired key is gone').toBe(1);
    expect(
      departed.map(({ kid }) => kid),
      'and remembered, so that no old copy brings it back',
    ).toEqual([first]);
  });

  it('shares one run among concurrent calls', async () => {
    const world = new World();
    const { rotator, store } = await world.start();
    await world.clock.advance(untilDue);
    const before = store.calls.compareAndSwap;

    const results = await Promise.all(Array.from({ length: 5 }, async () => rotator.checkAndRotateKeys()));

    expect(new Set(results).size, 'all five callers get the result of one run').toBe(1);
    expect(store.calls.compareAndSwap - before, 'one commit for all of them').toBe(1);
  });

  it('P7: is postponed, with the reason, while the store is down', async () => {
    const world = new World();
    const { rotator, store } = await world.start();
    await world.clock.advance(untilDue);
    store.always = failsBefore;

    const result = await rotator.checkAndRotateKeys();

    expect(result, 'not an exception: the caller cannot do anything about it').toMatchObject({
      outcome: 'postponed',
      error: { code: 'store_unavailable', retryable: true },
    });
  });

  it('throws what waiting does not mend', async () => {
    const world = new World();
    const { rotator, store, keyRing } = await world.start();
    await world.shared.alter((stored) => ({ ...stored, etag: 'x', document: '{"format":9}' }));
    await keyRing.refresh().catch(() => {});
    await world.clock.advance(untilDue);

    expect(
      await codeOf(rotator.checkAndRotateKeys()),
      'a document of a newer version needs an operator, not patience',
    ).toBe('document_unsupported');
    expect((await world.shared.stored()).document, 'what is not understood is not overwritten').toBe(
      '{"format":9}',
    );
    expect(store.calls.compareAndSwap, 'nothing was written over it').toBe(1);

    await keyRing.close();
    expect(await codeOf(rotator.checkAndRotateKeys()), 'after close()').toBe('closed');
  });

  it('retires and prunes while the KEK is down, and postpones only what makes a key', async () => {
    const world = new World();
    const { rotator } = await world.start();
    await world.clock.advance(untilDue);
    await rotator.checkAndRotateKeys();
    world.encrypter.isDown = true;
    await world.clock.advance(propagation);

    const retired = await rotator.checkAndRotateKeys();
    expect(retired.outcome, 'P5: a KMS outage must not keep an old private half alive').toBe('rotated');
    await world.clock.advance(untilDue);
    const postponed = await rotator.checkAndRotateKeys();
    expect(postponed, 'a new key cannot be sealed now').toMatchObject({
      outcome: 'postponed',
      error: { code: 'kek_unavailable' },
    });
    world.encrypter.isDown = false;
    expect((await rotator.checkAndRotateKeys()).outcome, 'caught up as soon as it answers').toBe('rotated');
  });

  it('an instance whose clock is off does not publish, and says so', async () => {
    const world = new World();
    const clock = new SkewedClock(world.clock, 0);
    await world.start();
    const instance = world.instance({ clock });
    await instance.keyRing.ready();
    await world.clock.advance(untilDue);
    clock.skew = timing.clockTolerance + 1000;

    expect(
      await instance.rotator.checkAndRotateKeys(),
      'its times would be wrong for everybody else',
    ).toMatchObject({
      outcome: 'postponed',
      error: { code: 'clock_skew' },
    });
    expect(instance.events('clock_skew')[0]?.difference, 'in milliseconds').toBe(
      timing.clockTolerance + 1000,
    );
    expect(
      await codeOf(instance.rotator.revoke(instance.activeKid, { reason: 'leaked' })),
      'revoking is allowed: it makes nothing worse',
    ).toBe('done');
  });
});

describe('rotateNow', () => {
  it('gives an algorithm that is asked for by name its key in an empty store too', async () => {
    const world = new World();
    const { rotator, keyRing } = world.instance();
    const { kid } = await rotator.rotateNow({ alg: 'EdDSA' });
    expect(keyRing.keySet?.keys.map(({ alg }) => alg).toSorted()).toEqual(['ES256', 'EdDSA']);
    expect(keyRing.keySet?.keys.find((key) => key.kid === kid)?.alg).toBe('EdDSA');
  });

  it('P3: publishes a next key that signs only after the propagation delay', async () => {
    const world = new World();
    const { rotator, activeKid, ...instance } = await world.start();
    const now = world.clock.now();

    const result = await rotator.rotateNow();

    expect(result.outcome).toBe('rotated');
    expect(result.activatesAt, 'propagation delay and commit deadline from now').toBe(
      now + timing.propagationDelay + timing.commitDeadline,
    );
    expect(instance.keyRing.signingKey().kid, 'the present key signs on').toBe(activeKid);
    expect(await rotator.rotateNow(), 'a second one while it is pending says so').toEqual({
      outcome: 'already_pending',
      kid: result.kid,
      activatesAt: result.activatesAt,
    });
  });

  it('with emergency, the pending key signs at once, else a new one', async () => {
    const world = new World();
    const instance = await world.start();
    const { kid } = await instance.rotator.rotateNow();

    expect(
      (await instance.rotator.rotateNow({ emergency: true })).kid,
      'verifiers know the pending one',
    ).toBe(kid);
    expect(instance.activeKid).toBe(kid);
    const { kid: fresh } = await instance.rotator.rotateNow({ emergency: true });
    expect(instance.activeKid, 'with none pending, a new one').toBe(fresh);
  });

  it('makes the first key set of an empty store, also where initialise is never', async () => {
    const world = new World();
    const { rotator, keyRing, activeKid } = await (async () => {
      const instance = world.instance({ policy: { initialise: 'never' } });
      expect((await instance.rotator.checkAndRotateKeys()).outcome, 'it waits for a holder').toBe('not_due');
      await instance.rotator.rotateNow();
      return instance;
    })();
    expect(keyRing.signingKey().kid).toBe(activeKid);
    expect((await rotator.checkAndRotateKeys()).outcome).toBe('not_due');
  });
});

describe('rollback', () => {
  it('withdraws the next key, which stays published, and makes none for a propagation delay', async () => {
    const world = new World();
    const instance = await world.start();
    const { rotator, activeKid } = instance;
    await world.clock.advance(untilDue);
    await rotator.checkAndRotateKeys();
    const pending = instance.pendingKid;
    const now = world.clock.now();

    const result = await rotator.rollback();

    expect(result.kid).toBe(pending);
    expect(result.publishNotBefore, 'else it would be published again at once').toBe(
      now + timing.propagationDelay,
    );
    expect(instance.key(pending), 'its private half is gone at once').toMatchObject({ hasPrivateKey: false });
    expect(instance.key(activeKid)?.deactivatesAt, 'the active key has no end any more').toBe(undefined);
    expect(
      instance.keyRing.publication().keys.map(({ kid }) => kid),
      'P1: an instance that has not heard of it may switch to it',
    ).toContain(pending);
    expect((await rotator.checkAndRotateKeys()).outcome, 'it was due, and is held back').toBe('not_due');
    await world.clock.advance('17m');
    expect((await rotator.checkAndRotateKeys()).outcome, 'then it is due again').toBe('rotated');
  });

  it('takes another moment for the next publication, and refuses what is no moment', async () => {
    const world = new World();
    const { rotator } = await world.start();
    await rotator.rotateNow();
    const publishNotBefore = world.clock.now() + 5_000_000;
    expect(await codeOf(rotator.rollback({ alg: 'RS256' })), 'no key of that algorithm is pending').toBe(
      'not_applicable',
    );
    expect((await rotator.rollback({ publishNotBefore })).publishNotBefore).toBe(publishNotBefore);
    for (const wrong of [-1, 1.5, Number.NaN, 9e15]) {
      await expect(rotator.rollback({ publishNotBefore: wrong }), 'epoch milliseconds').rejects.toThrow(
        /^"publishNotBefore" must be whole epoch milliseconds/,
      );
    }
  });

  it('says not_applicable when no key is pending, and when the pending one is the only one', async () => {
    const world = new World();
    const { rotator, activeKid } = await world.start({ policy: { algorithms: ['ES256', 'EdDSA'] } });
    expect(await codeOf(rotator.rollback())).toBe('not_applicable');
    const { kid } = await rotator.rotateNow();
    await rotator.revoke(activeKid, { reason: 'leaked' });
    expect(
      await codeOf(rotator.rollback()),
      `${kid} took over when the active one was revoked: nothing is pending`,
    ).toBe('not_applicable');
  });
});

describe('revoke', () => {
  it('P9: says which key signs now and when the last one knows', async () => {
    const world = new World();
    const { rotator, activeKid, keyRing } = await world.start();
    const now = world.clock.now();

    const result = await rotator.revoke(activeKid, { reason: 'laptop stolen' });

    const { refreshInterval, jwksMaxAge, staleIfError } = timing;
    expect(result).toEqual({
      kid: activeKid,
      committed: true,
      activeKid: keyRing.signingKey().kid,
      instancesKnowBy: now + refreshInterval,
      cachesKnowBy: now + refreshInterval + jwksMaxAge + staleIfError,
    });
    expect(result.activeKid, 'another key signs').not.toBe(activeKid);
    expect(await rotator.revoke(activeKid, { reason: 'again' }), 'twice is no failure').toMatchObject({
      committed: true,
    });
    const key = (await world.shared.document()).keys.find(({ kid }) => kid === activeKid);
    expect(key, 'the first reason stands').toMatchObject({
      revocationReason: 'laptop stolen',
      hasPrivateKey: false,
    });
  });

  it('P9: with the store down it holds here at once, and says that the store was not told', async () => {
    const world = new World();
    const instance = await world.start();
    const { activeKid, store } = instance;
    const token = await instance.sign();
    store.always = failsBefore;

    const result = await instance.rotator.revoke(activeKid, { reason: 'leaked' });

    expect(result).toMatchObject({
      committed: false,
      activeKid: undefined,
      instancesKnowBy: undefined,
      cachesKnowBy: undefined,
    });
    expect(await codeOf(instance.authority.verify(token))).toBe('key_revoked');
    expect(await codeOf(instance.sign()), 'nor does it sign with it').toBe('no_active_key');
    expect(instance.rotator.explain().heldUpBy, 'an operator must see it').toContainEqual(
      expect.stringContaining(activeKid),
    );
    store.always = undefined;
    await instance.keyRing.refresh();
    expect(instance.key(activeKid)?.revokedAt, 'the next refresh told the store').toBeDefined();
    expect(instance.keyRing.uncommittedRevocations).toEqual([]);
  });

  it('a commit whose reply was lost is a revocation', async () => {
    const world = new World();
    const { rotator, activeKid, store } = await world.start();
    store.next('compareAndSwap', losesReply);
    await rotator.revoke(activeKid, { reason: 'leaked' });
    expect(
      (await world.shared.document()).keys.filter(({ revokedAt }) => revokedAt !== undefined).length,
    ).toBe(1);
  });

  it('refuses what it cannot do: an unknown kid, no reason, a reason that cannot be kept', async () => {
    const { rotator, activeKid } = await new World().start();
    expect(await codeOf(rotator.revoke('nobody', { reason: 'x' }))).toBe('unknown_kid');
    await expect(rotator.revoke('', { reason: 'x' })).rejects.toThrow(/^"kid" must/);
    for (const reason of ['', 'x'.repeat(501), '\ud800', 5, undefined]) {
      // Deliberately of the wrong kind, as from JavaScript.
      const options = { reason } as { reason: string };
      await expect(rotator.revoke(activeKid, options), 'up to 500 characters').rejects.toThrow(
        /^"reason" must/,
      );
    }
  });
});

describe('importKey', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

  it('P3: brings a key in as the next one, under its own kid', async () => {
    const world = new World();
    const instance = await world.start();
    const now = world.clock.now();

    const imported = await instance.rotator.importKey(pem, { kid: 'key-2019' });

    expect(imported).toEqual({
      kid: 'key-2019',
      activatesAt: now + timing.propagationDelay + timing.commitDeadline,
    });
    await world.clock.advance(propagation);
    expect(instance.activeKid).toBe('key-2019');
    expect(await codeOf(instance.rotator.importKey(pem, { kid: 'key-2019' }))).toBe('key_exists');
  });

  it('brings a key in as the first one, which signs at once', async () => {
    const world = new World();
    const instance = world.instance();
    const { kid } = await instance.rotator.importKey(privateKey, { as: 'first' });
    expect(instance.activeKid, 'a team that moves here goes on with its key').toBe(kid);
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    expect(await codeOf(instance.rotator.importKey(other, { as: 'first' })), 'something signs already').toBe(
      'not_applicable',
    );
  });

  it('P1: brings a key in to verify only, for as long as its tokens live', async () => {
    const world = new World();
    const instance = await world.start();
    const { activeKid } = instance;
    const { kid } = await instance.rotator.importKey(privateKey.export({ format: 'jwk' }), {
      as: 'verify-only',
      tokenLifetime: '10d',
    });
    expect(instance.activeKid, 'it never signs here').toBe(activeKid);
    expect(instance.key(kid), 'nor is its private half kept').toMatchObject({ hasPrivateKey: false });
    await world.clock.advance('9d');
    expect(instance.keyRing.publication().keys.map((key) => key.kid)).toContain(kid);
  });

  it('says why it cannot: another one is pending, the lifetime is none, the role is unknown', async () => {
    const { rotator } = await new World().start();
    await rotator.rotateNow();
    expect(await codeOf(rotator.importKey(pem))).toBe('not_applicable');
    await expect(rotator.importKey(pem, { tokenLifetime: 0.5 })).rejects.toThrow(
      /^"tokenLifetime" must be at least 1 s/,
    );
    // Deliberately unknown, as from JavaScript.
    const options = { as: 'later' } as unknown as { as: 'next' };
    await expect(rotator.importKey(pem, options)).rejects.toThrow(/^"as" must be/);
  });
});

describe('a change of the configured algorithms', () => {
  it('P1 P3: migrates by publish, activate, retire; old tokens stay good', async () => {
    const world = new World();
    const old = await world.start();
    const oldToken = await old.sign();
    await old.rotator.checkAndRotateKeys();
    const now = world.clock.now();
    const next = world.instance({ policy: { algorithms: ['EdDSA', 'ES256'] } });

    await next.rotator.checkAndRotateKeys();
    expect(
      next.keySet.keys.find(({ alg }) => alg === 'EdDSA')?.activatesAt,
      'the first key of a new algorithm is published ahead too: the store is not empty',
    ).toBe(now + timing.propagationDelay + timing.commitDeadline);
    expect(
      (await errorOf(next.authority.sign({}, { alg: 'EdDSA' })))?.message,
      'until then it says that it is not active yet',
    ).toMatch(/^no key of EdDSA is active yet; the next one signs \d+ s from now$/);
    expect(next.keyRing.signingKey().alg, 'meanwhile the other one signs').toBe('ES256');
    await world.clock.advance(propagation);
    expect(next.keyRing.signingKey().alg).toBe('EdDSA');
    await world.clock.advance('1m');
    await old.keyRing.refresh();
    expect(old.keySet.keys.length, 'the instance of before knows both').toBe(2);
    expect(await codeOf(old.authority.verify(await next.sign())), 'and verifies either').toBe('done');
    expect(await codeOf(next.authority.verify(oldToken)), 'the old token is over by its own exp only').toBe(
      'expired',
    );
  });

  it('retireAlgorithm ends what nobody is configured for, at once', async () => {
    const world = new World();
    const before = await world.start({ policy: { algorithms: ['ES256', 'EdDSA'] } });
    const es = before.keyRing.signingKey('ES256').kid;
    const after = world.instance({ policy: { algorithms: ['EdDSA'] } });
    await after.keyRing.ready();

    expect(await codeOf(before.rotator.retireAlgorithm('ES256')), 'it would be published again').toBe(
      'not_applicable',
    );
    expect(await after.rotator.retireAlgorithm('ES256')).toEqual({ kids: [es] });
    expect(await codeOfCall(() => after.keyRing.signingKey('ES256')), 'it signs no more').toBe(
      'no_active_key',
    );
    expect(await after.rotator.retireAlgorithm('ES256'), 'twice is no failure').toEqual({ kids: [] });
    expect(
      after.keyRing.publication().keys.map(({ kid }) => kid),
      'P1: its tokens are good',
    ).toContain(es);
    await world.clock.advance(31);
    await after.rotator.checkAndRotateKeys();
    expect(
      after.key(es),
      'P5: its private half goes when no clock can still say that it signs',
    ).toMatchObject({
      hasPrivateKey: false,
    });
  });

  it('retireAlgorithm refuses to leave nothing that signs', async () => {
    const world = new World();
    await world.start();
    const stranger = world.instance({ policy: { algorithms: ['EdDSA'] } });
    await stranger.keyRing.ready();
    expect(await codeOf(stranger.rotator.retireAlgorithm('ES256'))).toBe('not_applicable');
  });
});

describe('start and stop', () => {
  it('rotates by itself; after stop(), no more', async () => {
    const world = new World();
    const { rotator, keyRing } = await world.start();
    rotator.start();
    rotator.start();
    await world.clock.advance('60m');
    expect(world.count('rotated'), 'the first key and one rotation; started twice counts once').toBe(2);
    rotator.stop();
    await world.clock.advance('120m');
    expect(world.count('rotated')).toBe(2);
    await keyRing.close();
    expect(world.clock.timers, 'nothing may keep a process or a test alive').toBe(0);
  });

  it('ends with its signal, and with the key ring', async () => {
    const world = new World();
    const [bySignal, byRing] = await world.startMany(2);
    const abort = new AbortController();
    bySignal.rotator.start({ signal: abort.signal });
    byRing?.rotator.start();
    abort.abort();
    await byRing?.keyRing.close();
    await world.clock.advance('60m');
    expect(world.count('rotated'), 'neither of them is at work any more').toBe(1);
    bySignal.rotator.start({ signal: abort.signal });
    await world.clock.advance('60m');
    expect(world.count('rotated'), 'a signal that is over starts nothing').toBe(1);
  });

  it('P7: reports what fails, tries again with growing waits, and catches up', async () => {
    const world = new World();
    const { rotator, store, ...instance } = await world.start();
    rotator.start();
    world.encrypter.isDown = true;
    await world.clock.advance('40m');
    const errors = world.count('rotation_error');
    expect(errors, 'reported each time, not more often than refreshes').toBeGreaterThan(1);
    expect(errors, 'an outage of minutes must not become a flood').toBeLessThan(20);
    world.encrypter.isDown = false;
    await world.clock.advance('2m');
    expect(world.count('rotated'), 'done within an interval once it answers').toBe(2);
    expect(instance.keyRing.health().status).toBe('fresh');
    expect(store.calls.load).toBeGreaterThan(0);
  });

  it('catches up promptly after the machine slept', async () => {
    const world = new World();
    const { rotator } = await world.start();
    rotator.start();
    world.clock.step(34 * 60_000);
    await world.clock.advance('1m');
    await world.clock.advance('1m');
    expect(world.count('rotated'), 'timers stood still meanwhile; the next refresh notices').toBe(2);
  });

  it('refuses options that it does not know', async () => {
    const { rotator, keyRing } = await new World().start();
    // Deliberately unknown, as from JavaScript.
    const unknown = { every: 5 } as object;
    for (const call of [() => rotator.start(unknown), () => new JwksRotator({ keyRing, ...unknown })]) {
      expect(call, 'a misspelt option must not be ignored').toThrow(/"every"/);
    }
    // Deliberately no key ring.
    expect(await codeOfCall(() => new JwksRotator({ keyRing })), 'the right one').toBe('done');
    expect(() => new JwksRotator({ keyRing: {} as typeof keyRing })).toThrow(/^"keyRing" must/);
  });
});
