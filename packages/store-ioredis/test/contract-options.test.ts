import { Redis } from 'ioredis';
import { standalone, testContracts } from './contract.ts';

const options = {
  keyPrefix: 'app:',
  db: 3,
  protocol: 2,
  stringNumbers: true,
  enableAutoPipelining: true,
} as const;

testContracts(
  'one server, with a key prefix, another database, RESP2, integers as texts, automatic pipelines',
  () => standalone((port) => new Redis(port, '127.0.0.1', options)),
);
