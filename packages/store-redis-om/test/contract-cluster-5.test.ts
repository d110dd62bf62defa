import { createCluster } from 'redis-5';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'a cluster, with redis 5',
  on: 'cluster',
  connect: (nodes) => createCluster({ rootNodes: nodes.map((socket) => ({ socket })) }),
});
