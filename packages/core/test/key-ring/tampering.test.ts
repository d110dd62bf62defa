import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { KeyRecord } from '../../src/key-set/document.ts';
import { localEncrypter } from '../../src/local-encrypter.ts';
import type { StoredKeySet } from '../../src/ports.ts';
import { parseStored } from '../support/faulty-store.ts';
import { codeOf, CountingEncrypter, type Instance, timing, World } from '../support/world.ts';

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Every value that `value` becomes when one of its leaves, members or entries is altered, removed or repeated. */
function* alterationsOf(value: Json, path = 'document'): Generator<[path: string, altered: Json]> {
  if (typeof value === 'number') {
    yield [`${path} + 1`, value + 1];
    yield [`${path} - 1`, Math.max(0, value - 1)];
  } else if (typeof value === 'boolean') yield [`not ${path}`, !value];
  else if (typeof value === 'string') {
    const flipped = value.startsWith('A') ? 'B' : 'A';
    yield [`the first character of ${path}`, flipped + value.slice(1)];
    yield [`the last character of ${path}`, value.slice(0, -1) + (value.endsWith('A') ? 'Q' : 'A')];
    // Of a base64url text whose length is no multiple of 4, this may change nothing but bits that are not used.
    yield [
      `the last bits of ${path}`,
      value.slice(0, -1) + String.fromCharCode(value.charCodeAt(value.length - 1) + 1),
    ];
    yield [`one more character in ${path}`, `${value}A`];
  } else if (Array.isArray(value)) {
    for (const [index, entry] of value.entries()) {
      const at = `${path}[${index}]`;
      yield [`without ${at}`, value.toSpliced(index, 1)];
      yield [`${at} twice`, value.toSpliced(index, 0, entry)];
      for (const [what, altered] of alterationsOf(entry, at)) yield [what, value.with(index, altered)];
    }
    if (value.length > 1) yield [`${path} in another order`, value.toReversed()];
  } else if (value !== null) {
    for (const [name, member] of Object.entries(value)) {
      const at = `${path}.${name}`;
      const { [name]: _, ...others } = value;
      yield [`without ${at}`, others];
      for (const [what, altered] of alterationsOf(member, at)) yield [what, { ...value, [name]: altered }];
    }
    yield [`an unknown member of ${path}`, { ...value, added: 1 }];
  }
}

/** A key set in which every member of the format occurs. */
async function richWorld(): Promise<{
  world: World;
  instance: Instance;
  stored: StoredKeySet;
  token: string;
}> {
  const world = new World();
  const instance = await world.start();
  instance.rotator.start();
  await world.clock.advance((2.4 * timing.rotationInterval) / 1000);
  instance.rotator.stop();
  const old = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const { kid } = await instance.rotator.importKey(old, { as: 'verify-only' });
  await instance.rotator.revoke(kid, { reason: 'found in a backup' });
  await instance.rotator.rotateNow();
  await instance.rotator.rollback();
  // Publishing ends the wait after a roll back; another one, and the member is there together with a pending key.
  await world.clock.advance(1100);
  await instance.rotator.rotateNow();
  const stored = await world.shared.stored();
  const document = parseStored(stored);
  expect(document.departed.length, 'the document must have a departed key').toBeGreaterThan(0);
  for (const member of ['deactivatesAt', 'expiresAt', 'revokedAt', 'revocationReason']) {
    expect(
      document.keys.some((key) => member in key),
      `some key must have "${member}"`,
    ).toBe(true);
  }
  return { world, instance, stored, token: await instance.sign() };
}

const refusals = ['document_rejected', 'document_unsupported', 'kek_not_configured'];

/** A fresh instance refuses what is stored and writes nothing; a running one goes on with what it has. */
async function expectRefused(
  world: World,
  running: Instance,
  altered: StoredKeySet,
  what: string,
): Promise<void> {
  const { activeKid } = running;
  await world.shared.put(altered);
  const fresh = world.instance();
  const code = await codeOf(fresh.rotator.checkAndRotateKeys());
  expect(refusals, `a fresh instance must refuse to start on this: ${what}`).toContain(code);
  expect(await codeOf(fresh.sign()), `and never sign by it: ${what}`).not.toBe('done');
  expect(fresh.store.calls.compareAndSwap, `and never overwrite it: ${what}`).toBe(0);
  expect(refusals, `a running instance must not adopt this: ${what}`).toContain(
    await codeOf(running.keyRing.refresh()),
  );
  expect(running.activeKid, `the last good key set must stay in use: ${what}`).toBe(activeKid);
  await fresh.keyRing.close();
}

