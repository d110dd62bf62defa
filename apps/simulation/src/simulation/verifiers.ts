import { createPublicKey, verify, type JsonWebKey, type KeyObject } from 'node:crypto';
import { jwksResponse } from '@jwt-authority/core';
import type { Process, Reading } from './instance.ts';
import type { Token } from './ledger.ts';

/** How a remote verifier caches the JWKS. Milliseconds. */
export interface CacheHabits {
  readonly name: string;
  /** `undefined`: as long as `max-age` says, and on errors as long as `stale-if-error` says. */
  readonly keepsFor: number | undefined;
  /** Fetches for a `kid` that it does not know, at most this often; `Infinity`: never. */
  readonly coolDown: number;
  /** Keeps each key by itself, not the set. */
  readonly perKey: boolean;
}

/**
 * As read in their sources: jose 10 min and 30 s, jwks-rsa 10 h per key, .NET's ConfigurationManager 12 h and 5 min; a
 * CDN that does what the headers say; and the worst that is allowed: as long as the promise holds, never asking again.
 */
export function cacheHabits(allowed: number): readonly CacheHabits[] {
  const minute = 60_000;
  return [
    { name: 'cdn', keepsFor: undefined, coolDown: Infinity, perKey: false },
    { name: 'longest', keepsFor: allowed, coolDown: Infinity, perKey: false },
    { name: 'jose', keepsFor: Math.min(10 * minute, allowed), coolDown: 30_000, perKey: false },
    { name: 'jwks-rsa', keepsFor: Math.min(600 * minute, allowed), coolDown: 6000, perKey: true },
    { name: '.net', keepsFor: Math.min(720 * minute, allowed), coolDown: 5 * minute, perKey: false },
  ];
}

interface CachedKey {
  readonly key: KeyObject;
  readonly fetchedAt: number;
}

/** What a verifier has fetched, and what its source knew then. */
export interface Cache {
  readonly keys: ReadonlyMap<string, CachedKey>;
  readonly fetchedAt: number;
  readonly freshUntil: number;
  /** Nobody promises anything to one that keeps it longer. */
  readonly usableUntil: number;
  readonly source: string;
  readonly reading: Reading | undefined;
}

export type Verdict = 'accepted' | 'unknown key' | 'bad signature' | 'unavailable';

const publicKeys = new Map<string, KeyObject>();

function publicKeyOf(jwk: JsonWebKey): KeyObject {
  const name = jwk.x ?? jwk.n ?? '';
  let key = publicKeys.get(name);
  if (key === undefined) {
    key = createPublicKey({ key: jwk, format: 'jwk' });
    if (publicKeys.size > 5000) publicKeys.clear();
    publicKeys.set(name, key);
  }
  return key;
}

export interface VerifierSurroundings {
  now(): number;
  /** Any process that is up, as a load balancer picks it. */
  anyProcess(): Process | undefined;
  /** Called with every JWKS that was published. */
  onPublished(process: Process, keys: readonly JsonWebKey[]): void;
}

/** A verifier somewhere else, that knows nothing but the JWKS. */
export class RemoteVerifier {
  readonly habits: CacheHabits;
  readonly #world: VerifierSurroundings;
  cache: Cache | undefined;
  #attemptedAt = -Infinity;

  constructor(habits: CacheHabits, world: VerifierSurroundings) {
    this.habits = habits;
    this.#world = world;
  }

  async fetch(): Promise<boolean> {
    const now = this.#world.now();
    this.#attemptedAt = now;
    const process = this.#world.anyProcess();
    const { authority } = process ?? {};
    if (process === undefined || authority === undefined) return false;
    const response = await jwksResponse(authority, new Request('https://auth.test/.well-known/jwks.json'));
    if (response.status !== 200) return false;
    // The body comes from memory: no time passes between the answer and this.
    const { keys } = (await response.json()) as { keys: (JsonWebKey & { kid: string })[] };
    this.#world.onPublished(process, keys);
    const control = response.headers.get('cache-control') ?? '';
    const seconds = (directive: string): number =>
      Number(new RegExp(`${directive}=(\\d+)`).exec(control)?.[1] ?? 0);
    const fetchedAt = this.#world.now();
    const keepsFor = this.habits.keepsFor ?? seconds('max-age') * 1000;
    const usableFor = this.habits.keepsFor ?? keepsFor + seconds('stale-if-error') * 1000;
    const fetched = keys.map((jwk) => [jwk.kid, { key: publicKeyOf(jwk), fetchedAt }] as const);
    const kept = this.habits.perKey
      ? [...(this.cache?.keys ?? [])].filter(([, key]) => fetchedAt - key.fetchedAt < keepsFor)
      : [];
    this.cache = {
      keys: new Map([...kept, ...fetched]),
      fetchedAt,
      freshUntil: fetchedAt + keepsFor,
      usableUntil: fetchedAt + usableFor,
      source: process.name,
      reading: process.confirmed,
    };
    return true;
  }

  /** Verifies a token as this kind of verifier does, asking for the JWKS where it would. */
  async verify({ token, kid }: Token): Promise<Verdict> {
    const { coolDown } = this.habits;
    if ((this.cache?.freshUntil ?? -Infinity) <= this.#world.now()) {
      const fetched = await this.fetch();
      if (!fetched && (this.cache?.usableUntil ?? -Infinity) <= this.#world.now()) return 'unavailable';
    }
    if (this.cache?.keys.has(kid) !== true && this.#world.now() - this.#attemptedAt >= coolDown) {
      if (!(await this.fetch())) return 'unavailable';
    }
    const cached = this.cache?.keys.get(kid);
    if (cached === undefined) return 'unknown key';
    const end = token.lastIndexOf('.');
    const digest = cached.key.asymmetricKeyType === 'rsa' ? 'sha256' : null;
    const signature = Buffer.from(token.slice(end + 1), 'base64url');
    return verify(digest, Buffer.from(token.slice(0, end)), cached.key, signature)
      ? 'accepted'
      : 'bad signature';
  }
}
