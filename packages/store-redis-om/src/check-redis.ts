import { checkMethods, checkOptions } from '@jwt-authority/core';
import { checkPermissions, checkServers } from '@jwt-authority/redis-protocol';
import type { RedisFinding, RedisServer } from '@jwt-authority/redis-protocol';
import { connectionOf, type NodeRedisClient } from './client.ts';

/** What {@link checkRedis} uses of a client by `createClient` or `createSentinel`. */
export interface NodeRedisServer {
  info(): Promise<unknown>;
  configGet(name: string): Promise<unknown>;
}

/** What {@link checkRedis} uses of a client by `createCluster`: it asks each primary. */
export interface NodeRedisNodes {
  readonly masters: readonly unknown[];
  nodeClient(node: never): NodeRedisServer | Promise<NodeRedisServer>;
}

/**
 * Looks at what may keep stores from working or lose key sets: role, `maxmemory-policy`, persistence, and what the user
 * of the client is not permitted in a namespace (with the `ACL SETUSER` line that suffices). For the start of an
 * application, or its operator. What cannot be asked is a finding, never an error; nothing is written.
 *
 * `namespace` and `prefix`: as given to the stores. Defaults `'default'` and `'jwt-authority'`.
 *
 * @throws {TypeError} if an argument is wrong.
 */
export async function checkRedis(
  client: NodeRedisClient & (NodeRedisServer | NodeRedisNodes),
  options: { readonly namespace?: string; readonly prefix?: string } = {},
): Promise<RedisFinding[]> {
  checkMethods(client, 'client', ['eval']);
  checkOptions(options, 'checkRedis', ['namespace', 'prefix']);
  const permissions = await checkPermissions(connectionOf(client), options);
  return [...permissions, ...(await checkServers(await serversOf(client)))];
}

async function serversOf(client: NodeRedisServer | NodeRedisNodes): Promise<RedisServer[]> {
  if ('masters' in client) {
    // Its own nodes, whose types differ from major to major.
    const nodes = await Promise.all(client.masters.map(async (node) => client.nodeClient(node as never)));
    return nodes.map(serverOf);
  }
  checkMethods(client, 'client', ['info', 'configGet']);
  return [serverOf(client)];
}

function serverOf(client: NodeRedisServer): RedisServer {
  return {
    info: async () => String(await client.info()),
    async setting(name) {
      // A Map if the client is set to give maps.
      const reply = await client.configGet(name);
      const entries: unknown = reply instanceof Map ? Object.fromEntries(reply) : reply;
      const value: unknown =
        typeof entries === 'object' && entries !== null ? Reflect.get(entries, name) : undefined;
      return typeof value === 'string' || Buffer.isBuffer(value) ? String(value) : undefined;
    },
  };
}
