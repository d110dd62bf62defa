import { Redis, type RedisOptions } from 'ioredis';

/** Clients, all closed in the end. What ioredis would print about lost connections is expected in these tests. */
export class Clients {
  readonly #opened: { disconnect(): void }[] = [];

  add<Client extends { on(event: 'error', listener: () => void): unknown; disconnect(): void }>(
    client: Client,
  ): Client {
    client.on('error', () => undefined);
    this.#opened.push(client);
    return client;
  }

  to({ port }: { readonly port: number }, options: RedisOptions = {}): Redis {
    // ioredis's own types do not fit each other under exactOptionalPropertyTypes.
    return this.add(new Redis({ ...options, port, host: '127.0.0.1' } as never));
  }

  close(): void {
    for (const client of this.#opened.splice(0)) client.disconnect();
  }
}
