import { styleText } from 'node:util';

const colours = process.stdout.isTTY && !process.env['NO_COLOR'];
const style = (format: Parameters<typeof styleText>[0], text: string): string =>
  colours ? styleText(format, text) : text;

/** Ends the story. What was expected has been said already. */
export class DoesNotHold extends Error {}

let acts = 0;
let lines = 0;

export function act(title: string): void {
  acts += 1;
  console.log(`\n${style('bold', `${acts}. ${title}`)}`);
}

/** One line of the story: what holds, and the fact that was measured. Ends the story if it does not hold. */
export function check(line: string, holds: boolean, fact: string): void {
  if (!holds) fail(line, fact);
  lines += 1;
  console.log(`  ${style('green', '✓')} ${line} ${style('dim', `(${fact})`)}`);
}

function fail(expected: string, found: string): never {
  console.log(`  ${style('red', '✗')} expected: ${expected}\n    but found: ${found}`);
  throw new DoesNotHold(expected);
}

export function linesThatHold(): number {
  return lines;
}

/** Runs work, and says how long it took in milliseconds. */
export async function timed<T>(work: () => Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const began = performance.now();
  const value = await work();
  return { value, ms: Math.round(performance.now() - began) };
}

/** Asks again and again until the answer is not `undefined`. Ends the story if that takes too long. */
export async function until<T>(what: string, ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const patience = 15_000;
  const end = performance.now() + patience;
  while (performance.now() < end) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await pause(40);
  }
  return fail(what, `nothing of the kind for ${patience / 1000} s`);
}

export async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** A kid as the story shows it. */
export function short(kid: string | undefined): string {
  return kid === undefined ? 'none' : `${kid.slice(0, 6)}…`;
}
