import { createCluster } from 'redis-4';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'a cluster, with redis 4',
  on: 'cluster',
  connect: (nodes) => createCluster({ rootNodes: nodes.map((socket) => ({ socket })) }),
});
