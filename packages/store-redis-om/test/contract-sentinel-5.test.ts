import { createSentinel } from 'redis-5';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'sentinels, with redis 5',
  on: 'sentinel',
  connect: (sentinels) => createSentinel({ name: 'primary', sentinelRootNodes: [...sentinels] }),
});
