import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { eventually, freePort } from './redis-server.ts';
import { stopProcess } from './stop-process.ts';

const { env } = process;
const cache =
  env['JWT_AUTHORITY_SERVICES'] ||
  join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'jwt-authority/services');

/** The server that tests start: from VAULT_BIN (Vault or OpenBao), the PATH, or what scripts/services/vault.sh has built. */
const vaultBinary: string | undefined = findBinary();

/** A server that exists, from VAULT_ADDR and VAULT_TOKEN: for the tests that need no server of their own. */
const givenVault: { readonly address: string; readonly token: string } | undefined =
  env['VAULT_ADDR'] && env['VAULT_TOKEN']
    ? { address: env['VAULT_ADDR'], token: env['VAULT_TOKEN'] }
    : undefined;

if (vaultBinary === undefined && givenVault === undefined && env['CI'] === 'true')
  throw new Error('No Vault to test with; scripts/services/vault.sh builds one');

const howToGet = 'run scripts/services/vault.sh, which takes go, or set VAULT_BIN';

/** To be put behind a title of tests that use {@link startVault}: says why they are skipped, if they are. */
export const ownVaultMissing: string =
  vaultBinary === undefined ? ` (skipped: no Vault to start; ${howToGet})` : '';

/** As {@link ownVaultMissing}, for tests that use {@link openVault}. */
export const vaultMissing: string =
  vaultBinary === undefined && givenVault === undefined
    ? ` (skipped: no Vault for tests; ${howToGet}, or VAULT_ADDR and VAULT_TOKEN)`
    : '';

const running = new Set<ChildProcess>();
const folders = new Set<string>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** The members that tests read in answers of Vault. */
export interface VaultAnswer {
  readonly auth?: { readonly client_token: string; readonly lease_duration: number };
  readonly data?: Readonly<Record<string, unknown>>;
  readonly keys?: readonly string[];
  readonly root_token?: string;
}

/** What the clients of Vault throw for a status that is not 2xx. */
class VaultResponseError extends Error {
  readonly response: { readonly statusCode: number; readonly body: unknown };

  constructor(statusCode: number, body: unknown) {
    super(`Vault answered ${statusCode}`);
    this.response = { statusCode, body };
  }
}

export class Vault {
  readonly address: string;
  /** Of the root, who may do everything. */
  readonly token: string;
  /** The certificate to be trusted, if the server speaks TLS. */
  readonly ca: string | undefined;

  constructor(address: string, token: string, ca?: string) {
    this.address = address;
    this.token = token;
    this.ca = ca;
  }

  /** One request to `/v1/PATH`, by the root unless told otherwise. */
  async request(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    body?: object,
    token: string = this.token,
    timeout = 10_000,
  ): Promise<VaultAnswer> {
    const url = `${this.address}/v1/${path}`;
    const headers = { 'X-Vault-Token': token };
    const options = { method, headers, timeout, agent: false } as const;
    const outgoing =
      this.ca === undefined ? httpRequest(url, options) : httpsRequest(url, { ...options, ca: this.ca });
    outgoing.once('timeout', () => outgoing.destroy(new Error(`Vault did not answer within ${timeout} ms`)));
    outgoing.end(body && JSON.stringify(body));
    // This event has just this argument.
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    const content = await text(incoming);
    const { statusCode = 0 } = incoming;
    // Whoever asks knows what Vault answers to this.
    const answer = (content === '' ? {} : JSON.parse(content)) as VaultAnswer;
    if (statusCode >= 300) throw new VaultResponseError(statusCode, answer);
    return answer;
  }

  /** A client as `vaultTransitEncrypter` takes it, without node-vault. `token` may be replaced at any time. */
  client(token: string = this.token): {
    token: string;
    write: (path: string, body: object, options: { readonly timeout: number }) => Promise<unknown>;
  } {
    const client = {
      token,
      write: async (
        path: string,
        body: object,
        { timeout }: { readonly timeout: number },
      ): Promise<unknown> => this.request('POST', path, body, client.token, timeout),
    };
    return client;
  }

  /** Enables a transit engine. */
  async mountTransit(mount = 'transit'): Promise<void> {
    await this.request('POST', `sys/mounts/${mount}`, { type: 'transit' });
  }

  /** Makes a key of transit; `settings` as the API has them, like `{ derived: true }`. */
  async createKey(key: string, settings: object = {}, mount = 'transit'): Promise<void> {
    await this.request('POST', `${mount}/keys/${key}`, settings);
  }

  /** From then on a new version wraps. */
  async rotateKey(key: string, mount = 'transit'): Promise<void> {
    await this.request('POST', `${mount}/keys/${key}/rotate`);
  }

  /** Like `{ min_decryption_version: 2 }` or `{ deletion_allowed: true }`. */
  async configureKey(key: string, settings: object, mount = 'transit'): Promise<void> {
    await this.request('POST', `${mount}/keys/${key}/config`, settings);
  }

  /** For good, once `deletion_allowed` is configured. */
  async deleteKey(key: string, mount = 'transit'): Promise<void> {
    await this.request('DELETE', `${mount}/keys/${key}`);
  }

  /** Writes a policy of that name, and gives a token that has only this. `settings` as the API has them, like `{ ttl: '2s' }`. */
  async tokenFor(policy: string, rules: string, settings: object = {}): Promise<string> {
    await this.request('POST', `sys/policies/acl/${policy}`, { policy: rules });
    const { auth } = await this.request('POST', 'auth/token/create', {
      policies: [policy],
      no_default_policy: true,
      ...settings,
    });
    return auth?.client_token ?? '';
  }

  async stop(): Promise<void> {}
}

