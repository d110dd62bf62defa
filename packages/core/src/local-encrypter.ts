import {
  createHash,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
  scrypt,
  type ScryptOptions,
} from 'node:crypto';
import { promisify } from 'node:util';
import { nonceLength, openBytes, sealBytes } from './aead.ts';
import { contextFields, decodeBase64url, encodeFields } from './encoding.ts';
import { describeError, JwtAuthorityError } from './errors.ts';
import { parseKey } from './key-sources.ts';
import { checkInteger, checkOptions, misuse } from './options.ts';
import type { KeyEncrypter } from './ports.ts';

const scryptAsync: (
  password: Buffer,
  salt: Buffer,
  length: number,
  options: ScryptOptions,
) => Promise<Buffer> = promisify(scrypt);

interface LocalKeyOptions {
  /** 32 random bytes, or a text of them in base64, base64url or hex. See {@link keyFromEnv} and {@link keyFromFile}. */
  readonly key: Uint8Array | string;
  /**
   * Names the key: `'2026'` makes the label `'local:2026'`. 1 to 64 letters, digits or `. _ -`, beginning with a letter or
   * digit. Stored with everything the key wraps, so never give it to another key. Default: 8 hex digits derived from the key.
   */
  readonly id?: string;
}

interface LocalPasswordOptions {
  /** At least 12 characters, no white space at its ends. Prefer a key: it is stronger and costs nothing to use. */
  readonly password: string;
  /**
   * 16 to 64 bytes, or a text of as many (its UTF-8 bytes are used): `openssl rand -base64 16`. Not secret, and stored with
   * everything wrapped. A new password needs a new salt (or `id`).
   */
  readonly salt: Uint8Array | string;
  /**
   * scrypt's N, a power of two from 2^14 to 2^20; r = 8, p = 1. It takes N KiB of memory, once per process and salt, off the
   * main thread. Measured on a 2-core EPYC server: 2^17 (the default, 128 MiB) 560 ms, 2^14 60 ms, 2^20 (1 GiB) 4.6 s.
   * Stored with everything wrapped, so that it can be changed; what needs more than this setting or 2^17 is refused.
   */
  readonly cost?: number;
  /** As with a key. Default: 8 hex digits derived from the salt (not from the password, which could be guessed by it). */
  readonly id?: string;
}

export type LocalEncrypterOptions = LocalKeyOptions | LocalPasswordOptions;

export interface LocalEncrypterFactory {
  (options: LocalEncrypterOptions): KeyEncrypter;
  /** A new random key with each call: nothing that it wraps outlives the process. */
  forTests(): KeyEncrypter;
}

/**
 * A key-encryption key in this process: AES-256-GCM, a random nonce per wrapped key, the context as associated data.
 *
 * The wrapped text is `local:ID:v1:DATA`, or `local:ID:v1-scrypt:N:SALT:DATA` for a password, with
 * DATA = base64url(nonce ‖ ciphertext ‖ tag); what stands before DATA is authenticated too.
 *
 * `decrypt` rejects with a `JwtAuthorityError`: `decryption_failed` (altered, or of another context, key or password), or
 * `kek_unavailable` if scrypt found no memory.
 *
 * @throws {TypeError} for options that are missing, contradictory or weak.
 */
export const localEncrypter: LocalEncrypterFactory = Object.assign(createLocalEncrypter, {
  forTests: (): KeyEncrypter => new LocalEncrypter(new FixedKey(randomBytes(32)), undefined),
});

function createLocalEncrypter(options: LocalEncrypterOptions): KeyEncrypter {
  checkOptions(options, 'localEncrypter', ['key', 'password', 'salt', 'cost', 'id']);
  // From JavaScript, members of both forms may come together.
  const { key, password, salt, cost, id } = options as Partial<LocalKeyOptions & LocalPasswordOptions>;
  if (key !== undefined && (password ?? salt ?? cost) !== undefined) {
    throw new TypeError('localEncrypter takes either "key" or "password" with "salt" and "cost", not both');
  }
  if (password === undefined && salt === undefined) {
    // parseKey says what is wrong with undefined.
    return new LocalEncrypter(new FixedKey(parseKey(key as Uint8Array | string, 'key')), id);
  }
  return new LocalEncrypter(new PasswordKey(password, salt, cost), id);
}

