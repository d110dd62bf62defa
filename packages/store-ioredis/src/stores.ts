import { checkMethods, checkOptions } from '@jwt-authority/core';
import type { KeySetStore, ReplayStore } from '@jwt-authority/core';
import { redisKeySetStore, redisReplayStore, redisStoreOptionNames } from '@jwt-authority/redis-protocol';
import type { RedisStoreOptions } from '@jwt-authority/redis-protocol';
import { connectionOf, type IoredisClient } from './client.ts';

export interface IoredisStoreOptions extends RedisStoreOptions {
  /** A `Redis` or `Cluster` of ioredis 5.4 or later, or 6. It stays the caller's: nothing here closes it or listens to it. */
  readonly client: IoredisClient;
}

/**
 * Keeps the key set of one namespace in a Redis hash, shared by any number of instances.
 *
 * `compareAndSwap` is one script, atomic on the primary; it is judged by the server's clock, which `load` gives as
 * `storeTime`. After a lost connection, a call is repeated once, which is harmless. `load` never reads a replica.
 * `watch` subscribes on one duplicate of the client, calls back after every commit, also one of its own, and after every
 * reconnection; its callback must not throw.
 *
 * Errors: `store_unavailable` (no answer within `timeout`, no connection, or the server refuses; the message says what to
 * do) and `store_unreadable` (what is stored under the name is not a key set). Nothing is overwritten then.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function ioredisStore(options: IoredisStoreOptions): Required<KeySetStore> {
  return redisKeySetStore(connectionFrom(options, 'ioredisStore'), options);
}

/**
 * Remembers one-time values in Redis, each in a key that expires by itself and holds nothing of the value.
 *
 * Every operation is atomic, on the primary. `claim` is true exactly once, also if a reply is lost and the call repeated. After `replay_store_unavailable`, whether the value counts as used is open: refuse the token.
 *
 * Values are strings and finite numbers; `1` and `'1'` are two values. `ttlSeconds` is above 0, fractions allowed, at most
 * 1000 years. Anything else rejects with a `TypeError`.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function ioredisReplayStore<T extends string | number = string | number>(
  options: IoredisStoreOptions,
): ReplayStore<T> {
  return redisReplayStore<T>(connectionFrom(options, 'ioredisReplayStore'), options);
}

function connectionFrom(options: IoredisStoreOptions, where: string): ReturnType<typeof connectionOf> {
  checkOptions(options, where, ['client', ...redisStoreOptionNames]);
  checkMethods(options.client, 'client', ['eval', 'set', 'duplicate']);
  return connectionOf(options.client);
}
