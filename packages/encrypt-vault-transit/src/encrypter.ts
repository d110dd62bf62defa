import { randomBytes } from 'node:crypto';
import type { JwtAuthorityError } from '@jwt-authority/core';
import {
  checkMethods,
  checkOptions,
  type Clock,
  type Duration,
  type KeyEncrypter,
  milliseconds,
  misuse,
  systemClock,
} from '@jwt-authority/core';
import { type Failure, failureError, other, type Verb } from './failures.ts';
import { Body, Requests, type VaultClient } from './requests.ts';
import {
  type Binding,
  bindings,
  checkId,
  checkKeyName,
  checkMount,
  decodeBase64,
  encodeContext,
  formatVaultCiphertext,
  formatWrapped,
  parseVaultCiphertext,
  parseWrapped,
  type VaultCiphertext,
} from './wrapped-text.ts';

export interface VaultTransitEncrypterOptions {
  /** The caller's, who logs it in, renews its token and closes it: that of `node-vault`, or any other with `write`. */
  readonly client: VaultClient;
  /** The name of the key. */
  readonly key: string;
  /** The path at which the transit engine is mounted. Default `'transit'`. */
  readonly mount?: string | undefined;
  /**
   * How Vault binds the context, by which a wrapped key opens for its own key set only.
   * `'associated_data'` (the default): as associated data of an AEAD key; Vault from 1.13 on, and OpenBao.
   * `'context'`: for a key made with `derived=true`, which demands one.
   * `'none'`: not at all; the key set is still bound by its own associated data.
   * Stored with everything wrapped: to change it, give the encrypter with the old one as a previous encrypter.
   */
  readonly binding?: Binding | undefined;
  /**
   * Names the key in messages and in what is stored, `'vault:ID'`. Default: mount and key, `'transit/jwt'`. Give one where two Vaults
   * have the same names, and the former default after a mount has moved. 1 to 256 letters, digits or `. _ / -`.
   */
  readonly id?: string | undefined;
  /** How long one request may take, its retries and a new login included. 0.1 to 60 seconds, default 5. */
  readonly timeout?: Duration | undefined;
  /**
   * Called when Vault answers 403, once for all requests at that time: log in again, and give the client the new token. The request is
   * then tried once more. Without it, or if it rejects, the request fails.
   */
  readonly onAuthError?: (() => Promise<void> | void) | undefined;
  /** Default: the clock of this machine. */
  readonly clock?: Clock | undefined;
}

export interface VaultTransitEncrypter extends KeyEncrypter {
  /**
   * Wraps and unwraps a throw-away key, and sees that it does not open with another context; four requests. For the start of an
   * application, or its operator. `keyVersion`: the one that wraps now.
   *
   * @throws `JwtAuthorityError` as `encrypt` and `decrypt`.
   */
  check(): Promise<{ readonly keyVersion: number }>;
  /** The version of the key in Vault that wrapped this text; `undefined` if this encrypter did not. Lower than that of `check()`: rewrap it. */
  keyVersionOf(encrypted: string): number | undefined;
  /**
   * Wraps it again with the present version of the key. By `transit/rewrap`, where Vault can: with `'associated_data'` it cannot, and
   * the key is unwrapped and wrapped here.
   *
   * @throws `JwtAuthorityError` as `encrypt` and `decrypt`.
   */
  rewrap(encrypted: string, context: Readonly<Record<string, string>>): Promise<string>;
}

const optionNames = ['client', 'key', 'mount', 'binding', 'id', 'timeout', 'onAuthError', 'clock'];

/**
 * A key-encryption key in the transit engine of HashiCorp Vault or OpenBao: `encrypt`, `decrypt` and `rewrap`, by `client.write` only.
 * One request each; before the first `encrypt` four more, which see that the key exists (Vault would create it) and that the context is
 * bound.
 *
 * The wrapped text is `vault:MOUNT/KEY:BINDING:vN:DATA`, N being the version of the key in Vault.
 *
 * Requests have a deadline, and are tried up to four times after 412, 429, 5xx and failures of the network. They reject with a
 * `JwtAuthorityError`: `kek_unavailable` (outage, sealed, token, permission, or a version below `min_decryption_version`),
 * `kek_not_configured` (no such key or engine, an unfit key, or a context that is not bound), `decryption_failed` (altered, or of another
 * context or key).
 *
 * @throws {TypeError} for options that are missing or wrong.
 */