/** Where the key comes from, and what the wrapped text must say to find it again. */
interface KeySource {
  /** Names the format of the wrapped text. */
  readonly scheme: string;
  /** Stands in a new wrapped text behind the scheme. */
  readonly parameters: readonly string[];
  /** For the default id. */
  fingerprint(): Buffer;
  /** The key for the parameters of a wrapped text; `undefined` if this source never wrote them. */
  keyFor(parameters: readonly string[]): Promise<KeyObject | undefined>;
}

const fingerprintLabel = 'jwt-authority/local-encrypter/key-id/v1';

class FixedKey implements KeySource {
  readonly scheme = 'v1';
  readonly parameters = [];
  readonly #key: KeyObject;

  /** Zeroes `bytes`. */
  constructor(bytes: Uint8Array) {
    this.#key = secretKey(bytes);
  }

  fingerprint(): Buffer {
    return createHmac('sha256', this.#key).update(fingerprintLabel).digest();
  }

  async keyFor(): Promise<KeyObject> {
    // Parameters that nobody wrote fail as a header that is not authentic.
    return this.#key;
  }
}

const defaultCost = 2 ** 17;
const blockSize = 8;
/** Derived keys remembered, one per cost and salt: a store full of others must not fill the memory. */
const mostDerivedKeys = 8;

class PasswordKey implements KeySource {
  readonly scheme = 'v1-scrypt';
  readonly parameters: readonly string[];
  readonly #password: KeyObject;
  readonly #salt: Buffer;
  readonly #highestCost: number;
  readonly #derived = new Map<string, Promise<KeyObject>>();

