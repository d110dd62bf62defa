import { checkMethods, checkOptions } from '@jwt-authority/core';
import { checkPermissions, checkServers } from '@jwt-authority/redis-protocol';
import type { RedisFinding, RedisServer } from '@jwt-authority/redis-protocol';
import { connectionOf, type IoredisClient } from './client.ts';

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
 * Looks at what may keep stores from working or lose key sets: role, `maxmemory-policy`, persistence, and what the user
 * of the client is not permitted in a namespace (with the `ACL SETUSER` line that suffices). For the start of an
 * application, or its operator. What cannot be asked is a finding, never an error; nothing is written.
 *
 * `namespace` and `prefix`: as given to the stores. Defaults `'default'` and `'jwt-authority'`.
 *
 * @throws {TypeError} if an argument is wrong.
 */
export async function checkRedis(
  client: IoredisClient & (IoredisServer | IoredisNodes),
  options: { readonly namespace?: string; readonly prefix?: string } = {},
): Promise<RedisFinding[]> {
  checkMethods(client, 'client', ['eval', 'nodes' in client ? 'nodes' : 'info']);
  checkOptions(options, 'checkRedis', ['namespace', 'prefix']);
  const permissions = await checkPermissions(connectionOf(client), options);
  // Asked first: a client of a cluster knows its nodes from then on.
  const servers = 'nodes' in client ? client.nodes('master') : [client];
  return [...permissions, ...(await checkServers(servers.map(serverOf)))];
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
