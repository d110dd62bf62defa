import { createPrivateKey, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { types } from 'node:util';
import {
  algorithmsFor,
  checkAlgorithm,
  isAlgorithm,
  publicJwkOf,
  publicKeyFromJwk,
  signBytes,
  thumbprint,
  verifyBytes,
  type Algorithm,
  type KeyPair,
} from './algorithms.ts';
import { maxKidLength } from './compact.ts';
import { JwtAuthorityError } from './errors.ts';
import type { CryptoExecutor } from './executor.ts';
import { checkText, misuse } from './options.ts';

export interface KeyImportOptions {
  /** Default: the `alg` of the JWK, else what the kind of key implies. Needed for RSA, unless its JWK says. */
  readonly alg?: Algorithm;
  /** Default: the `kid` of the JWK, else the thumbprint (RFC 7638, SHA-256). */
  readonly kid?: string;
  /** What messages call the key: the option it came in. */
  readonly name: string;
  /** Where the signature that proves the key is made and checked. Default: the thread pool. */
  readonly executor?: CryptoExecutor;
}

/**
 * A key pair from a private key made elsewhere: unencrypted PEM (PKCS#8; PKCS#1 and SEC 1 too), a private JWK or a private
 * `KeyObject`. An Ed25519 key is for `EdDSA` unless `alg` says `Ed25519`.
 *
 * @throws {TypeError} if `key` is none of these, `alg` or `kid` are not valid, or `alg` is missing for an RSA key.
 * @throws `JwtAuthorityError` with code `unusable_key` if it is public, symmetric, encrypted, unreadable, RSA below 2048
 *   bits, of a kind or for a purpose that does not fit `alg`, or its public half is not that of its private half.
 */
export async function importKeyPair(
  key: string | JsonWebKey | KeyObject,
  { alg, kid, name, executor = pool }: KeyImportOptions,
): Promise<KeyPair> {
  const wanted = alg === undefined ? undefined : checkAlgorithm(alg, 'alg');
  const ownKid = kid === undefined ? undefined : checkText(kid, 'kid', maxKidLength);
  const { privateKey, jwk } = parse(key, name);
  const stated = statedByJwk(jwk, name);
  if (wanted !== undefined && stated.alg !== undefined && wanted !== stated.alg) {
    throw unusable(name, `says that it is for ${stated.alg}, and "alg" says ${wanted}`);
  }
  const chosen = chooseAlgorithm(privateKey, wanted ?? stated.alg, name);
  const publicJwk = publicJwkOf(privateKey, chosen);
  const given = new Map<string, unknown>(Object.entries(jwk ?? publicJwk));
  if (Object.entries(publicJwk).some(([member, value]) => given.get(member) !== value)) {
    throw unusable(
      name,
      'has a public half that is not that of its private half, or is not in canonical base64url',
    );
  }
  await proveByUse(privateKey, publicKeyFromJwk(publicJwk, chosen), { alg: chosen, name, executor });
  return {
    kid: ownKid ?? stated.kid ?? (await thumbprint(publicJwk, chosen)),
    alg: chosen,
    publicJwk,
    privateKey,
  };
}

function unusable(name: string, what: string): JwtAuthorityError {
  return new JwtAuthorityError('unusable_key', `The key given as "${name}" ${what}`);
}

function parse(key: unknown, name: string): { privateKey: KeyObject; jwk?: JsonWebKey } {
  if (typeof key === 'string' && key.includes('-----BEGIN ')) {
    return { privateKey: parsePem(key, name) };
  }
  if (types.isKeyObject(key)) {
    if (key.type !== 'private') throw unusable(name, `is a ${key.type} key. It must be a private one`);
    return { privateKey: key };
  }
  if (typeof key !== 'object' || key === null || !('kty' in key)) {
    throw misuse(name, 'be a private key as PEM (PKCS#8), as JWK object or as KeyObject', key);
  }
  // A JsonWebKey is any object, as far as its type goes; createPrivateKey and statedByJwk check what they take from it.
  const jwk = key as JsonWebKey;
  if (jwk.kty === 'oct') throw unusable(name, 'is a symmetric key. It must be a private one');
  if (!('d' in key) && !('priv' in key)) throw unusable(name, 'is a public key. It must be a private one');
  try {
    return { privateKey: createPrivateKey({ key: jwk, format: 'jwk' }), jwk };
  } catch {
    throw unusable(
      name,
      'is not a valid private JWK: a kind this runtime does not know, a member absent (RSA needs d, p, q, dp, dq and qi) ' +
        'or malformed, or a public half that is not that of its private half',
    );
  }
}

function parsePem(pem: string, name: string): KeyObject {
  if (pem.includes('BEGIN ENCRYPTED') || /^Proc-Type:.*ENCRYPTED/m.test(pem)) {
    throw unusable(name, 'is encrypted. Decrypt it first: openssl pkcs8 -in encrypted.pem -out key.pem');
  }
  if (!pem.includes('PRIVATE KEY-----'))
    throw unusable(name, 'is not a private key. It must be one (PEM, PKCS#8)');
  try {
    return createPrivateKey(pem);
  } catch {
    throw unusable(name, 'cannot be read as a private key in PEM (PKCS#8)');
  }
}

/** What a JWK says about itself, checked. */
function statedByJwk(jwk: JsonWebKey | undefined, name: string): { alg?: Algorithm; kid?: string } {
  const { alg, kid, use, key_ops: operations } = jwk ?? {};
  if (use !== undefined && use !== 'sig') throw unusable(name, 'has a "use" other than "sig"');
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('sign'))) {
    throw unusable(name, 'has "key_ops" without "sign"');
  }
  if (kid !== undefined && (typeof kid !== 'string' || kid === '' || kid.length > maxKidLength)) {
    throw unusable(name, `has a "kid" that is not a text of 1 to ${maxKidLength} characters`);
  }
  if (alg !== undefined && !isAlgorithm(alg))
    throw unusable(name, 'has an "alg" that this library does not know');
  return { ...(alg !== undefined && { alg }), ...(kid !== undefined && { kid }) };
}

