import { inspect } from 'node:util';
import { calculateJwkThumbprint, CompactSign, compactVerify, importJWK, type JWK } from 'jose';
import { describe, expect, it } from 'vitest';
import {
  checkAlgorithm,
  generateKeyPair,
  isAlgorithm,
  isPublicJwk,
  pkcs8,
  privateKeyFromPkcs8,
  publicJwkOf,
  publicKeyFromJwk,
  signBytes,
  thumbprint,
  verifyBytes,
  type Algorithm,
  type KeyPair,
  type PublicJwk,
} from '../src/algorithms.ts';
import { inlineExecutor, type CryptoExecutor } from '../src/executor.ts';

const classic = [
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
] as const;
const postQuantum = ['ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'] as const;

const input = Buffer.from('eyJhbGciOiJ4In0.eyJzdWIiOiJhbGljZSJ9');
const pool: CryptoExecutor = { run: async (_cost, _inline, pooled) => pooled() };
const nowhere: CryptoExecutor = {
  run() {
    throw new Error('No cryptography was to be done');
  },
};

function canDo(alg: Algorithm): boolean {
  try {
    checkAlgorithm(alg, 'alg');
    return true;
  } catch {
    return false;
  }
}

const pairs = new Map<string, Promise<KeyPair>>();
/** One key pair per kind of key: RSA takes long to make. */
async function pairFor(alg: Algorithm): Promise<KeyPair> {
  const kind = /^[RP]S/.test(alg) ? 'RS256' : alg;
  let pair = pairs.get(kind);
  if (pair === undefined) {
    pair = generateKeyPair(kind);
    pairs.set(kind, pair);
  }
  return { ...(await pair), alg };
}

/** As it stands in a JWKS: with `alg`, which is part of an AKP key. */
const asJose = (jwk: PublicJwk, alg: Algorithm): JWK => ({ ...jwk, alg });

