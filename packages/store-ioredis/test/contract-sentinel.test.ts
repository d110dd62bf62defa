import { Redis } from 'ioredis';
import { testIoredis } from './contract.ts';

testIoredis({
  name: 'sentinels, with ioredis 6',
  on: 'sentinel',
  connect: (sentinels) => new Redis({ sentinels: [...sentinels], name: 'primary' }),
});
