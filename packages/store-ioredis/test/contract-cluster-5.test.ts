import { Cluster } from 'ioredis-5';
import { testIoredis } from './contract.ts';

testIoredis({
  name: 'a cluster, with ioredis 5, a key prefix',
  on: 'cluster',
  connect: (nodes) => new Cluster([...nodes], { keyPrefix: 'app:' }),
});
