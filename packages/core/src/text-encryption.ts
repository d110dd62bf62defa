import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { nonceLength, openBytes, sealBytes } from './aead.ts';
import { contextFields, decodeBase64url, encodeFields } from './encoding.ts';
import { JwtAuthorityError } from './errors.ts';
import { parseKey } from './key-sources.ts';
import { checkOptions, misuse } from './options.ts';

export interface TextEncryptionOptions {
  /**
   * Bound to the encrypted text, not stored in it: it opens only with an equal one. Say in it whose secret it is, so that it
   * cannot be put in another's place: `{ table: 'clients', id: '42', column: 'secret' }`. Default: `{}`.
   */
  readonly context?: Readonly<Record<string, string>>;
}

const prefix = 'v1.';

/**
 * Encrypts a text (a client secret, a refresh token) for your own storage: AES-256-GCM, a random nonce each time.
 *
 * @param key 32 random bytes, or a text of them in base64, base64url or hex; at most 2^32 texts under one key.
 * @returns `v1.` and base64url(nonce ‖ ciphertext ‖ tag): 41 characters and 4/3 of the text's UTF-8 bytes.
 * @throws {TypeError} for a text with half a surrogate pair, or a key or context that is none.
 */
export function encryptText(
  text: string,
  key: Uint8Array | string,
  options: TextEncryptionOptions = {},
): string {
  // UTF-8 would silently replace the halves.
  if (typeof text !== 'string' || !text.isWellFormed())
    throw misuse('text', 'be well-formed Unicode text', text);
  const associatedData = associate(options, 'encryptText');
  const nonce = randomBytes(nonceLength);
  const plaintext = Buffer.from(text);
  const sealed = sealBytes(keyObject(key), plaintext, associatedData, nonce);
  plaintext.fill(0);
  return prefix + Buffer.concat([nonce, sealed]).toString('base64url');
}

/**
 * The text that {@link encryptText} was given.
 *
 * @throws {JwtAuthorityError} with code `decryption_failed`: altered, cut, not made by `encryptText`, or another key or context.
 * @throws {TypeError} for an encrypted text that is no string, or a key or context that is none.
 */
export function decryptText(
  encrypted: string,
  key: Uint8Array | string,
  options: TextEncryptionOptions = {},
): string {
  if (typeof encrypted !== 'string') throw misuse('encrypted', 'be a text', encrypted);
  const associatedData = associate(options, 'decryptText');
  const secret = keyObject(key);
  const data = encrypted.startsWith(prefix) ? decodeBase64url(encrypted.slice(prefix.length)) : undefined;
  const nonce = data?.subarray(0, nonceLength);
  const plaintext = data && nonce && openBytes(secret, data.subarray(nonceLength), associatedData, nonce);
  if (plaintext === undefined) {
    const message =
      'The encrypted text cannot be opened: it was altered, or encrypted with another key or context';
    throw new JwtAuthorityError('decryption_failed', message);
  }
  const text = plaintext.toString();
  plaintext.fill(0);
  return text;
}

function keyObject(key: Uint8Array | string): KeyObject {
  const bytes = parseKey(key, 'key');
  const secret = createSecretKey(bytes);
  bytes.fill(0);
  return secret;
}

function associate(options: TextEncryptionOptions, where: string): Buffer {
  checkOptions(options, where, ['context']);
  return encodeFields([`jwt-authority/text/${prefix}`, ...contextFields(options.context ?? {})]);
}
