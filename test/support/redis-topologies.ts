import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, RedisServer } from './redis-server.ts';

/** Several servers that make one service. */
export interface RedisTopology {
  readonly servers: readonly RedisServer[];
  stop(): Promise<void>;
}

const slots = 16_384;

/** Three masters that share the slots, without replicas. */
export async function startCluster(): Promise<RedisTopology> {
  const args = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000'];
  const servers = await Promise.all([1, 2, 3].map(() => RedisServer.start(...args)));
  await Promise.all(
    servers.map(async (server, index) => {
      const [from, to] = [index, index + 1].map((part) => Math.floor((part * slots) / servers.length));
      const own = Array.from({ length: (to ?? 0) - (from ?? 0) }, (_, slot) => String((from ?? 0) + slot));
      await server.command('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
      await server.command('CLUSTER', 'ADDSLOTS', ...own);
    }),
  );
  const [first, ...others] = servers;
  for (const other of others) await first?.command('CLUSTER', 'MEET', other.host, String(other.port));
  await eventually('a cluster of three that knows all slots', async () => {
    const states = await Promise.all(servers.map((server) => server.command('CLUSTER', 'INFO')));
    return states.every((state) => /cluster_state:ok[^]*cluster_known_nodes:3[^]*cluster_size:3/.test(state));
  });
  return topology(servers);
}

/** One primary, two replicas, three sentinels that watch over the name `primary`. */
export async function startSentinel(): Promise<
  RedisTopology & { readonly data: readonly RedisServer[]; readonly sentinels: readonly RedisServer[] }
> {
  const primary = await RedisServer.start();
  const replicas = await Promise.all([1, 2].map(() => startReplica(primary)));
  const sentinels = await Promise.all([1, 2, 3].map(() => startOneSentinel(primary)));
  await eventually('sentinels that know one another and both replicas', async () => {
    const states = await Promise.all(sentinels.map((sentinel) => sentinel.command('INFO', 'sentinel')));
    return states.every((state) => /status=ok,.*slaves=2,sentinels=3/.test(state));
  });
  const data = [primary, ...replicas];
  return { ...topology([...sentinels, ...data]), data, sentinels };
}

/** A replica that has caught up. */
async function startReplica(primary: RedisServer): Promise<RedisServer> {
  const replica = await RedisServer.start('--replicaof', `${primary.host} ${primary.port}`);
  await eventually('a replica in sync', async () =>
    (await replica.command('INFO', 'replication')).includes('master_link_status:up'),
  );
  return replica;
}

async function startOneSentinel(primary: RedisServer): Promise<RedisServer> {
  const configuration = join(primary.folder, `sentinel-${Math.random().toString(36).slice(2)}.conf`);
  const lines = [
    `sentinel monitor primary ${primary.host} ${primary.port} 2`,
    'sentinel down-after-milliseconds primary 1000',
    'sentinel failover-timeout primary 3000',
  ];
  writeFileSync(configuration, lines.join('\n'));
  return RedisServer.startWith([configuration, '--sentinel']);
}

function topology(servers: readonly RedisServer[]): RedisTopology {
  return {
    servers,
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}
