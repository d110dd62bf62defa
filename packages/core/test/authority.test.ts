import { createLocalJWKSet, decodeProtectedHeader, errors, jwtVerify, type JWTVerifyOptions } from 'jose';
import { describe, expect, it } from 'vitest';
import { checkAlgorithm, type Algorithm, type KeyPair } from '../src/algorithms.ts';
import type { JwtClaims } from '../src/claims.ts';
import { JwtAuthority, KeyRing, localEncrypter } from '../src/index.ts';
import type { KeySetPolicyOptions, SignOptions, VerifyOptions } from '../src/index.ts';
import {
  decodePart,
  encode,
  forge,
  quickKeyPair,
  rejection,
  setUp,
  signParts,
  verdict,
  type Setting,
} from './support/authorities.ts';

const issuer = 'https://auth.example.com';
const start = Date.UTC(2026, 0, 1);
const now = start / 1000;
const hour = 3600;

/** What jose says of a token, judged by our JWKS at our time. */
async function joseVerdict(
  { authority, clock }: Setting,
  token: string,
  options: JWTVerifyOptions = {},
): Promise<string> {
  const jwks = createLocalJWKSet(await authority.getJwksEndpointResponse());
  try {
    await jwtVerify(token, jwks, { currentDate: new Date(clock.now()), clockTolerance: 30, ...options });
    return 'accepted';
  } catch (error) {
    if (error instanceof errors.JOSEError) return error.code;
    throw error;
  }
}