/** Uses up the one time per stale bound that a running instance puts back what it holds. */
async function usePutBack(world: World, running: Instance): Promise<void> {
  await world.shared.alter((stored) => ({ ...stored, document: '{}' }));
  await running.keyRing.refresh();
  expect(running.events('healed').length, 'it must have put back what it holds').toBeGreaterThan(0);
}

describe('P6: whoever can write the store but does not hold the KEK changes nothing', () => {
  it('P6: no member of the document can be altered, removed, repeated or added', async () => {
    const { world, instance, token } = await richWorld();
    await usePutBack(world, instance);
    const good = await world.shared.stored();
    let count = 0;
    for (const [what, altered] of alterationsOf(JSON.parse(good.document) as Json)) {
      const document = JSON.stringify(altered);
      expect(document, 'the alteration must alter something').not.toBe(good.document);
      await expectRefused(world, instance, { ...good, document }, what);
      count++;
    }
    expect(count, 'every member must have been tried').toBeGreaterThan(200);
    expect(await codeOf(instance.authority.verify(token)), 'service must have gone on all the while').toBe(
      'done',
    );
  });

  it('P6: nor its revision and etag, nor can it be cut, padded or written in another form', async () => {
    const { world, instance } = await richWorld();
    await usePutBack(world, instance);
    const good = await world.shared.stored();
    const { document, revision, etag } = good;
    const parsed = parseStored(good);
    const altered: Record<string, Partial<StoredKeySet>> = {
      'a higher revision': { revision: revision + 1 },
      'the highest revision': { revision: Number.MAX_SAFE_INTEGER },
      'a lower revision': { revision: revision - 1 },
      'another etag': { etag: `${etag.slice(0, -1)}_` },
      'an empty document': { document: '' },
      'half a document': { document: document.slice(0, document.length / 2) },
      'the last byte lost': { document: document.slice(0, -1) },
      'a byte added': { document: `${document} ` },
      'a byte order mark': { document: `\uFEFF${document}` },
      indented: { document: JSON.stringify(parsed, undefined, 1) },
      'not JSON': { document: 'REDIS0011' },
      'a JSON array': { document: '[]' },
      'a JSON null': { document: 'null' },
      'a member twice': { document: document.replace('{', '{"format":1,') },
      'a number in another form': { document: document.replace('"format":1', '"format":1.0') },
      'endless nesting': { document: '['.repeat(100_000) },
      'a huge text': { document: `"${'x'.repeat(2_000_000)}"` },
    };
    for (const [what, change] of Object.entries(altered)) {
      await expectRefused(world, instance, { ...good, ...change }, what);
    }
    expect(await codeOf(instance.sign()), 'service must have gone on all the while').toBe('done');
  });

  it('P6: nor can keys be swapped, injected, extended or revived', async () => {
    const { world, instance } = await richWorld();
    await usePutBack(world, instance);
    const good = await world.shared.stored();
    const parsed = parseStored(good);
    const [one, two] = parsed.keys;
    const revoked = parsed.keys.find(({ revokedAt }) => revokedAt !== undefined);
    const [departed] = parsed.departed;
    if (one === undefined || two === undefined || revoked === undefined || departed === undefined) {
      throw new Error('the document lacks a key');
    }
    const { kty, crv, x, y } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
      format: 'jwk',
    });
    const jwk = { crv, kty, x, y };
    const withKeys = (change: (key: KeyRecord) => object): object => ({
      ...parsed,
      keys: parsed.keys.map(change),
    });
    const { revokedAt: _, revocationReason: __, ...unrevoked } = revoked;
    const attacks: Record<string, object> = {
      'the kids of two keys swapped': withKeys((key) =>
        key === one ? { ...one, kid: two.kid } : key === two ? { ...two, kid: one.kid } : key,
      ),
      'the public halves of two keys swapped': withKeys((key) =>
        key === one
          ? { ...one, publicJwk: two.publicJwk }
          : key === two
            ? { ...two, publicJwk: one.publicJwk }
            : key,
      ),
      "an attacker's public half in place of ours": withKeys((key) =>
        key === one ? { ...one, publicJwk: jwk } : key,
      ),
      "an attacker's key added": {
        ...parsed,
        keys: [...parsed.keys, { ...one, kid: 'mallory', publicJwk: jwk }],
      },
      'the expiry of every key a year later': withKeys((key) =>
        'expiresAt' in key ? { ...key, expiresAt: (key.expiresAt ?? 0) + 31_557_600_000 } : key,
      ),
      'a key without an end': withKeys((key) => {
        const { deactivatesAt: ___, expiresAt: ____, ...endless } = key;
        return endless;
      }),
      'a revoked key revived': withKeys((key) => (key === revoked ? unrevoked : key)),
      'another key revoked': withKeys((key) =>
        key === one ? { ...one, revokedAt: 1, hasPrivateKey: false } : key,
      ),
      'a departed key brought back': {
        ...parsed,
        keys: [...parsed.keys, { ...one, kid: departed.kid }],
        departed: parsed.departed.slice(1),
      },
      'a longer token lifetime': withKeys((key) => ({ ...key, tokenLifetime: 10_000_000 })),
    };
    for (const [what, document] of Object.entries(attacks)) {
      await expectRefused(world, instance, { ...good, document: JSON.stringify(document) }, what);
    }
    expect(await codeOf(instance.sign()), 'service must have gone on all the while').toBe('done');
  });

  it('P6: nor can a document of another namespace be put in its place, though the KEK is the same', async () => {
    const world = new World('production');
    const instance = await world.start();
    const other = new World('staging');
    const stranger = await other.start({ encrypter: world.encrypter });
    const foreign = await other.shared.stored();
    await usePutBack(world, instance);
    const own = await world.shared.stored();

    await expectRefused(world, instance, foreign, 'the document of staging');
    await expectRefused(
      world,
      instance,
      { ...own, document: foreign.document },
      'the document of staging under our own etag',
    );
    expect(
      instance.keyRing.verificationKey(stranger.activeKid),
      'a key of staging must verify nothing here',
    ).toBeUndefined();
  });

  it('P6: nor can one be sealed by another KEK of the same name', async () => {
    const real = localEncrypter({ key: randomBytes(32), id: '2026' });
    const fake = localEncrypter({ key: randomBytes(32), id: '2026' });
    const world = new World();
    const instance = await world.start({ encrypter: real });
    const attacker = new World();
    await attacker.start({ encrypter: fake });
    const forged = await attacker.shared.stored();
    await world.shared.put(forged);

    const fresh = world.instance({ encrypter: new CountingEncrypter(real) });
    expect(await codeOf(fresh.keyRing.ready()), 'a fresh instance must refuse it').toBe('document_rejected');
    await instance.keyRing.refresh();

    expect(instance.events('tampered').length, 'a running instance must report it').toBe(1);
    expect((await world.shared.document()).keys[0]?.kid, 'and put back what it holds').toBe(
      instance.activeKid,
    );
  });
});

