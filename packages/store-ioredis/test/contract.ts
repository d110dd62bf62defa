import { keySetStoreCases, registerCases, replayStoreCases } from '@jwt-authority/conformance';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { redisMissing } from '../../../test/support/redis-binary.ts';
import { RedisServer } from '../../../test/support/redis-server.ts';
import { startCluster, startSentinel } from '../../../test/support/redis-topologies.ts';
import { type IoredisClient, ioredisReplayStore, ioredisStore } from '../src/index.ts';
import { Clients } from './clients.ts';

/** Servers, and how to connect to them. */
export interface Service {
  readonly connect: () => IoredisClient & {
    disconnect(): void;
    on(event: 'error', listener: () => void): unknown;
  };
  readonly freezable: readonly RedisServer[];
  stop(): Promise<void>;
}

export async function standalone(
  connect: (port: number) => ReturnType<Service['connect']>,
): Promise<Service> {
  const server = await RedisServer.start();
  return { connect: () => connect(server.port), freezable: [server], stop: () => server.stop() };
}

export async function cluster(
  connect: (nodes: { host: string; port: number }[]) => ReturnType<Service['connect']>,
): Promise<Service> {
  const { servers, stop } = await startCluster();
  const nodes = servers.map(({ host, port }) => ({ host, port }));
  return { connect: () => connect(nodes), freezable: servers, stop };
}

export async function sentinelSet(): Promise<Service> {
  const { sentinels, stop } = await startSentinel();
  const nodes = sentinels.map(({ host, port }) => ({ host, port }));
  // Freezing the primary would make them elect another one: that is a test of its own.
  return { connect: () => new Redis({ sentinels: nodes, name: 'primary' }), freezable: [], stop };
}

/** The contracts of both stores, in all cases at once; those that freeze the servers come after. */
export function testContracts(name: string, start: () => Promise<Service>, { freeze = true } = {}): void {
  describe.skipIf(redisMissing !== '')(`the contracts on ${name}${redisMissing}`, () => {
    let service: Service;
    const clients = new Clients();
    const clientOf = new WeakMap<object, { disconnect(): void }>();
    beforeAll(async () => {
      service = await start();
    });
    afterAll(async () => {
      clients.close();
      await service.stop();
    });

    const open =
      <Store extends object>(
        make: (options: { client: IoredisClient; namespace: string; timeout: number }) => Store,
        timeout = 10,
      ) =>
      (namespace: string): Store => {
        const client = clients.add(service.connect());
        const store = make({ client, namespace, timeout });
        clientOf.set(store, client);
        return store;
      };
    const options = {
      close: async (store: object): Promise<void> => clientOf.get(store)?.disconnect(),
      closeClient: async (store: object): Promise<void> => clientOf.get(store)?.disconnect(),
    };
    const freezing = {
      freeze: async (): Promise<void> => service.freezable.forEach((server) => server.freeze()),
      thaw: async (): Promise<void> => service.freezable.forEach((server) => server.thaw()),
      deadline: 1000,
    };

    describe.concurrent('at the same time', () => {
      registerCases(it, keySetStoreCases(open(ioredisStore), { storeTime: true, watch: true, ...options }));
      registerCases(it, replayStoreCases(open(ioredisReplayStore), { numbers: true, ...options }));
    });

    describe.runIf(freeze)('frozen', () => {
      const cases = [
        ...keySetStoreCases(open(ioredisStore, 0.5), { storeTime: true, watch: true, freezing, ...options }),
        ...replayStoreCases(open(ioredisReplayStore, 0.5), { freezing, ...options }),
      ];
      registerCases(
        it,
        cases.filter((one) => one.name.startsWith('a frozen service')),
      );
    });
  });
}
