import { Redis } from 'ioredis';
import { testIoredis } from './contract.ts';

const options = {
  keyPrefix: 'app:',
  db: 3,
  protocol: 2,
  stringNumbers: true,
  enableAutoPipelining: true,
} as const;

testIoredis({
  name: 'one server, with ioredis 6, a key prefix, another database, RESP2, integers as texts, automatic pipelines',
  on: 'standalone',
  connect: ([server]) => new Redis({ ...server, ...options }),
});
