import { generateKeyPairSync, type JsonWebKey } from 'node:crypto';
import { exportJWK, type JWK, type JWTPayload } from 'jose';
import { beforeAll, describe, expect, expectTypeOf, it } from 'vitest';
import {
  keyStoreOf,
  type JwksKeyStore,
  type JwksRotationTimestampStore,
  type JwtSigner,
  type JwtVerifier,
  type KeyGenerator,
} from '../src/compat.ts';
import { JwtAuthority, KeyRing, localEncrypter, type RotatingJwtAuthority } from '../src/index.ts';
import type { KeyRingOptions } from '../src/index.ts';
import { fakeClock, type FakeClock } from '../src/testing.ts';
import { memoryStore } from '../../store-memory/src/index.ts';
import { observedStore, rejection, verdict, type ObservedStore } from './support/authorities.ts';
import { ServerAuthority, ServerRotator } from './support/oauth-server.ts';

const start = Date.UTC(2026, 0, 1);
const hour = 3_600_000;
const day = 24 * hour;

interface Fleet {
  readonly clock: FakeClock;
  readonly store: ObservedStore;
  /** Another process on the same store. */
  join(options?: Partial<KeyRingOptions>): KeyRing;
}

function fleet(policy: KeyRingOptions['policy'] = { algorithms: ['ES256'] }): Fleet {
  const clock = fakeClock();
  const store = observedStore(memoryStore({ clock }));
  const encrypter = localEncrypter.forTests();
  return { clock, store, join: (options) => new KeyRing({ store, encrypter, clock, policy, ...options }) };
}

function pairOf(alg: 'ES256' | 'RS256' = 'ES256'): { privateKey: JsonWebKey; publicKey: JsonWebKey } {
  const { privateKey, publicKey } =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  const about = { alg, use: 'sig' };
  return {
    privateKey: { ...privateKey.export({ format: 'jwk' }), ...about },
    publicKey: { ...publicKey.export({ format: 'jwk' }), ...about },
  };
}

/** Stores a new pair under this kid. */
async function storePair(keyStore: JwksKeyStore, kid: string, ttl = 36_000): Promise<void> {
  const { privateKey, publicKey } = pairOf();
  await keyStore.storeKeyPair(kid, privateKey, publicKey, ttl);
}

const kidsOf = (keys: readonly object[]): unknown[] => keys.map((key): unknown => Reflect.get(key, 'kid'));

async function activeKid(keyStore: JwksKeyStore): Promise<unknown> {
  return Reflect.get((await keyStore.getPrivateKey()) ?? {}, 'kid');
}

/** The kids of the pairs that were not taken. */
function ignoredBy(keyRing: KeyRing): string[] {
  const kids: string[] = [];
  keyRing.events.on('import_ignored', ({ kid }) => kids.push(kid));
  return kids;
}

describe('types', () => {
  it('an authority is a JwtSigner, JwtVerifier and KeyGenerator; keyStoreOf gives the other two', () => {
    expectTypeOf<JwtAuthority>().toExtend<JwtSigner & JwtVerifier & KeyGenerator>();
    expectTypeOf<RotatingJwtAuthority>().toExtend<JwtSigner & JwtVerifier & KeyGenerator>();
    expectTypeOf<ReturnType<typeof keyStoreOf>>().toExtend<JwksKeyStore & JwksRotationTimestampStore>();
    interface UpstreamAuthority extends JwtSigner, JwtVerifier, KeyGenerator {
      getPublicKeys(): Promise<{ keys: object[] }>;
      getJwksEndpointResponse(): Promise<{ keys: object[] }>;
      getPublicKey(kid: string): Promise<object | undefined>;
      getCurrentKid(): Promise<string | undefined>;
      signMany(payloads: JWTPayload[]): Promise<{ token: string; kid: string }[]>;
    }
    expectTypeOf<JwtAuthority>().toExtend<UpstreamAuthority>();
  });
});

