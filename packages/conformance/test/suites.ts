import { expect, it } from 'vitest';
import { type ContractCase, ContractError } from '../src/index.ts';

/** A deliberately broken implementation, and the cases that must notice it. */
export interface Mutant<World> {
  readonly what: string;
  readonly caughtBy: readonly string[];
  readonly break: (world: World) => void;
}

export interface Suite<World> {
  readonly makeWorld: () => World;
  /** The suite on an implementation that is right but for what was broken in its world. */
  readonly cases: (world: World) => ContractCase[];
}

/** Which of the named cases fail when the implementation is broken so. Each case has a world of its own. */
async function failures<World>(
  { makeWorld, cases }: Suite<World>,
  names: readonly string[],
  breakIt: (world: World) => void,
): Promise<string[]> {
  const failed: string[] = [];
  for (const name of names) {
    const world = makeWorld();
    breakIt(world);
    const found = cases(world).find((one) => one.name === name);
    const error = await (found?.run() ?? Promise.resolve()).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error === undefined) continue;
    failed.push(name);
    // Whatever the store itself throws passes through as it is.
    const message = error instanceof ContractError ? error.message : 'what: why';
    expect(message, `${name}: says what broke, and then why it matters`).toMatch(/\w{3,}.*[.:,] .*\w{3,}/s);
  }
  return failed;
}

const namesOf = <World>({ makeWorld, cases }: Suite<World>): string[] =>
  cases(makeWorld()).map(({ name }) => name);

/** Proves a suite: it passes what is right, catches each mutant by the cases named, and no case catches nothing. */
export function proveSuite<World>(suite: Suite<World>, mutants: readonly Mutant<World>[]): void {
  it('passes an implementation that is right', async () => {
    expect(await failures(suite, namesOf(suite), () => undefined), 'cases that fail without reason').toEqual(
      [],
    );
  });

  it.each(mutants)('catches one that $what', async ({ caughtBy, break: breakIt }) => {
    expect(await failures(suite, caughtBy, breakIt), 'each of these cases must fail').toEqual(caughtBy);
  });

  it('has no case without a mutant that it catches', () => {
    const names = namesOf(suite);
    const caught = new Set(mutants.flatMap(({ caughtBy }) => caughtBy));
    expect(
      names.filter((name) => !caught.has(name)),
      'cases never seen to fail prove nothing',
    ).toEqual([]);
    expect(
      [...caught].filter((name) => !names.includes(name)),
      'names that are no case',
    ).toEqual([]);
    expect(new Set(names).size, 'names are unique: skip goes by them').toBe(names.length);
  });
}
