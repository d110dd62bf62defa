import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCompact, parseHeader, type TokenHeader } from '../src/compact.ts';
import { decodeBase64url } from '../src/encoding.ts';
import { JwtAuthorityError, type AnyJwtAuthorityError, type MalformedReason } from '../src/errors.ts';

const encode = (text: string | Uint8Array): string => Buffer.from(text).toString('base64url');
const payload = encode('{"sub":"alice"}');
const signature = 'c2lnbmF0dXJlIGJ5dGVz';
const good = { alg: 'ES256', kid: 'key-1', typ: 'JWT' };
const withHeader = (header: unknown): string =>
  `${encode(typeof header === 'string' ? header : JSON.stringify(header))}.${payload}.${signature}`;
const goodToken = withHeader(good);
const limit = 4096;

function read(token: unknown): TokenHeader {
  return parseHeader(parseCompact(token, limit).encodedHeader);
}

function refusal(token: unknown): AnyJwtAuthorityError | undefined {
  try {
    read(token);
    return undefined;
  } catch (error) {
    if (JwtAuthorityError.is(error)) return error;
    throw error;
  }
}

const key = { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' };
const malformed: readonly [what: string, token: unknown, reason: MalformedReason][] = [
  ['undefined', undefined, 'not_a_string'],
  ['null', null, 'not_a_string'],
  ['a number', 1, 'not_a_string'],
  ['bytes', Buffer.from(goodToken), 'not_a_string'],
  ['a String object', new String(goodToken), 'not_a_string'],
  ['an array of one token', [goodToken], 'not_a_string'],
  ['one character too many', 'a'.repeat(limit + 1), 'too_long'],
  ['an empty text', '', 'not_compact'],
  ['one part', encode('{}'), 'not_compact'],
  ['two parts', `${encode(JSON.stringify(good))}.${payload}`, 'not_compact'],
  ['four parts', `${goodToken}.`, 'not_compact'],
  ['a JWE with five parts', `${goodToken}.a.b`, 'not_compact'],
  ['a dot in front', `.${goodToken}`, 'not_compact'],
  ['JSON serialization', JSON.stringify({ payload, signature }), 'not_compact'],
  ['a newline in front', `\n${goodToken}`, 'not_base64url'],
  ['a newline behind', `${goodToken}\n`, 'not_base64url'],
  ['a space behind', `${goodToken} `, 'not_base64url'],
  ['a byte order mark', `\ufeff${goodToken}`, 'not_base64url'],
  ['"Bearer " in front', `Bearer ${goodToken}`, 'not_base64url'],
  ['NUL behind', `${goodToken}\0`, 'not_base64url'],
  [
    'a newline inside the payload',
    goodToken.replace(payload, `${payload.slice(0, 4)}\n${payload.slice(4)}`),
    'not_base64url',
  ],
  ['padding in the signature', `${goodToken}=`, 'not_base64url'],
  ['padding in the header', goodToken.replace('.', '==.'), 'not_base64url'],
  ['plain base64', goodToken.replace(payload, '-_-_').replace('-_-_', '+/+/'), 'not_base64url'],
  ['unused bits in the signature', `${encode(JSON.stringify(good))}.${payload}.QR`, 'not_base64url'],
  ['unused bits in the payload', `${encode(JSON.stringify(good))}.e31.${signature}`, 'not_base64url'],
  [
    'unused bits in the header',
    `${encode('{"alg":"ES256","kid":"1"}').slice(0, -1)}R.${payload}.${signature}`,
    'not_base64url',
  ],
  ['a part of impossible length', `${encode(JSON.stringify(good))}.${payload}.AAAAA`, 'not_base64url'],
  ['a letter that becomes another one as latin1', goodToken.replace('e', 'ť'), 'not_base64url'],
  ['an empty header', `.${payload}.${signature}`, 'header_not_json'],
  ['a header that is no JSON', withHeader('alg=ES256'), 'header_not_json'],
  ['a header that is an array', withHeader([good]), 'header_not_json'],
  ['a header that is null', withHeader('null'), 'header_not_json'],
  ['a header with a byte order mark', withHeader(`\ufeff${JSON.stringify(good)}`), 'header_not_json'],
  [
    'a header that is not UTF-8',
    `${encode(Uint8Array.of(0x7b, 0xff, 0x7d))}.${payload}.${signature}`,
    'header_not_json',
  ],
  ['a header too deep', withHeader(`{"a":${'['.repeat(70)}${']'.repeat(70)}}`), 'header_not_json'],
  ['two alg', withHeader('{"alg":"ES256","kid":"1","alg":"none"}'), 'header_duplicate_member'],
  [
    'two kid, one escaped',
    withHeader('{"alg":"ES256","kid":"1","\\u006bid":"2"}'),
    'header_duplicate_member',
  ],
  ['no alg', withHeader({ kid: '1' }), 'header_no_alg'],
  ['an empty alg', withHeader({ ...good, alg: '' }), 'header_no_alg'],
  ['an alg that is no text', withHeader({ ...good, alg: ['ES256'] }), 'header_no_alg'],
  ['alg from __proto__', withHeader('{"__proto__":{"alg":"ES256"},"kid":"1"}'), 'header_no_alg'],
  ['none', withHeader({ ...good, alg: 'none' }), 'header_alg_not_allowed'],
  ['nOnE', withHeader({ ...good, alg: 'nOnE' }), 'header_alg_not_allowed'],
  ['none without a signature and kid', `${encode('{"alg":"none"}')}.${payload}.`, 'header_alg_not_allowed'],
  ['HS256', withHeader({ ...good, alg: 'HS256' }), 'header_alg_not_allowed'],
  ['HS512', withHeader({ ...good, alg: 'HS512' }), 'header_alg_not_allowed'],
  ['jwk', withHeader({ ...good, jwk: key }), 'header_embedded_key'],
  ['jwk null', withHeader({ ...good, jwk: null }), 'header_embedded_key'],
  ['jku', withHeader({ ...good, jku: 'https://evil.example/jwks' }), 'header_embedded_key'],
  ['x5u', withHeader({ ...good, x5u: 'https://evil.example/cert' }), 'header_embedded_key'],
  ['x5c', withHeader({ ...good, x5c: ['MII'] }), 'header_embedded_key'],
  ['crit with an unknown extension', withHeader({ ...good, crit: ['exp'], exp: 1 }), 'header_crit'],
  ['an empty crit', withHeader({ ...good, crit: [] }), 'header_crit'],
  ['crit b64', withHeader({ ...good, crit: ['b64'], b64: true }), 'header_crit'],
  ['b64 false', withHeader({ ...good, b64: false }), 'header_b64'],
  ['b64 true', withHeader({ ...good, b64: true }), 'header_b64'],
  ['a typ that is no text', withHeader({ ...good, typ: 1 }), 'header_typ'],
  ['a typ that is null', withHeader({ ...good, typ: null }), 'header_typ'],
  ['no kid', withHeader({ alg: 'ES256' }), 'header_no_kid'],
  ['an empty kid', withHeader({ ...good, kid: '' }), 'header_no_kid'],
  ['a kid that is no text', withHeader({ ...good, kid: 1 }), 'header_no_kid'],
  ['a kid of 257 characters', withHeader({ ...good, kid: 'k'.repeat(257) }), 'header_no_kid'],
];

describe('parseCompact and parseHeader', () => {
  it.each(malformed)('refuse %s', (_, token, reason) => {
    const error = refusal(token);
    expect(error?.code, 'one code for every text that is no token').toBe('malformed');
    expect(error?.reason, 'the reason tells what is wrong').toBe(reason);
    const parts = String(token)
      .split('.')
      .filter((part) => part.length > 3);
    expect(
      parts.filter((part) => error?.message.includes(part)),
      'a message never quotes the token',
    ).toEqual([]);
    expect(error?.message, 'nor what it says').not.toMatch(/alice|key-1|evil/);
  });

  it('take a good token apart', () => {
    const parts = parseCompact(goodToken, goodToken.length);
    expect(parts, 'the parts as they stand, and their bytes').toEqual({
      encodedHeader: encode(JSON.stringify(good)),
      encodedPayload: payload,
      encodedSignature: signature,
      signingInput: goodToken.slice(0, goodToken.lastIndexOf('.')),
      payload: Buffer.from('{"sub":"alice"}'),
      signature: Buffer.from('signature bytes'),
    });
    expect(parseHeader(parts.encodedHeader), 'the header').toEqual({ ...good, parameters: good });
  });

  it('accept harmless and unknown header parameters, and a kid of any characters', () => {
    const header = { alg: 'FOO', kid: `${'ü'.repeat(255)}/`, x5t: 'a', cty: 'b', extra: { list: [1] } };
    const parsed = read(withHeader(header));
    expect(parsed, 'what nobody understands means nothing (RFC 7515, 4)').toEqual({
      alg: header.alg,
      kid: header.kid,
      parameters: header,
    });
    expect('typ' in parsed, 'no typ: no member').toBe(false);
  });

  it('freeze the header throughout, because one header object serves many tokens', () => {
    const header = read(withHeader({ ...good, extra: { list: [{}] } }));
    const reachable: unknown[] = [header];
    for (const value of reachable) {
      if (typeof value !== 'object' || value === null) continue;
      expect(Object.isFrozen(value), `of ${JSON.stringify(value)}`).toBe(true);
      reachable.push(...(Object.values(value) as unknown[]));
    }
    expect(reachable.length, 'the innermost object was reached').toBeGreaterThan(8);
  });

  it('accept no second text for the bytes of a token', () => {
    const decoded = (token: string): Buffer[] =>
      token.split('.').map((part) => Buffer.from(part, 'base64url'));
    const position = fc.nat({ max: goodToken.length });
    const character = fc.constantFrom(...Array.from('ABCXYZabcxyz0189-_+/= \n.\ufeff'));
    fc.assert(
      fc.property(position, fc.boolean(), character, (at, replace, char) => {
        const other = goodToken.slice(0, at) + char + goodToken.slice(replace ? at + 1 : at);
        fc.pre(other !== goodToken);
        const error = refusal(other);
        const isAnother = error === undefined && !isDeepStrictEqual(decoded(other), decoded(goodToken));
        expect(isAnother || error?.code === 'malformed', `${JSON.stringify(other)} is the same token`).toBe(
          true,
        );
      }),
      { numRuns: 3000 },
    );
  });
});

describe('decodeBase64url', () => {
  it('gives back what was encoded', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(decodeBase64url(encode(bytes)), 'the same bytes').toEqual(Buffer.from(bytes));
      }),
    );
  });

  it('accepts no text but the one that its bytes have', () => {
    const characters = fc.constantFrom(...Array.from('ABQRgwxyz018-_+/= \n\u0141'));
    // The alphabet, no impossible length, unused bits zero (RFC 4648, 3.5).
    const canonical = /^(?:[\w-]{4})*(?:[\w-][AQgw]|[\w-]{2}[AEIMQUYcgkosw048])?$/;
    fc.assert(
      fc.property(fc.string({ unit: characters, maxLength: 12 }), (text) => {
        expect(decodeBase64url(text) !== undefined, `${JSON.stringify(text)} is canonical`).toBe(
          canonical.test(text),
        );
      }),
      { numRuns: 2000 },
    );
  });
});