describe('sign', () => {
  it('makes exactly this header and these claims, in whole seconds', async () => {
    const { authority, clock, pairs } = await setUp({ issuer });
    clock.step(999);
    const { token, kid } = await authority.sign({ sub: 'user-1', aud: 'api', role: 'admin' });
    expect(kid, 'the key that signed').toBe(pairs[0]?.kid);
    expect(decodePart(token, 0), 'nothing else in the header').toStrictEqual({
      alg: 'ES256',
      typ: 'JWT',
      kid,
    });
    expect(decodePart(token, 1), 'issuer, iat and exp are added').toStrictEqual({
      iss: issuer,
      sub: 'user-1',
      aud: 'api',
      role: 'admin',
      iat: now,
      // A lifetime of 1 h from 0.999 s later.
      exp: now + hour,
    });
    expect(token, 'compact and canonical').toMatch(/^[\w-]+\.[\w-]+\.[\w-]{86}$/);
  });

  it('adds iat and exp only, where nothing is configured', async () => {
    const { authority } = await setUp();
    const { token } = await authority.sign({});
    expect(decodePart(token, 1), 'an empty payload').toStrictEqual({ iat: now, exp: now + hour });
  });

  it.each<[what: string, payload: JwtClaims, options: SignOptions, expected: Record<string, unknown>]>([
    ['exp from the payload', { exp: now + 60 }, {}, { exp: now + 60 }],
    ['exp at the limit', { exp: now + hour }, {}, { exp: now + hour }],
    ['a fraction of a second in exp', { exp: now + 0.5 }, {}, { exp: now + 0.5 }],
    ['expiresIn in seconds', {}, { expiresIn: 90 }, { exp: now + 90 }],
    ['expiresIn as text', {}, { expiresIn: '15m' }, { exp: now + 900 }],
    ['the shortest expiresIn', {}, { expiresIn: 1 }, { exp: now + 1 }],
    ['expiresIn at the limit', {}, { expiresIn: '1h' }, { exp: now + hour }],
    ['notBefore in seconds', {}, { notBefore: 10 }, { nbf: now + 10 }],
    ['notBefore as text', {}, { notBefore: '2 minutes' }, { nbf: now + 120 }],
    ['notBefore now', {}, { notBefore: 0 }, { nbf: now }],
    ['nbf from the payload', { nbf: now - 5 }, {}, { nbf: now - 5 }],
    ['iat from the payload, in the past', { iat: now - 100 }, {}, { iat: now - 100, exp: now + hour }],
    ['iat of this moment', { iat: now }, {}, { iat: now }],
    ['subject by option', {}, { subject: 'user-2' }, { sub: 'user-2' }],
    ['audience by option', {}, { audience: 'web' }, { aud: 'web' }],
    ['several audiences by option', {}, { audience: ['web', 'app'] }, { aud: ['web', 'app'] }],
    ['several audiences in the payload', { aud: ['web', 'app'] }, {}, { aud: ['web', 'app'] }],
    ['jti by option', {}, { jti: 'one' }, { jti: 'one' }],
    ['jti in the payload', { jti: 'two' }, {}, { jti: 'two' }],
    ['the issuer once more', { iss: issuer }, {}, { iss: issuer }],
    // As a caller without types may do.
    [
      'what is undefined counts as absent',
      { sub: undefined, exp: undefined } as unknown as JwtClaims,
      { subject: 'u' },
      { sub: 'u', exp: now + hour },
    ],
    [
      'nested claims and any Unicode',
      { a: { b: [1, null, 'ü😀\u0000'] } },
      {},
      { a: { b: [1, null, 'ü😀\u0000'] } },
    ],
    [
      'a claim named __proto__',
      JSON.parse('{"__proto__":{"x":1}}') as JwtClaims,
      {},
      JSON.parse('{"__proto__":{"x":1}}') as Record<string, unknown>,
    ],
  ])('takes %s', async (_, payload, options, expected) => {
    const { authority } = await setUp({ issuer });
    const before = structuredClone(payload);
    const { token } = await authority.sign(payload, options);
    expect(decodePart(token, 1), 'the claims').toStrictEqual({
      iss: issuer,
      iat: now,
      exp: now + hour,
      ...expected,
    });
    const claims = await authority.verify(token, { clockTolerance: '5m' });
    expect(claims, 'and verify gives them back').toStrictEqual(decodePart(token, 1));
    expect(payload, 'the caller keeps its object as it was').toStrictEqual(before);
  });

  it('makes a random UUID of jti: true, each time another', async () => {
    const { authority } = await setUp();
    const ids = (await authority.signMany([{}, {}, {}], { jti: true })).map(({ token }) =>
      decodePart(token, 1),
    );
    const texts = ids.map((claims) => String(Reflect.get(Object(claims), 'jti')));
    expect(
      texts.every((text) => /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)),
      'UUIDs',
    ).toBe(true);
    expect(new Set(texts).size, 'no two alike').toBe(3);
  });

  it.each<[what: string, payload: unknown, options: SignOptions, message: string]>([
    [
      'no payload',
      undefined,
      {},
      '"payload" must be a plain object of claims (no array, class instance or toJSON), got undefined',
    ],
    [
      'null',
      null,
      {},
      '"payload" must be a plain object of claims (no array, class instance or toJSON), got null',
    ],
    [
      'a text',
      'sub=secret',
      {},
      '"payload" must be a plain object of claims (no array, class instance or toJSON), got a string of 10 characters',
    ],
    [
      'an array',
      [{ sub: 'secret' }],
      {},
      '"payload" must be a plain object of claims (no array, class instance or toJSON), got an array of 1',
    ],
    [
      'a Date',
      new Date(),
      {},
      '"payload" must be a plain object of claims (no array, class instance or toJSON), got an object',
    ],
    [
      'a Map',
      new Map([['sub', 'secret']]),
      {},
      '"payload" must be a plain object of claims (no array, class instance or toJSON), got an object',
    ],
    [
      'a class instance',
      new (class User {
        sub = 'secret';
      })(),
      {},
      '"payload" must be a plain object of claims (no array, class instance or toJSON), got an object',
    ],
    [
      'toJSON, which could replace exp',
      { toJSON: () => ({ sub: 'secret', exp: now + 1e6 }) },
      {},
      '"payload" must be a plain object of claims (no array, class instance or toJSON), got an object',
    ],
    [
      'a BigInt',
      { secret: 1n },
      {},
      '"payload" must be what JSON can hold: it has a BigInt, refers to itself or a toJSON failed',
    ],
    [
      'a circle',
      circular(),
      {},
      '"payload" must be what JSON can hold: it has a BigInt, refers to itself or a toJSON failed',
    ],
    ['a numeric sub', { sub: 4711 }, {}, '"sub" must be a text of 1 to 4096 characters'],
    ['an empty jti', { jti: '' }, {}, '"jti" must be a text of 1 to 4096 characters'],
    ['a null iss', { iss: null }, {}, '"iss" must be a text of 1 to 4096 characters'],
    [
      'another iss',
      { iss: 'https://secret.example' },
      {},
      '"iss" must be the issuer of this authority, or left out',
    ],
    ['no aud in a list', { aud: [] }, {}, '"aud" must be a text of 1 to 4096 characters, or a list of such'],
    [
      'a number in aud',
      { aud: ['api', 4711] },
      {},
      '"aud" must be a text of 1 to 4096 characters, or a list of such',
    ],
    ['exp as text', { exp: '4711' }, {}, '"exp" must be seconds since 1970 as a number'],
    ['exp null', { exp: null }, {}, '"exp" must be seconds since 1970 as a number'],
    ['exp NaN', { exp: Number.NaN }, {}, '"exp" must be seconds since 1970 as a number'],
    ['exp Infinity', { exp: Infinity }, {}, '"exp" must be seconds since 1970 as a number'],
    ['nbf negative', { nbf: -4711 }, {}, '"nbf" must be seconds since 1970 as a number'],
    ['iat as Date', { iat: new Date() }, {}, '"iat" must be seconds since 1970 as a number'],
    ['exp now', { exp: now }, {}, '"exp" must lie in the future'],
    ['exp in the past', { exp: now - 1 }, {}, '"exp" must lie in the future'],
    ['iat in the future', { iat: now + 0.001 }, {}, '"iat" must not lie in the future'],
    ['nbf at exp', { nbf: now + 60, exp: now + 60 }, {}, '"nbf" must lie before "exp"'],
    ['notBefore after exp', {}, { notBefore: '2h' }, '"nbf" must lie before "exp"'],
    [
      'sub twice',
      { sub: 'secret' },
      { subject: 'secret' },
      '"sub" is given in the payload and by the option "subject": give it once',
    ],
    [
      'aud twice',
      { aud: 'secret' },
      { audience: 'secret' },
      '"aud" is given in the payload and by the option "audience": give it once',
    ],
    [
      'jti twice',
      { jti: 'secret' },
      { jti: true },
      '"jti" is given in the payload and by the option "jti": give it once',
    ],
    [
      'nbf twice',
      { nbf: now },
      { notBefore: 0 },
      '"nbf" is given in the payload and by the option "notBefore": give it once',
    ],
    [
      'exp twice',
      { exp: now + 60 },
      { expiresIn: 60 },
      '"exp" is given in the payload and by the option "expiresIn": give it once',
    ],
    [
      'too much',
      { text: 'secret'.repeat(3000) },
      {},
      '"payload" makes a token of 24298 characters, "maxTokenLength" is 16384: verify would refuse it',
    ],
  ])('refuses %s', async (_, payload, options, message) => {
    const { authority } = await setUp({ issuer });
    // Wrong on purpose: as a caller without types would do.
    const error = await rejection(authority.sign(payload as JwtClaims, options));
    expect(error, 'misuse is a TypeError').toBeInstanceOf(TypeError);
    expect(error.message, 'that says what to mend and quotes no value').toBe(message);
  });

  it('P4: refuses exp beyond what the key set promises, and says what the limit is', async () => {
    const { authority, clock } = await setUp({ maxTokenLifetime: '1h' });
    clock.step(500);
    const error = await rejection(authority.sign({}, { expiresIn: '1d' }));
    expect(error, 'as in scenarios.md').toMatchObject({
      code: 'token_lifetime_exceeded',
      message:
        '"exp" is 86400 s after "iat", the limit promised for this key set is 3600 s ("maxTokenLifetime").',
    });
    expect(await verdict(authority.sign({ exp: now + hour + 0.5 })), 'the limit counts from now').toBe(
      'accepted',
    );
    expect(await verdict(authority.sign({ exp: now + hour + 0.501 })), 'to the millisecond').toBe(
      'token_lifetime_exceeded',
    );
    expect(
      await verdict(authority.sign({ iat: now - 10 * hour, exp: now + hour })),
      'an early iat does not count against it: the promise is about exp',
    ).toBe('accepted');
    expect(await verdict(authority.sign({ iat: now - 10 * hour, exp: now + hour + 1 })), 'nor for it').toBe(
      'token_lifetime_exceeded',
    );
  });

  it('P4: holds to the lifetime in the document when its own setting is longer', async () => {
    const encrypter = localEncrypter.forTests();
    const { store, clock } = await setUp({ encrypter, maxTokenLifetime: '5m' });
    // Without a rotator, which would raise what the document promises first.
    const policy: KeySetPolicyOptions = { algorithms: ['ES256'], maxTokenLifetime: '1h' };
    await using keyRing = new KeyRing({ store, encrypter, clock, policy });
    const authority = new JwtAuthority({ keyRing });
    const { token } = await authority.sign({});
    expect(decodePart(token, 1), 'the default is the limit').toMatchObject({ exp: now + 300 });
    expect(await verdict(authority.sign({ exp: now + 301 })), 'others drop the key by that limit').toBe(
      'token_lifetime_exceeded',
    );
  });

  it('signs with the algorithm asked for, else with the first configured one', async () => {
    const { authority } = await setUp({ algorithms: ['Ed25519', 'ES256'] });
    const algOf = async (options: SignOptions): Promise<unknown> =>
      decodeProtectedHeader((await authority.sign({}, options)).token).alg;
    expect(await algOf({}), 'the preferred one').toBe('Ed25519');
    expect(await algOf({ alg: 'ES256' }), 'the other one').toBe('ES256');
    const error = await rejection(authority.sign({}, { alg: 'ES384' }));
    expect(error, 'not configured, so there is no key').toMatchObject({
      code: 'no_active_key',
      message: 'no key of ES384 is active, and none is coming',
    });
  });

  it('puts typ into the header: of the call, else of the authority, else JWT', async () => {
    const { authority } = await setUp({ typ: 'at+jwt' });
    const typOf = async (options: SignOptions): Promise<unknown> =>
      decodeProtectedHeader((await authority.sign({}, options)).token).typ;
    expect(await typOf({}), 'of the authority').toBe('at+jwt');
    expect(await typOf({ typ: 'dpop+jwt' }), 'of the call').toBe('dpop+jwt');
    expect(await typOf({}), 'the call before left nothing behind').toBe('at+jwt');
    // Each would be the other one if the parts were only joined.
    expect(await typOf({ typ: 'a\nES256\nb' }), 'any characters').toBe('a\nES256\nb');
    expect(await typOf({ typ: '6 at+jwt' }), 'any characters').toBe('6 at+jwt');
  });

  it('keeps two headers apart that read alike when joined', async () => {
    const { authority, clock } = await setUp();
    const jwk = (await quickKeyPair('ES256')).privateKey;
    const { kid } = await authority.rotator.importKey(jwk, { kid: 'b ES256 c' });
    const first = await quickKeyPair('ES256');
    await clock.advance('25h');
    const one = await authority.sign({}, { typ: 'a' });
    expect(decodePart(one.token, 0), 'the imported key signs').toStrictEqual({ alg: 'ES256', typ: 'a', kid });
    await authority.rotator.importKey(first.privateKey, { kid: 'c' });
    await clock.advance('25h');
    const two = await authority.sign({}, { typ: 'a ES256 b' });
    expect(decodePart(two.token, 0), 'a header of its own').toStrictEqual({
      alg: 'ES256',
      typ: 'a ES256 b',
      kid: 'c',
    });
    await authority.close();
  });

  it('signMany: in order, all or none', async () => {
    const { authority } = await setUp({ issuer });
    const subjects = Array.from({ length: 40 }, (_, index) => `user-${index}`);
    const tokens = await authority.signMany(
      subjects.map((sub) => ({ sub })),
      { audience: 'api' },
    );
    const claims = await Promise.all(tokens.map(async ({ token }) => authority.verify(token)));
    expect(
      claims.map(({ sub }) => sub),
      'the order given',
    ).toEqual(subjects);
    expect(
      claims.every(({ aud }) => aud === 'api'),
      'the options hold for all',
    ).toBe(true);
    expect(await authority.signMany([]), 'nothing of nothing').toEqual([]);
    expect(await verdict(authority.signMany([{}, { exp: 1 }])), 'one is wrong').toBe('TypeError');
    expect(
      (await rejection(authority.signMany([{}, {}], { jti: 'same' }))).message,
      'no identity for two',
    ).toBe('"jti" must be true in signMany: one text would name all tokens, got a string of 4 characters');
    // Wrong on purpose.
    expect((await rejection(authority.signMany({} as never))).message, 'no array').toBe(
      '"payloads" must be an array of claims sets, got an object',
    );
  });

  it('P10: no call to the store, however many tokens', async () => {
    const { authority, store } = await setUp();
    const before = store.calls;
    const tokens = await authority.signMany(Array.from({ length: 200 }, () => ({})));
    await Promise.all(tokens.map(async ({ token }) => authority.verify(token)));
    expect(store.calls - before, 'calls').toBe(0);
  });

  it('P7: signs from memory up to the stale bound, then fails with "stale"', async () => {
    const { authority, clock, store } = await setUp({ propagationDelay: '24h' });
    store.state = 'down';
    await clock.advance('6h');
    expect(await verdict(authority.sign({})), 'at the bound').toBe('accepted');
    await clock.advance(1);
    const error = await rejection(authority.sign({}));
    expect(error, 'beyond it').toMatchObject({ code: 'stale', retryable: true });
    expect(error.message, 'with the figures').toMatch(
      /the key set was last read 216\d\d(?:\.\d+)? s ago, the bound is 21600 s/,
    );
    store.state = 'up';
    await clock.advance('1m');
    expect(await verdict(authority.sign({})), 'the store is back').toBe('accepted');
  });

  it('loads on first use, and says what keeps it from loading', async () => {
    const encrypter = localEncrypter.forTests();
    const { store, clock } = await setUp({ encrypter });
    const policy: KeySetPolicyOptions = { algorithms: ['ES256'] };
    const authority = new JwtAuthority({ keyRing: new KeyRing({ store, encrypter, clock, policy }) });
    store.state = 'down';
    expect(await verdict(authority.sign({})), 'nothing to sign with').toBe('store_unavailable');
    store.state = 'up';
    expect(await verdict(authority.sign({})), 'the next call tries again').toBe('accepted');
    await authority.keyRing.close();
    expect(await verdict(authority.sign({})), 'closed').toBe('closed');
    expect(await verdict(authority.verify('x.y.z')), 'verify sees a malformed text first').toBe(
      'malformed: not_base64url',
    );
  });

  it('does not sign without a key set', async () => {
    const { authority } = await setUp({ initialise: 'never' });
    expect(await verdict(authority.sign({})), 'none is made by the way').toBe('not_initialised');
    expect(await authority.getCurrentKid(), 'nor by asking').toBeUndefined();
  });
});

