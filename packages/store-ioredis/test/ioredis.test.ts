import { inspect } from 'node:util';
import { JwtAuthorityError } from '@jwt-authority/core';
import { Cluster } from 'ioredis';
import { Redis as Redis5 } from 'ioredis-5';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { redisMissing } from '../../../test/support/redis-binary.ts';
import { eventually, RedisServer } from '../../../test/support/redis-server.ts';
import { startCluster } from '../../../test/support/redis-topologies.ts';
import { checkRedis, ioredisReplayStore, ioredisStore } from '../src/index.ts';
import { Clients } from './clients.ts';

const keySet = (etag: string) => ({ revision: 1, etag, updatedAt: 1_790_000_000_123, document: '{}' });
const settings = (findings: Awaited<ReturnType<typeof checkRedis>>): string[] =>
  findings.map(({ level, setting }) => `${level} ${setting}`);

const clients = new Clients();
afterEach(() => clients.close());

describe.skipIf(redisMissing !== '')(`ioredis on a server${redisMissing}`, () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server.stop());
  const subscriptions = async (namespace: string): Promise<string> =>
    (await server.command('PUBSUB', 'NUMSUB', `{jwt-authority:${namespace}}:changes`)).slice(-4).trim();

  test.each([
    ['ioredis 6', () => clients.to(server)],
    ['ioredis 6, not resubscribing by itself', () => clients.to(server, { autoResubscribe: false })],
    [
      'ioredis 6, RESP2, without an offline queue',
      () => clients.to(server, { protocol: 2, enableOfflineQueue: false }),
    ],
    ['ioredis 6, connecting when needed', () => clients.to(server, { lazyConnect: true })],
    ['ioredis 5', () => clients.add(new Redis5(server.port, server.host))],
  ])('%s: a watch calls back when its connection was lost and is back, and ends', async (name, connect) => {
    const namespace = name.replaceAll(/[^\w]/g, '-');
    const store = ioredisStore({ client: connect(), namespace });
    let calls = 0;
    const stop = await store.watch(() => (calls += 1));
    await server.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await eventually('a call after the reconnection', () => calls > 0);
    await eventually('a subscription again', async () => (await subscriptions(namespace)) === ':1');
    await stop();
    await eventually('no subscription left', async () => (await subscriptions(namespace)) === ':0');
    expect(calls, 'each reconnection is one call').toBe(1);
  });

  test('a key prefix and a database are for keys; the channel is known to all of them', async () => {
    const [here, there] = [
      clients.to(server, { keyPrefix: 'app:', db: 2 }),
      clients.to(server, { keyPrefix: 'app:' }),
    ];
    const store = ioredisStore({ client: here, namespace: 'apart' });
    let calls = 0;
    const stop = await store.watch(() => (calls += 1));
    await ioredisStore({ client: there, namespace: 'apart' }).compareAndSwap(
      keySet('one'),
      undefined,
      Infinity,
    );
    await eventually('the call', () => calls > 0);
    expect((await store.load()).stored, 'another database, another key set').toBeUndefined();
    expect(await server.command('EXISTS', 'app:{jwt-authority:apart}:keyset')).toBe(':1\r\n');
    await stop();
  });

  test('many watches take one connection, and stopping one leaves the others', async () => {
    const store = ioredisStore({ client: clients.to(server), namespace: 'many' });
    const calls = [0, 0, 0];
    const stops = await Promise.all(
      calls.map((_, index) => store.watch(() => (calls[index] = (calls[index] ?? 0) + 1))),
    );
    expect(await subscriptions('many')).toBe(':1');
    await stops[0]?.();
    await store.compareAndSwap(keySet('one'), undefined, Infinity);
    await eventually('the calls', () => calls[1] === 1 && calls[2] === 1);
    expect(calls[0], 'a watch that was stopped is silent').toBe(0);
    await stops[1]?.();
    await stops[2]?.();
    await eventually('no subscription left', async () => (await subscriptions('many')) === ':0');
  });

  test('a key set never expires, a one-time value does', async () => {
    const client = clients.to(server);
    await ioredisStore({ client, namespace: 'ttl' }).compareAndSwap(keySet('one'), undefined, Infinity);
    await ioredisReplayStore({ client, namespace: 'ttl' }).claim('a', 100);
    expect(await client.ttl('{jwt-authority:ttl}:keyset')).toBe(-1);
    const [key = ''] = await client.keys('{jwt-authority:ttl}:replay:*');
    expect(await client.ttl(key)).toBeGreaterThan(90);
    expect(() => ioredisStore({ client, ttl: 100 } as never), 'an expired key set is an outage').toThrow(
      '"ttl" is not an option of ioredisStore',
    );
  });

  test.each([
    ['once', 1, true],
    ['twice', 2, 'replay_store_unavailable'],
  ])(
    'a claim whose reply was lost %s is true, or open, and never true for another',
    async (name, losses, expected) => {
      const client = clients.to(server);
      const key = name;
      let left = losses;
      const losing = <Reply>(reply: Reply): Reply => {
        if (left-- > 0) throw new Error('Connection is closed.');
        return reply;
      };
      const store = ioredisReplayStore({
        client: {
          options: client.options,
          duplicate: () => client.duplicate(),
          eval: async (...args) => losing(await client.eval(...args)),
          set: async (...args) => losing(await client.set(...args)),
        },
        namespace: 'lost',
      });
      const outcome = await store
        .claim(key, 60)
        .catch((error: unknown) => (JwtAuthorityError.is(error) ? error.code : error));
      expect(outcome, 'a lost reply must not turn a first use into a replay').toBe(expected);
      expect(await ioredisReplayStore({ client, namespace: 'lost' }).claim(key, 60)).toBe(false);
    },
  );

  test('no password is seen in a store that is printed', () => {
    const store = ioredisStore({
      client: clients.to(server, { password: 'do-not-print', lazyConnect: true }),
    });
    expect(inspect(store, { depth: 10, showHidden: true })).not.toContain('do-not-print');
  });

  test('checkRedis warns of what may lose key sets, at every primary', async () => {
    const client = clients.to(server);
    expect(settings(await checkRedis(client))).toEqual(['warning persistence']);
    await server.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    expect(settings(await checkRedis(client))).toEqual(['warning maxmemory-policy', 'warning persistence']);
    await server.command('CONFIG', 'SET', 'maxmemory-policy', 'volatile-ttl');
    await server.command('CONFIG', 'SET', 'save', '3600 1');
    expect(settings(await checkRedis(client)), 'volatile-* keeps key sets').toEqual([
      'info maxmemory-policy',
    ]);
    await server.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    expect(settings(await checkRedis(client))).toEqual([]);
    await server.command('CONFIG', 'SET', 'save', '');

    const replica = await RedisServer.start('--replicaof', `${server.host} ${server.port}`);
    expect(settings(await checkRedis(clients.to(replica)))).toContain('error role');
    await eventually('a replica in sync', async () =>
      (await replica.command('INFO', 'replication')).includes('master_link_status:up'),
    );
    const onReplica = ioredisStore({ client: clients.to(replica), namespace: 'replica' });
    await expect(onReplica.load(), 'what a replica holds may be old').rejects.toThrow('read-only replica');
    await replica.stop();
  });

  test('checkRedis asks all primaries of a cluster', async () => {
    const { servers, stop } = await startCluster();
    await servers[1]?.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    const cluster = clients.add(new Cluster(servers.map(({ host, port }) => ({ host, port }))));
    await cluster.ping();
    expect(settings(await checkRedis(cluster)).toSorted()).toEqual([
      'warning maxmemory-policy',
      'warning persistence',
    ]);
    await stop();
  });
});

