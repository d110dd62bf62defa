import { createHash } from 'node:crypto';
import type { Algorithm, PublicJwk } from '../../src/algorithms.ts';
import { initialise, type NewKey } from '../../src/key-set/changes.ts';
import type { KeyRecord, KeySet, KeySetDocument } from '../../src/key-set/document.ts';
import { resolvePolicy, type KeySetPolicy, type KeySetPolicyOptions } from '../../src/key-set/policy.ts';

/** The moment at which these tests begin, and units of milliseconds. */
export const start: number = Date.UTC(2026, 0, 1);
const second = 1000;
export const hour: number = 3600 * second;
export const day: number = 24 * hour;

/** ES256 unless told otherwise: RS256 has the longest JWK. */
export function policyOf(options: KeySetPolicyOptions = {}): KeySetPolicy {
  return resolvePolicy({ algorithms: ['ES256'], ...options });
}

function bytes(seed: string, length: number): Buffer {
  return createHash('shake256', { outputLength: length }).update(seed).digest();
}

/** A public JWK of the right shape, the same for the same seed. Its point need not be on the curve. */
export function publicJwk(seed: string, alg: Algorithm): PublicJwk {
  if (alg === 'EdDSA') return { kty: 'OKP', crv: 'Ed25519', x: bytes(seed, 32).toString('base64url') };
  if (alg === 'ES256') {
    const [x, y] = ['x', 'y'].map((name) => bytes(seed + name, 32).toString('base64url'));
    return { kty: 'EC', crv: 'P-256', ...(x !== undefined && { x }), ...(y !== undefined && { y }) };
  }
  const modulus = bytes(seed, 256);
  modulus[0] = 0xc3;
  modulus[255] = 0x0d;
  return { kty: 'RSA', n: modulus.toString('base64url'), e: 'AQAB' };
}

/** The public half of a new key, with a name for a kid. */
export function newKey(kid: string, alg: Algorithm = 'ES256'): NewKey {
  return deepFreeze({ kid, alg, publicJwk: publicJwk(kid, alg) });
}

/** The first key set of an empty store: one key of each algorithm, `a` of the first one, `b` of the second. */
export function firstSet(policy: KeySetPolicy, now: number = start): KeySet {
  const newKeys = policy.algorithms.map((alg, index) => newKey(String.fromCodePoint(97 + index), alg));
  return deepFreeze(initialise(policy, now, newKeys));
}

/** The key of this kid; fails the test if there is none. */
export function keyOf(keySet: KeySet | undefined, kid: string): KeyRecord {
  const key = keySet?.keys.find((candidate) => candidate.kid === kid);
  if (key === undefined) throw new Error(`the key set has no key "${kid}"`);
  return key;
}

/** The key set with these members of one key changed; `undefined` removes a member. */
export function changed(
  keySet: KeySet,
  kid: string,
  members: { readonly [Name in keyof KeyRecord]?: KeyRecord[Name] | undefined },
): KeySet {
  const keys = keySet.keys.map((key) => (key.kid === kid ? withMembers(key, members) : key));
  return deepFreeze({ ...keySet, keys });
}

/** `value` with these members changed; `undefined` removes a member. */
export function withMembers<T extends object>(value: T, members: object): T {
  const entries = Object.entries({ ...value, ...members }).filter(([, member]) => member !== undefined);
  // The same members as before, or fewer optional ones: the callers' doing.
  return Object.fromEntries(entries) as T;
}

/** Makes every change in place throw: what is pure does not notice. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const member of Object.values(value)) deepFreeze(member);
  return value;
}

/** A document that has every member that format 1 has. */
export const fullDocument: KeySetDocument = deepFreeze({
  keySet: {
    format: 1,
    origin: start,
    propagationDelay: day,
    staleBound: day / 4,
    horizon: 95 * day,
    publishNotBefore: start + day,
    keys: [
      {
        kid: 'revoked – "с" \u{1F511}',
        alg: 'EdDSA',
        publicJwk: publicJwk('1', 'EdDSA'),
        tokenLifetime: hour,
        createdAt: start,
        activatesAt: start + 1,
        deactivatesAt: start + 2,
        expiresAt: start + day,
        revokedAt: start + 3,
        revocationReason: 'laptop stolen – \u{1F525}\n"quoted" \\',
        hasPrivateKey: false,
      },
      {
        kid: 'active',
        alg: 'ES256',
        publicJwk: publicJwk('2', 'ES256'),
        tokenLifetime: hour,
        createdAt: start + 4,
        activatesAt: start + 5,
        hasPrivateKey: true,
      },
      {
        kid: 'ending',
        alg: 'RS256',
        publicJwk: publicJwk('3', 'RS256'),
        tokenLifetime: hour,
        createdAt: start + 6,
        activatesAt: start + 7,
        deactivatesAt: start + 8,
        expiresAt: start + 2 * day,
        hasPrivateKey: true,
      },
    ],
    departed: [
      { kid: 'gone', time: start - day },
      { kid: 'gone too', time: start },
    ],
  },
  sealed: { dataKey: 'local:2026:v1.AAAA', nonce: 'AAAAAAAAAAAAAAAA', ciphertext: 'c2VhbGVk' },
});
