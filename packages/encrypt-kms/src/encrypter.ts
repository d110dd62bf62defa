import { randomBytes } from 'node:crypto';
import { DecryptCommand, EncryptCommand, KMSClient, type KMSClientConfig } from '@aws-sdk/client-kms';
import {
  checkMethods,
  checkOptions,
  type Clock,
  type Duration,
  JwtAuthorityError,
  type KeyEncrypter,
  milliseconds,
  misuse,
  systemClock,
  withDeadline,
} from '@jwt-authority/core';
import { failureOf, type Operation, sentence, wrongAnswer } from './failures.ts';
import {
  formatWrapped,
  inRegion,
  isAt,
  isMultiRegion,
  isSameKey,
  isWrappedBy,
  type KeyArn,
  type KeyName,
  parseKeyArn,
  parseKeyName,
  parseWrapped,
} from './key-name.ts';

interface KmsKeyOptions {
  /**
   * A symmetric encryption key: its ARN, its id, an alias (`'alias/jwt'`), or an alias ARN. An alias is asked at every
   * encryption; what it wrapped names the key itself, so that it opens after the alias has moved.
   */
  readonly keyId: string;
  /** How long one call may take, all tries of the SDK included. 0.1 to 60 seconds, default 5. */
  readonly timeout?: Duration | undefined;
  /** Default: the clock of this machine. */
  readonly clock?: Clock | undefined;
}

/** With a client of the caller's, who closes it. */
export interface KmsClientOptions extends KmsKeyOptions {
  readonly client: KMSClient;
}

/** With a client made here. It holds no handle that would keep a process alive. */
export interface KmsRegionOptions extends KmsKeyOptions {
  /** Default: that of the ARN in `keyId`, else what the SDK finds (`AWS_REGION`, the profile). */
  readonly region?: string | undefined;
  /** Default: what the SDK finds (environment, profile, container, instance). */
  readonly credentials?: KMSClientConfig['credentials'] | undefined;
}

export type KmsEncrypterOptions = KmsClientOptions | KmsRegionOptions;

export interface KmsEncrypter extends KeyEncrypter {
  /**
   * Wraps and unwraps a throw-away key, two calls: for the start of an application, or its operator. Resolves to the ARN of
   * the key that wraps now. `context`: give `{ namespace }` where a policy goes by it. Default `{ purpose: 'jwt-authority/check' }`.
   *
   * @throws `JwtAuthorityError` as `encrypt` and `decrypt`.
   */
  check(context?: Readonly<Record<string, string>>): Promise<{ readonly keyArn: string }>;
}

const wrapping: Operation = { verb: 'wrap', action: 'kms:Encrypt' };
const notKms = 'the answer is not one of KMS. What stands between?';
const unwrapping: Operation = { verb: 'unwrap', action: 'kms:Decrypt' };

/**
 * A key-encryption key in AWS KMS: `Encrypt` and `Decrypt`, with the context as EncryptionContext. One call each, and
 * `decrypt` by a bare alias makes one more, once: it learns in which account and region the alias is, and trusts no key elsewhere.
 *
 * The wrapped text is `kms:ARN:v1:DATA`, with an alias `kms:ALIAS:ARN:v1:DATA`. Retries are the SDK's; none are added.
 *
 * Both reject with a `JwtAuthorityError`: `kek_unavailable` (outage, credentials, permission, or a key that is disabled or
 * pending deletion), `kek_not_configured` (no such key, one of the wrong kind, no region), `decryption_failed` (altered, or of another
 * context or key).
 *
 * @throws {TypeError} for options that are missing, contradictory or wrong.
 */
