import { fileURLToPath } from 'node:url';
import { testFailures } from '../../../test/support/redis-failures.ts';
import { openStore } from './open-store.ts';

testFailures({
  name: 'store-redis-om',
  worker: fileURLToPath(new URL('fixtures/fleet-worker.ts', import.meta.url)),
  open: openStore,
});
