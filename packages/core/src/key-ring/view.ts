import type { KeyObject } from 'node:crypto';
import { publicKeyFromJwk, signBytes, verifyBytes, type Algorithm } from '../algorithms.ts';
import type { CryptoExecutor } from '../executor.ts';
import type { KeyRecord, KeySet } from '../key-set/document.ts';
import { activeKey, algorithmsOf, isPublished } from '../key-set/states.ts';
import { inSeconds } from '../options.ts';
import type { StoredKeySet } from '../ports.ts';
import type { DataKey, PrivateKeys } from './sealing.ts';

/** A key that may sign now. */
export interface SigningKey {
  readonly kid: string;
  readonly alg: Algorithm;
  /** The longest time from now to `exp` that this key may sign, in milliseconds. */
  readonly tokenLifetime: number;
  sign(input: Uint8Array): Buffer | Promise<Buffer>;
}

/** A key that verifies now. */
export interface VerificationKey {
  readonly kid: string;
  readonly alg: Algorithm;
  verify(input: Uint8Array, signature: Uint8Array): boolean | Promise<boolean>;
}

/** One authentic revision of a key set, opened. Immutable, but for the keys that it prepares on first use. */
export class KeySetView {
  readonly stored: StoredKeySet;
  readonly keySet: KeySet;
  readonly dataKey: DataKey;
  readonly privateKeys: PrivateKeys;
  readonly #executor: CryptoExecutor;
  readonly #byKid: ReadonlyMap<string, KeyRecord>;
  readonly #signing = new Map<Algorithm, { key: SigningKey | undefined; from: number; until: number }>();
  readonly #verification = new Map<string, VerificationKey>();

  constructor(
    content: { stored: StoredKeySet; keySet: KeySet; dataKey: DataKey; privateKeys: PrivateKeys },
    executor: CryptoExecutor,
  ) {
    this.stored = content.stored;
    this.keySet = content.keySet;
    this.dataKey = content.dataKey;
    this.privateKeys = content.privateKeys;
    this.#executor = executor;
    this.#byKid = new Map(content.keySet.keys.map((key) => [key.kid, key]));
  }

  /** The record of a key, whatever its state. */
  record(kid: string): KeyRecord | undefined {
    return this.#byKid.get(kid);
  }

  /** The active key of an algorithm. */
  signingKey(alg: Algorithm, now: number): SigningKey | undefined {
    const cached = this.#signing.get(alg);
    if (cached !== undefined && cached.from <= now && now < cached.until) return cached.key;
    const { from, until } = this.unchangedAround(now);
    const record = activeKey(this.keySet, alg, now);
    const privateKey = record === undefined ? undefined : this.privateKeys.get(record.kid);
    const key =
      record === undefined || privateKey === undefined ? undefined : this.#signer(record, privateKey);
    this.#signing.set(alg, { key, from, until });
    return key;
  }

  /** What to say when nothing may sign, with `alg` or at all. */
  whyNoSigningKey(alg: Algorithm | undefined, now: number): string {
    const what = alg === undefined ? 'no key' : `no key of ${alg}`;
    const next = this.keySet.keys
      .filter((key) => key.hasPrivateKey && key.activatesAt > now && (alg === undefined || key.alg === alg))
      .map((key) => key.activatesAt);
    if (next.length === 0) return `${what} is active, and none is coming`;
    return `${what} is active yet; the next one signs ${inSeconds(Math.min(...next) - now)} s from now`;
  }

  #signer({ kid, alg, tokenLifetime }: KeyRecord, privateKey: KeyObject): SigningKey {
    return { kid, alg, tokenLifetime, sign: (input) => signBytes(alg, privateKey, input, this.#executor) };
  }

  /** The key of this `kid`, if it is published. @throws `unusable_key` if this runtime cannot use it. */
  verificationKey(kid: string, now: number): VerificationKey | undefined {
    const record = this.#byKid.get(kid);
    if (record === undefined || !isPublished(record, now)) return undefined;
    const prepared = this.#verification.get(kid);
    if (prepared !== undefined) return prepared;
    const publicKey = publicKeyFromJwk(record.publicJwk, record.alg);
    const { alg } = record;
    const key: VerificationKey = {
      kid,
      alg,
      verify: (input, signature) => verifyBytes(alg, publicKey, input, signature, this.#executor),
    };
    this.#verification.set(kid, key);
    return key;
  }

  /** The algorithms that have keys, in the order of the document. */
  get algorithms(): readonly Algorithm[] {
    return algorithmsOf(this.keySet);
  }

  /** The span around `now` in which no key changes its state by itself: `from` inclusive, `until` exclusive. */
  unchangedAround(now: number): { readonly from: number; readonly until: number } {
    let from = -Infinity;
    let until = Infinity;
    for (const { activatesAt, deactivatesAt, expiresAt } of this.keySet.keys) {
      for (const time of [activatesAt, deactivatesAt, expiresAt]) {
        if (time === undefined) continue;
        if (time <= now) from = Math.max(from, time);
        else until = Math.min(until, time);
      }
    }
    return { from, until };
  }
}
