import {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPair as generateWithCallback,
  generateKeyPairSync,
  sign,
  verify,
  type JsonWebKey,
  type KeyObject,
  type KeyPairKeyObjectResult,
  type SigningOptions,
} from 'node:crypto';
import { promisify } from 'node:util';
import { calculateJwkThumbprint } from 'jose';
import { decodeBase64url } from './encoding.ts';
import { JwtAuthorityError } from './errors.ts';
import type { CryptoExecutor } from './executor.ts';
import { checkInteger, misuse } from './options.ts';

/** Every JWS algorithm this library knows. ML-DSA needs a runtime that has it: Node 24 does, 22 does not. */
export type Algorithm =
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'PS256'
  | 'PS384'
  | 'PS512'
  | 'ES256'
  | 'ES384'
  | 'ES512'
  | 'EdDSA'
  | 'Ed25519'
  | 'ML-DSA-44'
  | 'ML-DSA-65'
  | 'ML-DSA-87';

interface AlgorithmFacts {
  /** What `node:crypto` calls the type of key, and what it needs to generate one. */
  readonly keyType: string;
  readonly keyOptions: object;
  /** The members that every JWK of this kind shares. `alg` only where it is part of the key (AKP). */
  readonly fixed: { readonly kty: string; readonly crv?: string; readonly alg?: Algorithm };
  /** The other public members, with their length in bytes; 0: any. */
  readonly members: Readonly<Record<string, number>>;
  readonly hash: string | null;
  readonly signing: SigningOptions;
  /** Bytes; 0: as long as the modulus. */
  readonly signatureLength: number;
  /** Estimates in milliseconds, with 2048 bits for RSA. */
  readonly cost: { readonly sign: number; readonly verify: number };
}

function rsa(hash: string, signing: SigningOptions): AlgorithmFacts {
  return {
    keyType: 'rsa',
    keyOptions: {},
    fixed: { kty: 'RSA' },
    members: { n: 0, e: 0 },
    hash,
    signing,
    signatureLength: 0,
    cost: { sign: 0.25, verify: 0.02 },
  };
}