describe('storeKeyPair', () => {
  it('the first pair signs at once, under its own kid, and comes back as it was', async () => {
    const keyRing = fleet().join();
    const keyStore = keyStoreOf(keyRing);
    const { privateKey, publicKey } = pairOf();
    await keyStore.storeKeyPair('own-kid', privateKey, publicKey, 36_000);
    expect(await keyStore.getPrivateKey(), 'the private JWK').toEqual({ ...privateKey, kid: 'own-kid' });
    expect(await keyStore.getPublicKeys(), 'its public half').toEqual([{ ...publicKey, kid: 'own-kid' }]);
    const { token, kid } = await new JwtAuthority({ keyRing }).sign({});
    expect(kid, 'the authority signs with it too').toBe('own-kid');
    expect(await verdict(new JwtAuthority({ keyRing }).verify(token)), 'and verifies').toBe('accepted');
  });

  it('P3: a later pair is the next key: published now, signing after the propagation delay', async () => {
    const { clock, join } = fleet();
    const keyRing = join();
    const keyStore = keyStoreOf(keyRing);
    const ignored = ignoredBy(keyRing);
    await storePair(keyStore, 'first');
    await clock.advance('30d');
    await storePair(keyStore, 'second');
    expect(kidsOf(await keyStore.getPublicKeys()), 'published, oldest first').toEqual(['first', 'second']);
    expect(await activeKid(keyStore), 'not signing').toBe('first');
    await clock.advance(24 * 3600 + 9);
    expect(await activeKid(keyStore), 'until the propagation delay and the commit deadline are over').toBe(
      'first',
    );
    await clock.advance(1);
    expect(await activeKid(keyStore), 'then it takes over').toBe('second');
    expect(ignored, 'none was turned away').toEqual([]);
    await keyRing.close();
  });

  it('does nothing, with an event, while another key is pending or has just been made', async () => {
    const { clock, join } = fleet();
    const keyRing = join();
    const keyStore = keyStoreOf(keyRing);
    const ignored = ignoredBy(keyRing);
    await storePair(keyStore, 'first');
    await storePair(keyStore, 'too-soon');
    expect(ignored, 'another process rotates at the same time').toEqual(['too-soon']);
    await clock.advance('24h');
    await storePair(keyStore, 'a little too soon');
    await clock.advance(10);
    await storePair(keyStore, 'second');
    await storePair(keyStore, 'third');
    await clock.advance('24h');
    await storePair(keyStore, 'fourth');
    expect(ignored, 'and while one is pending').toEqual(['too-soon', 'a little too soon', 'third', 'fourth']);
    expect(kidsOf(await keyStore.getPublicKeys()), 'nothing of them is kept').toEqual(['first', 'second']);
    await keyRing.close();
  });

  it('takes over at once if the active key has been revoked and nothing else can sign', async () => {
    const { join, store } = fleet();
    const keyRing = join();
    const keyStore = keyStoreOf(keyRing);
    await storePair(keyStore, 'first');
    store.state = 'down';
    await keyRing.revoke('first', 'test');
    expect(await verdict(keyStore.getPrivateKey()), 'the revoked key is not handed out').toBe(
      'no_active_key',
    );
    store.state = 'up';
    await storePair(keyStore, 'second');
    expect(await activeKid(keyStore), 'something signs, and it is not the revoked one').not.toBe('first');
    await keyRing.close();
  });

  it.each([
    crypto.randomUUID(),
    '../../etc/passwd',
    '__proto__',
    'constructor',
    'ключ 🔑',
    'a\nb"c\\d\u0000',
    ' ',
    'k'.repeat(256),
  ])('keeps any kid: %j', async (kid) => {
    const { join } = fleet();
    const keyStore = keyStoreOf(join());
    await storePair(keyStore, kid);
    const fresh = join();
    const other = keyStoreOf(fresh);
    expect(await activeKid(other), 'another process reads it from the store').toBe(kid);
    const { token } = await new JwtAuthority({ keyRing: fresh }).sign({});
    expect(await verdict(new JwtAuthority({ keyRing: fresh }).verify(token)), 'and its tokens verify').toBe(
      'accepted',
    );
  });

  it('a kid that is not well-formed Unicode is refused and spoils nothing', async () => {
    const { join } = fleet();
    const keyStore = keyStoreOf(join());
    expect(
      (await rejection(storePair(keyStore, 'bad\ud800'))).message,
      'it could not be sealed and read again',
    ).toBe('"kid" must be well-formed Unicode, got a string of 4 characters');
    await storePair(keyStore, 'good');
    expect(await activeKid(keyStoreOf(join())), 'the store can be read').toBe('good');
  });

  it('the public half stays for at least ttl, longer if the policy promises more (P1, P4)', async () => {
    for (const [ttl, stays] of [
      [10 * 3600, 10 * hour],
      [1, hour],
    ] as const) {
      const { clock, join } = fleet();
      const keyRing = join();
      const keyStore = keyStoreOf(keyRing);
      await storePair(keyStore, 'first', ttl);
      await clock.advance('30d');
      await storePair(keyStore, 'second', ttl);
      await clock.advance(24 * 3600 + 10);
      expect(await activeKid(keyStore), 'the first one has signed its last token').toBe('second');
      await clock.advance((stays + day) / 1000 - 1);
      expect(
        kidsOf(await keyStore.getPublicKeys()),
        `ttl ${ttl} s: as long as its last token and caches may live`,
      ).toContain('first');
      await clock.advance(1);
      expect(kidsOf(await keyStore.getPublicKeys()), `ttl ${ttl} s: not for ever`).toEqual(['second']);
      await keyRing.close();
    }
  });

  it('ignores a kid that it has, or had', async () => {
    const { clock, join } = fleet();
    const keyRing = join();
    const keyStore = keyStoreOf(keyRing);
    const ignored = ignoredBy(keyRing);
    await storePair(keyStore, 'first');
    await clock.advance('30d');
    await storePair(keyStore, 'first');
    expect(ignored, 'no second key of this name').toEqual(['first']);
    expect(kidsOf(await keyStore.getPublicKeys()), 'it is the same one').toEqual(['first']);
    await keyRing.close();
  });

  it.each<[what: string, args: (pair: ReturnType<typeof pairOf>) => readonly unknown[], expected: string]>([
    [
      'an empty kid',
      ({ privateKey, publicKey }) => ['', privateKey, publicKey, 60],
      '"kid" must be a text of 1 to 256 characters, got an empty string',
    ],
    [
      'a long kid',
      ({ privateKey, publicKey }) => ['k'.repeat(257), privateKey, publicKey, 60],
      '"kid" must be a text of 1 to 256 characters, got a string of 257 characters',
    ],
    [
      'a kid that is no text',
      ({ privateKey, publicKey }) => [{}, privateKey, publicKey, 60],
      '"kid" must be a text of 1 to 256 characters, got an object',
    ],
    [
      'no private key',
      ({ publicKey }) => ['k', undefined, publicKey, 60],
      '"privateKey" must be a private key as PEM (PKCS#8), as JWK object or as KeyObject, got undefined',
    ],
    ['a public key in its place', ({ publicKey }) => ['k', publicKey, publicKey, 60], 'unusable_key'],
    [
      'no public key',
      ({ privateKey }) => ['k', privateKey, undefined, 60],
      '"publicKey" must be a public JWK, got undefined',
    ],
    [
      'the public key of another pair',
      ({ privateKey }) => ['k', privateKey, pairOf().publicKey, 60],
      'unusable_key',
    ],
    [
      'ttl 0',
      ({ privateKey, publicKey }) => ['k', privateKey, publicKey, 0],
      '"ttl" must be seconds, more than 0, got the number 0',
    ],
    [
      'ttl NaN',
      ({ privateKey, publicKey }) => ['k', privateKey, publicKey, Number.NaN],
      '"ttl" must be seconds, more than 0, got the number NaN',
    ],
    [
      'ttl as text',
      ({ privateKey, publicKey }) => ['k', privateKey, publicKey, '10h'],
      '"ttl" must be seconds, more than 0, got a string of 3 characters',
    ],
    [
      'ttl without end',
      ({ privateKey, publicKey }) => ['k', privateKey, publicKey, Infinity],
      `"ttl" must be seconds as a number, or a text like '90d', '15m', '30s', not negative, got the number Infinity`,
    ],
  ])('refuses %s, and stores nothing', async (_, args, expected) => {
    const keyRing = fleet().join();
    const { storeKeyPair } = keyStoreOf(keyRing);
    const error = await rejection(
      Promise.resolve(Reflect.apply(storeKeyPair, undefined, [...args(pairOf())])),
    );
    expect('code' in error ? error.code : error.message, 'what is wrong').toBe(expected);
    expect(keyRing.keySet, 'the store is as empty as before').toBeUndefined();
  });

  it('refuses a pair of an algorithm that the key ring would not renew', async () => {
    const keyStore = keyStoreOf(fleet({ algorithms: ['Ed25519'] }).join());
    const error = await rejection(storePair(keyStore, 'k'));
    expect(error, 'a setting to mend').toBeInstanceOf(TypeError);
    expect(error.message, 'names it').toBe(
      `"privateKey" must be for one of the key ring's "algorithms" (Ed25519), got one for ES256`,
    );
  });

  it('says when the store is down, and when it may not make the first key', async () => {
    const { join, store } = fleet({ algorithms: ['ES256'], initialise: 'never' });
    const keyStore = keyStoreOf(join());
    expect(await verdict(storePair(keyStore, 'k')), 'somebody else has the keys').toBe('not_initialised');
    expect(await verdict(keyStore.getPrivateKey()), 'none is made by the way').toBe('not_initialised');
    expect(await keyStore.getPublicKeys(), 'none').toEqual([]);
    expect(await keyStore.getLastRotationTimestamp(), 'never').toBe(0);
    store.state = 'down';
    expect(await verdict(storePair(keyStore, 'k')), 'nobody was told').toBe('store_unavailable');
  });
});

