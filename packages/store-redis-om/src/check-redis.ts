import { checkMethods } from '@jwt-authority/core';
import { checkServers, type RedisFinding, type RedisServer } from '@jwt-authority/redis-protocol';

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
 * Looks at the settings of Redis that may lose key sets: role, `maxmemory-policy`, persistence. For the start of an
 * application, or its operator. What is not permitted to be asked is a finding of level `info`, never an error.
 */
export async function checkRedis(client: NodeRedisServer | NodeRedisNodes): Promise<RedisFinding[]> {
  if ('nodeClient' in client) {
    // Its own nodes, whose types differ from major to major.
    const nodes = await Promise.all(client.masters.map(async (node) => client.nodeClient(node as never)));
    return checkServers(nodes.map(serverOf));
  }
  checkMethods(client, 'client', ['info', 'configGet']);
  return checkServers([serverOf(client)]);
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
