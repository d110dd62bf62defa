export { checkRedis, type NodeRedisNodes, type NodeRedisServer } from './check-redis.ts';
export type {
  NodeRedisClient,
  NodeRedisCluster,
  NodeRedisSentinel,
  NodeRedisStandalone,
  NodeRedisSubscriber,
} from './client.ts';
export { keySetId, keySetRepository, keySetSchema, type KeySetEntity } from './key-set-schema.ts';
export { redisOmReplayStore, redisOmStore, type RedisOmStoreOptions } from './stores.ts';
export type { RedisFinding } from '@jwt-authority/redis-protocol';