describe('getPrivateKey and getPublicKeys', () => {
  it('P2: an empty store gets one key, however many ask in however many processes', async () => {
    const { join } = fleet();
    const keyStores = [keyStoreOf(join()), keyStoreOf(join())];
    const asked = Array.from({ length: 8 }, () => keyStores).flat();
    const kids = await Promise.all(asked.map(activeKid));
    expect(new Set(kids).size, 'one key').toBe(1);
    expect(kids[0], 'with a name').toEqual(expect.any(String));
    for (const keyStore of keyStores)
      expect(kidsOf(await keyStore.getPublicKeys()), 'and only this').toEqual([kids[0]]);
  });

  it('P7: beyond the stale bound no key is handed out: what it signs, others may not verify', async () => {
    const { clock, join, store } = fleet();
    const keyRing = join();
    const keyStore = keyStoreOf(keyRing);
    await storePair(keyStore, 'first');
    store.state = 'down';
    await clock.advance('6h');
    expect(await activeKid(keyStore), 'at the bound').toBe('first');
    await clock.advance(1);
    expect(await verdict(keyStore.getPrivateKey()), 'beyond it').toBe('stale');
    expect(await verdict(keyStore.getPublicKeys()), 'nor are they published').toBe('stale');
    await keyRing.close();
  });

  it('public keys have no private members', async () => {
    const keyStore = keyStoreOf(fleet().join());
    await storePair(keyStore, 'first');
    const [key] = await keyStore.getPublicKeys();
    expect(Object.keys(key ?? {}).toSorted(), 'P5').toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  });
});

