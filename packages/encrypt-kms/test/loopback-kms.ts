import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly type?: string;
  readonly body: string;
}

/** What it does with a call instead of answering it properly; `undefined`: answer it. */
export type Fault = Answer | 'hang' | 'reset' | undefined;

interface Call {
  readonly operation: string;
  readonly body: Record<string, unknown>;
  readonly region: string;
}

const account = '111122223333';
export const keyId = '11111111-2222-4333-8444-555555555555';
export const otherKeyId = '99999999-2222-4333-8444-555555555555';
export const multiRegionKeyId = 'mrk-11112222333344445555666677778888';
export const arnOf = (id: string, region = 'eu-central-1'): string =>
  `arn:aws:kms:${region}:${account}:key/${id}`;

/**
 * Speaks application/x-amz-json-1.1 as KMS does, for what no KMS does on request: failures of every kind. It has every key, in
 * every region, and checks neither signature nor permission.
 */
export class LoopbackKms {
  readonly endpoint: string;
  /** Asked before each call. */
  fault: (call: Call) => Fault = () => undefined;
  /** May change a proper answer. */
  change: (answer: Record<string, unknown>, call: Call) => Record<string, unknown> = (answer) => answer;
  readonly calls: Call[] = [];
  readonly aliases = new Map([['alias/jwt', keyId]]);
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    // Listening on a port, it has an address of this kind.
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<LoopbackKms> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new LoopbackKms(server);
  }

  /** Every call fails so. */
  failWith(name: string, status = 400, message = 'this message must not be passed on'): void {
    this.fault = () => ({ status, body: JSON.stringify({ __type: name, message }) });
  }

  heal(): void {
    this.fault = () => undefined;
    this.change = (answer) => answer;
    this.calls.length = 0;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const call = await read(request);
    this.calls.push(call);
    const answer = this.fault(call) ?? this.#answer(call);
    if (answer === 'hang') return;
    if (answer === 'reset') return void request.socket.resetAndDestroy();
    response.writeHead(answer.status, { 'content-type': answer.type ?? 'application/x-amz-json-1.1' });
    response.end(answer.body);
  }

  #answer(call: Call): Answer {
    const answer = call.operation === 'Encrypt' ? this.#encrypt(call) : decrypt(call);
    if (typeof answer === 'string') return { status: 400, body: JSON.stringify({ __type: answer }) };
    return { status: 200, body: JSON.stringify(this.change(answer, call)) };
  }

  #encrypt({ body, region }: Call): Record<string, unknown> | string {
    const named = String(body['KeyId']);
    const id = named.startsWith('alias/') ? this.aliases.get(named) : named.replace(/^.*\//, '');
    if (id === undefined) return 'NotFoundException';
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', secretOf(id), nonce, { authTagLength: 16 });
    cipher.setAAD(Buffer.from(contextOf(body)));
    const ciphertext = [cipher.update(String(body['Plaintext']), 'base64'), cipher.final()];
    const blob = Buffer.concat([Buffer.from(id.padEnd(40)), nonce, cipher.getAuthTag(), ...ciphertext]);
    return { KeyId: arnOf(id, region), CiphertextBlob: blob.toString('base64') };
  }
}

function decrypt({ body, region }: Call): Record<string, unknown> | string {
  const blob = Buffer.from(String(body['CiphertextBlob']), 'base64');
  const id = blob.toString('latin1', 0, 40).trim();
  if (body['KeyId'] !== arnOf(id, region)) return 'IncorrectKeyException';
  const decipher = createDecipheriv('aes-256-gcm', secretOf(id), blob.subarray(40, 52), {
    authTagLength: 16,
  });
  decipher.setAAD(Buffer.from(contextOf(body)));
  decipher.setAuthTag(blob.subarray(52, 68));
  try {
    const plaintext = Buffer.concat([decipher.update(blob.subarray(68)), decipher.final()]);
    return { KeyId: arnOf(id, region), Plaintext: plaintext.toString('base64') };
  } catch {
    return 'InvalidCiphertextException';
  }
}

/** The same in every region. */
function secretOf(id: string): Buffer {
  return createHash('sha256').update(id).digest();
}

function contextOf({ EncryptionContext: context }: Record<string, unknown>): string {
  return JSON.stringify(Object.entries(context ?? {}).toSorted(([one], [other]) => (one < other ? -1 : 1)));
}

async function read(request: IncomingMessage): Promise<Call> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const [, operation = ''] = String(request.headers['x-amz-target']).split('.');
  const [, region = ''] =
    /Credential=[^/]+\/\d+\/([^/]+)\//.exec(String(request.headers.authorization)) ?? [];
  // What KMS is sent is an object.
  const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
  return { operation, body, region };
}
