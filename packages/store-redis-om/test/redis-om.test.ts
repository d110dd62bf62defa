import { inspect } from 'node:util';
import { EntityId } from 'redis-om';
import { createClient, createClientPool } from 'redis';
import { createClient as createClient4 } from 'redis-4';
import { createClient as createClient5 } from 'redis-5';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { redisMissing, redisStackMissing, redisStackServer } from '../../../test/support/redis-binary.ts';
import { eventually, RedisServer } from '../../../test/support/redis-server.ts';
import { keySetId, keySetRepository, redisOmReplayStore, redisOmStore } from '../src/index.ts';
import { type Client, close, open } from './contract.ts';

const keySet = (
  etag: string,
  revision = 1,
): Parameters<ReturnType<typeof redisOmStore>['compareAndSwap']>[0] => ({
  revision,
  etag,
  updatedAt: 1_790_000_000_123,
  document: `{"secret":"sealed ${etag}"}`,
});

const clients: Client[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) await close(client);
});
const to = async (server: RedisServer, options = {}): Promise<Client> => {
  const client = await open(createClient({ socket: { host: server.host, port: server.port }, ...options }));
  clients.push(client);
  return client;
};

describe.skipIf(redisMissing !== '')(`redis-om on a server${redisMissing}`, () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server.stop());

  test('a repository of redis-om finds a key set, with all of its fields, and removes it', async () => {
    const client = await to(server);
    const store = redisOmStore({ client, namespace: 'tenant:a' });
    await store.compareAndSwap(keySet('one'), undefined, Infinity);

    const repository = keySetRepository(client);
    const found = await repository.fetch(keySetId('tenant:a'));
    expect({ ...found, [EntityId]: undefined }, 'an entity as any other').toMatchObject({
      namespace: 'tenant:a',
      ...keySet('one'),
    });
    await repository.remove(keySetId('tenant:a'));
    expect((await store.load()).stored, 'nothing is left of a removed key set').toBeUndefined();
  });

  test('what redis-om cannot read as a key set is unreadable, and stays', async () => {
    const client = await to(server);
    const store = redisOmStore({ client, namespace: 'damaged' });
    await store.compareAndSwap(keySet('one'), undefined, Infinity);
    for (const [field, value] of [
      ['revision', 'three'],
      ['updatedAt', ''],
    ] as const) {
      await server.command('HSET', '{jwt-authority:damaged}:keyset', field, value);
      await expect(store.load(), `a ${field} that is no number`).rejects.toMatchObject({
        code: 'store_unreadable',
      });
    }
    const etag = await server.command('HGET', '{jwt-authority:damaged}:keyset', 'etag');
    expect(etag, 'nothing is overwritten').toContain('one');
  });

  test('numbers of any size come back as they were', async () => {
    const store = redisOmStore({ client: await to(server), namespace: 'numbers' });
    const largest = { ...keySet('one', Number.MAX_SAFE_INTEGER), updatedAt: 1e21 };
    await store.compareAndSwap(largest, undefined, Infinity);
    expect((await store.load()).stored, 'redis-om writes numbers as texts').toEqual(largest);
  });

  test('a watch calls back when its connection was lost and is back', async () => {
    const client = await to(server);
    const store = redisOmStore({ client, namespace: 'watched' });
    let calls = 0;
    const stop = await store.watch(() => (calls += 1));
    await server.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await eventually('a call after the reconnection', () => calls > 0);
    await eventually('a subscription again', async () =>
      (await server.command('PUBSUB', 'NUMSUB', '{jwt-authority:watched}:changes')).endsWith(':1\r\n'),
    );
    await stop();
    await eventually('no subscription left', async () =>
      (await server.command('PUBSUB', 'NUMSUB', '{jwt-authority:watched}:changes')).endsWith(':0\r\n'),
    );
    const seen = calls;
    await store.compareAndSwap(keySet('one'), undefined, Infinity);
    expect(calls, 'a watch that was stopped is silent').toBe(seen);
  });

  test('a key prefix of redis 6 is before keys and not before channels', async () => {
    const client = await to(server, { keyPrefix: 'app:' });
    const store = redisOmStore({ client, namespace: 'prefixed' });
    let calls = 0;
    const stop = await store.watch(() => (calls += 1));
    await store.compareAndSwap(keySet('one'), undefined, Infinity);
    expect(await server.command('EXISTS', 'app:{jwt-authority:prefixed}:keyset')).toBe(':1\r\n');
    await eventually('the call', () => calls > 0);
    await stop();
    await server.command('SET', 'app:{jwt-authority:taken}:keyset', 'x');
    await expect(
      redisOmStore({ client, namespace: 'taken' }).load(),
      'a message shows the key as it is in Redis',
    ).rejects.toThrow('"app:{jwt-authority:taken}:"');
  });

  test('no client, text or document is seen in a store that is printed', async () => {
    const store = redisOmStore({ client: await to(server, { password: undefined, name: 'do-not-print' }) });
    expect(inspect(store, { depth: 10, showHidden: true })).not.toContain('do-not-print');
  });
});

