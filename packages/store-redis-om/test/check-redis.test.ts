import { createClient, createCluster, createSentinel } from 'redis';
import { createClient as createClient4, createCluster as createCluster4 } from 'redis-4';
import { createClient as createClient5, createCluster as createCluster5 } from 'redis-5';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { redisMissing } from '../../../test/support/redis-binary.ts';
import { RedisServer } from '../../../test/support/redis-server.ts';
import { startCluster, startSentinel } from '../../../test/support/redis-topologies.ts';
import { checkRedis } from '../src/index.ts';
import { close, open } from './contract.ts';

const settings = (findings: Awaited<ReturnType<typeof checkRedis>>): string[] =>
  findings.map(({ level, setting }) => `${level} ${setting}`);

describe.skipIf(redisMissing !== '')(`checkRedis${redisMissing}`, () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start('--maxmemory-policy', 'allkeys-lru');
  });
  afterAll(() => server.stop());

  test.each([
    ['redis 4', () => createClient4({ socket: { host: server.host, port: server.port } })],
    ['redis 5', () => createClient5({ socket: { host: server.host, port: server.port } })],
    ['redis 6', () => createClient({ socket: { host: server.host, port: server.port } })],
  ])('%s: warns of what may lose key sets', async (_name, connect) => {
    const client = connect();
    await open(client);
    const findings = await checkRedis(client);
    expect(settings(findings)).toEqual(['warning maxmemory-policy', 'warning persistence']);
    await close(client);
  });

  test('asks every primary of a cluster', async () => {
    const { servers, stop } = await startCluster();
    await servers[2]?.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random');
    const rootNodes = servers.map(({ host, port }) => ({ socket: { host, port } }));
    for (const cluster of [
      createCluster4({ rootNodes }),
      createCluster5({ rootNodes }),
      createCluster({ rootNodes }),
    ]) {
      await open(cluster);
      const findings = await checkRedis(cluster);
      expect(settings(findings), 'each finding once').toEqual([
        'warning persistence',
        'warning maxmemory-policy',
      ]);
      await close(cluster);
    }
    await stop();
  });

  test('asks the primary that sentinels name', async () => {
    const { sentinels, stop } = await startSentinel();
    const sentinelRootNodes = sentinels.map(({ host, port }) => ({ host, port }));
    const client = createSentinel({ name: 'primary', sentinelRootNodes });
    await open(client);
    expect(settings(await checkRedis(client))).toEqual(['warning persistence']);
    await close(client);
    await stop();
  });

  test('what is not permitted is a finding', async () => {
    await server.command('ACL', 'SETUSER', 'few', 'on', 'nopass', '~*', '+eval', '+hello', '+client');
    const socket = { host: server.host, port: server.port };
    const client = createClient({ username: 'few', password: 'any', socket });
    await open(client);
    expect(settings(await checkRedis(client))).toEqual([
      'error permissions',
      'error permissions',
      'warning permissions',
      'info role',
      'info maxmemory-policy',
      'info persistence',
    ]);
    await close(client);
  });
});
