import { createClient } from 'redis';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'one server, with redis 6',
  on: 'standalone',
  connect: ([server]) => createClient({ socket: { ...server } }),
});