describe('verify', () => {
  it.each<[what: string, options: VerifyOptions, expected: string]>([
    ['nothing is expected', {}, 'accepted'],
    ['this issuer', { issuer }, 'accepted'],
    ['one of several issuers', { issuer: ['https://other.example', issuer] }, 'accepted'],
    ['another issuer', { issuer: 'https://other.example' }, 'wrong_issuer'],
    ['this audience', { audience: 'api' }, 'accepted'],
    ['one of several audiences', { audience: ['web', 'api'] }, 'accepted'],
    ['another audience', { audience: 'ap' }, 'wrong_audience'],
    ['this subject', { subject: 'user-1' }, 'accepted'],
    ['another subject', { subject: 'user-2' }, 'wrong_subject'],
    ['this typ', { typ: 'JWT' }, 'accepted'],
    ['this typ, as a full media type', { typ: 'application/jwt' }, 'accepted'],
    ['another typ', { typ: 'at+jwt' }, 'wrong_type'],
    ['claims that are there', { requiredClaims: ['role', 'sub'] }, 'accepted'],
    ['no claims in particular', { requiredClaims: [] }, 'accepted'],
    ['a claim that is not there', { requiredClaims: ['role', 'scope'] }, 'missing_claim'],
    ['a young token', { maxTokenAge: '1m' }, 'accepted'],
  ])('expects %s', async (_, options, expected) => {
    const { authority } = await setUp({ issuer });
    const { token } = await authority.sign({ sub: 'user-1', aud: 'api', role: 'admin' });
    expect(await verdict(authority.verify(token, options)), 'the verdict').toBe(expected);
  });

  it('expects what the authority was given, unless the call says otherwise', async () => {
    const { authority, pairs } = await setUp({ issuer, audience: ['api'], typ: 'at+jwt' });
    const { token } = await authority.sign({});
    expect(decodePart(token, 1), 'a single audience is that of its tokens').toMatchObject({ aud: 'api' });
    expect(await verdict(authority.verify(token)), 'a token of its own').toBe('accepted');
    const [pair] = pairs;
    if (pair === undefined) throw new Error('no key was made');
    const header = { alg: 'ES256', kid: pair.kid };
    const claims = { iss: issuer, aud: 'api', exp: now + 60 };
    const judge = async (
      changes: object,
      typ: string | undefined,
      options?: VerifyOptions,
    ): Promise<string> =>
      verdict(authority.verify(await forge(pair, { ...claims, ...changes }, { ...header, typ }), options));
    expect(await judge({}, 'at+jwt'), 'as expected').toBe('accepted');
    expect(await judge({}, undefined), 'no typ').toBe('wrong_type');
    expect(await judge({ iss: 'https://other.example' }, 'at+jwt'), 'iss').toBe('wrong_issuer');
    expect(await judge({ iss: undefined }, 'at+jwt'), 'no iss').toBe('missing_claim');
    expect(await judge({ aud: ['web'] }, 'at+jwt'), 'aud').toBe('wrong_audience');
    expect(await judge({ aud: ['web'] }, 'JWT', { audience: 'web', typ: 'JWT' }), 'the call decides').toBe(
      'accepted',
    );
  });

  it('several audiences of the authority are expected, and none is signed', async () => {
    const { authority } = await setUp({ audience: ['api', 'web'] });
    const { token } = await authority.sign({});
    expect(decodePart(token, 1), 'which one would it be').not.toHaveProperty('aud');
    expect(await verdict(authority.verify(token)), 'the caller must say').toBe('missing_claim');
    expect(await verdict(authority.verify((await authority.sign({ aud: 'web' })).token)), 'one of them').toBe(
      'accepted',
    );
  });

  it.each<[what: string, claims: object, at: number, options: VerifyOptions, expected: string]>([
    ['exp 29.999 s ago, 30 s by default', { exp: now }, 29_999, {}, 'accepted'],
    ['exp 30 s ago, 30 s by default', { exp: now }, 30_000, {}, 'expired'],
    ['exp 1 ms to come, no leeway', { exp: now }, -1, { clockTolerance: 0 }, 'accepted'],
    ['exp now, no leeway', { exp: now }, 0, { clockTolerance: 0 }, 'expired'],
    ['exp 59.999 s ago, 1 min', { exp: now }, 59_999, { clockTolerance: '1m' }, 'accepted'],
    ['exp 60 s ago, 1 min', { exp: now }, 60_000, { clockTolerance: '1m' }, 'expired'],
    ['nbf 30 s to come, 30 s by default', { nbf: now }, -30_000, {}, 'accepted'],
    ['nbf 30.001 s to come, 30 s by default', { nbf: now }, -30_001, {}, 'not_yet_valid'],
    ['nbf 1 ms to come, no leeway', { nbf: now }, -1, { clockTolerance: 0 }, 'not_yet_valid'],
    ['nbf now, no leeway', { nbf: now }, 0, { clockTolerance: 0 }, 'accepted'],
    ['iat 90 s ago, at most 60 s and the leeway', { iat: now }, 90_000, { maxTokenAge: 60 }, 'accepted'],
    ['iat 90.001 s ago, at most 60 s and the leeway', { iat: now }, 90_001, { maxTokenAge: 60 }, 'too_old'],
    ['iat to come within the leeway', { iat: now }, -30_000, { maxTokenAge: 60 }, 'accepted'],
    ['iat to come', { iat: now }, -30_001, { maxTokenAge: 60 }, 'not_yet_valid'],
    ['iat to come, where no age is asked for', { iat: now }, -60_000, {}, 'accepted'],
    ['no iat, where an age is asked for', {}, 0, { maxTokenAge: 60 }, 'missing_claim'],
  ])('bounds: %s', async (_, claims, at, options, expected) => {
    const { authority, clock, pairs } = await setUp();
    const [pair] = pairs;
    if (pair === undefined) throw new Error('no key was made');
    const token = await forge(pair, { exp: now + hour, ...claims });
    clock.step(at);
    expect(await verdict(authority.verify(token, options)), `${at} ms from the time named`).toBe(expected);
  });

  it('gives the header, the kid and how old its knowledge is', async () => {
    const { authority, clock, store } = await setUp();
    const { token, kid } = await authority.sign({ sub: 'user-1' });
    store.state = 'down';
    await clock.advance(90);
    const verified = await authority.verifyWithHeader<{ sub: string; exp: number; iat: number }>(token);
    expect(verified, 'all of it').toStrictEqual({
      claims: { sub: 'user-1', iat: now, exp: now + hour },
      header: { alg: 'ES256', typ: 'JWT', kid, parameters: { alg: 'ES256', typ: 'JWT', kid } },
      kid,
      keySetAge: expect.any(Number) as number,
    });
    expect(verified.keySetAge, 'seconds since the last successful read').toBeGreaterThanOrEqual(90);
    expect(Object.isFrozen(verified.header), 'headers are remembered, so nobody may alter them').toBe(true);
    expect(Object.isFrozen(verified.header.parameters), 'all the way down').toBe(true);
    verified.claims.sub = 'user-2';
    expect((await authority.verify(token)).sub, 'claims are not shared').toBe('user-1');
  });

  it('judges a header that it remembers by the key it names now', async () => {
    const { authority, pairs } = await setUp();
    const { token, kid } = await authority.sign({});
    expect(await verdict(authority.verify(token)), 'remembered now').toBe('accepted');
    const [header = '', payload = '', signature = ''] = token.split('.');
    expect(await verdict(authority.verify(`${header}.${payload}.${'A'.repeat(86)}`)), 'no signature').toBe(
      'signature_invalid',
    );
    const other = await forge(
      await quickKeyPair('ES256'),
      { exp: now + 60 },
      { alg: 'ES256', typ: 'JWT', kid },
    );
    expect(other.split('.')[0], 'the same header').toBe(header);
    expect(await verdict(authority.verify(other)), 'of another key').toBe('signature_invalid');
    await authority.rotator.revoke(kid, { reason: 'test' });
    expect(await verdict(authority.verify(`${header}.${payload}.${signature}`)), 'revoked since').toBe(
      'key_revoked',
    );
    expect(pairs.length, 'replaced').toBe(2);
  });

  it('does not remember headers that nobody signed, nor more than it can hold', async () => {
    const { authority, pairs } = await setUp();
    const [pair] = pairs;
    if (pair === undefined) throw new Error('no key was made');
    for (let index = 0; index < 1100; index++) {
      const token = await forge(pair, { exp: now + 60 }, { alg: 'ES256', kid: pair.kid, n: index });
      expect((await authority.verifyWithHeader(token)).header.parameters['n'], 'its own header').toBe(index);
    }
    expect(await verdict(authority.verify((await authority.sign({})).token)), 'and on').toBe('accepted');
  });
});

