import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { rolldown } from 'rolldown';
import { plantedBugs, type PlantedBug } from './planted-bugs.ts';
import type * as Simulation from './simulation/history.ts';

/** How a planted bug was found, or that it was not. */
export interface Found {
  readonly name: string;
  /** Histories until the first violation; `undefined`: not found. */
  readonly histories: number | undefined;
  readonly steps: number;
  readonly violation: string | undefined;
}

/**
 * Bundles the simulation together with the sources of core, in which the bug has been planted, into a file of its own
 * outside of the checkout. Nothing that is built or shipped is touched.
 */
async function buildWith(bug: PlantedBug, folder: string): Promise<typeof Simulation> {
  const planted = new Set<object>();
  const bundle = await rolldown({
    input: fileURLToPath(new URL('simulation/history.ts', sourceFolder())),
    platform: 'node',
    resolve: { conditionNames: ['@jwt-authority/source', 'node', 'import', 'default'] },
    plugins: [
      {
        name: 'plant',
        transform(code, id) {
          let changed = code;
          for (const change of bug.changes) {
            if (!id.replaceAll('\\', '/').endsWith(`/${change.file}`)) continue;
            if (changed.split(change.text).length !== 2)
              throw new Error(`"${bug.name}" does not fit ${change.file} any more: ${change.text}`);
            changed = changed.replace(change.text, () => change.by);
            planted.add(change);
          }
          return changed === code ? undefined : { code: changed, map: null };
        },
      },
    ],
  });
  const file = join(folder, `${bug.name.replaceAll(/\W+/g, '-')}.mjs`);
  await bundle.write({ file, format: 'esm' });
  await bundle.close();
  if (planted.size !== bug.changes.length) throw new Error(`"${bug.name}" was not planted`);
  // The module that was bundled from this one.
  return (await import(/* @vite-ignore */ pathToFileURL(file).href)) as typeof Simulation;
}

/** The sources, also when this runs from `dist`. */
function sourceFolder(): URL {
  return new URL('../src/', import.meta.url);
}

/** The bugs that no longer fit the sources: a text that they replace does not stand there exactly once. */
export async function misfits(bugs: readonly PlantedBug[]): Promise<string[]> {
  const packages = new URL('../../../packages/', import.meta.url);
  const fits = async ({ file, text }: PlantedBug['changes'][number]): Promise<boolean> =>
    (await readFile(new URL(file, packages), 'utf8')).split(text).length === 2;
  const checked = bugs.map(async ({ name, changes }) =>
    (await Promise.all(changes.map(fits))).every(Boolean) ? [] : [name],
  );
  return (await Promise.all(checked)).flat();
}

/** Looks for each of these bugs with at most `most` histories, from seed `first` on. */
export async function findPlanted(
  bugs: readonly PlantedBug[],
  first: number,
  most: number,
  onFound: (found: Found) => void = () => {},
): Promise<Found[]> {
  const folder = await mkdtemp(join(tmpdir(), 'jwt-authority-planted-'));
  try {
    const results: Found[] = [];
    for (const bug of bugs) {
      const { makeHistory, run } = await buildWith(bug, folder);
      let steps = 0;
      let violation: string | undefined;
      let histories = 0;
      for (; histories < most && violation === undefined; histories++) {
        const history = makeHistory(first + histories, bug.steps ?? 1000, { boost: bug.boost });
        const outcome = await run(history);
        steps += outcome.steps;
        violation = outcome.violation;
      }
      const found = {
        name: bug.name,
        histories: violation === undefined ? undefined : histories,
        steps,
        violation,
      };
      onFound(found);
      results.push(found);
    }
    return results;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

if (
  process.argv[1] !== undefined &&
  import.meta.url.endsWith('/planted.js') &&
  fileURLToPath(import.meta.url) === process.argv[1]
) {
  Error.stackTraceLimit = 0;
  const { values } = parseArgs({
    options: {
      most: { type: 'string', default: '2000' },
      first: { type: 'string', default: '1' },
      only: { type: 'string' },
    },
  });
  const { only } = values;
  const bugs = plantedBugs.filter(({ name }) => only === undefined || name.includes(only));
  const found = await findPlanted(
    bugs,
    Number(values.first),
    Number(values.most),
    ({ name, histories, steps, violation }) => {
      console.log(
        `${name.padEnd(70)} ${histories === undefined ? 'NOT FOUND' : `history ${histories}`.padEnd(12)} ${String(steps).padStart(8)} steps  ${violation ?? ''}`,
      );
    },
  );
  const missed = found.filter(({ histories }) => histories === undefined).length;
  console.log(`${found.length} planted bugs, ${found.length - missed} found`);
  process.exitCode = missed === 0 ? 0 : 1;
}
