import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { systemClock, type Clock } from '@jwt-authority/core';

/** What a real Vault does not do on demand. A text is a body that is not JSON. */
export type Answer =
  | 'hang'
  | 'hang in the body'
  | 'reset'
  | { readonly status: number; readonly body?: object | string };

export interface SeenRequest {
  readonly path: string;
  readonly token: string;
  readonly body: Readonly<Record<string, string>>;
}

/** A server that answers as it is told, over real HTTP. */
export class LoopbackVault {
  /** The answer to the `count`th request, from 1. */
  answer: (request: SeenRequest, count: number) => Answer = () => ({ status: 500 });
  readonly requests: SeenRequest[] = [];
  readonly #server: Server = createServer((incoming, outgoing) => void this.#respond(incoming, outgoing));

  static async start(): Promise<LoopbackVault> {
    const vault = new LoopbackVault();
    vault.#server.listen(0, '127.0.0.1');
    await once(vault.#server, 'listening');
    return vault;
  }

  get address(): string {
    // It listens on TCP.
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Forgets the requests seen, and answers so from now on: in this order, the last one again and again. */
  script(...answers: readonly [Answer, ...Answer[]]): void {
    this.requests.length = 0;
    this.answer = (_request, count) => answers[Math.min(count, answers.length) - 1] ?? answers[0];
  }

  /** Passes the check that comes before the first encryption, and answers so from then on. */
  scriptAfterCheck(answer: Answer): void {
    this.requests.length = 0;
    const notAuthentic = refused(400, 'cipher: message authentication failed');
    const ciphertext = `vault:v1:${Buffer.alloc(60).toString('base64')}`;
    this.answer = (_request, count) => {
      const plaintext = this.requests[1]?.body['plaintext'];
      const wrapped: Answer = { status: 200, body: { data: { ciphertext } } };
      const unwrapped: Answer = { status: 200, body: { data: { plaintext } } };
      return [notAuthentic, wrapped, notAuthentic, unwrapped][count - 1] ?? answer;
    };
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #respond(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const request: SeenRequest = {
      path: incoming.url ?? '',
      token: String(incoming.headers['x-vault-token']),
      // Whatever comes, tests say what they expect of it.
      body: JSON.parse(await text(incoming)) as SeenRequest['body'],
    };
    this.requests.push(request);
    const answer = this.answer(request, this.requests.length);
    if (answer === 'hang') return;
    if (answer === 'reset') {
      incoming.socket.resetAndDestroy();
      return;
    }
    if (answer === 'hang in the body') {
      outgoing.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
      outgoing.write('{"data":');
      return;
    }
    const { status, body } = answer;
    const isText = typeof body === 'string';
    outgoing.writeHead(status, { 'content-type': isText ? 'text/html' : 'application/json' });
    outgoing.end(isText ? body : body && JSON.stringify(body));
  }
}

export const dataKey: Buffer = Buffer.from('a data-encryption key, 32 bytes.');
export const opened: Answer = { status: 200, body: { data: { plaintext: dataKey.toString('base64') } } };
export const html: string = '<html><body>Sign in to the network</body></html>';

export function refused(status: number, ...errors: readonly string[]): Answer {
  return { status, body: { errors } };
}

/** Pauses between tries are short; deadlines are what they are. */
export const hurriedClock: Clock = {
  ...systemClock,
  setTimer: (callback, delay, options) =>
    systemClock.setTimer(callback, [100, 300, 900].includes(delay) ? delay / 50 : delay, options),
};
