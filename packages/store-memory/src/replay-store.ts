import { createHash } from 'node:crypto';
import {
  checkInteger,
  checkMethods,
  checkOptions,
  JwtAuthorityError,
  milliseconds,
  misuse,
  systemClock,
} from '@jwt-authority/core';
import type { Clock, ReplayStore } from '@jwt-authority/core';

export interface MemoryReplayStoreOptions {
  /** By what time values are forgotten. Default: the clock of this machine. */
  readonly clock?: Clock | undefined;
  /** How many values are remembered at a time, about 150 bytes each; 1 to 10,000,000. Default 100,000. */
  readonly maxEntries?: number | undefined;
}

/**
 * Remembers one-time values in this object: for tests and for a single process. Two calls make two separate stores.
 *
 * Every operation is atomic, since none of them waits. There are no timers: a value whose time is over counts as
 * forgotten at once, and its memory is reclaimed in passing. While `maxEntries` values are remembered, `add` and `claim` of
 * another one fail with code `replay_store_unavailable`: a value that may still be replayed is never dropped to make room.
 *
 * Values are strings and finite numbers; `1` and `'1'` are two values. `ttlSeconds` is above 0, fractions allowed, at most
 * 1000 years. Anything else rejects with a `TypeError`: a value whose time is over already can be neither claimed nor added.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function memoryReplayStore<T extends string | number = string | number>(
  options: MemoryReplayStoreOptions = {},
): ReplayStore<T> {
  checkOptions(options, 'memoryReplayStore', ['clock', 'maxEntries']);
  const { clock = systemClock, maxEntries = 100_000 } = options;
  checkMethods(clock, 'clock', ['now', 'monotonic', 'setTimer']);
  checkInteger(maxEntries, 'maxEntries', 1, 10_000_000);
  return new MemoryReplayStore<T>(clock, maxEntries);
}

/**
 * A moment on both clocks. It has passed only when both say so: a wall clock that steps ahead and back again must not bring
 * a used token back to life, and the monotonic clock alone knows nothing of a wall clock that steps back, before `exp`.
 */
interface Moment {
  readonly wall: number;
  readonly monotonic: number;
}

class MemoryReplayStore<T extends string | number> implements ReplayStore<T> {
  readonly #clock: Clock;
  readonly #maxEntries: number;
  readonly #ends = new Map<string, Moment>();
  /** The number of entries at which the next sweep is worth its time. */
  #sweepAt: number;
  /** While the store is full: no entry ends before this, so sweeping again would find nothing. */
  #firstEnd: Moment = { wall: 0, monotonic: 0 };

  constructor(clock: Clock, maxEntries: number) {
    this.#clock = clock;
    this.#maxEntries = maxEntries;
    this.#sweepAt = Math.min(maxEntries, 1024);
  }

  async has(value: T): Promise<boolean> {
    return this.#isRemembered(keyOf(value));
  }

  async add(value: T, ttlSeconds: number): Promise<void> {
    this.#remember(keyOf(value), ttlMilliseconds(ttlSeconds));
  }

  async delete(value: T): Promise<void> {
    this.#ends.delete(keyOf(value));
  }

  async claim(value: T, ttlSeconds: number): Promise<boolean> {
    const key = keyOf(value);
    const ttl = ttlMilliseconds(ttlSeconds);
    if (this.#isRemembered(key)) return false;
    this.#remember(key, ttl);
    return true;
  }

  #isRemembered(key: string): boolean {
    const end = this.#ends.get(key);
    return end !== undefined && !this.#hasPassed(end);
  }

  #hasPassed(end: Moment): boolean {
    return this.#clock.now() >= end.wall && this.#clock.monotonic() >= end.monotonic;
  }

  #remember(key: string, ttl: number): void {
    if (!this.#ends.has(key) && this.#ends.size >= this.#sweepAt) this.#sweep();
    if (!this.#ends.has(key) && this.#ends.size >= this.#maxEntries) {
      throw new JwtAuthorityError(
        'replay_store_unavailable',
        `The replay store is full: it remembers ${this.#maxEntries} values that may still be replayed. ` +
          'Raise "maxEntries" of memoryReplayStore, shorten the lifetime of one-time tokens, or limit how many are accepted',
      );
    }
    const end = { wall: this.#clock.now() + ttl, monotonic: this.#clock.monotonic() + ttl };
    this.#ends.set(key, end);
    this.#firstEnd = earlier(this.#firstEnd, end);
  }

  #sweep(): void {
    if (!this.#hasPassed(this.#firstEnd)) return;
    this.#firstEnd = { wall: Infinity, monotonic: Infinity };
    for (const [key, end] of this.#ends) {
      if (this.#hasPassed(end)) this.#ends.delete(key);
      else this.#firstEnd = earlier(this.#firstEnd, end);
    }
    this.#sweepAt = Math.min(this.#maxEntries, Math.max(1024, 2 * this.#ends.size));
  }
}

function earlier(one: Moment, other: Moment): Moment {
  return { wall: Math.min(one.wall, other.wall), monotonic: Math.min(one.monotonic, other.monotonic) };
}

/** What a value is remembered under: of bounded length, and different for a number and a text. */
function keyOf(value: unknown): string {
  if (typeof value === 'number' && Number.isFinite(value)) return `number:${value}`;
  if (typeof value !== 'string') throw misuse('value', 'be a string or a finite number', value);
  if (value.length <= 128) return `text:${value}`;
  // UTF-16: as UTF-8, all lone surrogates are one.
  return `digest:${createHash('sha256').update(value, 'utf16le').digest('base64url')}`;
}

function ttlMilliseconds(ttlSeconds: unknown): number {
  if (typeof ttlSeconds !== 'number' || !(ttlSeconds > 0)) {
    throw misuse('ttlSeconds', 'be seconds as a number above 0', ttlSeconds);
  }
  return Math.max(1, milliseconds(ttlSeconds, 'ttlSeconds'));
}