describe('P6: what a running instance does about a document that was tampered with', () => {
  it('P6: reports it once per document, and goes on', async () => {
    const { world, instance, token } = await richWorld();
    await usePutBack(world, instance);
    instance.forgetEvents();
    await world.shared.alter((stored) => ({
      ...stored,
      document: stored.document.replace('"staleBound":', '"staleBound":1'),
    }));

    for (let i = 0; i < 4; i++) {
      expect(await codeOf(instance.keyRing.refresh()), 'each refresh must fail').toBe('document_rejected');
    }

    expect(instance.events('tampered').length, 'one alarm per document, not one per refresh').toBe(1);
    expect(instance.events('tampered')[0]?.problem, 'it must say what is wrong').toContain(
      'authentication tag',
    );
    expect(instance.keyRing.health(), 'health must say why it no longer is confirmed').toMatchObject({
      status: 'fresh',
      code: 'document_rejected',
    });
    expect(await codeOf(instance.authority.verify(token)), 'verification must go on').toBe('done');
    expect(await codeOf(instance.sign()), 'signing must go on, up to the stale bound').toBe('done');
  });

  it('P6: reports another alteration under the same etag as well', async () => {
    const { world, instance } = await richWorld();
    await usePutBack(world, instance);
    instance.forgetEvents();
    const good = await world.shared.stored();
    for (const digit of ['1', '2', '3']) {
      await world.shared.put({
        ...good,
        document: good.document.replace('"staleBound":', `"staleBound":${digit}`),
      });
      await codeOf(instance.keyRing.refresh());
    }

    expect(instance.events('tampered').length, 'three documents, three alarms').toBe(3);
  });

  it('P6: notices a document that was altered under the very etag that it holds, and puts it back', async () => {
    const world = new World();
    const instance = await world.start();
    const good = await world.shared.stored();
    await world.shared.put({
      ...good,
      document: good.document.replace('"hasPrivateKey":true', '"hasPrivateKey":false'),
    });

    await instance.keyRing.refresh();

    expect(instance.events('tampered').length, 'an etag alone proves nothing').toBe(1);
    expect(instance.events('healed').length, 'it must be put back').toBe(1);
    const fresh = await world.start();
    expect(fresh.activeKid, 'an instance that starts now must find a good document').toBe(instance.activeKid);
  });

  it('P6: puts back what it holds at most once per stale bound, and is fresh again after', async () => {
    const world = new World();
    const instance = await world.start();
    const vandalise = async (): Promise<void> =>
      world.shared.alter((stored) => ({ ...stored, document: '{"format":1}' }));
    await vandalise();
    await instance.keyRing.refresh();
    expect(instance.events('healed').length, 'the first time it is put back at once').toBe(1);

    await vandalise();
    const writes = instance.store.calls.compareAndSwap;
    for (let i = 0; i < 4; i++) {
      await world.clock.advance(timing.staleBound / 1000 / 5);
      expect(await codeOf(instance.keyRing.refresh()), 'no war of writes within the stale bound').toBe(
        'document_rejected',
      );
    }
    expect(instance.store.calls.compareAndSwap, 'nothing may have been written').toBe(writes);
    await world.clock.advance(timing.staleBound / 1000 / 5 + 60);

    expect(instance.events('healed').length, 'after the stale bound it is put back again').toBe(2);
    expect(instance.keyRing.health(), 'and all is well').toMatchObject({ status: 'fresh', code: undefined });
  });

  it('P6: does not take the vandal for a document to build on: commits are refused', async () => {
    const world = new World();
    const instance = await world.start();
    await usePutBack(world, instance);
    await world.shared.alter((stored) => ({ ...stored, document: '{"format":1}' }));
    const vandalised = await world.shared.current();

    expect(await codeOf(instance.rotator.rotateNow()), 'nothing can be committed on top of it').toBe(
      'document_rejected',
    );

    expect(await world.shared.current(), 'it must not be overwritten by that').toEqual(vandalised);
  });

  it('P9: even then a key can be revoked: here at once, in the store as soon as it is put back', async () => {
    const world = new World();
    const instance = await world.start();
    const token = await instance.sign();
    await usePutBack(world, instance);
    await world.shared.alter((stored) => ({ ...stored, document: '{"format":1}' }));

    const result = await instance.rotator.revoke(instance.activeKid, { reason: 'the vandal may have it' });
    expect(result.committed, 'the store cannot take it now').toBe(false);
    expect(await codeOf(instance.authority.verify(token)), 'here it must hold at once').toBe('key_revoked');
    await world.clock.advance(timing.staleBound / 1000 + 60);

    const late = await world.start();
    expect(await codeOf(late.authority.verify(token)), 'it must have been committed later').toBe(
      'key_revoked',
    );
  });
});

