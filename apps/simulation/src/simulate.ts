import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { countBranches } from './branches.ts';
import { makeHistory, run, type History } from './simulation/history.ts';
import { incidentKinds } from './simulation/incidents.ts';
import { shrink } from './simulation/shrink.ts';
import { Counts } from './simulation/world.ts';

// Errors are made by the million here; nobody reads where.
Error.stackTraceLimit = 0;

const { values } = parseArgs({
  options: {
    /** Histories, and steps of each. */
    runs: { type: 'string', default: '100' },
    steps: { type: 'string', default: '1000' },
    /** Seed of the first history; `fresh`: any. */
    first: { type: 'string', default: '1' },
    /** One history only. */
    seed: { type: 'string' },
    /** RS256 instead of Ed25519. */
    algorithm: { type: 'string' },
    /** Incidents that happen more often, with factors: `crash=3`. */
    boost: { type: 'string', multiple: true, default: [] },
    /** Ends after so many seconds, whatever `runs` says. */
    seconds: { type: 'string', default: 'Infinity' },
    /** How many failures are shrunk, and how many lines of their timelines are printed. */
    shrink: { type: 'string', default: '1' },
    lines: { type: 'string', default: '80' },
    /** Prints how often everything happened, and fails if some kind of incident never did. */
    table: { type: 'boolean', default: false },
    /** Lists the blocks of the rotation rules that no history has run. Slower. */
    branches: { type: 'boolean', default: false },
  },
});

const algorithms = values.algorithm === 'RS256' ? (['RS256'] as const) : undefined;
const boost = Object.fromEntries(
  values.boost.map((entry) => entry.split('=')).map(([name = '', factor]) => [name, Number(factor)]),
);
const counts = new Counts();

async function show(history: History): Promise<void> {
  const shortest = await shrink(history);
  const { violation, steps, timeline } = await run(shortest, new Counts(), true);
  const { profile, ahead, policies, storeHasClock, storePushes } = shortest.settings;
  console.log(`\nseed ${history.seed}, shrunk to ${steps} steps: ${String(violation)}`);
  console.log(
    `  ${ahead.length} of ${history.settings.ahead.length} instances, ${shortest.incidents.length} of ${history.incidents.length} incidents left; ` +
      `profile "${profile}" with ${policies.length} policies, store ${storeHasClock ? 'with' : 'without'} a clock${storePushes ? ', pushing' : ''}`,
  );
  console.log(timeline.slice(-Number(values.lines)).join('\n'));
}

async function simulate(): Promise<number> {
  const began = performance.now();
  const first = values.first === 'fresh' ? randomInt(1, 2 ** 31) : Number(values.first);
  const [from, runs] = values.seed === undefined ? [first, Number(values.runs)] : [Number(values.seed), 1];
  let steps = 0;
  let failures = 0;
  let histories = 0;
  let lasted = 0;
  for (; histories < runs && performance.now() - began < Number(values.seconds) * 1000; histories++) {
    const history = makeHistory(from + histories, Number(values.steps), { algorithms, boost });
    const outcome = await run(history, counts);
    steps += outcome.steps;
    lasted += outcome.lasted;
    if (outcome.violation === undefined) continue;
    failures++;
    console.log(`seed ${history.seed}, step ${outcome.steps}: ${outcome.violation}`);
    if (failures <= Number(values.shrink)) await show(history);
  }
  const seconds = (performance.now() - began) / 1000;
  const years = lasted / 1000 / 86_400 / 365.25;
  console.log(
    `seeds ${from} to ${from + histories - 1}: ${histories} histories, ${steps} steps, ${years.toFixed(1)} years of virtual time ` +
      `in ${seconds.toFixed(0)} s (${Math.round(steps / seconds)} steps a second): ${failures} violations`,
  );
  return failures;
}

/** Everything that happened, and how often. Gives the kinds that never did. */
function printTable(): readonly string[] {
  const rows = [...counts.counts].toSorted(([a], [b]) => (a < b ? -1 : 1));
  console.log(rows.map(([name, times]) => `${name.padEnd(56)} ${String(times).padStart(9)}`).join('\n'));
  const steps = ['initialise', 'publish', 'retire', 'prune', 'raise_lifetime', 'deactivate'];
  const expected = [
    ...incidentKinds.map((kind) => `incident: ${kind}`),
    ...steps.map((step) => `due: ${step}`),
  ];
  return expected.filter((name) => !counts.counts.has(name));
}

let failures = 0;
const work = async (): Promise<void> => {
  failures = await simulate();
};
if (values.branches) {
  for (const { file, blocks, missed } of await countBranches(work)) {
    console.log(`${file}: ${blocks} blocks, ${missed.length} never run`);
    for (const line of missed) console.log(`    ${line}`);
  }
} else {
  await work();
}
const never = values.table ? printTable() : [];
for (const name of never) console.log(`never happened: ${name}`);
process.exitCode = failures === 0 && never.length === 0 ? 0 : 1;
