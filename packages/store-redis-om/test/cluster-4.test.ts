import { createCluster } from 'redis-4';
import { describe, expect, test } from 'vitest';
import { redisMissing } from '../../../test/support/redis-binary.ts';
import { startCluster } from '../../../test/support/redis-topologies.ts';
import { redisOmStore } from '../src/index.ts';
import { close, open } from './contract.ts';

describe.skipIf(redisMissing !== '')(`a cluster of redis 4${redisMissing}`, () => {
  test('is asked at the node that has the key, where its own eval asks any', async () => {
    const { servers, stop } = await startCluster();
    const client = createCluster({
      rootNodes: servers.map(({ host, port }) => ({ socket: { host, port } })),
    });
    await open(client);
    for (let index = 0; index < 50; index += 1) {
      const { stored } = await redisOmStore({ client, namespace: `tenant-${index}` }).load();
      expect(stored).toBeUndefined();
    }
    const errors = await Promise.all(servers.map((server) => server.command('INFO', 'errorstats')));
    expect(errors.join(''), 'each detour costs a call, and fails once the client gives up').not.toContain(
      'MOVED',
    );
    await close(client);
    await stop();
  });
});