describe('misuse is a TypeError that names the option', () => {
  const client = createClient();
  test.each<[string, () => unknown, RegExp]>([
    ['no options', () => redisOmStore(undefined as never), /"redisOmStore" must be given an options object/],
    [
      'a misspelt option',
      () => redisOmStore({ client, namspace: 'a' } as never),
      /"namspace" is not an option/,
    ],
    [
      'no client',
      () => redisOmStore({ client: {} as never }),
      /"client" must be an object with eval\(\), set\(\), subscribe\(\)/,
    ],
    ['a pool', () => redisOmStore({ client: createClientPool() as never }), /"client" must .*subscribe\(\)/],
    ['a namespace with a brace', () => redisOmStore({ client, namespace: 'a}' }), /"namespace" must/],
    ['a prefix with a colon', () => redisOmStore({ client, prefix: 'a:b' }), /"prefix" must/],
    ['no time at all', () => redisOmStore({ client, timeout: 0 }), /"timeout" must be above 0/],
    ['a namespace with a brace, as an id', () => keySetId('a}'), /"namespace" must/],
    ['a replay store without a client', () => redisOmReplayStore({ client: {} as never }), /"client" must/],
    ['a repository without a client', () => keySetRepository({} as never), /"client" must/],
    ['a repository with a strange prefix', () => keySetRepository(client, 'a{'), /"prefix" must/],
  ])('%s', (_name, work, message) => {
    expect(work).toThrow(TypeError);
    expect(work).toThrow(message);
  });
});

describe.skipIf(redisStackMissing !== '')(`with RediSearch${redisStackMissing}`, () => {
  test.each<[string, (port: number) => Client]>([
    ['redis 4', (port) => createClient4({ socket: { host: '127.0.0.1', port } })],
    ['redis 5', (port) => createClient5({ socket: { host: '127.0.0.1', port } })],
    ['redis 6, RESP2', (port) => createClient({ RESP: 2, socket: { host: '127.0.0.1', port } })],
    ['redis 6', (port) => createClient({ socket: { host: '127.0.0.1', port } })],
  ])(
    '%s: an index shows the key sets of all namespaces, and nothing of their documents',
    async (_name, connect) => {
      const server = await RedisServer.startWith(['--save', ''], redisStackServer);
      const client = await open(connect(server.port));
      clients.push(client);
      const repository = keySetRepository(client);
      await repository.createIndex();
      for (const [index, namespace] of ['eu', 'us', 'us:test'].entries()) {
        const store = redisOmStore({ client, namespace });
        await store.compareAndSwap(keySet(`searchword${namespace.length}`, index + 1), undefined, Infinity);
      }
      await redisOmReplayStore({ client, namespace: 'eu' }).claim('a', 60);

      const all = await repository.search().sortBy('revision').return.all();
      expect(all.map(({ namespace, revision }) => [namespace, revision])).toEqual([
        ['eu', 1],
        ['us', 2],
        ['us:test', 3],
      ]);
      const one = await repository.search().where('namespace').equals('us:test').return.all();
      expect(one.map(({ revision }) => revision)).toEqual([3]);
      const late = await repository.search().where('updatedAt').gt(1_790_000_000_123).return.count();
      expect(late).toBe(0);
      for (const word of ['sealed', 'searchword2']) {
        const found = await repository.searchRaw(word).return.count();
        expect(found, 'documents and etags are not in the index').toBe(0);
      }
      await server.stop();
    },
  );
});