export function kmsEncrypter(options: KmsEncrypterOptions): KmsEncrypter {
  checkOptions(options, 'kmsEncrypter', ['client', 'region', 'credentials', 'keyId', 'timeout', 'clock']);
  // From JavaScript, members of both forms may come together.
  const {
    client,
    region,
    credentials,
    clock = systemClock,
  } = options as Partial<KmsClientOptions> & KmsRegionOptions;
  const name = parseKeyName(options.keyId);
  const timeout = milliseconds(options.timeout ?? 5, 'timeout');
  if (timeout < 100 || timeout > 60_000) throw misuse('timeout', 'be 0.1 to 60 seconds', options.timeout);
  checkMethods(clock, 'clock', ['setTimer']);
  if (client !== undefined) {
    if ((region ?? credentials) !== undefined)
      throw new TypeError('kmsEncrypter takes either "client" or "region" and "credentials", not both');
    checkMethods(client, 'client', ['send']);
    return new AwsKmsEncrypter(client, name, timeout, clock);
  }
  return new AwsKmsEncrypter(makeClient(name, region, credentials, timeout), name, timeout, clock);
}

function makeClient(
  { place }: KeyName,
  region: unknown,
  credentials: KMSClientConfig['credentials'],
  timeout: number,
): KMSClient {
  const rule = "be the name of a region of AWS, like 'eu-central-1'";
  if (region !== undefined && (typeof region !== 'string' || !/^[a-z0-9-]{1,40}$/.test(region)))
    throw misuse('region', rule, region);
  if (region !== undefined && place !== undefined && place.region !== region)
    throw new TypeError(`"region" must be that of the ARN in "keyId" (${place.region}), got ${region}`);
  const chosen = region ?? place?.region;
  // A try that is lost must leave time for another one.
  const oneTry = Math.ceil(timeout / 2.5);
  return new KMSClient({
    ...(chosen !== undefined && { region: chosen }),
    ...(credentials !== undefined && { credentials }),
    requestHandler: { connectionTimeout: oneTry, requestTimeout: oneTry, throwOnRequestTimeout: true },
  });
}

class AwsKmsEncrypter implements KmsEncrypter {
  readonly id: string;
  readonly #client: KMSClient;
  readonly #name: KeyName;
  readonly #timeout: number;
  readonly #clock: Clock;
  /** The key that wrapped last: where an alias without account and region is. */
  #last: KeyArn | undefined;

  constructor(client: KMSClient, name: KeyName, timeout: number, clock: Clock) {
    this.id = `kms:${name.text}`;
    this.#client = client;
    this.#name = name;
    this.#timeout = timeout;
    this.#clock = clock;
  }