describe('the rotation timestamp', () => {
  it('is 0 at first, then that of the newest key, in every process', async () => {
    const { clock, join } = fleet();
    const [one, other] = [join(), join()];
    expect(await keyStoreOf(other).getLastRotationTimestamp(), 'none yet').toBe(0);
    await storePair(keyStoreOf(one), 'first');
    expect(await keyStoreOf(one).getLastRotationTimestamp(), 'here').toBe(start);
    expect(await keyStoreOf(other).getLastRotationTimestamp(), 'there').toBe(start);
    await clock.advance('30d');
    await storePair(keyStoreOf(one), 'second');
    await clock.advance('1m');
    expect(await keyStoreOf(other).getLastRotationTimestamp(), 'after a refresh').toBe(start + 30 * day);
    await Promise.all([one.close(), other.close()]);
  });

  it('is what it was told, if that is later, and never later than now', async () => {
    const { clock, join } = fleet();
    const keyRing = join();
    const keyStore = keyStoreOf(keyRing);
    await storePair(keyStore, 'first');
    await clock.advance('2h');
    await keyStore.setLastRotationTimestamp(start + hour);
    expect(await keyStore.getLastRotationTimestamp(), 'told').toBe(start + hour);
    await keyStore.setLastRotationTimestamp(start - hour);
    expect(await keyStore.getLastRotationTimestamp(), 'the key is newer').toBe(start);
    await keyStore.setLastRotationTimestamp(start + 2 * hour + 20_000);
    expect(await keyStore.getLastRotationTimestamp(), 'a clock that is a little ahead').toBe(
      start + 2 * hour,
    );
    await keyRing.close();
  });

  it('of the future, by a clock that was wrong, does not hold up the next rotation', async () => {
    const { clock, join } = fleet();
    const keyRing = join();
    const keyStore = keyStoreOf(keyRing);
    await storePair(keyStore, 'first');
    await keyStore.setLastRotationTimestamp(start + 3650 * day);
    expect(await keyStore.getLastRotationTimestamp(), 'it does not count').toBe(start);
    await clock.advance('91d');
    expect(await keyStore.getLastRotationTimestamp(), 'also later').toBe(start);
    clock.step(-200 * day);
    expect(await keyStore.getLastRotationTimestamp(), 'the clock was set back to before everything').toBe(0);
    await keyRing.close();
  });

  it.each([Number.NaN, Infinity, -1, '0', null, undefined])('refuses %s', async (value) => {
    const { setLastRotationTimestamp } = keyStoreOf(fleet().join());
    const error = await rejection(
      Reflect.apply(setLastRotationTimestamp, undefined, [value]) as Promise<unknown>,
    );
    expect(error.message, 'names it').toMatch(/^"rotationTimestamp" must be epoch milliseconds, got /);
  });

  it('P5: asking for it destroys private halves that no longer sign', async () => {
    const { clock, join } = fleet();
    const keyRing = join();
    const keyStore = keyStoreOf(keyRing);
    await storePair(keyStore, 'first');
    await clock.advance('30d');
    await storePair(keyStore, 'second');
    await clock.advance('25h');
    const holdsPrivateKey = (): unknown => keyRing.keySet?.keys.map(({ hasPrivateKey }) => hasPrivateKey);
    expect(holdsPrivateKey(), 'no rotator of ours is running').toEqual([true, true]);
    await keyStore.getLastRotationTimestamp();
    expect(holdsPrivateKey(), 'the first one cannot sign any more').toEqual([false, true]);
    await keyRing.close();
  });
});

