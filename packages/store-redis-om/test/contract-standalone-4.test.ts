import { createClient } from 'redis-4';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'one server, with redis 4',
  on: 'standalone',
  connect: ([server]) => createClient({ socket: { ...server } }),
});