export function vaultTransitEncrypter(options: VaultTransitEncrypterOptions): VaultTransitEncrypter {
  checkOptions(options, 'vaultTransitEncrypter', optionNames);
  const { client, onAuthError, binding = 'associated_data', clock = systemClock } = options;
  checkMethods(client, 'client', ['write']);
  checkMethods(clock, 'clock', ['monotonic', 'setTimer']);
  const mount = checkMount(options.mount ?? 'transit');
  const key = checkKeyName(options.key);
  const id = options.id === undefined ? `${mount}/${key}` : checkId(options.id);
  if (!bindings.includes(binding)) throw misuse('binding', `be one of ${bindings.join(', ')}`, binding);
  const timeout = milliseconds(options.timeout ?? 5, 'timeout');
  if (timeout < 100 || timeout > 60_000) throw misuse('timeout', 'be 0.1 to 60 seconds', options.timeout);
  if (onAuthError !== undefined && typeof onAuthError !== 'function')
    throw misuse('onAuthError', 'be a function', onAuthError);
  const requests = new Requests({ client, timeout, clock, onAuthError });
  return new TransitEncrypter(requests, { id: `vault:${id}`, mount, key, binding });
}

interface TransitKey {
  readonly id: string;
  readonly mount: string;
  readonly key: string;
  readonly binding: Binding;
}

const actions = { wrap: 'encrypt', unwrap: 'decrypt', rewrap: 'rewrap' } as const;

class TransitEncrypter implements VaultTransitEncrypter {
  readonly id: string;
  readonly #requests: Requests;
  readonly #key: TransitKey;
  /** Everything that this encrypter wraps begins so. */
  readonly #prefix: string;
  #checked: Promise<unknown> | undefined;

  constructor(requests: Requests, key: TransitKey) {
    this.id = key.id;
    this.#requests = requests;
    this.#key = key;
    this.#prefix = `${key.id}:${key.binding}:`;
  }

  canDecrypt(encrypted: string): boolean {
    return typeof encrypted === 'string' && encrypted.startsWith(this.#prefix);
  }

  keyVersionOf(encrypted: string): number | undefined {
    return typeof encrypted === 'string' ? parseWrapped(this.#prefix, encrypted)?.version : undefined;
  }

  async encrypt(dataKey: Uint8Array, context: Readonly<Record<string, string>>): Promise<string> {
    if (!(dataKey instanceof Uint8Array) || dataKey.byteLength !== 32)
      throw misuse('dataKey', 'be 32 bytes', dataKey);
    // A copy: the caller may zero its own while the first check goes on.
    const bytes = Buffer.from(dataKey);
    try {
      const bound = this.#bind(context);
      await this.#checkOnce();
      return formatWrapped(this.#prefix, await this.#wrap(bytes, bound));
    } finally {
      bytes.fill(0);
    }
  }

  async decrypt(encrypted: string, context: Readonly<Record<string, string>>): Promise<Uint8Array> {
    const bound = this.#bind(context);
    return this.#unwrap(this.#parse(encrypted, 'unwrap'), bound);
  }

  async rewrap(encrypted: string, context: Readonly<Record<string, string>>): Promise<string> {
    const bound = this.#bind(context);
    if (this.#key.binding === 'associated_data') {
      const dataKey = await this.decrypt(encrypted, context);
      try {
        return await this.encrypt(dataKey, context);
      } finally {
        dataKey.fill(0);
      }
    }
    const ciphertext = formatVaultCiphertext(this.#parse(encrypted, 'rewrap'));
    return formatWrapped(this.#prefix, await this.#ciphertextBy('rewrap', { ciphertext, ...bound }));
  }

  async check(): Promise<{ readonly keyVersion: number }> {
    const keyVersion = await this.#check();
    this.#checked = Promise.resolve(keyVersion);
    return { keyVersion };
  }

  async #checkOnce(): Promise<void> {
    this.#checked ??= this.#check();
    try {
      await this.#checked;
    } catch (error) {
      this.#checked = undefined;
      throw error;
    }
  }

  async #check(): Promise<number> {
    const bound = this.#bind({ purpose: 'jwt-authority/check' });
    await this.#checkExists(bound);
    const dataKey = randomBytes(32);
    const ciphertext = await this.#wrap(dataKey, bound);
    if (this.#key.binding !== 'none') await this.#checkBound(ciphertext);
    const opened = await this.#unwrap(ciphertext, bound);
    if (!dataKey.equals(opened))
      throw this.#error(other('kek_not_configured', 'it came back as another one'), 'unwrap');
    return ciphertext.version;
  }

  /** Vault creates a key that is missing at the first encryption, if the token's policy lets it. Decryption does not. */
  async #checkExists(bound: Readonly<Record<string, string>>): Promise<void> {
    const ciphertext = formatVaultCiphertext({ version: 1, data: randomBytes(60).toString('base64') });
    const answer = await this.#post('unwrap', { ciphertext, ...bound }, 'plaintext');
    if ('text' in answer || answer.failure.kind === 'not_authentic' || answer.failure.kind === 'too_old')
      return;
    throw this.#error(answer.failure, 'unwrap');
  }

  /** A key that is not derived ignores the context, and an old Vault the associated data: in silence. */
  async #checkBound(ciphertext: VaultCiphertext): Promise<void> {
    const bound = this.#bind({ purpose: 'jwt-authority/check of another context' });
    const answer = await this.#post(
      'unwrap',
      { ciphertext: formatVaultCiphertext(ciphertext), ...bound },
      'plaintext',
    );
    if ('failure' in answer && answer.failure.kind === 'not_authentic') return;
    if ('failure' in answer) throw this.#error(answer.failure, 'unwrap');
    const advice =
      this.#key.binding === 'context'
        ? "the key is not derived, and Vault then ignores the context. Use binding: 'associated_data', or a derived key"
        : "Vault ignores the associated data (it does before 1.13). Use a derived key and binding: 'context'";
    const what = `it opens with any context: ${advice}`;
    throw this.#error(other('kek_not_configured', what), 'wrap');
  }

  async #wrap(dataKey: Buffer, bound: Readonly<Record<string, string>>): Promise<VaultCiphertext> {
    return this.#ciphertextBy('wrap', { plaintext: dataKey.toString('base64'), ...bound });
  }

