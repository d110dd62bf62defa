import { createHmac, createPublicKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { KeyPair } from '../src/algorithms.ts';
import { JwtAuthority, JwtAuthorityError, KeyRing, localEncrypter } from '../src/index.ts';
import type { KeySetPolicyOptions, VerifyOptions } from '../src/index.ts';
import {
  encode,
  forge,
  quickKeyPair,
  rejection,
  setUp,
  signParts,
  verdict,
  type Setting,
} from './support/authorities.ts';

const now = Date.UTC(2026, 0, 1) / 1000;
const good = {
  iss: 'https://auth.example.com',
  sub: 'alice-secret',
  aud: 'api-secret',
  iat: now,
  exp: now + 60,
};

type Make = (pair: KeyPair) => string | Promise<string>;

function firstPair({ pairs }: Setting): KeyPair {
  const [pair] = pairs;
  if (pair === undefined) throw new Error('no key was made');
  return pair;
}

function goodHeader({ kid }: KeyPair): Record<string, unknown> {
  return { alg: 'ES256', typ: 'JWT', kid };
}

/** Signed with the active key, its header changed. */
const withHeader =
  (changes: object): Make =>
  async (pair) =>
    forge(pair, good, { ...goodHeader(pair), ...changes });

/** Signed with the active key, its header this text. */
const withHeaderText =
  (text: (kid: string) => string | Uint8Array): Make =>
  async (pair) =>
    forge(pair, good, text(pair.kid));

/** Signed with the active key, its claims changed or replaced. */
const withClaims =
  (claims: string | Uint8Array | object): Make =>
  async (pair) =>
    forge(pair, typeof claims === 'string' || claims instanceof Uint8Array ? claims : { ...good, ...claims });

/** A good token, its text changed. */
const altered =
  (change: (token: string) => unknown): Make =>
  // Wrong on purpose: whatever comes out is passed as a token.
  async (pair) =>
    change(await forge(pair, good)) as string;

const hmac =
  (secret: (pem: string, pair: KeyPair) => string | Buffer, alg = 'HS256'): Make =>
  (pair) => {
    const pem = createPublicKey(pair.privateKey).export({ format: 'pem', type: 'spki' }).toString();
    const input = `${encode({ ...goodHeader(pair), alg })}.${encode(good)}`;
    return `${input}.${createHmac('sha256', secret(pem, pair)).update(input).digest('base64url')}`;
  };

const refused: readonly [what: string, make: Make, expected: string, options?: VerifyOptions][] = [
  ['undefined', altered(() => undefined), 'malformed: not_a_string'],
  ['null', altered(() => null), 'malformed: not_a_string'],
  ['a buffer', altered((token) => Buffer.from(token)), 'malformed: not_a_string'],
  ['a String object', altered((token) => new String(token)), 'malformed: not_a_string'],
  ['an array of one', altered((token) => [token]), 'malformed: not_a_string'],
  ['the result of sign', altered((token) => ({ token })), 'malformed: not_a_string'],
  [
    'one character more than allowed',
    altered((token) => token + 'A'.repeat(16_385 - token.length)),
    'malformed: too_long',
  ],
  [
    'as many as are allowed, but wrong',
    altered((token) => token + 'A'.repeat(16_384 - token.length)),
    'signature_invalid',
  ],
  ['an empty text', altered(() => ''), 'malformed: not_compact'],
  ['no signature part', altered((token) => token.slice(0, token.lastIndexOf('.'))), 'malformed: not_compact'],
  ['four parts', altered((token) => `${token}.`), 'malformed: not_compact'],
  ['a dot in front', altered((token) => `.${token}`), 'malformed: not_compact'],
  ['"Bearer " in front', altered((token) => `Bearer ${token}`), 'malformed: not_base64url'],
  ['a byte order mark in front', altered((token) => `\ufeff${token}`), 'malformed: not_base64url'],
  ['a space in front', altered((token) => ` ${token}`), 'malformed: not_base64url'],
  ['a newline behind', altered((token) => `${token}\n`), 'malformed: not_base64url'],
  ['NUL behind', altered((token) => `${token}\0`), 'malformed: not_base64url'],
  ['padding behind', altered((token) => `${token}==`), 'malformed: not_base64url'],
  ['percent-encoding', altered((token) => token.replaceAll('.', '%2E')), 'malformed: not_compact'],
  ['a letter beyond ASCII', altered((token) => `${token.slice(0, -1)}é`), 'malformed: not_base64url'],
  [
    'plain base64 in the payload',
    async (pair) => signParts(pair, encode(goodHeader(pair)), '+/+/'),
    'malformed: not_base64url',
  ],
  ['a header that is no JSON', withHeaderText(() => 'alg=ES256'), 'malformed: header_not_json'],
  ['an empty header', withHeaderText(() => ''), 'malformed: header_not_json'],
  [
    'a header that is a list',
    withHeaderText((kid) => `[{"alg":"ES256","kid":"${kid}"}]`),
    'malformed: header_not_json',
  ],
  ['a header that is null', withHeaderText(() => 'null'), 'malformed: header_not_json'],
  [
    'a header with a comma too many',
    withHeaderText((kid) => `{"alg":"ES256","kid":"${kid}",}`),
    'malformed: header_not_json',
  ],
  [
    'a header with a byte order mark',
    withHeaderText((kid) => `\ufeff{"alg":"ES256","kid":"${kid}"}`),
    'malformed: header_not_json',
  ],
  [
    'a header that is not UTF-8',
    withHeaderText((kid) => Buffer.from(`{"alg":"ES256","kid":"${kid}","x":"\u00ff"}`, 'latin1')),
    'malformed: header_not_json',
  ],
  [
    'alg twice',
    withHeaderText((kid) => `{"alg":"none","kid":"${kid}","alg":"ES256"}`),
    'malformed: header_duplicate_member',
  ],
  [
    'kid twice, once escaped',
    withHeaderText((kid) => `{"alg":"ES256","kid":"x","k\\u0069d":"${kid}"}`),
    'malformed: header_duplicate_member',
  ],
  ['no alg', withHeader({ alg: undefined }), 'malformed: header_no_alg'],
  ['an alg that is a list', withHeader({ alg: ['ES256'] }), 'malformed: header_no_alg'],
  ['no kid', withHeader({ kid: undefined }), 'malformed: header_no_kid'],
  ['an empty kid', withHeader({ kid: '' }), 'malformed: header_no_kid'],
  ['a kid that is a number', withHeader({ kid: 4711 }), 'malformed: header_no_kid'],
  ['a kid of 257 characters', withHeader({ kid: 'k'.repeat(257) }), 'malformed: header_no_kid'],
  [
    'none',
    (pair) => `${encode({ ...goodHeader(pair), alg: 'none' })}.${encode(good)}.`,
    'malformed: header_alg_not_allowed',
  ],
  ['none with a signature', withHeader({ alg: 'none' }), 'malformed: header_alg_not_allowed'],
  ['NoNe', withHeader({ alg: 'NoNe' }), 'malformed: header_alg_not_allowed'],
  ['HMAC with the public key as PEM', hmac((pem) => pem), 'malformed: header_alg_not_allowed'],
  ['HMAC with the public key as trimmed PEM', hmac((pem) => pem.trim()), 'malformed: header_alg_not_allowed'],
  [
    'HMAC with the public key as DER',
    hmac((_pem, { privateKey }) => createPublicKey(privateKey).export({ format: 'der', type: 'spki' })),
    'malformed: header_alg_not_allowed',
  ],
  [
    'HMAC with the public JWK',
    hmac((_pem, { publicJwk }) => JSON.stringify(publicJwk), 'HS512'),
    'malformed: header_alg_not_allowed',
  ],
  ['HMAC that calls itself ES256', hmac((pem) => pem, 'ES256'), 'signature_invalid'],
  ['a key of its own in jwk', ownKey('jwk'), 'malformed: header_embedded_key'],
  [
    'the right key in jwk',
    async (pair) => forge(pair, good, { ...goodHeader(pair), jwk: pair.publicJwk }),
    'malformed: header_embedded_key',
  ],
  ['jku', withHeader({ jku: 'https://evil.example/jwks' }), 'malformed: header_embedded_key'],
  ['x5u', withHeader({ x5u: 'https://evil.example/cert' }), 'malformed: header_embedded_key'],
  ['x5c', withHeader({ x5c: ['MIIB'] }), 'malformed: header_embedded_key'],
  ['an unknown crit', withHeader({ crit: ['exp'], exp: 1 }), 'malformed: header_crit'],
  ['an empty crit', withHeader({ crit: [] }), 'malformed: header_crit'],
  ['b64: false', withHeader({ b64: false }), 'malformed: header_b64'],
  ['b64: false and its crit', withHeader({ b64: false, crit: ['b64'] }), 'malformed: header_crit'],
  ['a typ that is a number', withHeader({ typ: 4711 }), 'malformed: header_typ'],
  ['an unknown kid', withHeader({ kid: 'unknown-secret' }), 'unknown_kid'],
  ['kid: __proto__', withHeader({ kid: '__proto__' }), 'unknown_kid'],
  ['kid: a path', withHeader({ kid: '../../../../dev/null' }), 'unknown_kid'],
  [
    'the kid in other case',
    async (pair) => forge(pair, good, { ...goodHeader(pair), kid: pair.kid.toUpperCase() }),
    'unknown_kid',
  ],
  ['ES384 with a key for ES256', withHeader({ alg: 'ES384' }), 'algorithm_mismatch'],
  ['RS256 with a key for ES256', withHeader({ alg: 'RS256' }), 'algorithm_mismatch'],
  ['an algorithm that nobody knows', withHeader({ alg: 'secret' }), 'algorithm_mismatch'],
  ['es256 in small letters', withHeader({ alg: 'es256' }), 'algorithm_mismatch'],
  [
    'the signature of another key',
    async (pair) => forge({ ...(await quickKeyPair('ES256')), kid: pair.kid }, good),
    'signature_invalid',
  ],
  [
    'the signature of another token',
    altered((token) => token.replace(/\.[^.]*\./, `.${encode({ ...good, sub: 'mallory' })}.`)),
    'signature_invalid',
  ],
  [
    'a signature of zeros',
    altered((token) => token.replace(/[^.]*$/, encode(new Uint8Array(64)))),
    'signature_invalid',
  ],
  ['a signature as DER', derSignature, 'signature_invalid'],
  ['an empty signature', altered((token) => token.replace(/[^.]*$/, '')), 'signature_invalid'],
  ['claims that are no JSON', withClaims('claims'), 'malformed: claims_not_json'],
  ['no claims at all', withClaims(''), 'malformed: claims_not_json'],
  ['claims that are a text', withClaims('"alice-secret"'), 'malformed: claims_not_json'],
  ['claims that are a list', withClaims('[{"exp":9999999999}]'), 'malformed: claims_not_json'],
  ['claims that are null', withClaims('null'), 'malformed: claims_not_json'],
  ['claims with a byte order mark', withClaims('\ufeff{"exp":9999999999}'), 'malformed: claims_not_json'],
  [
    'claims that are not UTF-8',
    withClaims(Buffer.from('{"exp":9999999999,"sub":"\u00ff"}', 'latin1')),
    'malformed: claims_not_json',
  ],
  ['claims too deep', withClaims(`{"a":${'['.repeat(70)}${']'.repeat(70)}}`), 'malformed: claims_not_json'],
  [
    'sub twice',
    withClaims('{"sub":"alice-secret","exp":9999999999,"sub":"admin"}'),
    'malformed: claims_duplicate_member',
  ],
  [
    'a member twice further in',
    withClaims('{"exp":9999999999,"a":[{"b":1,"b":2}]}'),
    'malformed: claims_duplicate_member',
  ],
  ['no exp', withClaims({ exp: undefined }), 'missing_claim'],
  ['exp null', withClaims({ exp: null }), 'invalid_claim'],
  ['exp as text', withClaims({ exp: String(now + 60) }), 'invalid_claim'],
  ['exp 1e999', withClaims('{"exp":1e999}'), 'invalid_claim'],
  ['nbf 1e999', withClaims('{"exp":9999999999,"nbf":1e999}'), 'invalid_claim'],
  ['iat as text', withClaims({ iat: 'today' }), 'invalid_claim'],
  ['exp over', withClaims({ exp: now - 30 }), 'expired'],
  ['nbf to come', withClaims({ nbf: now + 31 }), 'not_yet_valid'],
  ['iat too long ago', withClaims({ iat: now - 91 }), 'too_old', { maxTokenAge: 60 }],
  ['another issuer', withClaims({ iss: 'https://mallory.example' }), 'wrong_issuer', { issuer: good.iss }],
  ['an issuer that is a list', withClaims({ iss: [good.iss] }), 'invalid_claim', { issuer: good.iss }],
  ['another audience', withClaims({ aud: 'web' }), 'wrong_audience', { audience: 'api-secret' }],
  [
    'an audience with a number',
    withClaims({ aud: ['api-secret', 1] }),
    'invalid_claim',
    { audience: 'api-secret' },
  ],
  ['another subject', withClaims({ sub: 'mallory' }), 'wrong_subject', { subject: 'alice-secret' }],
  ['another typ', withHeader({ typ: 'logout+jwt' }), 'wrong_type', { typ: 'at+jwt' }],
  ['a claim that is asked for and absent', withClaims({}), 'missing_claim', { requiredClaims: ['scope'] }],
];

function ownKey(parameter: string): Make {
  return async (pair) => {
    const own = await quickKeyPair('ES256');
    return forge(own, good, { ...goodHeader(pair), [parameter]: own.publicJwk });
  };
}

async function derSignature(pair: KeyPair): Promise<string> {
  const token = await forge(pair, good);
  const signature = Buffer.from(token.split('.')[2] ?? '', 'base64url');
  const integer = (bytes: Buffer): Buffer => Buffer.concat([Buffer.of(2, 33, 0), bytes]);
  const content = Buffer.concat([integer(signature.subarray(0, 32)), integer(signature.subarray(32))]);
  return token.replace(/[^.]*$/, encode(Buffer.concat([Buffer.of(0x30, content.length), content])));
}

describe('verify refuses', () => {
  it.each(refused)('%s', async (_, make, expected, options) => {
    const setting = await setUp();
    const token: unknown = await make(firstPair(setting));
    // Wrong on purpose, for some.
    const error = await rejection(setting.authority.verify(token as string, options));
    const shown = JwtAuthorityError.is(error)
      ? [error.code, error.reason].filter((part) => part !== undefined).join(': ')
      : error;
    expect(shown, 'the code, and with malformed the reason').toBe(expected);
    expect(error, 'only time could change the answer').toMatchObject({
      retryable: expected === 'not_yet_valid',
    });
    expect(error.cause, 'a cause could carry the token').toBeUndefined();
    expect(
      leaks(String(token), `${error.message}\n${error.stack}`),
      'nothing of the token is repeated',
    ).toEqual([]);
  });

  it('and a token without any of these faults is accepted', async () => {
    const setting = await setUp();
    const token = await forge(firstPair(setting), good);
    const options = { issuer: good.iss, audience: good.aud, subject: good.sub, typ: 'JWT', maxTokenAge: 60 };
    expect(await setting.authority.verify(token, options), 'its claims').toEqual(good);
  });
});

/** Pieces of a token, as it stands or decoded, that a text repeats. */
function leaks(token: string, text: string): string[] {
  const parts = token.split('.').filter((part) => part.length >= 4);
  const values = ['alice', 'secret', 'mallory', 'evil', '4711', 'admin'];
  return [...parts, ...parts.map((part) => part.slice(0, 16)), ...values].filter((piece) =>
    text.includes(piece),
  );
}

describe('the algorithm is pinned to the key', () => {
  it.each(['RS256', 'PS256'] as const)(
    'a key for %s verifies neither the other padding nor another hash',
    async (alg) => {
      const setting = await setUp({ algorithms: [alg], generateKeyPair: quickKeyPair });
      const pair = await quickKeyPair(alg);
      const judge = async (signedAs: KeyPair['alg'], says: string): Promise<string> =>
        verdict(
          setting.authority.verify(
            await forge({ ...pair, alg: signedAs }, good, { alg: says, kid: pair.kid }),
          ),
        );
      const other = alg === 'RS256' ? 'PS256' : 'RS256';
      expect(await judge(alg, alg), 'as it should be').toBe('accepted');
      expect(await judge(other, other), 'the other padding, honestly named').toBe('algorithm_mismatch');
      expect(await judge(other, alg), 'the other padding under the right name').toBe('signature_invalid');
      const longer = alg === 'RS256' ? 'RS512' : 'PS512';
      expect(await judge(longer, longer), 'another hash, honestly named').toBe('algorithm_mismatch');
      expect(await judge(longer, alg), 'another hash under the right name').toBe('signature_invalid');
    },
  );

  it('two keys, two algorithms: neither kid takes the other signature', async () => {
    const { authority, pairs } = await setUp({ algorithms: ['ES256', 'Ed25519'] });
    const [first, second] = pairs;
    if (first === undefined || second === undefined) throw new Error('two keys were to be made');
    for (const [signer, named] of [
      [first, second],
      [second, first],
    ] as const) {
      const swapped = async (alg: string): Promise<string> =>
        verdict(authority.verify(await forge(signer, good, { alg, kid: named.kid })));
      expect(await swapped(signer.alg), "the signer's alg").toBe('algorithm_mismatch');
      expect(await swapped(named.alg), 'the alg of the key named').toBe('signature_invalid');
    }
  });
});

describe('revoked, stale, unknown, not loaded', () => {
  it('P9: a revoked key verifies nothing, at once', async () => {
    const { authority } = await setUp();
    const { token, kid } = await authority.sign({});
    expect(await verdict(authority.verify(token)), 'before').toBe('accepted');
    await authority.rotator.revoke(kid, { reason: 'laptop stolen' });
    const error = await rejection(authority.verify(token));
    expect(error, 'with a code of its own').toMatchObject({ code: 'key_revoked', retryable: false });
    expect(error.message, 'without the kid').not.toContain(kid);
  });

  it('P9: also while the store cannot be told', async () => {
    const { authority, store } = await setUp();
    const { token, kid } = await authority.sign({});
    store.state = 'down';
    expect(await authority.rotator.revoke(kid, { reason: 'laptop stolen' }), 'said so').toMatchObject({
      committed: false,
    });
    expect(await verdict(authority.verify(token)), 'here at once').toBe('key_revoked');
    expect((await authority.getPublicKeys()).keys, 'and out of the JWKS').toEqual([]);
  });

  it('P7: known keys verify beyond the stale bound, unless that is refused', async () => {
    const setting = await setUp();
    const { authority, clock, store } = setting;
    const strict = new JwtAuthority({ keyRing: authority.keyRing, verifyWhenStale: 'refuse' });
    const pair = firstPair(setting);
    const later = now + 10 * 3600;
    store.state = 'down';
    await clock.advance('6h');
    const token = await forge(pair, { exp: later });
    expect(await verdict(strict.verify(token)), 'at the bound').toBe('accepted');
    await clock.advance(1);
    expect(await verdict(authority.verify(token)), 'accepted by default').toBe('accepted');
    const error = await rejection(strict.verify(token));
    expect(error, 'refused if told so').toMatchObject({ code: 'stale', retryable: true });
    const { keySetAge } = await authority.verifyWithHeader(token);
    expect(keySetAge, 'the caller can see how old the knowledge is').toBeGreaterThan(6 * 3600);
    const unknown = await rejection(authority.verify(await forge(pair, good, { alg: 'ES256', kid: 'new' })));
    expect(unknown, '"cannot tell" is not "invalid"').toMatchObject({
      code: 'unknown_kid_while_stale',
      retryable: true,
    });
    store.state = 'up';
    await clock.advance('1m');
    expect(await verdict(strict.verify(token)), 'the store is back').toBe('accepted');
  });

  it('looks into the store for an unknown kid, once for however many', async () => {
    const { authority, clock, store } = await setUp();
    const [stranger] = [await quickKeyPair('ES256')];
    const tokens = await Promise.all(
      Array.from({ length: 100 }, async (_, index) =>
        forge(stranger, good, { alg: 'ES256', kid: `made-up-${index}` }),
      ),
    );
    await clock.advance(30);
    const before = store.calls;
    const verdicts = await Promise.all(tokens.map(async (token) => verdict(authority.verify(token))));
    expect(new Set(verdicts), 'none is known').toEqual(new Set(['unknown_kid']));
    expect(store.calls - before, 'reads of the store').toBe(1);
  });

  it('finds the key of another instance that was published a moment ago', async () => {
    const encrypter = localEncrypter.forTests();
    const { authority, store, clock } = await setUp({ encrypter });
    const policy: KeySetPolicyOptions = { algorithms: ['ES256'] };
    await using keyRing = new KeyRing({ store, encrypter, clock, policy });
    const other = new JwtAuthority({ keyRing });
    await other.sign({});
    const { kid } = await authority.rotator.rotateNow({ emergency: true });
    await clock.advance(20);
    const { token, kid: signedBy } = await authority.sign({});
    expect(signedBy, 'a key that the other has not seen').toBe(kid);
    expect(await verdict(other.verify(token)), 'it asks the store').toBe('accepted');
  });

  it('loads the key set on first use', async () => {
    const encrypter = localEncrypter.forTests();
    const { authority, store, clock } = await setUp({ encrypter });
    const { token } = await authority.sign({});
    const policy: KeySetPolicyOptions = { algorithms: ['ES256'] };
    await using keyRing = new KeyRing({ store, encrypter, clock, policy });
    const fresh = new JwtAuthority({ keyRing });
    store.state = 'down';
    expect(await verdict(fresh.verify(token)), 'cannot tell').toBe('store_unavailable');
    expect(await verdict(fresh.verify('a.b')), 'no need to ask').toBe('malformed: not_compact');
    store.state = 'up';
    expect(await verdict(fresh.verify(token)), 'the next call tries again').toBe('accepted');
  });

  it('knows no key while the store is empty', async () => {
    const { authority } = await setUp({ initialise: 'never' });
    const token = await forge(await quickKeyPair('ES256'), good);
    expect(await verdict(authority.verify(token)), 'nothing was ever signed').toBe('unknown_kid');
  });
});
