import { readFile } from 'node:fs/promises';
import { Session } from 'node:inspector/promises';
import { fileURLToPath } from 'node:url';

/** The code that decides about rotation, and which of its blocks no history has run. */
export interface Branches {
  readonly file: string;
  readonly blocks: number;
  /** First lines of the blocks that were never run, as they stand in the built file. */
  readonly missed: readonly string[];
}

const files =
  /\/packages\/core\/dist\/(?:key-set\/(?:plan|changes|join|states)|key-ring\/(?:reconcile|transitions))\.js$/;

/** Counts the blocks of the planner, the changes, the join and the reconciliation by V8's own coverage, while `work` runs. */
export async function countBranches(work: () => Promise<void>): Promise<Branches[]> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  await work();
  const { result } = await session.post('Profiler.takePreciseCoverage');
  session.disconnect();
  const scripts = result.filter(({ url }) => files.test(url));
  return Promise.all(
    scripts.map(async ({ url, functions }) => {
      const text = await readFile(fileURLToPath(url), 'utf8');
      const ranges = functions.flatMap((entry) => entry.ranges);
      const missed = ranges
        .filter(({ count }) => count === 0)
        .map(({ startOffset, endOffset }) => {
          const line = text.slice(0, startOffset).split('\n').length;
          return `${line}: ${text.slice(startOffset, endOffset).trim().split('\n')[0]?.slice(0, 90) ?? ''}`;
        });
      return { file: url.slice(url.indexOf('/dist/') + 6), blocks: ranges.length, missed };
    }),
  );
}
