import { type ContractSubject, testContracts } from '../../../test/support/redis-contracts.ts';
import { type NodeRedisClient, redisOmReplayStore, redisOmStore } from '../src/index.ts';

/** What a client of redis has besides; `destroy` from redis 5 on. */
export type Client = NodeRedisClient & {
  connect(): Promise<unknown>;
  on(event: 'error', listener: () => void): unknown;
} & ({ disconnect(): Promise<void> } | { destroy(): unknown });

/** The contracts of both stores with a client of redis. */
export function testRedisOm({
  name,
  on,
  connect,
}: Pick<ContractSubject<Client>, 'name' | 'on'> & {
  connect(addresses: readonly { host: string; port: number }[]): Client;
}): void {
  testContracts<Client>({
    name,
    on,
    connect: async (addresses) => open(connect(addresses)),
    disconnect: (client) => void close(client),
    keySetStore: redisOmStore,
    replayStore: redisOmReplayStore,
  });
}

export async function open(client: Client): Promise<Client> {
  // Without a listener, a lost connection, which these tests bring about, ends the process.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

export async function close(client: Client): Promise<void> {
  try {
    if ('destroy' in client) client.destroy();
    else await client.disconnect();
  } catch {
    // It was closed before.
  }
}