function provesAlgorithm(alg: Algorithm): void {
  it('jose verifies what we sign, inline and in the pool', async () => {
    const { privateKey, publicJwk } = await pairFor(alg);
    const header = Buffer.from(JSON.stringify({ alg })).toString('base64url');
    const signingInput = `${header}.${input.toString('base64url')}`;
    for (const executor of [inlineExecutor, pool]) {
      const signature = await signBytes(alg, privateKey, Buffer.from(signingInput), executor);
      const token = `${signingInput}.${signature.toString('base64url')}`;
      const { payload } = await compactVerify(token, await importJWK(asJose(publicJwk, alg), alg));
      expect(Buffer.from(payload), 'an independent implementation agrees').toEqual(input);
    }
  });

  it('we verify what jose signs, inline and in the pool', async () => {
    const { privateKey, publicJwk } = await pairFor(alg);
    const privateJwk = asJose(privateKey.export({ format: 'jwk' }) as PublicJwk, alg);
    const token = await new CompactSign(input)
      .setProtectedHeader({ alg })
      .sign(await importJWK(privateJwk, alg));
    const dot = token.lastIndexOf('.');
    const signature = Buffer.from(token.slice(dot + 1), 'base64url');
    const publicKey = publicKeyFromJwk(publicJwk, alg);
    for (const executor of [inlineExecutor, pool]) {
      const valid = await verifyBytes(alg, publicKey, Buffer.from(token.slice(0, dot)), signature, executor);
      expect(valid, 'an independent implementation agrees').toBe(true);
    }
  });

  it('refuses another input, an altered signature, and empty shells of one', async () => {
    const { privateKey, publicJwk } = await pairFor(alg);
    const publicKey = publicKeyFromJwk(publicJwk, alg);
    const signature = await signBytes(alg, privateKey, input, inlineExecutor);
    const verify = (text: Buffer, bytes: Buffer): unknown =>
      verifyBytes(alg, publicKey, text, bytes, inlineExecutor);
    expect(verify(input, signature), 'the untouched one holds').toBe(true);
    expect(verify(Buffer.from(`${input.toString()}x`), signature), 'another input').toBe(false);
    for (const at of [0, signature.length >> 1, signature.length - 1]) {
      const altered = Buffer.from(signature);
      altered.writeUInt8(altered.readUInt8(at) ^ 1, at);
      expect(verify(input, altered), `byte ${at} altered`).toBe(false);
    }
    expect(verify(input, Buffer.alloc(signature.length)), 'all zero (CVE-2022-21449)').toBe(false);
    expect(verify(input, Buffer.alloc(signature.length, 255)), 'larger than any modulus or order').toBe(
      false,
    );
    expect(
      await verifyBytes(alg, publicKey, input, Buffer.alloc(signature.length), pool),
      'zero, in the pool',
    ).toBe(false);
  });

  it('refuses a signature of another length without any cryptography', async () => {
    const { privateKey, publicJwk } = await pairFor(alg);
    const publicKey = publicKeyFromJwk(publicJwk, alg);
    const signature = await signBytes(alg, privateKey, input, inlineExecutor);
    const lengths = [
      Buffer.alloc(0),
      signature.subarray(1),
      signature.subarray(0, -1),
      Buffer.concat([signature, Buffer.alloc(1)]),
    ];
    for (const bytes of lengths) {
      expect(verifyBytes(alg, publicKey, input, bytes, nowhere), `${bytes.length} bytes`).toBe(false);
    }
  });

  it('names a key by its RFC 7638 thumbprint, and its public half survives JWK and PKCS#8', async () => {
    const { kid, publicJwk, privateKey } = await pairFor(alg);
    expect(kid, 'as jose computes it').toBe(await calculateJwkThumbprint(asJose(publicJwk, alg), 'sha256'));
    expect(isPublicJwk(publicJwk, alg), 'what we make, we accept').toBe(true);
    const der = pkcs8(privateKey);
    const again = privateKeyFromPkcs8(der);
    der.fill(0);
    expect(again.equals(privateKey), 'the same private key').toBe(true);
    expect(publicJwkOf(again, alg), 'the same public half').toEqual(publicJwk);
  });

  it('P5: a key pair shows no private part when it is printed', async () => {
    const pair = await pairFor(alg);
    const shown = inspect(pair, { depth: 10, showHidden: true }) + JSON.stringify(pair);
    const privateMembers = Object.entries(pair.privateKey.export({ format: 'jwk' }))
      .filter(([member]) => !Object.hasOwn(pair.publicJwk, member) && member !== 'alg')
      .map(([, value]) => String(value));
    expect(privateMembers.length, 'there is something to hide').toBeGreaterThan(0);
    expect(
      privateMembers.filter((value) => shown.includes(value)),
      'it ends up in logs',
    ).toEqual([]);
  });
}

describe.each(classic)('%s', (alg) => {
  provesAlgorithm(alg);
});

for (const alg of postQuantum) {
  const isHere = canDo(alg);
  const reason = isHere ? '' : ` (skipped: this runtime, Node.js ${process.version}, has no ML-DSA)`;
  describe.skipIf(!isHere)(`${alg}${reason}`, () => {
    provesAlgorithm(alg);
  });
}

describe('known answers', () => {
  const verify = (alg: Algorithm, jwk: PublicJwk, token: string): unknown => {
    const dot = token.lastIndexOf('.');
    const signature = Buffer.from(token.slice(dot + 1), 'base64url');
    return verifyBytes(
      alg,
      publicKeyFromJwk(jwk, alg),
      Buffer.from(token.slice(0, dot)),
      signature,
      inlineExecutor,
    );
  };

  it('RFC 8037, A.4: Ed25519', () => {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
    const token =
      'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.' +
      'hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg';
    expect(verify('EdDSA', jwk, token), 'the signature of the RFC').toBe(true);
  });

  it('RFC 7515, A.3: ES256', () => {
    const jwk = {
      kty: 'EC',
      crv: 'P-256',
      x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    };
    const token =
      'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.' +
      'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q';
    expect(verify('ES256', jwk, token), 'the signature of the RFC').toBe(true);
  });

  it('RFC 8037, A.3, and RFC 7638, 3.1: thumbprints', async () => {
    const okp = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
    expect(await thumbprint(okp, 'Ed25519'), 'OKP').toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
    const n =
      '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_' +
      '2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbIS' +
      'D08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw';
    const rsa = { kty: 'RSA', n, e: 'AQAB' };
    expect(await thumbprint(rsa, 'RS256'), 'RSA').toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs');
  });
});

