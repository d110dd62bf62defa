import { createPublicKey, verify as verifySignature } from 'node:crypto';
import {
  inlineExecutor,
  JwtAuthority,
  JwtAuthorityError,
  JwksRotator,
  KeyRing,
  localEncrypter,
} from '@jwt-authority/core';
import { memoryStore } from '@jwt-authority/store-memory';
import { makeKey } from './simulation/key-pool.ts';
import { Random } from './simulation/random.ts';

/** What came of made-up tokens. */
export interface TokenFigures {
  readonly tried: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
  /** Microseconds per token, refused ones of 1 and 16 KB; and how much the heap grew over all, in MB. */
  readonly microseconds: Readonly<Record<string, number>>;
  readonly heapGrowth: number;
}

const text = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

const headers: readonly unknown[] = [
  { alg: 'none' },
  { alg: 'None' },
  { alg: 'HS256' },
  { alg: 'RS256' },
  { alg: 'ES256' },
  { alg: 'EdDSA' },
  { alg: 'ed25519' },
  { alg: '' },
  { alg: null },
  { alg: ['Ed25519'] },
  { jwk: {} },
  { jku: 'https://evil.test' },
  { x5u: 'x' },
  { x5c: [] },
  { crit: ['exp'] },
  { crit: [] },
  { b64: false },
  { typ: 5 },
  { typ: 'at+jwt' },
  { kid: '' },
  { kid: '../../etc/passwd' },
  { kid: 'x'.repeat(300) },
  { kid: null },
  { kid: '__proto__' },
  { zip: 'DEF' },
  { cty: 'JWT' },
  { __proto__: { alg: 'none' } },
];
const claims: readonly unknown[] = [
  { exp: 0 },
  { exp: 'tomorrow' },
  { exp: 1e300 },
  { exp: null },
  { exp: -1 },
  { nbf: 9e9 },
  { iat: 9e9 },
  { aud: [] },
  { iss: 5 },
  { sub: {} },
  { admin: true },
  { jti: ['x'] },
];
const pieces = [
  '',
  '.',
  '..',
  'e30',
  'bnVsbA',
  'W10',
  '=',
  ' ',
  '\n',
  '%2e',
  '\u0000',
  '\uD800',
  'ÿ',
  '{}',
  '"',
  'A'.repeat(500),
  '🔑',
];

/** Structure-aware: a valid token in which header, claims, signature or text are altered, one to three times. */
export async function fuzzTokens(count: number, seed: number): Promise<TokenFigures> {
  const random = new Random(seed);
  let made = 0;
  const keyRing = new KeyRing({
    store: memoryStore(),
    encrypter: localEncrypter.forTests(),
    executor: inlineExecutor,
    policy: { algorithms: ['Ed25519'] },
    generateKeyPair: async (alg) => makeKey(alg, made++, 'k').pair,
  });
  const rotator = new JwksRotator({ keyRing });
  const authority = new JwtAuthority({ keyRing, issuer: 'https://auth.test' });
  await rotator.checkAndRotateKeys();
  const tokens = (await authority.signMany(Array.from({ length: 50 }, (_, i) => ({ sub: `user-${i}` })))).map(
    ({ token }) => token,
  );
  const [published] = (await authority.getPublicKeys()).keys;
  if (published === undefined) throw new Error('nothing is published');
  const publicKey = createPublicKey({ key: { ...published }, format: 'jwk' });
  const outcomes: Record<string, number> = {};
  const failures: string[] = [];
  const before = process.memoryUsage().heapUsed;
  const spent = { few: 0, many: 0 };

  const alter = (token: string): string => {
    const [header = '', payload = '', signature = ''] = token.split('.');
    const decoded = (part: string): Record<string, unknown> =>
      JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
    const at = random.below(token.length);
    switch (random.below(12)) {
      case 0:
        return [text({ ...decoded(header), ...Object(random.pick(headers)) }), payload, signature].join('.');
      case 1:
        return [header, text({ ...decoded(payload), ...Object(random.pick(claims)) }), signature].join('.');
      case 2:
        return (
          token.slice(0, at) +
          String.fromCharCode(token.charCodeAt(at) ^ (1 << random.below(7))) +
          token.slice(at + 1)
        );
      case 3:
        return token.slice(0, at);
      case 4:
        return token.slice(0, at) + random.pick(pieces) + token.slice(at);
      case 5:
        return [header, payload, Buffer.from(random.bytes(random.below(100))).toString('base64url')].join(
          '.',
        );
      case 6:
        return [header, payload, random.pick(tokens).split('.')[2] ?? ''].join('.');
      case 7:
        return [text({ ...decoded(header), kid: `unknown-${random.below(1e6)}` }), payload, signature].join(
          '.',
        );
      case 8:
        return [
          text(`{"alg":"none",${Buffer.from(header, 'base64url').toString().slice(1)}`),
          payload,
          signature,
        ].join('.');
      case 9:
        return [header, payload, signature, random.pick(['', 'e30', signature])].join('.');
      case 10:
        return [header, text(Buffer.from(random.bytes(random.below(60))).toString('latin1')), signature].join(
          '.',
        );
      default:
        return [payload, header, signature].join('.');
    }
  };

  for (let i = 0; i < count; i++) {
    const original = random.pick(tokens);
    let token = alter(original);
    for (let more = random.below(3); more > 0 && token.split('.').length === 3; more--) {
      try {
        token = alter(token);
      } catch {
        // The header or the claims cannot be read any more: altered enough.
      }
    }
    try {
      await authority.verify(token);
      const end = token.lastIndexOf('.');
      const isSigned = verifySignature(
        null,
        Buffer.from(token.slice(0, end)),
        publicKey,
        Buffer.from(token.slice(end + 1), 'base64url'),
      );
      outcomes['accepted'] = (outcomes['accepted'] ?? 0) + 1;
      if (!isSigned || !tokens.includes(token)) failures.push(`accepted after alteration ${i}`);
    } catch (error) {
      if (!JwtAuthorityError.is(error)) failures.push(`${i}: ${String(error)}`);
      else {
        const name = error.reason === undefined ? error.code : `${error.code}: ${error.reason}`;
        outcomes[name] = (outcomes[name] ?? 0) + 1;
        if (error.message.includes(original.slice(-40))) failures.push(`${i}: a message quotes the token`);
      }
    }
  }
  const heapGrowth = (process.memoryUsage().heapUsed - before) / 2 ** 20;

  // Time against length: what is refused must not take longer than in proportion.
  const time = async (length: number): Promise<number> => {
    const [header = ''] = tokens[0]?.split('.') ?? [];
    const token = `${header}.${text(`{"a":"${'\\"'.repeat(length / 3)}"}`).slice(0, length)}.${'A'.repeat(86)}`;
    const began = performance.now();
    for (let i = 0; i < 300; i++) await authority.verify(token).catch(() => {});
    return ((performance.now() - began) / 300) * 1000;
  };
  await time(1000);
  spent.few = await time(1000);
  spent.many = await time(16_000);
  await keyRing.close();
  return {
    tried: count,
    outcomes,
    failures,
    microseconds: { '1 KB': Math.round(spent.few), '16 KB': Math.round(spent.many) },
    heapGrowth: Math.round(heapGrowth),
  };
}
