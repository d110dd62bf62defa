import { Cluster } from 'ioredis';
import { cluster, testContracts } from './contract.ts';

testContracts('a cluster', () => cluster((nodes) => new Cluster(nodes, { scaleReads: 'slave' })));
