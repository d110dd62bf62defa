import {
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  KeyObject,
  webcrypto,
  type JsonWebKey,
} from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  checkAlgorithm,
  generateKeyPair,
  signBytes,
  verifyBytes,
  publicKeyFromJwk,
  type Algorithm,
} from '../src/algorithms.ts';
import { JwtAuthorityError } from '../src/errors.ts';
import { inlineExecutor } from '../src/executor.ts';
import { importKeyPair, type KeyImportOptions } from '../src/key-import.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const otherEc = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed = generateKeyPairSync('ed25519');

const pem = (key: KeyObject): string => key.export({ format: 'pem', type: 'pkcs8' }).toString();
const jwk = (key: KeyObject): JsonWebKey => key.export({ format: 'jwk' });
const name = 'importKey.key';

function isHere(alg: Algorithm): boolean {
  try {
    return checkAlgorithm(alg, 'alg') === alg;
  } catch {
    return false;
  }
}

/** An RSA key whose first prime is that of another key, with everything that is derived from it. */
function withPrimeOf(key: JsonWebKey, other: JsonWebKey): JsonWebKey {
  const number = (text = ''): bigint => BigInt(`0x${Buffer.from(text, 'base64url').toString('hex')}`);
  const [p, q, d] = [number(other.p), number(key.q), number(key.d)];
  // Fermat: q^(p-2) is the inverse of q modulo the prime p.
  let inverse = 1n;
  for (const bit of (p - 2n).toString(2)) inverse = (inverse * inverse * (bit === '1' ? q : 1n)) % p;
  const text = (value: bigint): string =>
    Buffer.from(value.toString(16).padStart(256, '0'), 'hex').toString('base64url');
  return { ...key, p: text(p), dp: text(d % (p - 1n)), qi: text(inverse) };
}

