import { createHash, timingSafeEqual } from 'node:crypto';
import { JwtAuthorityError, type KeyEncrypter } from '@jwt-authority/core';

type Context = Readonly<Record<string, string>>;

/** A service that encrypts and decrypts bytes, and nothing else. Both throw `kek_unavailable` whatever goes wrong. */
export interface RemoteKek {
  /** Names the kind of KEK and the key: `'infisical:KEY_ID'`. */
  readonly id: string;
  readonly encrypt: (plaintext: Buffer) => Promise<string>;
  readonly decrypt: (ciphertext: string) => Promise<Buffer>;
}

/**
 * A `KeyEncrypter` over a service that takes no associated data: the hash of the context goes into the plaintext, before
 * the key, and is compared when it comes back.
 *
 * The wrapped text ends with a checksum. It is no protection (anyone can compute it) but tells a damaged text
 * (`decryption_failed`) from a service that does not answer (`kek_unavailable`), which such services do not: Infisical
 * answers both with 500.
 */
export function remoteEncrypter({ id, encrypt, decrypt }: RemoteKek): KeyEncrypter {
  const prefix = `${id}:v1:`;
  const failed = (): Error =>
    new JwtAuthorityError('decryption_failed', `What "${id}" wrapped was altered, or is of another context`);
  return {
    id,
    canDecrypt: (encrypted) => encrypted.startsWith(prefix),
    async encrypt(dataKey, context) {
      const plaintext = Buffer.concat([hashOf(context), dataKey]);
      try {
        const text = prefix + (await encrypt(plaintext));
        return `${text}.${checksum(text)}`;
      } finally {
        plaintext.fill(0);
      }
    },
    async decrypt(encrypted, context) {
      const end = encrypted.lastIndexOf('.');
      const text = encrypted.slice(0, end);
      if (!text.startsWith(prefix) || encrypted.slice(end + 1) !== checksum(text)) throw failed();
      const plaintext = await decrypt(text.slice(prefix.length));
      const expected = hashOf(context);
      const isBound = timingSafeEqual(plaintext.subarray(0, 32), expected) && plaintext.length === 64;
      const dataKey = new Uint8Array(plaintext.subarray(32));
      plaintext.fill(0);
      if (isBound) return dataKey;
      dataKey.fill(0);
      throw failed();
    },
  };
}

/** SHA-256 of the context, whatever the order of its fields; JSON keeps names and values apart. */
function hashOf(context: Context): Buffer {
  const fields = Object.entries(context).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(fields)).digest();
}

function checksum(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

/** What a call needs besides its body. */
export interface Call {
  readonly id: string;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds. */
  readonly timeout: number;
}

/**
 * Posts JSON; gives the text that the answer has under `member`. Whatever goes wrong is `kek_unavailable` without the
 * service's own words: refused, out of reach, late, moved (a redirect would carry token and key elsewhere), not JSON.
 */
export async function post(call: Call, body: object, member: string): Promise<string> {
  const { id, url, headers, timeout } = call;
  let problem = 'did not answer, or not with what was asked for';
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
      redirect: 'error',
      signal: AbortSignal.timeout(timeout),
    });
    problem = response.ok ? problem : `refused with HTTP status ${response.status}`;
    const answer: unknown = await response.json();
    const value: unknown = Reflect.get(Object(answer), member);
    if (response.ok && typeof value === 'string') return value;
  } catch {
    // What fetch throws may name the URL and more.
  }
  throw new JwtAuthorityError('kek_unavailable', `"${id}" ${problem}`);
}