it('keyStoreOf takes a key ring', () => {
  for (const value of [undefined, null, {}, 'keyRing']) {
    // Wrong on purpose.
    expect(() => keyStoreOf(value as never), 'misuse').toThrow(
      /^"keyRing" must be an object with ready\(\), commit\(\), publication\(\), got /,
    );
  }
});

describe('an OAuth server written against the interfaces', () => {
  const pool: { privateKey: JWK; publicKey: JWK }[] = [];
  beforeAll(async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    pool.push({ privateKey: await exportJWK(privateKey), publicKey: await exportJWK(publicKey) });
  });

  interface Server {
    readonly authority: ServerAuthority;
    readonly rotator: ServerRotator;
    readonly keyRing: KeyRing;
  }

  function startServer({ clock, join }: Fleet, interval: number): Server {
    const keyRing = join();
    const store = keyStoreOf(keyRing);
    const [pair] = pool;
    if (pair === undefined) throw new Error('no RSA key');
    // The same key under ever new names: the names are what is counted, and 2048 bits take long.
    const authority = new ServerAuthority(store, 36_000, async () => pair);
    return { authority, keyRing, rotator: new ServerRotator(authority, store, interval, () => clock.now()) };
  }

  it('P1 P2: runs unchanged in two processes at once, without doubled rotations or lost tokens', async () => {
    const world = fleet({ algorithms: ['RS256'] });
    const { clock } = world;
    const servers = [startServer(world, 7 * day), startServer(world, 7 * day)];
    const seen = new Set<unknown>();
    const look = async (): Promise<void> => {
      for (const { authority } of servers) {
        for (const { kid } of (await authority.getJwksEndpointResponse()).keys) seen.add(kid);
      }
    };
    const everywhere = async (token: string): Promise<void> => {
      for (const { authority } of servers) await authority.verify(token);
    };
    const checkTogether = async (): Promise<unknown> =>
      Promise.all([...servers, ...servers].map(async ({ rotator }) => rotator.checkAndRotateKeys()));

    await checkTogether();
    await look();
    expect(seen.size, 'keys after both have started at once').toBe(1);

    for (let rotation = 1; rotation <= 5; rotation++) {
      await clock.advance('7d');
      await checkTogether();
      await checkTogether();
      await look();
      expect(seen.size, `keys after ${rotation} rotations by both at once`).toBe(rotation + 1);
      const before = await Promise.all(
        servers.map(async ({ authority }) => authority.sign({ sub: 'user-1' })),
      );
      expect(new Set(before.map(({ kid }) => kid)).size, 'both sign with one key').toBe(1);
      await clock.advance('25h');
      await checkTogether();
      const after = await Promise.all(
        servers.map(async ({ authority }) => authority.sign({ sub: 'user-1' })),
      );
      expect(new Set(after.map(({ kid }) => kid)).size, 'still').toBe(1);
      expect(after[0]?.kid, 'the next one').not.toBe(before[0]?.kid);
      for (const { token } of [...before, ...after]) await everywhere(token);
      await clock.advance('10h');
      for (const { token } of before) await everywhere(token);
    }
    const { keys } = (await servers[0]?.authority.getJwksEndpointResponse()) ?? { keys: [] };
    expect(keys.length, 'old keys are removed').toBeLessThanOrEqual(2);
    await Promise.all(servers.map(async ({ keyRing }) => keyRing.close()));
    expect(clock.timers, 'nothing is left').toBe(0);
  });

  it('P1 P2: eight first tokens at once in each of two processes: one key, and every token verifies everywhere', async () => {
    const world = fleet({ algorithms: ['RS256'] });
    const servers = [startServer(world, 7 * day), startServer(world, 7 * day)];
    const tokens = await Promise.all(
      Array.from({ length: 8 }, () => servers)
        .flat()
        .map(async ({ authority }) => authority.sign({ sub: 'user-1' })),
    );
    expect(new Set(tokens.map(({ kid }) => kid)).size, 'keys').toBe(1);
    for (const { token } of tokens) {
      for (const { authority } of servers)
        expect((await authority.verify(token)).sub, 'verifies').toBe('user-1');
    }
    expect(await servers[1]?.authority.getCurrentKid(), 'the same').toBe(tokens[0]?.kid);
    await Promise.all(servers.map(async ({ keyRing }) => keyRing.close()));
  });
});
