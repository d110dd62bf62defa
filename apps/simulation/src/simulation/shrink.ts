import { run, type History } from './history.ts';

const mostRuns = 300;

/** The same promise broken: the number, not the words (times and names change with what is left out). */
function promiseOf(violation: string | undefined): string | undefined {
  return violation?.slice(0, 20).replace(/ .*/, '');
}

/**
 * The shortest history found that breaks the same promise: cuts off what comes after the violation, then leaves out
 * incidents in ever smaller groups (delta debugging), then instances' noise: whatever is not needed.
 */
export async function shrink(history: History): Promise<History> {
  const first = await run(history);
  const promise = promiseOf(first.violation);
  if (promise === undefined) return history;
  let runs = 0;
  let best: History = { ...history, steps: Math.min(history.steps, first.steps + 1) };
  const attempt = async (candidate: History): Promise<boolean> => {
    if (runs++ >= mostRuns) return false;
    const outcome = await run(candidate);
    if (promiseOf(outcome.violation) !== promise) return false;
    best = { ...candidate, steps: Math.min(candidate.steps, outcome.steps + 1) };
    return true;
  };
  await attempt({ ...best, incidents: best.incidents.filter(({ step }) => step < best.steps) });
  for (
    let size = Math.ceil(best.incidents.length / 2);
    size >= 1;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let from = 0; from < best.incidents.length;) {
      const end = from + size;
      const incidents = best.incidents.filter((_, index) => index < from || index >= end);
      if (!(await attempt({ ...best, incidents }))) from = end;
    }
  }
  // Fewer instances give another history altogether, perhaps one that fails too.
  while (best.settings.ahead.length > 1) {
    const settings = { ...best.settings, ahead: best.settings.ahead.slice(0, -1) };
    if (!(await attempt({ ...best, settings }))) break;
  }
  return best;
}
