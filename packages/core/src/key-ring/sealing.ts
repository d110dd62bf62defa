import { createSecretKey, type KeyObject } from 'node:crypto';
import { nonceLength, openBytes, sealBytes } from '../aead.ts';
import { pkcs8, privateKeyFromPkcs8, publicJwkOf } from '../algorithms.ts';
import { decodeBase64url } from '../encoding.ts';
import { describeError, JwtAuthorityError } from '../errors.ts';
import {
  associatedData,
  canonicalJwk,
  serializeDocument,
  type DocumentIdentity,
  type KeySet,
  type KeySetDocument,
} from '../key-set/document.ts';
import type { KeyEncrypter } from '../ports.ts';

/** Fills with random bytes: `node:crypto`'s `randomBytes`, or a seeded source in a simulation. */
export type RandomBytes = (size: number) => Uint8Array;

/** A data-encryption key, with the text that a KEK wrapped it into. */
export interface DataKey {
  readonly wrapped: string;
  readonly key: KeyObject;
}

/** The private halves of a key set, by `kid`. */
export type PrivateKeys = ReadonlyMap<string, KeyObject>;

const purpose = 'jwt-authority/key-set';

/** Makes a data-encryption key and wraps it. The context is the same for every revision: re-sealing takes no KEK call. */
export async function createDataKey(
  encrypter: KeyEncrypter,
  namespace: string,
  randomBytes: RandomBytes,
): Promise<DataKey> {
  const bytes = randomBytes(32);
  try {
    const key = createSecretKey(bytes);
    return { wrapped: await encrypter.encrypt(bytes, { namespace, purpose }), key };
  } finally {
    bytes.fill(0);
  }
}

/** Unwraps a data-encryption key. */
export async function openDataKey(
  encrypter: KeyEncrypter,
  namespace: string,
  wrapped: string,
): Promise<DataKey> {
  const bytes = await encrypter.decrypt(wrapped, { namespace, purpose });
  try {
    if (bytes.byteLength !== 32)
      throw new JwtAuthorityError('decryption_failed', 'a data-encryption key must be 32 bytes');
    return { wrapped, key: createSecretKey(bytes) };
  } finally {
    bytes.fill(0);
  }
}

/**
 * What a wrapped text says of the KEK and the KEK's version that made it: all that stands before its last `:`. See
 * {@link KeyEncrypter.encrypt}.
 */
export function makerOf(wrapped: string): string {
  return wrapped.slice(0, wrapped.lastIndexOf(':'));
}

/** Whether the same version of the same KEK wrapped both. */
export function isWrappedAlike(dataKey: DataKey, other: DataKey | undefined): boolean {
  return other !== undefined && makerOf(dataKey.wrapped) === makerOf(other.wrapped);
}

/** The document text of a key set, its private halves sealed. `privateKeys` holds at least those the key set says it has. */
export function sealKeySet(
  keySet: KeySet,
  privateKeys: PrivateKeys,
  dataKey: DataKey,
  identity: DocumentIdentity,
  randomBytes: RandomBytes,
): string {
  const entries = keySet.keys
    .filter((key) => key.hasPrivateKey)
    .flatMap(({ kid }) => {
      const privateKey = privateKeys.get(kid);
      if (privateKey === undefined) throw new TypeError('a private half is missing');
      return [Buffer.from(kid, 'utf8'), pkcs8(privateKey)];
    });
  const plaintext = Buffer.concat(entries.flatMap((entry) => [lengthOf(entry), entry]));
  try {
    // Random, not counted: any instance may re-seal under this key. 2^32 commits are far away.
    const nonce = randomBytes(nonceLength);
    const ciphertext = sealBytes(
      dataKey.key,
      plaintext,
      associatedData(keySet, dataKey.wrapped, identity),
      nonce,
    );
    const sealed = {
      dataKey: dataKey.wrapped,
      nonce: Buffer.from(nonce).toString('base64url'),
      ciphertext: ciphertext.toString('base64url'),
    };
    return serializeDocument({ keySet, sealed });
  } finally {
    for (const buffer of [plaintext, ...entries]) buffer.fill(0);
  }
}

function lengthOf(entry: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(entry.length);
  return length;
}

/** Opens and authenticates a document; says what is wrong with it if it is not authentic. */
export function openKeySet(
  document: KeySetDocument,
  dataKey: DataKey,
  identity: DocumentIdentity,
): { readonly privateKeys: PrivateKeys } | { readonly problem: string } {
  const { keySet, sealed } = document;
  // Only the one text that these bytes have, or a document could be altered to another that opens as well.
  const ciphertext = decodeBase64url(sealed.ciphertext);
  const nonce = decodeBase64url(sealed.nonce);
  if (ciphertext === undefined || nonce === undefined) {
    return { problem: 'its ciphertext or nonce is not in canonical form' };
  }
  const plaintext = openBytes(
    dataKey.key,
    ciphertext,
    associatedData(keySet, sealed.dataKey, identity),
    nonce,
  );
  if (plaintext === undefined)
    return { problem: 'its authentication tag does not belong to its content, namespace, revision and etag' };
  try {
    const privateKeys = new Map<string, KeyObject>();
    for (const [kid, der] of readEntries(plaintext)) privateKeys.set(kid, privateKeyFromPkcs8(der));
    const expected = keySet.keys.filter((key) => key.hasPrivateKey);
    const complete = expected.every((key) => {
      const privateKey = privateKeys.get(key.kid);
      return (
        privateKey !== undefined &&
        canonicalJwk(publicJwkOf(privateKey, key.alg)) === canonicalJwk(key.publicJwk)
      );
    });
    if (!complete || privateKeys.size !== expected.length)
      return { problem: 'its private halves are not those of its public keys' };
    return { privateKeys };
  } catch (error) {
    return { problem: `its private halves cannot be read (${describeError(error)})` };
  } finally {
    plaintext.fill(0);
  }
}

function* readEntries(plaintext: Buffer): Generator<[kid: string, der: Buffer]> {
  let offset = 0;
  const next = (): Buffer => {
    const start = offset + 4;
    offset = start + plaintext.readUInt32BE(offset);
    return plaintext.subarray(start, offset);
  };
  while (offset < plaintext.length) {
    const kid = next().toString('utf8');
    yield [kid, next()];
  }
}
