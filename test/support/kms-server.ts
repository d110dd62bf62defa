import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { stopProcess } from './stop-process.ts';

const source = join(import.meta.dirname, '../../scripts/services/kms-server');
const { env } = process;
const cache =
  env['JWT_AUTHORITY_SERVICES'] ||
  join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'jwt-authority/services');

/** The KMS that tests start: from KMS_SERVER, or what scripts/services/kms.sh has built from the present source. */
const kmsServer: string | undefined = find();

/** To be put behind a title: says why tests are skipped, if they are. */
export const kmsMissing: string =
  kmsServer === undefined
    ? ' (skipped: no KMS for tests; run scripts/services/kms.sh, which takes cargo, or set KMS_SERVER)'
    : '';

/** Every process of it starts empty. All keys and users are in one account, and in the region that a client names. */
export interface KmsServer {
  readonly endpoint: string;
  /** Of the account's root, who may do everything. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Temporary ones whose time is over. */
  readonly expiredCredentials: KmsServer['credentials'] & { readonly sessionToken: string };
  readonly account: string;
  /** From then on it keeps its connections, and answers nothing. */
  freeze(): Promise<void>;
  thaw(): void;
  stop(): Promise<void>;
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts a KMS and IAM of its own, on a free port of the loopback, and waits until it answers. */
export async function startKms(): Promise<KmsServer> {
  if (kmsServer === undefined) throw new Error('no KMS for tests: these tests should have been skipped');
  // It ends with its standard input, however this process ends.
  const child = spawn(kmsServer, { stdio: ['pipe', 'pipe', 'inherit'] });
  running.add(child);
  const ended = once(child, 'exit');
  ended.then(
    () => running.delete(child),
    () => running.delete(child),
  );
  const endpoint = await new Promise<string>((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (data) => {
      output += String(data);
      if (output.includes('\n')) resolve(output.trim());
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error('the KMS for tests ended at once')));
  });
  return {
    endpoint,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    expiredCredentials: {
      accessKeyId: 'ASIAEXPIRED',
      secretAccessKey: 'expired',
      sessionToken: 'expired',
    },
    account: '123456789012',
    async freeze() {
      if (child.pid !== undefined) stopProcess(child.pid);
    },
    thaw: () => void child.kill('SIGCONT'),
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function find(): string | undefined {
  const configured = env['KMS_SERVER'];
  const path = configured || join(cache, 'kms', `server-${versionOf(source)}`);
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    // Where everything must be tested, nothing is skipped in silence.
    if (env['CI'] === 'true' || configured)
      throw new Error(`No KMS to test with (looked at ${path}); scripts/services/kms.sh builds one`);
    return undefined;
  }
}

/** As in scripts/services/kms.sh. */
function versionOf(folder: string): string {
  const hash = createHash('sha256');
  for (const part of [folder, join(folder, 'src')]) {
    const files = readdirSync(part, { withFileTypes: true }).filter((entry) => entry.isFile());
    for (const { name } of files.toSorted((one, other) => (one.name < other.name ? -1 : 1)))
      hash.update(readFileSync(join(part, name)));
  }
  return hash.digest('hex').slice(0, 12);
}