function chooseAlgorithm(privateKey: KeyObject, wanted: Algorithm | undefined, name: string): Algorithm {
  const bits = privateKey.asymmetricKeyDetails?.modulusLength;
  if (privateKey.asymmetricKeyType === 'rsa' && bits !== undefined && (bits < 2048 || bits > 16_384)) {
    throw unusable(name, `is RSA of ${bits} bits. It must have 2048 to 16384`);
  }
  const [usual, ...others] = possibleAlgorithms(privateKey);
  if (usual === undefined) {
    throw unusable(
      name,
      `is of the kind ${privateKey.asymmetricKeyType ?? 'unknown'}, which no algorithm here can use`,
    );
  }
  if (wanted !== undefined) {
    if (wanted !== usual && !others.includes(wanted)) {
      throw unusable(name, `is no key for ${wanted}; it is for ${[usual, ...others].join(', ')}`);
    }
    return wanted;
  }
  if (privateKey.asymmetricKeyType === 'rsa') {
    throw new TypeError(
      `"alg" must be given with an RSA key, which can serve any of ${[usual, ...others].join(', ')}`,
    );
  }
  return usual;
}

function possibleAlgorithms(privateKey: KeyObject): Algorithm[] {
  try {
    return algorithmsFor(createPublicKey(privateKey).export({ format: 'jwk' }));
  } catch {
    // JWK has no form for it: DSA, DH, RSA restricted to PSS.
    return [];
  }
}

const pool: CryptoExecutor = { run: async (_cost, _inline, pooled) => pooled() };

/** OpenSSL believes what a file says about the public half; a signature shows whether it is true. */
async function proveByUse(
  privateKey: KeyObject,
  publicKey: KeyObject,
  {
    alg,
    name,
    executor,
  }: { readonly alg: Algorithm; readonly name: string; readonly executor: CryptoExecutor },
): Promise<void> {
  const input = Buffer.from('jwt-authority');
  let valid = privateKey.asymmetricKeyType !== 'rsa' || isConsistentRsa(privateKey.export({ format: 'jwk' }));
  try {
    const signature = valid ? await signBytes(alg, privateKey, input, executor) : input;
    valid &&= await verifyBytes(alg, publicKey, input, signature, executor);
  } catch {
    // A key with which OpenSSL cannot sign at all.
    valid = false;
  }
  if (!valid) throw unusable(name, 'has a public half that is not that of its private half');
}

/**
 * Whether the members of a private RSA key belong together (RFC 8017, 3.2), whatever `e` is: a signature does not show it,
 * because OpenSSL works with whichever of `d` and the primes gives a valid one.
 */
function isConsistentRsa(jwk: JsonWebKey): boolean {
  const number = (text = ''): bigint => BigInt(`0x0${Buffer.from(text, 'base64url').toString('hex')}`);
  const [p, q, d] = [number(jwk.p), number(jwk.q), number(jwk.d)];
  return (
    p > 1n &&
    q > 1n &&
    p * q === number(jwk.n) &&
    number(jwk.dp) === d % (p - 1n) &&
    number(jwk.dq) === d % (q - 1n) &&
    (number(jwk.qi) * q) % p === 1n
  );
}
