import { Cluster } from 'ioredis-5';
import { cluster, testContracts } from './contract.ts';

testContracts('a cluster, with ioredis 5 and a key prefix', () =>
  cluster((nodes) => new Cluster(nodes, { keyPrefix: 'app:' })),
);
