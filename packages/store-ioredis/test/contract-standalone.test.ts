import { Redis } from 'ioredis';
import { standalone, testContracts } from './contract.ts';

testContracts('one server', () => standalone((port) => new Redis(port, '127.0.0.1')));
