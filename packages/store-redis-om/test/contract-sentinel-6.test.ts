import { createSentinel } from 'redis';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'sentinels, with redis 6',
  on: 'sentinel',
  connect: (sentinels) => createSentinel({ name: 'primary', sentinelRootNodes: [...sentinels] }),
});
