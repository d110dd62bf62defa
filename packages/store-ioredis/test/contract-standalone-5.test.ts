import { Redis } from 'ioredis-5';
import { testIoredis } from './contract.ts';

testIoredis({
  name: 'one server, with ioredis 5',
  on: 'standalone',
  connect: ([server]) => new Redis({ ...server }),
});
