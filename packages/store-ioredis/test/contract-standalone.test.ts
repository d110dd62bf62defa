import { Redis } from 'ioredis';
import { testIoredis } from './contract.ts';

testIoredis({
  name: 'one server, with ioredis 6',
  on: 'standalone',
  connect: ([server]) => new Redis({ ...server }),
});