  canDecrypt(encrypted: string): boolean {
    const wrapped = parseWrapped(encrypted);
    return wrapped !== undefined && isWrappedBy(this.#name, wrapped);
  }

  async encrypt(dataKey: Uint8Array, context: Readonly<Record<string, string>>): Promise<string> {
    if (!(dataKey instanceof Uint8Array) || dataKey.byteLength !== 32)
      throw misuse('dataKey', 'be 32 bytes', dataKey);
    const command = new EncryptCommand({
      KeyId: this.#name.text,
      Plaintext: dataKey,
      EncryptionContext: checkContext(context),
    });
    const { KeyId, CiphertextBlob } = await this.#call(wrapping, async (options) =>
      this.#client.send(command, options),
    );
    const arn = parseKeyArn(KeyId);
    if (arn === undefined || CiphertextBlob === undefined)
      throw wrongAnswer(this.id, wrapping, 'kek_unavailable', notKms);
    if (!this.#isMine(arn))
      throw wrongAnswer(this.id, wrapping, 'kek_unavailable', 'the answer is for another key');
    this.#last = arn;
    return formatWrapped(this.#name, arn, CiphertextBlob);
  }

  async decrypt(encrypted: string, context: Readonly<Record<string, string>>): Promise<Uint8Array> {
    if (typeof encrypted !== 'string') throw misuse('encrypted', 'be a text', encrypted);
    const EncryptionContext = checkContext(context);
    const wrapped = parseWrapped(encrypted);
    if (wrapped === undefined)
      throw wrongAnswer(
        this.id,
        unwrapping,
        'decryption_failed',
        'it was altered, or is no text of this kind',
      );
    if (!isWrappedBy(this.#name, wrapped) || !(await this.#isTrusted(wrapped.arn, context)))
      throw new JwtAuthorityError(
        'kek_not_configured',
        `${sentence(this.id, unwrapping)}: it is wrapped by "${wrapped.arn.text}". If that key is to be trusted, name it by this ARN`,
      );
    const { arn, dataKey } = await this.#call(unwrapping, async (options) => {
      const arnHere = await this.#here(wrapped.arn);
      const command = new DecryptCommand({
        KeyId: arnHere.text,
        CiphertextBlob: wrapped.ciphertext,
        EncryptionContext,
      });
      const { KeyId, Plaintext } = await this.#client.send(command, options);
      return { arn: parseKeyArn(KeyId), dataKey: Plaintext && takeBytes(Plaintext) };
    });
    // An answer of nothing is no verdict on the text: that would have it taken for altered.
    if (arn === undefined || dataKey === undefined)
      throw wrongAnswer(this.id, unwrapping, 'kek_unavailable', notKms);
    if (!isSameKey(arn, wrapped.arn) || dataKey.byteLength !== 32) {
      dataKey.fill(0);
      throw wrongAnswer(this.id, unwrapping, 'decryption_failed', 'the answer is for another key');
    }
    return dataKey;
  }

  async check(
    context: Readonly<Record<string, string>> = { purpose: 'jwt-authority/check' },
  ): Promise<{ readonly keyArn: string }> {
    const dataKey = randomBytes(32);
    const encrypted = await this.encrypt(dataKey, context);
    const decrypted = await this.decrypt(encrypted, context);
    if (!dataKey.equals(decrypted))
      throw wrongAnswer(this.id, unwrapping, 'decryption_failed', 'it came back as another one');
    return { keyArn: parseWrapped(encrypted)?.arn.text ?? this.#name.text };
  }

  /** Whether an answer is for the key asked for. An alias may stand for any key of its account. */
  #isMine(arn: KeyArn): boolean {
    const { target, place } = this.#name;
    return ('alias' in target || target.id === arn.id) && (place === undefined || isAt(arn, place));
  }

  /**
   * Whoever writes the store chooses the ARN in it, and may own a key that these credentials are allowed to use. A key id cannot be
   * chosen, and an ARN says where the key is; a bare alias has to be asked.
   */
  async #isTrusted(arn: KeyArn, context: Readonly<Record<string, string>>): Promise<boolean> {
    if (!('alias' in this.#name.target) || this.#name.place !== undefined) return true;
    if (this.#last === undefined) await this.encrypt(randomBytes(32), context);
    return this.#last !== undefined && isAt(arn, this.#last);
  }

  /** The replica of a multi-region key in the client's region; any other key is where it is. */
  async #here(arn: KeyArn): Promise<KeyArn> {
    return isMultiRegion(arn) ? inRegion(arn, await this.#client.config.region()) : arn;
  }

  async #call<T>(
    operation: Operation,
    request: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const controller = new AbortController();
    const late = (): Error => {
      controller.abort();
      const what = `no answer within ${this.#timeout} ms`;
      return wrongAnswer(this.id, operation, 'kek_unavailable', what);
    };
    try {
      const work = request({ abortSignal: controller.signal });
      return await withDeadline(this.#clock, this.#timeout, work, late);
    } catch (error) {
      throw failureOf(error, this.id, operation);
    }
  }
}

/** A copy of its own. The SDK's bytes are a part of a buffer that others read and write too: they are zeroed. */
function takeBytes(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  bytes.fill(0);
  return copy;
}

function checkContext(context: unknown): Record<string, string> {
  const rule = 'be an object whose values are texts';
  if (typeof context !== 'object' || context === null || Array.isArray(context))
    throw misuse('context', rule, context);
  for (const value of Object.values(context)) {
    if (typeof value !== 'string') throw misuse('context', `${rule} (all of them)`, value);
  }
  // Every value was looked at.
  return { ...(context as Record<string, string>) };
}
