import { Cluster } from 'ioredis';
import { testIoredis } from './contract.ts';

testIoredis({
  name: 'a cluster, with ioredis 6, reads to replicas',
  on: 'cluster',
  connect: (nodes) => new Cluster([...nodes], { scaleReads: 'slave' }),
});
