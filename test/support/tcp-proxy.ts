import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Stands between a client and a server on the loopback, and fails as networks do. */
export interface TcpProxy {
  readonly port: number;
  /** Lets the next request that contains `text` through, and cuts the connection instead of passing the reply on. */
  loseReplyTo(text: string): void;
  /** How many replies were lost. */
  readonly lost: number;
  /** Keeps what clients send, until it is released: a network that delays. */
  hold(): void;
  release(): void;
  /** Cuts all connections. */
  cut(): void;
  close(): Promise<void>;
}

/** Changes what passes; `data` is what one write of a peer brought, which for our few kilobytes is whole. */
export interface Alterations {
  request?(data: Buffer): Buffer;
  reply?(data: Buffer): Buffer;
}

export async function startProxy(
  target: { readonly host: string; readonly port: number },
  { request = (data) => data, reply = (data) => data }: Alterations = {},
): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const clients = new Set<Socket>();
  let isHolding = false;
  let toLose: string | undefined;
  let lost = 0;
  const server = createServer((client) => {
    const upstream = connect(target.port, target.host);
    let isLosing = false;
    clients.add(client);
    client.on('close', () => clients.delete(client));
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (data) => {
      if (toLose !== undefined && data.includes(toLose)) {
        isLosing = true;
        toLose = undefined;
      }
      upstream.write(request(data));
    });
    // A listener for data makes it flow.
    if (isHolding) client.pause();
    upstream.on('data', (data) => {
      if (!isLosing) return client.write(reply(data));
      lost += 1;
      return client.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    // Of a server that listens on TCP, it is an object.
    port: (server.address() as AddressInfo).port,
    loseReplyTo: (text) => (toLose = text),
    get lost() {
      return lost;
    },
    hold() {
      isHolding = true;
      for (const client of clients) client.pause();
    },
    release() {
      isHolding = false;
      for (const client of clients) client.resume();
    },
    cut,
    async close() {
      const closed = once(server, 'close');
      server.close();
      cut();
      await closed;
    },
  };
}