describe('importKeyPair', () => {
  it.each<
    [what: string, key: string | JsonWebKey | KeyObject, alg: Algorithm | undefined, expected: Algorithm]
  >([
    ['PEM, PKCS#8, RSA', pem(rsa.privateKey), 'RS256', 'RS256'],
    ['PEM, PKCS#8, RSA for PSS', pem(rsa.privateKey), 'PS384', 'PS384'],
    ['PEM, PKCS#1', rsa.privateKey.export({ format: 'pem', type: 'pkcs1' }).toString(), 'RS512', 'RS512'],
    ['PEM, PKCS#8, EC', pem(ec.privateKey), undefined, 'ES256'],
    ['PEM, SEC 1', ec.privateKey.export({ format: 'pem', type: 'sec1' }).toString(), undefined, 'ES256'],
    [
      'PEM with text around it',
      `Bag Attributes\n  friendlyName: x\n${pem(ed.privateKey)}\n\n`,
      undefined,
      'EdDSA',
    ],
    ['PEM with CRLF', pem(ed.privateKey).replaceAll('\n', '\r\n'), undefined, 'EdDSA'],
    ['JWK, RSA with alg inside', { ...jwk(rsa.privateKey), alg: 'PS256' }, undefined, 'PS256'],
    ['JWK, EC', jwk(ec.privateKey), undefined, 'ES256'],
    [
      'JWK, EC, P-384',
      jwk(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey),
      undefined,
      'ES384',
    ],
    ['JWK, OKP', { ...jwk(ed.privateKey), use: 'sig', key_ops: ['sign'], ext: true }, undefined, 'EdDSA'],
    ['JWK, OKP under its newer name', jwk(ed.privateKey), 'Ed25519', 'Ed25519'],
    ['KeyObject, RSA', rsa.privateKey, 'RS256', 'RS256'],
    ['KeyObject, Ed25519', ed.privateKey, undefined, 'EdDSA'],
  ])('takes %s', async (_, key, alg, expected) => {
    const pair = await importKeyPair(key, { name, ...(alg !== undefined && { alg }) });
    expect(pair.alg, 'the algorithm asked for or implied').toBe(expected);
    const input = Buffer.from('input');
    const signature = await signBytes(pair.alg, pair.privateKey, input, inlineExecutor);
    const publicKey = publicKeyFromJwk(pair.publicJwk, pair.alg);
    expect(
      verifyBytes(pair.alg, publicKey, input, signature, inlineExecutor),
      'both halves work together',
    ).toBe(true);
    expect(Object.keys(pair.publicJwk), 'nothing private').not.toContain('d');
    expect(pair.kid, 'the thumbprint, as no other kid was given').toMatch(/^[\w-]{43}$/);
  });

  it('gives a key of our own the kid it had', async () => {
    const made = await generateKeyPair('ES512');
    const imported = await importKeyPair(pem(made.privateKey), { name });
    expect(imported.kid, 'the same key has the same thumbprint').toBe(made.kid);
  });

  it('keeps a kid: that of the option before that of the JWK', async () => {
    const key = { ...jwk(ec.privateKey), kid: 'from the JWK' };
    expect((await importKeyPair(key, { name })).kid, 'tokens already out carry it').toBe('from the JWK');
    expect((await importKeyPair(key, { name, kid: 'option' })).kid, 'said explicitly').toBe('option');
  });

  it('leaves the JWK it was given alone', async () => {
    const key = Object.freeze({ ...jwk(ec.privateKey), kid: '1' });
    await expect(importKeyPair(key, { name }), 'it may be frozen').resolves.toHaveProperty('kid', '1');
  });

  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const pss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey;
  const { d: otherD } = jwk(otherEc.privateKey);
  const { y: _, ...withoutY } = jwk(ec.privateKey);
  const { p: __, ...withoutP } = jwk(rsa.privateKey);
  const encrypted = { cipher: 'aes-256-cbc', passphrase: 'open sesame' } as const;

  it.each<
    [what: string, key: string | JsonWebKey | KeyObject, options: Partial<KeyImportOptions>, message: RegExp]
  >([
    [
      'a public PEM',
      rsa.publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      {},
      /is not a private key/,
    ],
    [
      'a certificate',
      '-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----',
      {},
      /is not a private key/,
    ],
    ['a public JWK', jwk(ec.publicKey), {}, /is a public key\. It must be a private one/],
    ['a public KeyObject', ec.publicKey, {}, /is a public key\. It must be a private one/],
    [
      'a secret KeyObject',
      createSecretKey(Buffer.alloc(32)),
      {},
      /is a secret key\. It must be a private one/,
    ],
    ['a symmetric JWK', { kty: 'oct', k: 'c2VjcmV0' }, {}, /is a symmetric key/],
    [
      'an encrypted PEM',
      rsa.privateKey.export({ format: 'pem', type: 'pkcs8', ...encrypted }).toString(),
      {},
      /is encrypted\. Decrypt it first: openssl/,
    ],
    [
      'an encrypted PKCS#1 PEM',
      rsa.privateKey.export({ format: 'pem', type: 'pkcs1', ...encrypted }).toString(),
      {},
      /is encrypted/,
    ],
    ['a cut PEM', pem(rsa.privateKey).replace(/.{64}\n/, ''), {}, /cannot be read as a private key in PEM/],
    ['RSA of 1024 bits', weak, { alg: 'RS256' }, /is RSA of 1024 bits\. It must have 2048 to 16384/],
    [
      'RSA restricted to PSS',
      pss,
      { alg: 'PS256' },
      /is of the kind rsa-pss, which no algorithm here can use/,
    ],
    ['a key for agreement', generateKeyPairSync('x25519').privateKey, {}, /is of the kind x25519/],
    ['Ed448', generateKeyPairSync('ed448').privateKey, {}, /is of the kind ed448/],
    [
      'another curve',
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey,
      {},
      /is of the kind ec, which no/,
    ],
    ['an EC key for RSA', ec.privateKey, { alg: 'RS256' }, /is no key for RS256; it is for ES256$/],
    [
      'an RSA key for ECDSA',
      rsa.privateKey,
      { alg: 'ES256' },
      /is no key for ES256; it is for RS256, .*PS512$/,
    ],
    ['P-256 for ES384', ec.privateKey, { alg: 'ES384' }, /is no key for ES384; it is for ES256$/],
    [
      'an alg other than that of the JWK',
      { ...jwk(rsa.privateKey), alg: 'RS256' },
      { alg: 'PS256' },
      /says that it is for RS256, and "alg" says PS256/,
    ],
    [
      'a JWK for an algorithm of another kind',
      { ...jwk(ec.privateKey), alg: 'RS256' },
      {},
      /is no key for RS256/,
    ],
    [
      'a JWK with an unknown alg',
      { ...jwk(ec.privateKey), alg: 'ECDH-ES' },
      {},
      /has an "alg" that this library does not know/,
    ],
    ['a JWK for encryption', { ...jwk(ec.privateKey), use: 'enc' }, {}, /has a "use" other than "sig"/],
    [
      'a JWK that may only verify',
      { ...jwk(ec.privateKey), key_ops: ['verify'] },
      {},
      /has "key_ops" without "sign"/,
    ],
    [
      'a JWK with an empty kid',
      { ...jwk(ec.privateKey), kid: '' },
      {},
      /has a "kid" that is not a text of 1 to 256/,
    ],
    [
      'a JWK with a kid too long',
      { ...jwk(ec.privateKey), kid: 'k'.repeat(257) },
      {},
      /has a "kid" that is not a text/,
    ],
    [
      'a JWK with a kid that is a number',
      { ...jwk(ec.privateKey), kid: 1 },
      {},
      /has a "kid" that is not a text/,
    ],
    ['an EC JWK without y', withoutY, {}, /is not a valid private JWK/],
    ['an RSA JWK without p', withoutP, { alg: 'RS256' }, /RSA needs d, p, q, dp, dq and qi/],
    ['an unknown kty', { kty: 'XYZ', d: 'AAAA' }, {}, /is not a valid private JWK/],
    [
      'an EC key with the private half of another',
      { ...jwk(ec.privateKey), d: otherD } as JsonWebKey,
      {},
      /not that of its private half/,
    ],
    [
      'an EC key with the public half of another',
      { ...jwk(ec.privateKey), ...jwk(otherEc.publicKey) },
      {},
      /not that of its private half/,
    ],
    [
      'an Ed25519 key with the public half of another',
      { ...jwk(ed.privateKey), ...jwk(generateKeyPairSync('ed25519').publicKey) },
      {},
      /not that of its private half/,
    ],
    [
      'an RSA key with the modulus of another',
      { ...jwk(rsa.privateKey), ...jwk(otherRsa.publicKey) },
      { alg: 'RS256' },
      /not that of its private half/,
    ],
    [
      'an RSA key with a leading zero',
      { ...jwk(rsa.privateKey), e: 'AAEAAQ' },
      { alg: 'RS256' },
      /not in canonical base64url/,
    ],
    [
      'an RSA key with a prime of another',
      withPrimeOf(jwk(rsa.privateKey), jwk(otherRsa.privateKey)),
      { alg: 'RS256' },
      /not that of its private half/,
    ],
    ...(['p', 'q', 'd', 'dp', 'dq', 'qi'] as const).map(
      (member): [string, JsonWebKey, Partial<KeyImportOptions>, RegExp] => [
        `an RSA key with the ${member} of another`,
        { ...jwk(rsa.privateKey), [member]: jwk(otherRsa.privateKey)[member] },
        { alg: 'RS256' },
        /not that of its private half/,
      ],
    ),
  ])('refuses %s', async (_what, key, options, message) => {
    const error: unknown = await importKeyPair(key, { name, ...options }).catch((reason: unknown) => reason);
    expect(error, 'bad data, not misuse').toBeInstanceOf(JwtAuthorityError);
    expect(error, 'one code for keys that cannot be used').toHaveProperty('code', 'unusable_key');
    const text = error instanceof Error ? error.message : '';
    expect(text, 'says which option and what is wrong').toMatch(message);
    expect(text, 'names the option').toContain(`"${name}"`);
    expect(text, 'no key material: every long word is prose').not.toMatch(/[\w+/=-]{20,}/);
  });

  it.each<[what: string, key: unknown, options: object, message: RegExp]>([
    [
      'nothing',
      undefined,
      {},
      /^"importKey\.key" must be a private key as PEM \(PKCS#8\), as JWK object or as KeyObject, got undefined$/,
    ],
    ['a file name', '/etc/key.pem', {}, /got a string of 12 characters/],
    ['bytes', Buffer.from('x'), {}, /got 1 bytes/],
    ['an object that is no JWK', { d: 'x' }, {}, /got an object/],
    [
      'RSA without alg',
      rsa.privateKey,
      {},
      /^"alg" must be given with an RSA key, which can serve any of RS256, .*PS512$/,
    ],
    ['a JWK of RSA without alg', jwk(rsa.privateKey), {}, /"alg" must be given with an RSA key/],
    ['an unknown alg', ec.privateKey, { alg: 'ES999' }, /"alg" must be one of/],
    ['an HMAC', ec.privateKey, { alg: 'HS256' }, /"alg" must be an asymmetric algorithm/],
    [
      'an empty kid',
      ec.privateKey,
      { kid: '' },
      /"kid" must be a text of 1 to 256 characters, got an empty string/,
    ],
    [
      'a kid too long',
      ec.privateKey,
      { kid: 'k'.repeat(257) },
      /"kid" must be a text of 1 to 256 characters/,
    ],
  ])('calls it misuse: %s', async (_what, key, options, message) => {
    // What JavaScript callers can pass, whatever the types say.
    const given = key as KeyObject;
    const error: unknown = await importKeyPair(given, { name, ...options }).catch(
      (reason: unknown) => reason,
    );
    expect(error, 'the program is wrong, not the key').toBeInstanceOf(TypeError);
    expect(error, 'the message names the option, the kind and the rule').toHaveProperty(
      'message',
      expect.stringMatching(message),
    );
  });

  it('takes a WebCrypto key by way of KeyObject', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
    const { privateKey } = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const pair = await importKeyPair(KeyObject.from(privateKey), { name });
    expect(createPublicKey(pair.privateKey).export({ format: 'jwk' }), 'the same key').toMatchObject(
      pair.publicJwk,
    );
  });

  const reason = isHere('ML-DSA-44')
    ? ''
    : ` (skipped: this runtime, Node.js ${process.version}, has no ML-DSA)`;
  it.skipIf(reason !== '')(
    `takes ML-DSA as PEM and JWK, and refuses a wrong public half${reason}`,
    async () => {
      const made = await generateKeyPair('ML-DSA-65');
      const other = await generateKeyPair('ML-DSA-65');
      expect((await importKeyPair(pem(made.privateKey), { name })).kid, 'PEM').toBe(made.kid);
      expect(
        (await importKeyPair(jwk(made.privateKey), { name })).kid,
        'JWK, whose alg is part of the key',
      ).toBe(made.kid);
      const mixed = { ...jwk(made.privateKey), ...other.publicJwk } as JsonWebKey;
      await expect(importKeyPair(mixed, { name }), 'inconsistent').rejects.toThrow(
        /not that of its private half/,
      );
      await expect(importKeyPair(made.privateKey, { name, alg: 'ML-DSA-44' }), 'another set').rejects.toThrow(
        /is no key for ML-DSA-44/,
      );
    },
  );
});
