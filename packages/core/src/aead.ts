import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';

const algorithm = 'aes-256-gcm';

/** Bytes of a nonce: the 96 bits that GCM takes without hashing (NIST SP 800-38D, 5.2.1.1). */
export const nonceLength = 12;

const tagLength = 16;

/**
 * AES-256-GCM: the ciphertext with the 16-byte tag behind it.
 *
 * @param key a secret key of 32 bytes.
 * @param nonce 12 bytes, never used before with this key. From a random source: at most 2^32 texts per key.
 */
export function sealBytes(
  key: KeyObject,
  plaintext: Uint8Array,
  associatedData: Uint8Array,
  nonce: Uint8Array,
): Buffer {
  if (nonce.byteLength !== nonceLength) throw new TypeError(`A nonce must be ${nonceLength} bytes`);
  const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: tagLength });
  cipher.setAAD(associatedData);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/**
 * Undoes {@link sealBytes}. `undefined`: not sealed under this key, associated data and nonce, or altered. The result is a
 * buffer of its own; the caller zeroes it if it is a key.
 */
export function openBytes(
  key: KeyObject,
  sealed: Uint8Array,
  associatedData: Uint8Array,
  nonce: Uint8Array,
): Buffer | undefined {
  if (nonce.byteLength !== nonceLength || sealed.byteLength < tagLength) return undefined;
  const end = sealed.byteLength - tagLength;
  // Without authTagLength, Node 20 also accepts a tag of 4 bytes.
  const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: tagLength });
  decipher.setAuthTag(sealed.subarray(end));
  decipher.setAAD(associatedData);
  const plaintext = decipher.update(sealed.subarray(0, end));
  try {
    // GCM has no padding: this only checks the tag.
    decipher.final();
    return plaintext;
  } catch {
    plaintext.fill(0);
    return undefined;
  }
}