describe('generateKeyPair', () => {
  it('makes RSA keys of the length asked for, 2048 by default', async () => {
    const { privateKey: usual } = await generateKeyPair('PS256');
    expect(usual.asymmetricKeyDetails?.modulusLength, 'the default').toBe(2048);
    const { privateKey: longer } = await generateKeyPair('RS256', { modulusLength: 2056 });
    expect(longer.asymmetricKeyDetails?.modulusLength, 'the length asked for').toBe(2056);
  });

  it.each([2047, 1024, 16_385, 2048.5, Number.NaN])('refuses a modulus of %d bits', async (modulusLength) => {
    await expect(generateKeyPair('RS256', { modulusLength }), 'names the option').rejects.toThrow(
      /^"modulusLength" must be a whole number from 2048 to 16384/,
    );
  });
});

describe('checkAlgorithm', () => {
  it.each(classic)('accepts %s', (alg) => {
    expect(checkAlgorithm(alg, 'alg'), 'every runtime has it').toBe(alg);
  });

  it.each<[unknown, RegExp]>([
    [
      'HS256',
      /"algorithm" must be an asymmetric algorithm: with an HMAC, everyone who can verify can also sign/,
    ],
    ['HS512', /HMAC/],
    ['none', /"algorithm" must be a signature algorithm: with "none", anyone can make a token/],
    ['None', /anyone can make a token/],
    ['RS257', /"algorithm" must be one of RS256, .*, EdDSA, .*got a string of 5 characters/],
    ['rs256', /must be one of/],
    ['RSA-OAEP', /must be one of/],
    ['toString', /must be one of/],
    ['__proto__', /must be one of/],
    [undefined, /got undefined/],
    [['RS256'], /got an array of 1/],
  ])('refuses %j and says why', (value, message) => {
    const check = (): unknown => checkAlgorithm(value, 'algorithm');
    expect(check, 'misuse is a TypeError').toThrow(TypeError);
    expect(check, 'the message names the option and the rule').toThrow(message);
  });

  it('knows ML-DSA as a name also where the runtime cannot do it', () => {
    for (const alg of postQuantum)
      expect(isAlgorithm(alg), 'a document from a newer runtime stays readable').toBe(true);
    for (const alg of postQuantum.filter((name) => !canDo(name))) {
      expect(() => checkAlgorithm(alg, 'alg'), 'but nobody may configure it here').toThrow(
        `"alg" must be an algorithm this runtime can do; it has no ${alg}`,
      );
    }
  });
});

