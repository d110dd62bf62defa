import { type ChildProcessByStdio, spawn, type SpawnOptions } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { rolldown } from 'rolldown';

/** Any of the lines that fixtures/process.ts prints. */
interface Event {
  etag?: string;
  revision?: number;
  lost?: string;
  written?: boolean;
  document?: string;
  /** As outcomeOf says it. */
  failure?: string;
}

interface Running {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  readonly events: Event[];
  /** How it ended: its exit code, or the signal. */
  readonly ended: Promise<number | string>;
}

export interface Program {
  start(args: readonly string[], options?: SpawnOptions & { shell?: never; limit?: string }): Running;
  /** Starts it, waits for its end, answers with what it said. */
  run(args: readonly string[], options?: SpawnOptions & { shell?: never; limit?: string }): Promise<Event[]>;
  /** Ends what still runs, and removes the program. */
  remove(): Promise<void>;
}

/** Bundles the fixture with the present sources, since Node 20 runs no TypeScript and a build may be stale. */
export async function bundleProgram(): Promise<Program> {
  const folder = await mkdtemp(join(tmpdir(), 'store-file-program-'));
  // Other users run it too.
  await chmod(folder, 0o755);
  const file = join(folder, 'process.mjs');
  const bundle = await rolldown({
    input: join(import.meta.dirname, 'fixtures/process.ts'),
    platform: 'node',
    resolve: { conditionNames: ['@jwt-authority/source', 'node', 'import', 'default'] },
  });
  await bundle.write({ file, format: 'esm', codeSplitting: false });
  await bundle.close();

  const children = new Set<Running['child']>();
  const start: Program['start'] = (args, { limit, ...options } = {}) => {
    const child = spawn(
      limit === undefined ? process.execPath : 'bash',
      limit === undefined
        ? [file, ...args]
        : ['-c', `${limit}; exec "$@"`, 'bash', process.execPath, file, ...args],
      { cwd: folder, ...options, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    children.add(child);
    const events: Event[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => {
      // A line of a killed process may be cut short: then it was not said.
      if (line.endsWith('}')) events.push(JSON.parse(line) as Event);
    });
    let stderr = '';
    child.stderr.on('data', (data) => (stderr += String(data)));
    const ended = new Promise<number | string>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => {
        children.delete(child);
        if (stderr === '') resolve(signal ?? code ?? 'unknown');
        else reject(new Error(`The process failed: ${stderr}`));
      });
    });
    return { child, events, ended };
  };
  return {
    start,
    run: async (args, options) => {
      const { events, ended } = start(args, options);
      await ended;
      return events;
    },
    remove: async () => {
      // Those of a test that failed in the middle.
      for (const child of children) child.kill('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
  };
}
