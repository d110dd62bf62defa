import { JwtAuthorityError, misuse } from '@jwt-authority/core';
import type { KeySetStore, LoadResult, StoredKeySet } from '@jwt-authority/core';
import { isOne, RedisCalls, type RedisStoreOptions, storeError } from './calls.ts';
import type { RedisConnection } from './connection.ts';
import { commitScript, loadScript } from './scripts.ts';
import { SharedSubscription } from './shared-subscription.ts';

/** How a key set becomes the fields of a hash, and comes back. */
export interface KeySetCodec {
  encode(keySet: StoredKeySet, namespace: string): Promise<Readonly<Record<string, string>>>;
  /** `undefined` if these are not the fields of a key set. */
  decode(fields: Readonly<Record<string, string>>): Promise<StoredKeySet | undefined>;
}

/** The layout, field by field; every codec must write and read the same. */
export const plainCodec: KeySetCodec = {
  async encode({ revision, etag, updatedAt, document }, namespace) {
    return { namespace, revision: String(revision), etag, updatedAt: String(updatedAt), document };
  },
  async decode({ revision, etag, updatedAt, document }) {
    if (etag === undefined || document === undefined) return undefined;
    return { revision: Number(revision), etag, updatedAt: Number(updatedAt), document };
  },
};

/**
 * The key set of one namespace in a Redis hash.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function redisKeySetStore(
  connection: RedisConnection,
  options: RedisStoreOptions,
  codec: KeySetCodec = plainCodec,
): Required<KeySetStore> {
  return new RedisKeySetStore(new RedisCalls(connection, options), codec);
}

class RedisKeySetStore implements KeySetStore {
  readonly namespace: string;
  readonly #calls: RedisCalls;
  readonly #codec: KeySetCodec;
  readonly #subscription: SharedSubscription;

  constructor(calls: RedisCalls, codec: KeySetCodec) {
    this.namespace = calls.names.namespace;
    this.#calls = calls;
    this.#codec = codec;
    this.#subscription = new SharedSubscription(calls);
  }

  async load(): Promise<LoadResult> {
    const doing = `load the key set "${this.namespace}" from Redis`;
    const { keySet } = this.#calls.names;
    const reply = await this.#calls.evaluate(loadScript, keySet, [], (failure) => storeError(doing, failure));
    const { storeTime, fields } = parseLoadReply(reply, doing);
    if (Object.keys(fields).length === 0) return { storeTime };
    const stored = await this.#codec.decode(fields);
    if (stored === undefined || !isStoredKeySet(stored)) {
      throw new JwtAuthorityError(
        'store_unreadable',
        `Cannot ${doing}: the hash "${this.#calls.connection.keyPrefix}${keySet}" is not, or no longer, a whole key set. Restore it from a ` +
          'backup, or remove it: then a running instance writes back what it holds, or, if none runs, new keys are made and ' +
          'tokens of the old ones are refused',
      );
    }
    return { stored, storeTime };
  }

  async compareAndSwap(
    next: StoredKeySet,
    expected: Pick<StoredKeySet, 'revision' | 'etag'> | undefined,
    notAfter: number,
  ): Promise<boolean> {
    // What could not be read again would have to be cleared away by hand.
    if (!isStoredKeySet(next)) throw misuse('next', 'be a stored key set', next);
    if (!next.document.isWellFormed() || !next.etag.isWellFormed()) {
      throw misuse('next', 'be without lone surrogates, which do not survive UTF-8', next);
    }
    if (typeof notAfter !== 'number' || Number.isNaN(notAfter)) {
      throw misuse('notAfter', 'be epoch milliseconds', notAfter);
    }
    const { keySet, channel } = this.#calls.names;
    const limit = Math.max(0, Math.min(notAfter, Number.MAX_SAFE_INTEGER));
    const fields = await this.#codec.encode(next, this.namespace);
    const args = [
      next.etag,
      expected === undefined ? '' : String(expected.revision),
      expected?.etag ?? '',
      String(limit),
      channel,
      ...Object.entries(fields).flat(),
    ];
    const doing = `commit the key set "${this.namespace}" to Redis`;
    const reply = await this.#calls.evaluate(commitScript, keySet, args, (failure) =>
      storeError(doing, failure, failure.refused ? '' : '; whether it was committed, the next load shows'),
    );
    return isOne(reply);
  }

  watch(onChange: () => void): Promise<() => Promise<void>> {
    return this.#subscription.add(onChange);
  }
}

function parseLoadReply(
  reply: unknown,
  doing: string,
): { storeTime: number; fields: Record<string, string> } {
  const parts: readonly unknown[] = Array.isArray(reply) ? reply : [];
  const [seconds, microseconds, flat] = parts;
  const storeTime = Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
  if (!Array.isArray(flat) || !Number.isFinite(storeTime)) {
    throw new JwtAuthorityError(
      'store_unreadable',
      `Cannot ${doing}: the client altered the reply of the script`,
    );
  }
  const names = flat.filter((_text, index) => index % 2 === 0);
  return {
    storeTime,
    fields: Object.fromEntries(names.map((name, index) => [String(name), String(flat[2 * index + 1])])),
  };
}

function isStoredKeySet({ revision, etag, updatedAt, document }: StoredKeySet): boolean {
  return (
    Number.isSafeInteger(revision) &&
    revision >= 1 &&
    typeof etag === 'string' &&
    etag !== '' &&
    Number.isFinite(updatedAt) &&
    typeof document === 'string'
  );
}