describe('isPublicJwk and publicKeyFromJwk', () => {
  // Not from a real key: a number of 2048 bits, odd, highest bit set.
  const modulus = (bytes: number, first = 0x80, last = 1): string =>
    Buffer.concat([Buffer.of(first), Buffer.alloc(bytes - 2, 7), Buffer.of(last)]).toString('base64url');
  const rsa = { kty: 'RSA', n: modulus(256), e: 'AQAB' };
  const ec = {
    kty: 'EC',
    crv: 'P-256',
    x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
    y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
  };
  const okp = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
  const akp = { kty: 'AKP', pub: Buffer.alloc(1312, 1).toString('base64url') };

  it.each<[Algorithm, PublicJwk]>([
    ['RS256', rsa],
    ['PS512', { ...rsa, n: modulus(2048) }],
    ['RS256', { ...rsa, e: 'Aw' }],
    ['ES256', ec],
    ['EdDSA', okp],
    ['Ed25519', okp],
    ['ML-DSA-44', akp],
  ])('accepts a key for %s', (alg, jwk) => {
    expect(isPublicJwk(jwk, alg), 'exactly the public members').toBe(true);
  });

  it.each<[what: string, alg: Algorithm, jwk: unknown]>([
    ['null', 'RS256', null],
    ['a text', 'RS256', 'kty'],
    ['an empty object', 'RS256', {}],
    ['a private key', 'RS256', { ...rsa, d: 'AQAB' }],
    ['a kid inside', 'RS256', { ...rsa, kid: '1' }],
    ['an alg inside', 'ES256', { ...ec, alg: 'ES256' }],
    ['an alg inside', 'ML-DSA-44', { ...akp, alg: 'ML-DSA-44' }],
    ['crv undefined', 'RS256', { ...rsa, crv: undefined }],
    ['another kind', 'ES256', rsa],
    ['another kind', 'RS256', ec],
    ['another curve', 'ES384', ec],
    ['another curve', 'ES256', { ...ec, crv: 'secp256k1' }],
    ['a key for agreement', 'EdDSA', { ...okp, crv: 'X25519' }],
    ['another parameter set', 'ML-DSA-65', akp],
    ['no y', 'ES256', { kty: ec.kty, crv: ec.crv, x: ec.x }],
    ['y not a text', 'ES256', { ...ec, y: 1 }],
    ['x too short', 'ES256', { ...ec, x: 'AAAA' }],
    ['x with a leading zero', 'ES256', { ...ec, x: Buffer.alloc(33, 1).toString('base64url') }],
    ['x with padding', 'EdDSA', { ...okp, x: `${okp.x}=` }],
    ['x with unused bits', 'EdDSA', { ...okp, x: `${okp.x.slice(0, -1)}p` }],
    ['2047 bits', 'RS256', { ...rsa, n: modulus(256, 0x7f) }],
    ['1024 bits', 'RS256', { ...rsa, n: modulus(128) }],
    ['16385 bits', 'RS256', { ...rsa, n: modulus(2049, 1) }],
    ['an even modulus', 'RS256', { ...rsa, n: modulus(256, 0x80, 2) }],
    ['a leading zero', 'RS256', { ...rsa, n: modulus(257, 0) }],
    ['an even exponent', 'RS256', { ...rsa, e: 'AQAA' }],
    ['exponent 1', 'RS256', { ...rsa, e: 'AQ' }],
    ['exponent with a leading zero', 'RS256', { ...rsa, e: 'AAEAAQ' }],
    ['an exponent of 72 bits', 'RS256', { ...rsa, e: 'AQAAAAAAAAAB' }],
    ['no exponent', 'RS256', { ...rsa, e: '' }],
  ])('refuses %s for %s', (_, alg, jwk) => {
    expect(isPublicJwk(jwk, alg), 'nothing else is a public key for it').toBe(false);
    // What the document's reader would pass on if it did not look.
    expect(() => publicKeyFromJwk(jwk as PublicJwk, alg), 'the key is refused too').toThrow(
      expect.objectContaining({ code: 'unusable_key' }),
    );
  });

  it('refuses a point that is not on its curve, without quoting it', () => {
    const off = { ...ec, y: `${ec.y.slice(0, 10)}A${ec.y.slice(11)}` };
    expect(isPublicJwk(off, 'ES256'), 'the form alone does not tell').toBe(true);
    expect(() => publicKeyFromJwk(off, 'ES256'), 'OpenSSL tells').toThrow(
      'a public key is not a valid key for ES256',
    );
  });

  it('refuses bytes that are no PKCS#8', async () => {
    const der = pkcs8((await generateKeyPair('ES256')).privateKey);
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(100, 48), der.subarray(0, -1)]) {
      expect(() => privateKeyFromPkcs8(bytes), `${bytes.length} bytes`).toThrow(
        expect.objectContaining({ code: 'unusable_key' }),
      );
    }
  });
});
