import { checkMethods } from '@jwt-authority/core';
import { checkServers, type RedisFinding, type RedisServer } from '@jwt-authority/redis-protocol';

/** What {@link checkRedis} uses of a `Redis` of ioredis. */
export interface IoredisServer {
  info(): Promise<string>;
  config(subcommand: 'GET', name: string): Promise<unknown>;
}

/** What {@link checkRedis} uses of a `Cluster` of ioredis: it asks each primary. */
export interface IoredisNodes {
  nodes(role: 'master'): readonly IoredisServer[];
}

/**
 * Looks at the settings of Redis that may lose key sets: role, `maxmemory-policy`, persistence. For the start of an
 * application, or its operator. What is not permitted to be asked is a finding of level `info`, never an error.
 */
export async function checkRedis(client: IoredisServer | IoredisNodes): Promise<RedisFinding[]> {
  if (!('nodes' in client)) checkMethods(client, 'client', ['info', 'config']);
  const servers = 'nodes' in client ? client.nodes('master') : [client];
  return checkServers(servers.map(serverOf));
}

function serverOf(client: IoredisServer): RedisServer {
  return {
    info: () => client.info(),
    async setting(name) {
      const reply = await client.config('GET', name);
      const value: unknown = Array.isArray(reply) ? reply[1] : undefined;
      return typeof value === 'string' ? value : undefined;
    },
  };
}
