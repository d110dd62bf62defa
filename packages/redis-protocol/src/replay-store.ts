import { randomBytes } from 'node:crypto';
import { JwtAuthorityError, milliseconds, misuse } from '@jwt-authority/core';
import type { ReplayStore } from '@jwt-authority/core';
import { isOne, RedisCalls, type RedisStoreOptions } from './calls.ts';
import type { RedisConnection } from './connection.ts';
import type { Failure } from './failures.ts';
import { replayKey } from './names.ts';
import { claimScript, forgetScript, isRememberedScript, rememberScript } from './scripts.ts';

/**
 * One-time values, each in a Redis key of its own that expires by itself.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function redisReplayStore<T extends string | number = string | number>(
  connection: RedisConnection,
  options: RedisStoreOptions,
): ReplayStore<T> {
  return new RedisReplayStore<T>(new RedisCalls(connection, options));
}

class RedisReplayStore<T extends string | number> implements ReplayStore<T> {
  readonly #calls: RedisCalls;
  /** Makes the tokens of calls: of this store alone, and no two the same. */
  readonly #random = randomBytes(16).toString('base64url');
  #made = 0;

  constructor(calls: RedisCalls) {
    this.#calls = calls;
  }

  async has(value: T): Promise<boolean> {
    return isOne(await this.#run(isRememberedScript, value, []));
  }

  async add(value: T, ttlSeconds: number): Promise<void> {
    await this.#run(rememberScript, value, this.#arguments(ttlSeconds));
  }

  async delete(value: T): Promise<void> {
    await this.#run(forgetScript, value, []);
  }

  async claim(value: T, ttlSeconds: number): Promise<boolean> {
    const { connection, names } = this.#calls;
    const [token, ttl] = this.#arguments(ttlSeconds);
    const key = replayKey(names, value);
    return this.#calls.repeatable(
      // The plain command is faster. Where it is refused, the script sees whether this very call was executed before.
      () =>
        connection
          .setIfAbsent(key, token, Number(ttl))
          .then(
            (reply) => reply !== null || connection.evaluate(claimScript.lua, key, [token, ttl]).then(isOne),
          ),
      this.#failure,
    );
  }

  #run(script: { readonly lua: string }, value: T, args: readonly string[]): Promise<unknown> {
    return this.#calls.evaluate(script, replayKey(this.#calls.names, value), args, this.#failure);
  }

  readonly #failure = ({ reason }: Failure): JwtAuthorityError =>
    new JwtAuthorityError(
      'replay_store_unavailable',
      `Cannot use the replay store "${this.#calls.names.namespace}" in Redis: ${reason}`,
    );

  #arguments(ttlSeconds: unknown): readonly [token: string, ttl: string] {
    if (typeof ttlSeconds !== 'number' || !(ttlSeconds > 0)) {
      throw misuse('ttlSeconds', 'be seconds as a number above 0', ttlSeconds);
    }
    const token = `${this.#random}${(this.#made++).toString(36)}`;
    return [token, String(Math.max(1, milliseconds(ttlSeconds, 'ttlSeconds')))];
  }
}
