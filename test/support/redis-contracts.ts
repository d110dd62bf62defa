import { keySetStoreCases, registerCases, replayStoreCases } from '../../packages/conformance/src/index.ts';
import type { KeySetStore, ReplayStore } from '../../packages/core/src/index.ts';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { redisMissing } from './redis-binary.ts';
import { RedisServer } from './redis-server.ts';
import { startCluster, startSentinel } from './redis-topologies.ts';

interface Address {
  readonly host: string;
  readonly port: number;
}

/** Servers as clients find them. */
interface Service {
  readonly addresses: Address[];
  readonly freezable: readonly RedisServer[];
  stop(): Promise<void>;
}

const services = {
  async standalone(): Promise<Service> {
    const server = await RedisServer.start();
    return { addresses: [server], freezable: [server], stop: () => server.stop() };
  },
  async cluster(): Promise<Service> {
    const { servers, stop } = await startCluster();
    return { addresses: [...servers], freezable: servers, stop };
  },
  /** The addresses are those of the sentinels; the name of the primary is `primary`. */
  async sentinel(): Promise<Service> {
    const { sentinels, stop } = await startSentinel();
    return { addresses: [...sentinels], freezable: [], stop };
  },
};

/** One client library against one kind of service. */
export interface ContractSubject<Client> {
  /** Goes into the title. */
  readonly name: string;
  readonly on: keyof typeof services;
  connect(addresses: readonly Address[]): Client | Promise<Client>;
  disconnect(client: Client): void;
  keySetStore(options: { client: Client; namespace: string; timeout: number }): KeySetStore;
  replayStore(options: { client: Client; namespace: string; timeout: number }): ReplayStore;
}

/** The contracts of both stores, all cases at the same time; those that freeze the servers come after. */
export function testContracts<Client extends object>(subject: ContractSubject<Client>): void {
  const { name, on } = subject;
  describe.skipIf(redisMissing !== '')(`the contracts on ${name}${redisMissing}`, () => {
    let service: Service;
    const clients = new Map<object, Client>();
    const disconnect = async (store: object): Promise<void> => {
      const client = clients.get(store);
      if (client !== undefined && clients.delete(store)) subject.disconnect(client);
    };
    beforeAll(async () => {
      service = await services[on]();
    });
    afterAll(async () => {
      for (const store of clients.keys()) await disconnect(store);
      await service.stop();
    });

    const open =
      <Store extends object>(
        make: (options: { client: Client; namespace: string; timeout: number }) => Store,
        timeout = 10,
      ) =>
      async (namespace: string): Promise<Store> => {
        const client = await subject.connect(service.addresses);
        const store = make({ client, namespace, timeout });
        clients.set(store, client);
        return store;
      };
    const keySetStore = subject.keySetStore.bind(subject);
    const replayStore = subject.replayStore.bind(subject);
    const options = { close: disconnect, closeClient: disconnect };
    const freezing = {
      freeze: async (): Promise<void> => service.freezable.forEach((server) => server.freeze()),
      thaw: async (): Promise<void> => service.freezable.forEach((server) => server.thaw()),
      deadline: 1000,
    };

    describe.concurrent('at the same time', () => {
      registerCases(it, keySetStoreCases(open(keySetStore), { storeTime: true, watch: true, ...options }));
      registerCases(it, replayStoreCases(open(replayStore), { numbers: true, ...options }));
    });

    // Sentinels elect another primary instead: that is a test of its own.
    if (on === 'sentinel') return;
    describe('frozen', () => {
      const cases = [
        ...keySetStoreCases(open(keySetStore, 0.5), { storeTime: true, watch: true, freezing, ...options }),
        ...replayStoreCases(open(replayStore, 0.5), { freezing, ...options }),
      ];
      registerCases(
        it,
        cases.filter((one) => one.name.startsWith('a frozen service')),
      );
    });
  });
}
