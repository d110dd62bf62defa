import { checkMethods, checkOptions } from '@jwt-authority/core';
import type { KeySetStore, ReplayStore } from '@jwt-authority/core';
import { redisKeySetStore, redisReplayStore, redisStoreOptionNames } from '@jwt-authority/redis-protocol';
import type { RedisStoreOptions } from '@jwt-authority/redis-protocol';
import { connectionOf, type NodeRedisClient } from './client.ts';
import { redisOmCodec } from './key-set-schema.ts';

export interface RedisOmStoreOptions extends RedisStoreOptions {
  /**
   * A connected client of the package `redis` 4.7 or later, 5 or 6, by `createClient`, `createCluster` or `createSentinel`; pools
   * cannot subscribe. It stays the caller's: nothing here closes it.
   */
  readonly client: NodeRedisClient;
}

/**
 * Keeps the key set of one namespace as a redis-om entity in a Redis hash, shared by any number of instances. The layout is
 * that of `@jwt-authority/store-ioredis`: both can work on one key set at the same time.
 *
 * `compareAndSwap` is one script, atomic on the primary, of what redis-om made of the entity; it is judged by the server's clock,
 * which `load` gives as `storeTime`. After a lost connection, a call is repeated once, which is harmless. `load` never
 * reads a replica. `watch` subscribes on one duplicate of the client (a cluster or sentinel client subscribes by itself), calls
 * back after every commit, also one of its own, and after every reconnection; its callback must not throw.
 *
 * Errors: `store_unavailable` (no answer within `timeout`, no connection, or the server refuses; the message says what to
 * do) and `store_unreadable` (what is stored under the name is not a key set). Nothing is overwritten then.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function redisOmStore(options: RedisOmStoreOptions): Required<KeySetStore> {
  const connection = connectionFrom(options, 'redisOmStore');
  return redisKeySetStore(connection, options, redisOmCodec(options.prefix));
}

/**
 * Remembers one-time values in Redis, each in a key that expires by itself and holds nothing of the value. Not entities: redis-om
 * can neither add what is absent nor give it a time in one step.
 *
 * Every operation is atomic, on the primary. `claim` is true exactly once, also if a reply is lost and the call repeated. After `replay_store_unavailable`, whether the value counts as used is open: refuse the token.
 *
 * Values are strings and finite numbers; `1` and `'1'` are two values. `ttlSeconds` is above 0, fractions allowed, at most
 * 1000 years. Anything else rejects with a `TypeError`.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function redisOmReplayStore<T extends string | number = string | number>(
  options: RedisOmStoreOptions,
): ReplayStore<T> {
  return redisReplayStore<T>(connectionFrom(options, 'redisOmReplayStore'), options);
}

function connectionFrom(options: RedisOmStoreOptions, where: string): ReturnType<typeof connectionOf> {
  checkOptions(options, where, ['client', ...redisStoreOptionNames]);
  checkMethods(options.client, 'client', ['eval', 'set', 'subscribe']);
  return connectionOf(options.client);
}