describe('what it publishes', () => {
  it('getPublicKeys and getPublicKey: public members only, newest first; getCurrentKid: the one that signs', async () => {
    const { authority, clock, pairs } = await setUp();
    await clock.advance(1);
    await authority.generateKeyPair();
    const [first, second] = pairs;
    const published = [second, first].map((pair) => ({
      ...pair?.publicJwk,
      kid: pair?.kid,
      alg: 'ES256',
      use: 'sig',
    }));
    expect(await authority.getPublicKeys(), 'both keys').toStrictEqual({ keys: published });
    expect(await authority.getJwksEndpointResponse(), 'the same').toStrictEqual({ keys: published });
    expect(await authority.getPublicKey(first?.kid ?? ''), 'one of them').toStrictEqual(published[1]);
    expect(await authority.getPublicKey('other'), 'none of them').toBeUndefined();
    expect(await authority.getCurrentKid(), 'the next one waits').toBe(first?.kid);
    await authority.generateKeyPair();
    expect(pairs.length, 'one is pending: no third').toBe(2);
    await clock.advance(24 * hour + 11);
    expect(await authority.getCurrentKid(), 'after the propagation delay').toBe(second?.kid);
    await authority.close();
  });

  it('says when it may not publish', async () => {
    const { authority, clock, store } = await setUp();
    store.state = 'down';
    await clock.advance('7h');
    for (const call of [authority.getPublicKeys(), authority.getPublicKey('x'), authority.getCurrentKid()]) {
      expect(await verdict(call), 'what is stale may be wrong').toBe('stale');
    }
  });
});

