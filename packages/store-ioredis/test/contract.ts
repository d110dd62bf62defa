import { type ContractSubject, testContracts } from '../../../test/support/redis-contracts.ts';
import { type IoredisClient, ioredisReplayStore, ioredisStore } from '../src/index.ts';

type Client = IoredisClient & { disconnect(): void; on(event: 'error', listener: () => void): unknown };

/** The contracts of both stores with an ioredis client. */
export function testIoredis({
  name,
  on,
  connect,
}: Pick<ContractSubject<Client>, 'name' | 'on' | 'connect'>): void {
  testContracts<Client>({
    name,
    on,
    async connect(addresses) {
      const client = await connect(addresses);
      // What ioredis would print about lost connections is expected in these tests.
      client.on('error', () => undefined);
      return client;
    },
    disconnect: (client) => client.disconnect(),
    keySetStore: ioredisStore,
    replayStore: ioredisReplayStore,
  });
}
