import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

type ProxyMode = 'pass' | 'refuse' | 'hang';

export interface Proxy {
  readonly port: number;
  /** `refuse`: every connection is reset, those that are open too. `hang`: nothing comes through any more, nobody says so. */
  set(mode: ProxyMode): void;
  close(): Promise<void>;
}

/** A way to a service on this machine that can be cut, as a network is. */
export async function startProxy(target: URL): Promise<Proxy> {
  let mode: ProxyMode = 'pass';
  const sockets = new Set<Socket>();
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
  };
  const server = createServer((client) => {
    track(client);
    if (mode === 'refuse') return void client.resetAndDestroy();
    const service = connect(Number(target.port), target.hostname);
    track(service);
    client
      .on('data', (chunk) => mode === 'pass' && service.write(chunk))
      .on('close', () => service.destroy());
    service.on('data', (chunk) => mode === 'pass' && client.write(chunk)).on('close', () => client.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server on TCP has an address of this kind.
  const { port } = server.address() as AddressInfo;
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    port,
    set(next) {
      // After a hang, what was swallowed cannot come through any more: those connections end.
      if (next === 'refuse' || (next === 'pass' && mode !== 'pass')) cut();
      mode = next;
    },
    async close() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
