import { randomBytes } from 'node:crypto';
import { JwtAuthorityError, milliseconds, misuse } from '@jwt-authority/core';
import type { ReplayStore } from '@jwt-authority/core';
import { isOne, RedisCalls, type RedisStoreOptions } from './calls.ts';
import type { RedisConnection } from './connection.ts';
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

  constructor(calls: RedisCalls) {
    this.#calls = calls;
  }

  async has(value: T): Promise<boolean> {
    return isOne(await this.#run(isRememberedScript, value, []));
  }

  async add(value: T, ttlSeconds: number): Promise<void> {
    await this.#run(rememberScript, value, rememberArguments(ttlSeconds));
  }

  async delete(value: T): Promise<void> {
    await this.#run(forgetScript, value, []);
  }

  async claim(value: T, ttlSeconds: number): Promise<boolean> {
    return isOne(await this.#run(claimScript, value, rememberArguments(ttlSeconds)));
  }

  #run(script: { readonly lua: string }, value: T, args: readonly string[]): Promise<unknown> {
    const { names } = this.#calls;
    return this.#calls.evaluate(
      script,
      replayKey(names, value),
      args,
      ({ reason }) =>
        new JwtAuthorityError(
          'replay_store_unavailable',
          `Cannot use the replay store "${names.namespace}" in Redis: ${reason}`,
        ),
    );
  }
}

function rememberArguments(ttlSeconds: unknown): readonly [token: string, ttl: string] {
  if (typeof ttlSeconds !== 'number' || !(ttlSeconds > 0)) {
    throw misuse('ttlSeconds', 'be seconds as a number above 0', ttlSeconds);
  }
  return [randomBytes(16).toString('base64url'), String(Math.max(1, milliseconds(ttlSeconds, 'ttlSeconds')))];
}