  async #unwrap(ciphertext: VaultCiphertext, bound: Readonly<Record<string, string>>): Promise<Uint8Array> {
    const members = { ciphertext: formatVaultCiphertext(ciphertext), ...bound };
    const answer = await this.#post('unwrap', members, 'plaintext');
    if ('failure' in answer) throw this.#error(answer.failure, 'unwrap');
    const dataKey = decodeBase64(answer.text);
    if (dataKey?.byteLength === 32) return dataKey;
    dataKey?.fill(0);
    throw this.#error(
      other('kek_unavailable', 'the answer is not a key of 32 bytes. Is there a proxy?'),
      'unwrap',
    );
  }

  async #ciphertextBy(
    verb: 'wrap' | 'rewrap',
    members: Readonly<Record<string, string>>,
  ): Promise<VaultCiphertext> {
    const answer = await this.#post(verb, members, 'ciphertext');
    if ('failure' in answer) throw this.#error(answer.failure, verb);
    const ciphertext = parseVaultCiphertext(answer.text);
    if (ciphertext === undefined)
      throw this.#error(
        other('kek_unavailable', 'the answer is no ciphertext of Vault. Is there a proxy?'),
        verb,
      );
    return ciphertext;
  }

  #post(
    verb: Verb,
    members: Readonly<Record<string, string>>,
    name: 'plaintext' | 'ciphertext',
  ): ReturnType<Requests['post']> {
    return this.#requests.post(this.#path(verb), new Body(members), name);
  }

  #path(verb: Verb): string {
    return `${this.#key.mount}/${actions[verb]}/${this.#key.key}`;
  }

  #bind(context: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    const encoded = encodeContext(context);
    return this.#key.binding === 'none' ? {} : { [this.#key.binding]: encoded };
  }

  #parse(encrypted: unknown, verb: Verb): VaultCiphertext {
    if (typeof encrypted !== 'string') throw misuse('encrypted', 'be a text', encrypted);
    const parsed = parseWrapped(this.#prefix, encrypted);
    if (parsed === undefined) throw this.#error({ kind: 'not_authentic' }, verb);
    return parsed;
  }

  #error(failure: Failure, verb: Verb): JwtAuthorityError {
    return failureError(failure, this.id, verb, this.#path(verb));
  }
}
