import { Cluster, Redis } from 'ioredis';
import type { OpenStore } from '../../../test/support/redis-target.ts';
import { checkRedis, ioredisStore } from '../src/index.ts';

/** For the failure suite: reconnects quickly, as it tests reconnections by the dozen. */
export const openStore: OpenStore = async (target, { namespace, timeout }) => {
  const { on, addresses, username, password, ca } = target;
  const [first] = addresses;
  const options = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(ca !== undefined && { tls: { ca } }),
    retryStrategy: () => 50,
    // So that nothing that was abandoned is dropped: it is to be executed late.
    maxRetriesPerRequest: null,
  };
  const client = {
    standalone: () => new Redis({ ...options, ...first }),
    cluster: () => new Cluster([...addresses]),
    sentinel: () =>
      new Redis({ ...options, sentinels: [...addresses], name: 'primary', sentinelRetryStrategy: () => 50 }),
  }[on]();
  // Lost connections are what these tests are about.
  client.on('error', () => undefined);
  return {
    store: ioredisStore({ client, namespace, timeout }),
    check: () => checkRedis(client, { namespace }),
    close: () => client.disconnect(),
  };
};
