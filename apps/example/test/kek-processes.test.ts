import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { tmpdir } from 'node:os';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { kmsMissing, startKms } from '../../../test/support/kms-server.ts';
import { killServers, ServerProcess } from '../src/demo/server-process.ts';

const cache = join(import.meta.dirname, '../node_modules/.cache/kek-processes');
const program = join(cache, 'main.mjs');
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'example-kek-'));
  // With the present sources, since Node 20 runs no TypeScript and a build may be stale.
  const bundle = await rolldown({
    input: join(import.meta.dirname, '../src/main.ts'),
    platform: 'node',
    external: (id) => !/^\.|^@jwt-authority\//.test(id) && !isAbsolute(id),
    resolve: { conditionNames: ['@jwt-authority/source', 'node', 'import', 'default'] },
  });
  await bundle.write({ file: program, format: 'esm', codeSplitting: false });
  await bundle.close();
});
afterAll(async () => {
  killServers();
  await rm(folder, { recursive: true, force: true });
  await rm(cache, { recursive: true, force: true });
});

/** Gets tokens of every server and shows them to every server, for as long as it is told. */
class Clients {
  servers: readonly ServerProcess[] = [];
  readonly figures = { issued: 0, accepted: 0 };
  readonly refused: string[] = [];
  readonly #tokens: string[] = [];
  #ended = false;

  async run(): Promise<void> {
    while (!this.#ended) for (const server of this.servers) await this.round(server);
  }

  stop(): void {
    this.#ended = true;
  }

  async round(server: ServerProcess): Promise<void> {
    const grant = { grant_type: 'client_credentials', client_id: 'demo', client_secret: 'a secret of tests' };
    const answer = await this.#ask(server, '/token', { method: 'POST', body: new URLSearchParams(grant) });
    const token: unknown = answer === undefined ? undefined : Reflect.get(answer, 'access_token');
    if (typeof token === 'string') {
      this.figures.issued++;
      this.#tokens.push(token);
    }
    for (const shown of [...this.#tokens.slice(0, 2), ...this.#tokens.slice(-2)]) {
      for (const verifier of this.servers) {
        const headers = { authorization: `Bearer ${shown}` };
        if ((await this.#ask(verifier, '/protected', { headers })) !== undefined) this.figures.accepted++;
      }
    }
  }

  async #ask(server: ServerProcess, path: string, init: RequestInit): Promise<object | undefined> {
    try {
      const response = await fetch(server.url + path, init);
      const text = await response.text();
      // Every answer of this server is a JSON object.
      if (response.ok) return JSON.parse(text) as object;
      this.refused.push(`${path}: ${response.status} ${text}`);
    } catch (error) {
      // One that was just taken out of service; a load balancer would ask another one.
      if (this.servers.includes(server)) this.refused.push(`${path}: ${String(error)}`);
    }
    return undefined;
  }
}

it.skipIf(kmsMissing !== '')(
  `P1: three processes change from a local KEK to KMS in rolling deployments, and no client notices${kmsMissing}`,
  async () => {
    const kms = await startKms();
    const { accessKeyId, secretAccessKey } = kms.credentials;
    const admin = new KMSClient({
      endpoint: kms.endpoint,
      region: 'eu-central-1',
      credentials: kms.credentials,
    });
    const { KeyMetadata } = await admin.send(new CreateKeyCommand({}));
    const env = {
      PORT: '0',
      ISSUER: 'https://auth.example.test',
      STORE: 'file',
      KEYS_FOLDER: folder,
      ALGORITHMS: 'ES256',
      CLIENT_ID: 'demo',
      CLIENT_SECRET: 'a secret of tests',
      KMS_KEY_ID: KeyMetadata?.Arn ?? '',
      AWS_ENDPOINT_URL_KMS: kms.endpoint,
      AWS_REGION: 'eu-central-1',
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    };
    const local = { JWT_AUTHORITY_KEY: randomBytes(32).toString('base64') };
    const clients = new Clients();
    const deploy = async (ENCRYPTER: string, more: Record<string, string>): Promise<void> => {
      for (const [slot, name] of ['a', 'b', 'c'].entries()) {
        const next = await ServerProcess.start(name, { ...env, ...more, ENCRYPTER }, program);
        const old = clients.servers[slot];
        clients.servers = [...clients.servers.slice(0, slot), next, ...clients.servers.slice(slot + 1)];
        await old?.end('SIGTERM');
      }
    };
    await deploy('local', local);
    const load = clients.run();
    try {
      await deploy('local,kms', local);
      await deploy('kms,local', local);
      await clients.servers[0]?.command({ name: 'reseal' });
      // The old KEK is gone from the environment.
      await deploy('kms', {});
      for (const server of clients.servers) await clients.round(server);
    } finally {
      clients.stop();
      await load;
      await Promise.all(clients.servers.map(async (server) => server.end('SIGTERM')));
      await kms.stop();
    }
    expect(clients.refused, 'P1: every request was served, every token accepted').toEqual([]);
    expect(clients.figures.accepted, 'and there were some').toBeGreaterThan(50);
    const files = await readdir(folder, { recursive: true, withFileTypes: true });
    const stored = await Promise.all(
      files
        .filter((file) => file.isFile())
        .map(async (file) => readFile(join(file.parentPath, file.name), 'utf8')),
    );
    expect(stored.join('\n'), 'sealed by KMS now').toContain('kms:arn:');
    expect(stored.join('\n'), 'P5: not in clear').not.toMatch(/"d":|PRIVATE KEY/);
  },
  120_000,
);
