export { redisStoreOptionNames, type RedisStoreOptions } from './calls.ts';
export type { RedisConnection, RedisSubscription } from './connection.ts';
export { type KeySetCodec, plainCodec, redisKeySetStore } from './key-set-store.ts';
export { checkPrefix } from './names.ts';
export { checkPermissions } from './permissions.ts';
export { redisReplayStore } from './replay-store.ts';
export { checkServers, type RedisFinding, type RedisServer } from './server-check.ts';