/** A process of its own in server mode (not dev mode), initialised and unsealed, which tests may mistreat. Its data are on disk. */
export class VaultServer extends Vault {
  readonly #process: VaultProcess;
  readonly #unsealKey: string;

  private constructor(started: VaultProcess, token: string, unsealKey: string) {
    super(started.address, token, started.ca);
    this.#process = started;
    this.#unsealKey = unsealKey;
  }

  static async start(options: { readonly tls?: boolean } = {}): Promise<VaultServer> {
    for (let attempt = 1; ; attempt += 1) {
      const started = new VaultProcess(await freePort(), options.tls === true);
      try {
        await started.run();
        const nobody = new Vault(started.address, '', started.ca);
        const { keys = [], root_token = '' } = await nobody.request('POST', 'sys/init', {
          secret_shares: 1,
          secret_threshold: 1,
        });
        const server = new VaultServer(started, root_token, keys[0] ?? '');
        await server.unseal();
        return server;
      } catch (error) {
        await started.end();
        // Somebody else may have taken the port meanwhile.
        if (attempt === 3) throw error;
      }
    }
  }

  /** From then on, every request is answered 503. */
  async seal(): Promise<void> {
    await this.request('POST', 'sys/seal');
  }

  async unseal(): Promise<void> {
    await this.request('POST', 'sys/unseal', { key: this.#unsealKey });
    await eventually('Vault is active', async () => {
      return this.request('GET', 'sys/health').then(
        () => true,
        () => false,
      );
    });
  }

  /** It keeps its connections, and answers nothing. */
  freeze(): void {
    this.#process.freeze();
  }

  thaw(): void {
    this.#process.thaw();
  }

  /** From then on, connections are refused. */
  async kill(): Promise<void> {
    await this.#process.kill();
  }

  /** Starts the process again, with its data. Sealed, as every Vault after its start. */
  async restartSealed(): Promise<void> {
    await this.#process.run();
  }

  async restart(): Promise<void> {
    await this.restartSealed();
    await this.unseal();
  }

  override async stop(): Promise<void> {
    await this.#process.end();
  }
}

class VaultProcess {
  readonly address: string;
  readonly ca: string | undefined;
  readonly #folder: string;
  #child: ChildProcess | undefined;

  constructor(port: number, tls: boolean) {
    this.#folder = mkdtempSync(join(tmpdir(), 'vault-server-'));
    folders.add(this.#folder);
    this.address = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;
    const certificate = tls ? makeCertificates(this.#folder) : undefined;
    this.ca = certificate && readFileSync(certificate.ca, 'utf8');
    const config = {
      storage: { file: { path: join(this.#folder, 'data') } },
      listener: [
        {
          tcp: {
            address: `127.0.0.1:${port}`,
            ...(certificate
              ? { tls_cert_file: certificate.certificate, tls_key_file: certificate.key }
              : { tls_disable: true }),
          },
        },
      ],
      api_addr: this.address,
      disable_mlock: true,
    };
    writeFileSync(join(this.#folder, 'config.json'), JSON.stringify(config));
  }

  /** Starts it, and waits until it answers. */
  async run(): Promise<void> {
    if (vaultBinary === undefined) throw new Error('no Vault: these tests should have been skipped');
    const child = spawn(vaultBinary, ['server', `-config=${join(this.#folder, 'config.json')}`], {
      // None of the VAULT_ variables, which configure servers too.
      env: { PATH: env['PATH'], HOME: this.#folder },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => (output = (output + String(data)).slice(-2000)));
    running.add(child);
    child.once('exit', () => running.delete(child));
    this.#child = child;
    const nobody = new Vault(this.address, '', this.ca);
    await eventually(
      `Vault at ${this.address}`,
      async () => {
        if (child.exitCode !== null) throw new Error(`vault ended: ${output}`);
        return nobody.request('GET', 'sys/seal-status').then(
          () => true,
          () => false,
        );
      },
      30_000,
    );
  }

  freeze(): void {
    if (this.#child?.pid !== undefined) stopProcess(this.#child.pid);
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
    folders.delete(this.#folder);
  }
}

/** A server of its own. `tls`: with a certificate of a CA that nobody trusts yet. */
export async function startVault(options: { readonly tls?: boolean } = {}): Promise<VaultServer> {
  return VaultServer.start(options);
}

/** The server given by VAULT_ADDR and VAULT_TOKEN, else one of its own: for tests that mount what they need, under new names. */
export async function openVault(): Promise<Vault> {
  return givenVault === undefined ? startVault() : new Vault(givenVault.address, givenVault.token);
}

/** A CA, and a certificate of it for 127.0.0.1. */
function makeCertificates(folder: string): { ca: string; certificate: string; key: string } {
  const [ca, caKey, certificate, key] = ['ca.pem', 'ca.key', 'server.pem', 'server.key'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  const options = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
  ];
  const make = (...args: readonly string[]): void =>
    void execFileSync('openssl', [...options, ...args], { stdio: 'pipe' });
  make('-subj', '/CN=CA for tests', '-keyout', caKey, '-out', ca);
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE'];
  make('-subj', '/CN=127.0.0.1', ...names, '-CA', ca, '-CAkey', caKey, '-keyout', key, '-out', certificate);
  return { ca, certificate, key };
}

function findBinary(): string | undefined {
  const configured = env['VAULT_BIN'];
  const searched = (env['PATH'] ?? '').split(delimiter);
  const candidates = configured
    ? [configured]
    : [...searched.map((folder) => join(folder, 'vault')), join(cache, 'vault-1.21.4/vault')];
  const found = candidates.find(isExecutable);
  if (found === undefined && configured) throw new Error(`VAULT_BIN is no program: ${configured}`);
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
