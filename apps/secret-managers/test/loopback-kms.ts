import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

type Answer = readonly [status: number, body: object];

/** A request as one of the two services understands it. */
interface Asked {
  readonly action: string;
  readonly key: string;
  readonly isAuthorised: boolean;
  readonly data: string;
}

interface WireShape {
  read(path: string, headers: IncomingMessage['headers'], body: Readonly<Record<string, unknown>>): Asked;
  /** Exactly the members that a request may have: the services refuse others, or ignore what the caller relied on. */
  members(action: string): readonly string[];
  succeed(action: string, data: string): object;
  fail(status: number): object;
}

/** As documented at infisical.com/docs/api-reference/endpoints/kms; that altered data gives 500 was read in its source. */
export const infisical: WireShape = {
  read(path, headers, body) {
    const [, key = '', action = ''] = /^\/api\/v1\/kms\/keys\/([\w-]+)\/(encrypt|decrypt)$/.exec(path) ?? [];
    const isAuthorised = headers.authorization === 'Bearer the-token';
    return {
      action,
      key,
      isAuthorised,
      data: String(body[action === 'encrypt' ? 'plaintext' : 'ciphertext']),
    };
  },
  members: (action) => [action === 'encrypt' ? 'plaintext' : 'ciphertext'],
  succeed: (action, data) => ({ [action === 'encrypt' ? 'ciphertext' : 'plaintext']: data }),
  fail: (statusCode) => ({ reqId: 'r', statusCode, error: 'Error', message: 'the-token, and more' }),
};

/** As in Akeyless's OpenAPI document: `/encrypt`, `/decrypt`, one member `result` or `error`. */
export const akeyless: WireShape = {
  read(path, _headers, body) {
    const action = path.slice(1);
    return {
      action,
      key: String(body['key-name']),
      isAuthorised: body['token'] === 'the-token',
      data: String(body[action === 'encrypt' ? 'plaintext' : 'ciphertext']),
    };
  },
  members: (action) => [
    ...(action === 'encrypt' ? ['input-format', 'plaintext'] : ['ciphertext', 'output-format']),
    'json',
    'key-name',
    'token',
  ],
  succeed: (_action, data) => ({ result: data }),
  fail: () => ({ error: 'the-token, and more' }),
};

export interface LoopbackKms {
  readonly address: string;
  /** Every answer takes this form until it is `undefined` again. */
  trouble: 'hang' | 'reset' | 'html' | 'redirect' | number | undefined;
  readonly calls: string[];
  close(): Promise<void>;
}

/** Encrypts for real, AES-256-GCM under a key per name, and speaks one of the two wire shapes. Not the real service. */
export async function startLoopbackKms(shape: WireShape): Promise<LoopbackKms> {
  const keys = new Map<string, Buffer>();
  const keyOf = (name: string): Buffer => {
    const key = keys.get(name) ?? randomBytes(32);
    keys.set(name, key);
    return key;
  };
  const answer = (asked: Asked, members: readonly string[]): Answer => {
    const { action, key, isAuthorised, data } = asked;
    if (action !== 'encrypt' && action !== 'decrypt') return [404, shape.fail(404)];
    if (!isAuthorised) return [401, shape.fail(401)];
    if (members.toSorted().join() !== shape.members(action).toSorted().join()) return [422, shape.fail(422)];
    try {
      return [200, shape.succeed(action, (action === 'encrypt' ? seal : open)(keyOf(key), data))];
    } catch {
      return [500, shape.fail(500)];
    }
  };
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = JSON.parse(await text(request)) as Readonly<Record<string, unknown>>;
    const path = request.url ?? '';
    kms.calls.push(path);
    const { trouble } = kms;
    if (trouble === 'hang') return;
    if (trouble === 'reset') return void request.socket.destroy();
    if (trouble === 'html') return void response.end('<html>200</html>');
    if (trouble === 'redirect') return void response.writeHead(307, { location: path }).end();
    const [status, content] =
      trouble === undefined
        ? answer(shape.read(path, request.headers, body), Object.keys(body))
        : [trouble, shape.fail(trouble)];
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(content));
  };
  const server = createServer((request, response) => void serve(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server on TCP has an address of this kind.
  const { port } = server.address() as AddressInfo;
  const kms: LoopbackKms = {
    address: `http://127.0.0.1:${port}`,
    trouble: undefined,
    calls: [],
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return kms;
}

function seal(key: Buffer, plaintext: string): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([
    nonce,
    cipher.update(plaintext, 'base64'),
    cipher.final(),
    cipher.getAuthTag(),
  ]).toString('base64');
}

function open(key: Buffer, ciphertext: string): string {
  const bytes = Buffer.from(ciphertext, 'base64');
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 });
  decipher.setAuthTag(bytes.subarray(-16));
  return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString('base64');
}