describe('misuse is a TypeError that names the option', () => {
  const client = {
    options: {},
    eval: async () => undefined,
    set: async () => null,
    duplicate: () => ({}) as never,
  };
  test.each<[string, () => unknown, RegExp]>([
    ['no options', () => ioredisStore(undefined as never), /"ioredisStore" must be given an options object/],
    [
      'a misspelt option',
      () => ioredisStore({ client, namspace: 'a' } as never),
      /"namspace" is not an option/,
    ],
    [
      'no client',
      () => ioredisStore({} as never),
      /"client" must be an object with eval\(\), set\(\), duplicate\(\)/,
    ],
    [
      'a URL',
      () => ioredisStore({ client: 'redis://:secret@localhost' as never }),
      /got a string of 25 characters/,
    ],
    ['a namespace with a brace', () => ioredisStore({ client, namespace: 'a}' }), /"namespace" must/],
    ['a prefix with a colon', () => ioredisStore({ client, prefix: 'a:b' }), /"prefix" must/],
    ['no time at all', () => ioredisStore({ client, timeout: 0 }), /"timeout" must be above 0/],
    ['a strange clock', () => ioredisStore({ client, clock: {} as never }), /"clock" must/],
    ['a replay store without a client', () => ioredisReplayStore({} as never), /"client" must/],
  ])('%s', (_name, work, message) => {
    expect(work).toThrow(TypeError);
    expect(work).toThrow(message);
  });
});
