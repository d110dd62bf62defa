import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { rolldown } from 'rolldown';

/** What a command line printed, and how it ended. */
export interface Outcome {
  readonly code: number | string;
  readonly out: string;
  readonly err: string;
  /** What it printed with `--json`. */
  json(): Record<string, unknown>;
}

interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Called with the process once it runs. */
  readonly onStart?: (child: ChildProcess) => void;
  /** Called with the process and what it has said on standard error so far, whenever it says more. */
  readonly onError?: (child: ChildProcess, said: string) => void;
}

/** The command as it is in `src`, in a folder of its own: each run is a process. */
export interface CommandLine {
  readonly folder: string;
  /** The bundled bin. */
  readonly file: string;
  run(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  remove(): Promise<void>;
}

/** Bundles the present sources: Node 20 runs no TypeScript, and a build may be stale. */
export async function commandLine(): Promise<CommandLine> {
  // Below this package, so that clients which are loaded by name are found.
  const cache = join(import.meta.dirname, '../node_modules/.cache');
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'command-'));
  const file = join(folder, 'bin.mjs');
  const bundle = await rolldown({
    input: join(import.meta.dirname, '../src/bin.ts'),
    platform: 'node',
    external: ['@aws-sdk/client-kms', 'commander', 'ioredis', 'jose', 'node-vault', 'redis', 'redis-om'],
    resolve: { conditionNames: ['@jwt-authority/source', 'node', 'import', 'default'] },
  });
  // In chunks, so that a client is loaded only by the command that names it.
  await bundle.write({
    dir: folder,
    entryFileNames: 'bin.mjs',
    chunkFileNames: '[name]-[hash].mjs',
    format: 'esm',
  });
  await bundle.close();
  return {
    folder,
    file,
    async run(args, { env = {}, input = '', onStart, onError } = {}) {
      const child = spawn(process.execPath, [file, ...args], {
        cwd: folder,
        env: { PATH: process.env['PATH'], HOME: folder, ...env },
        stdio: 'pipe',
      });
      onStart?.(child);
      let [out, err] = ['', ''];
      child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => {
        err += chunk.toString();
        onError?.(child, err);
      });
      // A command that does not read has closed its end.
      child.stdin.on('error', () => {});
      child.stdin.end(input);
      const code = await new Promise<number | string>((resolve, reject) => {
        child.once('error', reject);
        child.once('close', (exit, signal) => resolve(exit ?? signal ?? 'unknown'));
      });
      return {
        code,
        out,
        err,
        // Every command prints one object.
        json: () => JSON.parse(out) as Record<string, unknown>,
      };
    },
    remove: async () => rm(folder, { recursive: true, force: true }),
  };
}
