import { createClient, createCluster, createSentinel } from 'redis';
import type { OpenStore } from '../../../test/support/redis-target.ts';
import { checkRedis, redisOmStore } from '../src/index.ts';
import { close, open } from './contract.ts';

/** For the failure suite: reconnects quickly, as it tests reconnections by the dozen. */
export const openStore: OpenStore = async (target, { namespace, timeout }) => {
  const { on, addresses, username, password, ca } = target;
  const [first = { host: '', port: 0 }] = addresses;
  const reconnectStrategy = (): number => 50;
  const credentials = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
  };
  const tls = ca === undefined ? {} : ({ tls: true, ca } as const);
  const make = {
    standalone: () => createClient({ ...credentials, socket: { ...first, ...tls, reconnectStrategy } }),
    cluster: () =>
      createCluster({
        rootNodes: addresses.map((socket) => ({ socket })),
        defaults: { socket: { reconnectStrategy } },
      }),
    sentinel: () =>
      createSentinel({
        name: 'primary',
        sentinelRootNodes: [...addresses],
        scanInterval: 500,
        maxCommandRediscovers: 64,
      }),
  };
  const options = { namespace, timeout };
  if (on === 'standalone') {
    const client = make.standalone();
    // Without TLS where it is asked for, it never connects.
    void open(client).catch(() => undefined);
    return {
      store: redisOmStore({ client, ...options }),
      check: () => checkRedis(client, { namespace }),
      close: () => void close(client),
    };
  }
  if (on === 'cluster') {
    const client = make.cluster();
    await open(client);
    return {
      store: redisOmStore({ client, ...options }),
      check: () => checkRedis(client, { namespace }),
      close: () => void close(client),
    };
  }
  const client = make.sentinel();
  await open(client);
  return {
    store: redisOmStore({ client, ...options }),
    check: async () => [],
    close: () => void close(client),
  };
};
