export { checkRedis, type IoredisNodes, type IoredisServer } from './check-redis.ts';
export type { IoredisClient, IoredisSubscriber } from './client.ts';
export { ioredisReplayStore, ioredisStore, type IoredisStoreOptions } from './stores.ts';
export type { RedisFinding } from '@jwt-authority/redis-protocol';
