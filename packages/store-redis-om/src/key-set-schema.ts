import { checkMethods, checkNamespace } from '@jwt-authority/core';
import { checkPrefix, type KeySetCodec } from '@jwt-authority/redis-protocol';
import { type Entity, type RedisConnection, Repository, Schema } from 'redis-om';
import type { NodeRedisClient } from './client.ts';

/** A stored key set as redis-om sees it. */
export interface KeySetEntity extends Entity {
  namespace: string;
  revision: number;
  etag: string;
  /** Epoch milliseconds. */
  updatedAt: number;
  /** Private keys stand in it only encrypted. */
  document: string;
}

/**
 * The redis-om schema of all key sets under a prefix: `namespace`, `revision` and `updatedAt` may be searched for, `etag`
 * and `document` are kept out of any index.
 *
 * @param prefix That of the stores. Default `'jwt-authority'`.
 * @throws {TypeError} if it cannot be one.
 */
export function keySetSchema(prefix = 'jwt-authority'): Schema<KeySetEntity> {
  checkPrefix(prefix);
  // With a closed brace in the id, the key is `{prefix:namespace}:keyset`: the hash tag holds both.
  return new Schema<KeySetEntity>(
    `{${prefix}`,
    {
      namespace: { type: 'string' },
      revision: { type: 'number', sortable: true },
      etag: { type: 'string', indexed: false },
      updatedAt: { type: 'number', sortable: true },
      document: { type: 'text', indexed: false },
    },
    { dataStructure: 'HASH', indexName: `${prefix}:keysets`, indexHashName: `${prefix}:keysets:hash` },
  );
}

/** The id under which {@link keySetRepository} has the key set of a namespace. @throws {TypeError} if it cannot be one. */
export function keySetId(namespace: string): string {
  return `${checkNamespace(namespace)}}:keyset`;
}

/**
 * The redis-om repository of all key sets under a prefix, to look at them (`fetch`), to remove one that is no longer used
 * (`remove`), and, with RediSearch, to search. Never `save`, `expire` or `expireAt` with it: they ask for no revision, so they undo
 * commits of others, and a key set that expires is an outage.
 *
 * @throws {TypeError} if one of them is wrong.
 */
export function keySetRepository(client: NodeRedisClient, prefix?: string): Repository<KeySetEntity> {
  checkMethods(client, 'client', ['eval']);
  return new Repository(keySetSchema(prefix), asConnection(client));
}

/** redis-om turns key sets into fields and back; what it would send is recorded, since its own `save` overwrites whatever is there. */
export function redisOmCodec(prefix: string | undefined): KeySetCodec {
  const schema = keySetSchema(prefix);
  return {
    async encode({ revision, etag, updatedAt, document }, namespace) {
      let recorded: Readonly<Record<string, string>> | undefined;
      const transaction = {
        unlink: () => transaction,
        hSet(_key: string, fields: Readonly<Record<string, string>>) {
          recorded = fields;
          return transaction;
        },
        exec: async () => [],
      };
      const recorder = new Repository(schema, asConnection({ multi: () => transaction }));
      await recorder.save(keySetId(namespace), { namespace, revision, etag, updatedAt, document });
      if (recorded === undefined) throw new Error('this version of redis-om saves in another way');
      return recorded;
    },
    async decode(fields) {
      const reader = new Repository(schema, asConnection({ hGetAll: async () => fields }));
      // What it takes for another type, it refuses.
      const entity: Partial<KeySetEntity> = await reader.fetch('').catch(() => ({}));
      const { revision, etag, updatedAt, document } = entity;
      if (revision === undefined || etag === undefined || document === undefined) return undefined;
      return { revision, etag, updatedAt: updatedAt ?? NaN, document };
    },
  };
}

/**
 * What redis-om takes for a connection: it calls a handful of methods, and is tested with those of redis 4 to 6. Its type is
 * the client of the very redis 4 that it brings along; nothing else fits, not even another copy of it.
 */
function asConnection(client: object): RedisConnection {
  return client as unknown as RedisConnection;
}
