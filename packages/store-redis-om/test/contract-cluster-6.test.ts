import { createCluster } from 'redis';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'a cluster, with redis 6',
  on: 'cluster',
  connect: (nodes) => createCluster({ rootNodes: nodes.map((socket) => ({ socket })) }),
});
