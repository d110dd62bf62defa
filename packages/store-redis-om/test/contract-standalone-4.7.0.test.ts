import { createClient } from 'redis-4.7.0';
import { testRedisOm } from './contract.ts';

testRedisOm({
  name: 'one server, with redis 4.7.0',
  on: 'standalone',
  connect: ([server]) => createClient({ socket: { ...server } }),
});
