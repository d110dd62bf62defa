import { createClient } from 'redis-5';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'one server, with redis 5',
  on: 'standalone',
  connect: ([server]) => createClient({ socket: { ...server } }),
});
