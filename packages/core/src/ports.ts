/** What a store keeps: small (2–30 KB), one per namespace. */
export interface StoredKeySet {
  /** Grows with every commit; a safe integer of at least 1. */
  readonly revision: number;
  /** Random name of this very commit. Two documents may carry the same revision after a failover, never the same etag. */
  readonly etag: string;
  /** When it was committed, epoch milliseconds. */
  readonly updatedAt: number;
  /** Opaque to the store: it gives back exactly this text. */
  readonly document: string;
}

export interface LoadResult {
  /** Absent: none was ever written (or it was lost). Not the same as an empty one. */
  readonly stored?: StoredKeySet;
  /** The store's own clock at the time of this load, epoch milliseconds, where it has one. */
  readonly storeTime?: number;
}

/** Where the key set of one namespace lives. Shared by any number of instances. */
export interface KeySetStore {
  /** Whose key set this is; bound into the associated data and the KEK's context. See {@link checkNamespace}. */
  readonly namespace: string;
  /** Reads the primary, never a replica. */
  load(): Promise<LoadResult>;
  /**
   * Writes iff what is stored still has the expected revision and etag (`undefined`: iff nothing is stored). Atomic.
   *
   * `false`: lost the race, nothing written. Idempotent: if `next.etag` is already stored, `true` (a reply was lost).
   *
   * `notAfter` (epoch milliseconds, in the store's time if `load` gave one): a store with a clock refuses to execute the
   * write later than that (`false`), because clients do execute abandoned writes late. The check for our own etag comes first.
   */
  compareAndSwap(
    next: StoredKeySet,
    expected: Pick<StoredKeySet, 'revision' | 'etag'> | undefined,
    notAfter: number,
  ): Promise<boolean>;
  /**
   * Optional: calls back when another instance may have committed. Best effort; correctness never depends on it.
   * Resolves to the function that stops it.
   */
  watch?(onChange: () => void): Promise<() => Promise<void>>;
}

/** Wraps data-encryption keys under a key-encryption key (KEK). */
export interface KeyEncrypter {
  /** A label for messages, status and events: `'local:2026'`, `'kms:alias/jwt'`. */
  readonly id: string;
  /** Whether this encrypter made this wrapped text (which carries its own kind and key id): picks among several. */
  canDecrypt(encrypted: string): boolean;
  /**
   * Wraps a data-encryption key (32 bytes). `context` is bound, not stored: another context must fail to decrypt.
   * The caller zeroes `dataKey` afterwards.
   *
   * What stands before the last `:` of the text names the KEK, and its version where it has one: `rewrap()` goes by it to
   * tell whether the key set is sealed by the present one.
   */
  encrypt(dataKey: Uint8Array, context: Readonly<Record<string, string>>): Promise<string>;
  /**
   * The data-encryption key. The caller zeroes what it is given: return a copy of your own.
   *
   * @throws `JwtAuthorityError` with code `kek_unavailable` (try again later), `kek_not_configured` (no such KEK) or
   *   `decryption_failed` (altered, other context).
   */
  decrypt(encrypted: string, context: Readonly<Record<string, string>>): Promise<Uint8Array>;
}

/** Remembers one-time values until they can no longer be replayed. */
export interface ReplayStore<T extends string | number = string> {
  has(value: T): Promise<boolean>;
  /** Remembers `value` for `ttlSeconds` from now, replacing an earlier time. */
  add(value: T, ttlSeconds: number): Promise<void>;
  delete(value: T): Promise<void>;
  /** Atomic first use: `true` exactly once per value until its time ends. */
  claim(value: T, ttlSeconds: number): Promise<boolean>;
}