function pss(hash: string, saltLength: number): AlgorithmFacts {
  return rsa(hash, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
}

function ecdsa(crv: string, length: number, hash: string, cost: AlgorithmFacts['cost']): AlgorithmFacts {
  return {
    keyType: 'ec',
    keyOptions: { namedCurve: crv },
    fixed: { kty: 'EC', crv },
    members: { x: length, y: length },
    hash,
    // RFC 7518, 3.4: R and S side by side, not the DER that OpenSSL makes.
    signing: { dsaEncoding: 'ieee-p1363' },
    signatureLength: 2 * length,
    cost,
  };
}

function mldsa(
  alg: Algorithm,
  length: number,
  signatureLength: number,
  cost: AlgorithmFacts['cost'],
): AlgorithmFacts {
  return {
    keyType: alg.toLowerCase(),
    keyOptions: {},
    fixed: { kty: 'AKP', alg },
    members: { pub: length },
    hash: null,
    signing: {},
    signatureLength,
    cost,
  };
}

const ed25519: AlgorithmFacts = {
  keyType: 'ed25519',
  keyOptions: {},
  fixed: { kty: 'OKP', crv: 'Ed25519' },
  members: { x: 32 },
  hash: null,
  signing: {},
  signatureLength: 64,
  cost: { sign: 0.03, verify: 0.07 },
};

const pkcs1: SigningOptions = { padding: constants.RSA_PKCS1_PADDING };

const table: Readonly<Record<Algorithm, AlgorithmFacts>> = {
  RS256: rsa('sha256', pkcs1),
  RS384: rsa('sha384', pkcs1),
  RS512: rsa('sha512', pkcs1),
  PS256: pss('sha256', 32),
  PS384: pss('sha384', 48),
  PS512: pss('sha512', 64),
  ES256: ecdsa('P-256', 32, 'sha256', { sign: 0.02, verify: 0.05 }),
  ES384: ecdsa('P-384', 48, 'sha384', { sign: 0.8, verify: 0.65 }),
  ES512: ecdsa('P-521', 66, 'sha512', { sign: 1.9, verify: 1.5 }),
  EdDSA: ed25519,
  // RFC 9864: the same keys and signatures under a name that says the curve.
  Ed25519: ed25519,
  'ML-DSA-44': mldsa('ML-DSA-44', 1312, 2420, { sign: 0.5, verify: 0.15 }),
  'ML-DSA-65': mldsa('ML-DSA-65', 1952, 3309, { sign: 1, verify: 0.2 }),
  'ML-DSA-87': mldsa('ML-DSA-87', 2592, 4627, { sign: 1.1, verify: 0.3 }),
};

// Object.keys() of a record has exactly the keys of its type here: the literal above.
const names = Object.keys(table) as Algorithm[];
const tried = new Map<string, boolean>();

/** Whether `value` names an algorithm of the table, also one that this runtime cannot do: a document may hold its keys. */
export function isAlgorithm(value: unknown): value is Algorithm {
  return typeof value === 'string' && Object.hasOwn(table, value);
}

/** Whether this runtime can do `alg`: found by trying, once. A version does not tell (FIPS builds, other OpenSSL). */
function isSupported(alg: Algorithm): boolean {
  const { keyType, keyOptions } = table[alg];
  // Every runtime has RSA, and making a key to try it takes up to a second.
  if (keyType === 'rsa') return true;
  const kind = JSON.stringify([keyType, keyOptions]);
  let supported = tried.get(kind);
  if (supported === undefined) {
    try {
      publicKeyFromJwk(publicJwkOf(generateSync(keyType, keyOptions).privateKey, alg), alg);
      supported = true;
    } catch {
      supported = false;
    }
    tried.set(kind, supported);
  }
  return supported;
}

// @types/node declares one overload per key type, and those of Node 20 do not know ML-DSA.
const generateSync = generateKeyPairSync as (type: string, options: object) => KeyPairKeyObjectResult;
const generateAsync = promisify(generateWithCallback) as (
  type: string,
  options: object,
) => Promise<KeyPairKeyObjectResult>;

/**
 * The algorithm that the option `name` chooses.
 *
 * @throws {TypeError} if it is unknown, not an asymmetric signature, or beyond this runtime.
 */
export function checkAlgorithm(value: unknown, name: string): Algorithm {
  if (typeof value === 'string' && /^HS\d+$/.test(value)) {
    throw new TypeError(
      `"${name}" must be an asymmetric algorithm: with an HMAC, everyone who can verify can also sign`,
    );
  }
  if (typeof value === 'string' && value.toLowerCase() === 'none') {
    throw new TypeError(`"${name}" must be a signature algorithm: with "none", anyone can make a token`);
  }
  if (!isAlgorithm(value)) throw misuse(name, `be one of ${names.filter(isSupported).join(', ')}`, value);
  if (!isSupported(value))
    throw new TypeError(`"${name}" must be an algorithm this runtime can do; it has no ${value}`);
  return value;
}

/**
 * The public members of a key and nothing else: no `kid`, `alg` or `use`.
 * RSA: `kty`, `n`, `e`. EC: `kty`, `crv`, `x`, `y`. OKP: `kty`, `crv`, `x`. AKP (ML-DSA): `kty`, `pub`; put `alg` back
 * before publishing, it is a required member there.
 */
export interface PublicJwk {
  readonly kty: string;
  readonly crv?: string;
  readonly x?: string;
  readonly y?: string;
  readonly n?: string;
  readonly e?: string;
  readonly pub?: string;
}

export interface KeyPair {
  readonly kid: string;
  readonly alg: Algorithm;
  readonly publicJwk: PublicJwk;
  readonly privateKey: KeyObject;
}

const unusable = (message: string): JwtAuthorityError => new JwtAuthorityError('unusable_key', message);

/** RFC 7638 with SHA-256; AKP as RFC 9964 has it, with `alg` among the hashed members. */
export async function thumbprint(publicJwk: PublicJwk, alg: Algorithm): Promise<string> {
  return calculateJwkThumbprint({ ...publicJwk, ...table[alg].fixed }, 'sha256');
}

/**
 * A fresh key pair, made in the thread pool. `kid` is its thumbprint (RFC 7638, SHA-256).
 *
 * `modulusLength` is for RSA only: bits, 2048 to 16384, default 2048.
 */
export async function generateKeyPair(
  alg: Algorithm,
  { modulusLength = 2048 }: { modulusLength?: number } = {},
): Promise<KeyPair> {
  const { keyType, keyOptions } = table[alg];
  const options =
    keyType === 'rsa'
      ? { modulusLength: checkInteger(modulusLength, 'modulusLength', 2048, 16_384) }
      : keyOptions;
  const { privateKey } = await generateAsync(keyType, options);
  const publicJwk = publicJwkOf(privateKey, alg);
  return { kid: await thumbprint(publicJwk, alg), alg, publicJwk, privateKey };
}

/** Every algorithm that a key of this kind (`kty`, `crv`, for AKP `alg`) can serve, the usual one first. */
export function algorithmsFor(jwk: JsonWebKey): Algorithm[] {
  return names.filter((name) => {
    const { kty, crv, alg } = table[name].fixed;
    return (
      kty === jwk.kty && (crv === undefined || crv === jwk.crv) && (alg === undefined || alg === jwk['alg'])
    );
  });
}

/** The public half of a private key that fits `alg`. */
export function publicJwkOf(privateKey: KeyObject, alg: Algorithm): PublicJwk {
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' });
  const { fixed, members } = table[alg];
  const { kty, crv } = fixed;
  return {
    kty,
    ...(crv !== undefined && { crv }),
    ...Object.fromEntries(Object.keys(members).map((member) => [member, jwk[member]])),
  };
}

/**
 * Whether `value` has exactly the public members of a key for `alg`, each in canonical base64url and of the right length;
 * RSA: modulus of 2048 to 16384 bits, odd exponent from 3 to 64 bits. Whether a point is on its curve,
 * {@link publicKeyFromJwk} finds out.
 */
export function isPublicJwk(value: unknown, alg: Algorithm): value is PublicJwk {
  if (typeof value !== 'object' || value === null) return false;
  const { fixed, members } = table[alg];
  const { kty, crv } = fixed;
  const jwk = new Map<string, unknown>(Object.entries(value));
  if (jwk.get('kty') !== kty || jwk.get('crv') !== crv) return false;
  if (jwk.size !== Object.keys(members).length + (crv === undefined ? 1 : 2)) return false;
  return Object.entries(members).every(([member, length]) => {
    const text = jwk.get(member);
    const bytes = typeof text === 'string' ? decodeBase64url(text) : undefined;
    if (bytes === undefined) return false;
    if (length !== 0) return bytes.length === length;
    return member === 'n' ? isModulus(bytes) : isExponent(bytes);
  });
}

function isModulus(bytes: Buffer): boolean {
  const bits = bytes.length * 8 - (Math.clz32(bytes[0] ?? 0) - 24);
  return bytes[0] !== 0 && isOdd(bytes) && bits >= 2048 && bits <= 16_384;
}

function isExponent(bytes: Buffer): boolean {
  return bytes[0] !== 0 && isOdd(bytes) && bytes.length <= 8 && !(bytes.length === 1 && bytes[0] === 1);
}

function isOdd(bytes: Buffer): boolean {
  return ((bytes.at(-1) ?? 0) & 1) === 1;
}

/** @throws `JwtAuthorityError` with code `unusable_key` unless {@link isPublicJwk} holds and the point is on its curve. */
export function publicKeyFromJwk(jwk: PublicJwk, alg: Algorithm): KeyObject {
  if (isPublicJwk(jwk, alg)) {
    try {
      return createPublicKey({ key: { ...jwk, ...table[alg].fixed }, format: 'jwk' });
    } catch {
      // Falls through: OpenSSL's reason may quote the key.
    }
  }
  throw unusable(`a public key is not a valid key for ${alg}`);
}

/** @throws `JwtAuthorityError` with code `unusable_key`. */
export function privateKeyFromPkcs8(der: Uint8Array): KeyObject {
  try {
    return createPrivateKey({
      key: Buffer.from(der.buffer, der.byteOffset, der.byteLength),
      format: 'der',
      type: 'pkcs8',
    });
  } catch {
    throw unusable('a private key is not valid PKCS#8');
  }
}

/** DER. The caller zeroes it after use. */
export function pkcs8(privateKey: KeyObject): Buffer {
  return privateKey.export({ format: 'der', type: 'pkcs8' });
}

/** How much longer an RSA operation takes than with 2048 bits: signing grows with the cube, verifying with the square. */
function scale(key: KeyObject, exponent: number): number {
  return ((key.asymmetricKeyDetails?.modulusLength ?? 2048) / 2048) ** exponent;
}

/** The signature as JWS has it (RFC 7518, 3; RFC 8037; RFC 9964). `privateKey` must fit `alg`. */
export function signBytes(
  alg: Algorithm,
  privateKey: KeyObject,
  input: Uint8Array,
  executor: CryptoExecutor,
): Buffer | Promise<Buffer> {
  const { hash, signing, signatureLength, cost } = table[alg];
  const key = { key: privateKey, ...signing };
  return executor.run(
    signatureLength === 0 ? cost.sign * scale(privateKey, 3) : cost.sign,
    () => sign(hash, input, key),
    async () =>
      new Promise<Buffer>((resolve, reject) => {
        sign(hash, input, key, (error, signature) => (error === null ? resolve(signature) : reject(error)));
      }),
  );
}

/**
 * Whether `signature` is that of `input`. One of the wrong length is refused without any cryptography.
 * `publicKey` must fit `alg`.
 */
export function verifyBytes(
  alg: Algorithm,
  publicKey: KeyObject,
  input: Uint8Array,
  signature: Uint8Array,
  executor: CryptoExecutor,
): boolean | Promise<boolean> {
  const { hash, signing, signatureLength, cost } = table[alg];
  const isRsa = signatureLength === 0;
  const length = isRsa
    ? Math.ceil((publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8)
    : signatureLength;
  if (signature.length !== length) return false;
  const key = { key: publicKey, ...signing };
  return executor.run(
    isRsa ? cost.verify * scale(publicKey, 2) : cost.verify,
    () => verify(hash, input, key, signature),
    async () =>
      new Promise<boolean>((resolve, reject) => {
        verify(hash, input, key, signature, (error, valid) =>
          error === null ? resolve(valid) : reject(error),
        );
      }),
  );
}
