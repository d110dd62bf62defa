import { Redis } from 'ioredis-5.4';
import { testIoredis } from './contract.ts';

testIoredis({
  name: 'one server, with ioredis 5.4',
  on: 'standalone',
  connect: ([server]) => new Redis({ ...server }),
});