const algorithms = (
  [
    'RS256',
    'RS384',
    'RS512',
    'PS256',
    'PS384',
    'PS512',
    'ES256',
    'ES384',
    'ES512',
    'EdDSA',
    'Ed25519',
    'ML-DSA-44',
    'ML-DSA-65',
    'ML-DSA-87',
  ] as const
).map((alg) => [alg, isSupported(alg)] as const);

function isSupported(alg: Algorithm): boolean {
  try {
    checkAlgorithm(alg, 'alg');
    return true;
  } catch {
    return false;
  }
}

describe('side by side with jose', () => {
  for (const [alg, supported] of algorithms) {
    it.skipIf(!supported)(
      `${alg}: jose verifies our tokens by our JWKS, and refuses them altered`,
      async () => {
        const setting = await setUp({ algorithms: [alg], issuer, generateKeyPair: quickKeyPair });
        const { token } = await setting.authority.sign({ sub: 'user-1', aud: 'api' });
        expect(await joseVerdict(setting, token, { issuer, audience: 'api', typ: 'JWT' }), 'jose').toBe(
          'accepted',
        );
        expect(await verdict(setting.authority.verify(token, { audience: 'api' })), 'ours').toBe('accepted');
        const [header, payload = '', signature] = token.split('.');
        const altered = `${header}.${payload.replace(/^./, (first) => (first === 'e' ? 'f' : 'e'))}.${signature}`;
        expect(await joseVerdict(setting, altered), 'jose').toBe('ERR_JWS_SIGNATURE_VERIFICATION_FAILED');
        expect(await verdict(setting.authority.verify(altered)), 'ours').toBe('signature_invalid');
      },
    );
  }

  const good = { iss: issuer, sub: 'user-1', aud: 'api', iat: now, exp: now + hour };
  const expectations = { issuer, audience: 'api', subject: 'user-1', typ: 'JWT' };

  it.each<
    [
      what: string,
      make: (pair: KeyPair) => Promise<string>,
      code: string,
      joseCode: string,
      options?: { maxTokenAge: string },
    ]
  >([
    ['expired', async (pair) => forge(pair, { ...good, exp: now - 31 }), 'expired', 'ERR_JWT_EXPIRED'],
    [
      'not valid yet',
      async (pair) => forge(pair, { ...good, nbf: now + 31 }),
      'not_yet_valid',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'too old',
      async (pair) => forge(pair, { ...good, iat: now - 691 }),
      'too_old',
      'ERR_JWT_EXPIRED',
      { maxTokenAge: '11m' },
    ],
    [
      'of the future',
      async (pair) => forge(pair, { ...good, iat: now + 31 }),
      'not_yet_valid',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
      { maxTokenAge: '11m' },
    ],
    [
      'of another issuer',
      async (pair) => forge(pair, { ...good, iss: 'x' }),
      'wrong_issuer',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'without issuer',
      async (pair) => forge(pair, { ...good, iss: undefined }),
      'missing_claim',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'for another audience',
      async (pair) => forge(pair, { ...good, aud: ['x', 'y'] }),
      'wrong_audience',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'for nobody',
      async (pair) => forge(pair, { ...good, aud: [] }),
      'wrong_audience',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'about another subject',
      async (pair) => forge(pair, { ...good, sub: 'x' }),
      'wrong_subject',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'of another type',
      async (pair) => forge(pair, good, { alg: 'ES256', kid: pair.kid, typ: 'at+jwt' }),
      'wrong_type',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'without type',
      async (pair) => forge(pair, good, { alg: 'ES256', kid: pair.kid }),
      'wrong_type',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'with exp as text',
      async (pair) => forge(pair, { ...good, exp: 'soon' }),
      'invalid_claim',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'with nbf as text',
      async (pair) => forge(pair, { ...good, nbf: 'soon' }),
      'invalid_claim',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'with iat as text',
      async (pair) => forge(pair, { ...good, iat: 'soon' }),
      'invalid_claim',
      'ERR_JWT_CLAIM_VALIDATION_FAILED',
    ],
    [
      'with claims that are a text',
      async (pair) => forge(pair, '"claims"'),
      'malformed: claims_not_json',
      'ERR_JWT_INVALID',
    ],
    [
      'with claims that are a list',
      async (pair) => forge(pair, '[]'),
      'malformed: claims_not_json',
      'ERR_JWT_INVALID',
    ],
    [
      'with claims that are no JSON',
      async (pair) => forge(pair, '{'),
      'malformed: claims_not_json',
      'ERR_JWT_INVALID',
    ],
    [
      'of an unknown key',
      async (pair) => forge(pair, good, { alg: 'ES256', kid: 'x', typ: 'JWT' }),
      'unknown_kid',
      'ERR_JWKS_NO_MATCHING_KEY',
    ],
    [
      'of another algorithm',
      async (pair) => forge(pair, good, { alg: 'ES384', kid: pair.kid, typ: 'JWT' }),
      'algorithm_mismatch',
      'ERR_JWKS_NO_MATCHING_KEY',
    ],
    [
      'none',
      async (pair) => `${encode({ alg: 'none', kid: pair.kid })}.${encode(good)}.`,
      'malformed: header_alg_not_allowed',
      'ERR_JOSE_NOT_SUPPORTED',
    ],
    [
      'with an unknown critical extension',
      async (pair) => forge(pair, good, { alg: 'ES256', kid: pair.kid, crit: ['x'], x: 1 }),
      'malformed: header_crit',
      'ERR_JOSE_NOT_SUPPORTED',
    ],
    [
      'with a header that is no JSON',
      async (pair) => forge(pair, good, '{'),
      'malformed: header_not_json',
      'ERR_JWS_INVALID',
    ],
    [
      'with a short signature',
      async (pair) => (await forge(pair, good)).slice(0, -2),
      'signature_invalid',
      'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
    ],
    [
      'without a signature',
      async (pair) => (await forge(pair, good)).replace(/[^.]*$/, ''),
      'signature_invalid',
      'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
    ],
    [
      'with plain base64 in the signature',
      async (pair) => withPlainBase64(pair),
      'malformed: not_base64url',
      'ERR_JWS_INVALID',
    ],
    [
      'with claims that are not UTF-8',
      async (pair) => forge(pair, Buffer.from(`{"exp":${now + hour},"sub":"\u00ff"}`, 'latin1')),
      'malformed: claims_not_json',
      'ERR_JWT_INVALID',
    ],
    [
      'of two parts',
      async (pair) => (await forge(pair, good)).replace(/\.[^.]*$/, ''),
      'malformed: not_compact',
      'ERR_JWS_INVALID',
    ],
    [
      'of five parts',
      async (pair) => `${await forge(pair, good)}.a.b`,
      'malformed: not_compact',
      'ERR_JWS_INVALID',
    ],
  ])('both refuse a token %s', async (_, make, code, joseCode, options) => {
    const setting = await setUp();
    const [pair] = setting.pairs;
    if (pair === undefined) throw new Error('no key was made');
    const token = await make(pair);
    expect(await verdict(setting.authority.verify(token, { ...expectations, ...options })), 'ours').toBe(
      code,
    );
    expect(await joseVerdict(setting, token, { ...expectations, ...options }), 'jose').toBe(joseCode);
    const control = await forge(pair, good);
    expect(
      await verdict(setting.authority.verify(control, { ...expectations, ...options })),
      'without the fault',
    ).toBe('accepted');
  });

  it.each<[what: string, make: (pair: KeyPair) => Promise<string>, code: string]>([
    ['padding in the signature', async (pair) => `${await forge(pair, good)}==`, 'malformed: not_base64url'],
    [
      'a newline in the signature',
      async (pair) => (await forge(pair, good)).replace(/.$/, '\n$&'),
      'malformed: not_base64url',
    ],
    ['a newline behind it', async (pair) => `${await forge(pair, good)}\n`, 'malformed: not_base64url'],
    ['a space behind it', async (pair) => `${await forge(pair, good)} `, 'malformed: not_base64url'],
    [
      'unused bits set in the signature',
      async (pair) => withUnusedBits(await forge(pair, good)),
      'malformed: not_base64url',
    ],
    [
      'padding in the payload',
      async (pair) =>
        signParts(pair, encode(header(pair)), Buffer.from('{"exp":1767229200 }').toString('base64')),
      'malformed: not_base64url',
    ],
    [
      'whitespace in the payload',
      async (pair) => signParts(pair, encode(header(pair)), encode(good).replace(/^.{8}/, '$&\n')),
      'malformed: not_base64url',
    ],
    [
      'whitespace in the header',
      async (pair) => signParts(pair, encode(header(pair)).replace(/^.{8}/, '$& '), encode(good)),
      'malformed: not_base64url',
    ],
    [
      'a member twice in the header',
      async (pair) => forge(pair, good, `{"alg":"none","typ":"JWT","kid":"${pair.kid}","alg":"ES256"}`),
      'malformed: header_duplicate_member',
    ],
    [
      'a member twice in the claims',
      async (pair) => forge(pair, `{"exp":${now + hour},"sub":"user-1","sub":"admin"}`),
      'malformed: claims_duplicate_member',
    ],
    [
      'a byte order mark before the header',
      async (pair) => forge(pair, good, `\ufeff${JSON.stringify(header(pair))}`),
      'malformed: header_not_json',
    ],
    [
      'a byte order mark before the claims',
      async (pair) => forge(pair, `\ufeff${JSON.stringify(good)}`),
      'malformed: claims_not_json',
    ],
    ['an exp of 1e999', async (pair) => forge(pair, '{"exp":1e999}'), 'invalid_claim'],
    ['no exp', async (pair) => forge(pair, { sub: 'user-1' }), 'missing_claim'],
    [
      'an embedded key',
      async (pair) => forge(pair, good, { ...header(pair), jwk: pair.publicJwk }),
      'malformed: header_embedded_key',
    ],
    ['no kid', async (pair) => forge(pair, good, { alg: 'ES256' }), 'malformed: header_no_kid'],
    [
      'a typ that is no text',
      async (pair) => forge(pair, good, { ...header(pair), typ: 1 }),
      'malformed: header_typ',
    ],
  ])('jose lets through, we refuse: %s', async (_, make, code) => {
    const setting = await setUp();
    const [pair] = setting.pairs;
    if (pair === undefined) throw new Error('no key was made');
    const token = await make(pair);
    expect(await joseVerdict(setting, token), 'jose lets it through').toBe('accepted');
    expect(await verdict(setting.authority.verify(token)), 'one token has one text').toBe(code);
  });
});

const header = ({ kid }: KeyPair): object => ({ alg: 'ES256', kid });

/** 64 bytes are 85 characters and two bits, so the last character has four bits that mean nothing. */
function withUnusedBits(token: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return token.replace(/.$/, (last) => alphabet[alphabet.indexOf(last) + 1] ?? '');
}

async function withPlainBase64(pair: KeyPair): Promise<string> {
  for (;;) {
    const token = await forge(pair, { exp: now + hour });
    const [head, payload, signature = ''] = token.split('.');
    if (/[-_]/.test(signature))
      return `${head}.${payload}.${signature.replaceAll('-', '+').replaceAll('_', '/')}`;
  }
}

function circular(): object {
  const payload: Record<string, unknown> = {};
  payload['secret'] = payload;
  return payload;
}