  constructor(password: unknown, salt: unknown, cost: unknown = defaultCost) {
    this.#salt = checkSalt(salt);
    const checkedCost = checkInteger(cost, 'cost', 2 ** 14, 2 ** 20);
    if (!Number.isInteger(Math.log2(checkedCost))) throw misuse('cost', 'be a power of two', cost);
    this.#highestCost = Math.max(checkedCost, defaultCost);
    this.parameters = [String(checkedCost), this.#salt.toString('base64url')];
    this.#password = secretKey(Buffer.from(checkPassword(password).normalize('NFC')));
  }

  fingerprint(): Buffer {
    return createHash('sha256')
      .update(encodeFields([fingerprintLabel, this.#salt]))
      .digest();
  }

  async keyFor(parameters: readonly string[]): Promise<KeyObject | undefined> {
    const [cost = '', encodedSalt = '', ...more] = parameters;
    const salt = decodeBase64url(encodedSalt);
    // Nothing is authenticated yet: bound what scrypt will take before it takes it.
    if (more.length > 0 || !isSalt(salt) || !/^[1-9]\d{0,6}$/.test(cost)) return undefined;
    if (!Number.isInteger(Math.log2(Number(cost))) || Number(cost) > this.#highestCost) return undefined;

    const name = parameters.join(':');
    const known = this.#derived.get(name);
    if (known !== undefined) return known;
    if (this.#derived.size >= mostDerivedKeys) this.#derived.clear();
    const derived = deriveKey(this.#password, salt, Number(cost));
    this.#derived.set(name, derived);
    derived.catch(() => this.#derived.delete(name));
    return derived;
  }
}

async function deriveKey(password: KeyObject, salt: Buffer, cost: number): Promise<KeyObject> {
  // What OpenSSL counts: 128 r bytes for each of N + p + 2.
  const options = { N: cost, r: blockSize, p: 1, maxmem: 128 * blockSize * (cost + 3) };
  const passwordBytes = password.export();
  try {
    return secretKey(await scryptAsync(passwordBytes, salt, 32, options));
  } catch (error) {
    const message = `The key could not be derived by scrypt (${describeError(error)})`;
    throw new JwtAuthorityError('kek_unavailable', message);
  } finally {
    passwordBytes.fill(0);
  }
}

/** Zeroes `bytes`: the key object has a copy of its own. */
function secretKey(bytes: Uint8Array): KeyObject {
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

function isSalt(salt: Buffer | undefined): salt is Buffer {
  return salt !== undefined && salt.length >= 16 && salt.length <= 64;
}

function checkSalt(value: unknown): Buffer {
  const salt = typeof value === 'string' || value instanceof Uint8Array ? Buffer.from(value) : undefined;
  if (!isSalt(salt))
    throw misuse('salt', 'be 16 to 64 bytes (make one with: openssl rand -base64 16)', value);
  return salt;
}

function checkPassword(value: unknown): string {
  if (typeof value !== 'string' || value.length < 12 || value.trim() !== value || new Set(value).size < 4) {
    const rule = 'be a text of at least 12 characters, 4 of them different, without white space at its ends';
    throw misuse('password', rule, value);
  }
  return value;
}

function checkId(id: unknown): string {
  if (typeof id !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(id)) {
    throw misuse('id', 'be 1 to 64 letters, digits or . _ - and begin with a letter or digit', id);
  }
  return id;
}

class LocalEncrypter implements KeyEncrypter {
  readonly id: string;
  readonly #source: KeySource;
  /** Everything that this encrypter wraps begins so; no other key or kind does. */
  readonly #prefix: string;

  constructor(source: KeySource, id: unknown) {
    this.id = `local:${id === undefined ? source.fingerprint().toString('hex', 0, 4) : checkId(id)}`;
    this.#source = source;
    this.#prefix = `${this.id}:${source.scheme}:`;
  }

  canDecrypt(encrypted: string): boolean {
    return typeof encrypted === 'string' && encrypted.startsWith(this.#prefix);
  }

  async encrypt(dataKey: Uint8Array, context: Readonly<Record<string, string>>): Promise<string> {
    if (!(dataKey instanceof Uint8Array) || dataKey.byteLength !== 32)
      throw misuse('dataKey', 'be 32 bytes', dataKey);
    const { parameters } = this.#source;
    const header = this.#prefix + parameters.map((parameter) => `${parameter}:`).join('');
    const associatedData = associate(header, context);
    const key = await this.#keyFor(parameters);
    const nonce = randomBytes(nonceLength);
    return (
      header + Buffer.concat([nonce, sealBytes(key, dataKey, associatedData, nonce)]).toString('base64url')
    );
  }

  async decrypt(encrypted: string, context: Readonly<Record<string, string>>): Promise<Uint8Array> {
    if (typeof encrypted !== 'string') throw misuse('encrypted', 'be a text', encrypted);
    const header = encrypted.slice(0, encrypted.lastIndexOf(':') + 1);
    const associatedData = associate(header, context);
    const data = decodeBase64url(encrypted.slice(header.length));
    if (data === undefined || !header.startsWith(this.#prefix)) throw this.#failure();
    const key = await this.#keyFor(header.slice(this.#prefix.length).split(':').slice(0, -1));
    const nonce = data.subarray(0, nonceLength);
    const dataKey = openBytes(key, data.subarray(nonceLength), associatedData, nonce);
    if (dataKey === undefined) throw this.#failure();
    return dataKey;
  }

  async #keyFor(parameters: readonly string[]): Promise<KeyObject> {
    const key = await this.#source.keyFor(parameters);
    if (key === undefined) throw this.#failure();
    return key;
  }

  #failure(): JwtAuthorityError {
    return new JwtAuthorityError(
      'decryption_failed',
      `The wrapped key cannot be opened by "${this.id}": it was altered, or wrapped for another context, by another key or ` +
        'password, or at a higher cost than is allowed here',
    );
  }
}

function associate(header: string, context: Readonly<Record<string, string>>): Buffer {
  return encodeFields(['jwt-authority/local-encrypter/wrap', header, ...contextFields(context)]);
}