describe('what is not to be judged is neither used nor overwritten', () => {
  it.each([
    { what: 'a revision of 0', change: { revision: 0 } },
    { what: 'an etag that is empty', change: { etag: '' } },
    { what: 'a time that is no number', change: { updatedAt: Number.NaN } },
  ])('a store that gives $what is unreadable', async ({ change }) => {
    const world = new World();
    const instance = await world.start();
    const good = await world.shared.stored();
    await world.shared.put({ ...good, ...change });

    expect(await codeOf(instance.keyRing.refresh()), 'an operator must look at it').toBe('store_unreadable');
    expect(instance.events('tampered').length, 'nobody knows what it is').toBe(0);
    expect(instance.store.calls.compareAndSwap, 'nothing may be overwritten').toBe(1);
  });

  it.each([
    { what: 'another format', from: '"format":1', to: '"format":2' },
    { what: 'an algorithm of the future', from: '"alg":"ES256"', to: '"alg":"ZZ999"' },
  ])('a document of $what is left to who can read it', async ({ from, to }) => {
    const world = new World();
    const instance = await world.start();
    await world.shared.alter((stored) => ({ ...stored, document: stored.document.replace(from, to) }));

    expect(await codeOf(instance.keyRing.refresh()), 'a newer version may have written it').toBe(
      'document_unsupported',
    );
    expect(instance.events('tampered').length, 'a deployment is not an attack').toBe(0);
    expect(instance.store.calls.compareAndSwap, 'nothing may be overwritten').toBe(1);
    expect(await codeOf(instance.sign()), 'the last good one stays in use').toBe('done');
  });
});
