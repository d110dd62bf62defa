import { Redis } from 'ioredis-5';
import { standalone, testContracts } from './contract.ts';

testContracts('one server, with ioredis 5', () => standalone((port) => new Redis(port, '127.0.0.1')));
