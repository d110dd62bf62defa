import { setTimeout as sleep } from 'node:timers/promises';
import { JwtAuthorityError } from '@jwt-authority/core';
import type { JwtAuthorityErrorCode } from '@jwt-authority/core';

/** One promise of a contract, as a test without a test runner. */
export interface ContractCase {
  /** Unique in its suite, and stable: `skip` goes by it. Of a skipped case, the reason stands behind it. */
  readonly name: string;
  /** Why it is skipped. Then `run` does nothing. */
  readonly skipped?: string;
  /** Rejects with a {@link ContractError} if the promise is broken. Cases run in any order, but one after another. */
  readonly run: () => Promise<void>;
}

export interface SkippedCase {
  /** The exact name of a case. */
  readonly name: string;
  /** What it cannot do, for those who read the test report. */
  readonly reason: string;
}

export interface CaseOptions {
  /** Cases that do not apply. An unknown name or an empty reason is a `TypeError`. */
  readonly skip?: readonly SkippedCase[] | undefined;
  /** How long something may take that has no time of its own, in milliseconds: a notification, recovery. Default 4000. */
  readonly patience?: number | undefined;
}

/** What broke, and why it matters. */
export class ContractError extends Error {
  override readonly name = 'ContractError';
}

/** `it` of vitest, node:test or jest. */
export interface TestFunction {
  (name: string, run: () => Promise<void>): unknown;
  skip(name: string, run: () => Promise<void>): unknown;
}

/** Hands the cases to a test runner: `registerCases(it, cases)`. Skipped ones show up as skipped, with their reason. */
export function registerCases(it: TestFunction, cases: readonly ContractCase[]): void {
  for (const { name, skipped, run } of cases) {
    if (skipped === undefined) it(name, run);
    else it.skip(name, run);
  }
}

/** A case before it has what it runs on; not listed if `applies` is false. */
export interface Definition<Subject> {
  readonly name: string;
  readonly applies?: boolean | undefined;
  readonly run: (subject: Subject) => Promise<void>;
}

/** The cases that apply, each with a subject of its own, which is closed in the end. */
export function bind<Subject extends { close(): Promise<void> }>(
  definitions: readonly Definition<Subject>[],
  options: CaseOptions,
  makeSubject: () => Subject,
): ContractCase[] {
  const listed = definitions.filter(({ applies }) => applies !== false);
  const reasons = new Map<string, string>();
  for (const { name, reason } of options.skip ?? []) {
    if (!listed.some((definition) => definition.name === name)) {
      throw new TypeError(
        `"skip" names an unknown case "${name}". The cases are: ${listed.map((one) => one.name).join(' · ')}`,
      );
    }
    if (typeof reason !== 'string' || reason.trim() === '')
      throw new TypeError(`"skip" must give a reason for "${name}"`);
    reasons.set(name, reason);
  }
  return listed.map(({ name, run }) => {
    const skipped = reasons.get(name);
    if (skipped !== undefined) return { name: `${name} (skipped: ${skipped})`, skipped, run: async () => {} };
    return {
      name,
      run: async () => {
        const subject = makeSubject();
        try {
          await run(subject);
        } finally {
          await subject.close();
        }
      },
    };
  });
}

export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ContractError(message);
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, patience: number, message: string): Promise<void> {
  const end = performance.now() + patience;
  while (!condition()) {
    check(performance.now() < end, message);
    await sleep(10);
  }
}

/** The reason why `work` fails, `undefined` if it does not; fails by itself if there is no answer in time. */
export async function failureOf(work: Promise<unknown>, patience: number, message: string): Promise<unknown> {
  const controller = new AbortController();
  const late = sleep(patience, undefined, { signal: controller.signal }).then(() => {
    throw new ContractError(message);
  });
  // The one that loses is dropped.
  late.catch(() => undefined);
  try {
    return await Promise.race([
      work.then(
        () => undefined,
        // A rejection with nothing is one too.
        (error: unknown) => error ?? new Error('no reason given'),
      ),
      late,
    ]);
  } finally {
    controller.abort();
  }
}

/** Checks that `work` fails in time with one of these codes. `why` completes the sentence: `… : why`. */
export async function checkFails(
  work: Promise<unknown>,
  codes: readonly JwtAuthorityErrorCode[],
  what: string,
  why: string,
  patience: number,
): Promise<void> {
  const wanted = codes.map((code) => `'${code}'`).join(' or ');
  const error = await failureOf(
    work,
    patience,
    `${what}: no answer within ${patience} ms, must fail with ${wanted}. ${why}`,
  );
  check(error !== undefined, `${what}: succeeded, must fail with ${wanted}. ${why}`);
  const got = JwtAuthorityError.is(error) ? `code '${error.code}'` : describe(error);
  check(
    JwtAuthorityError.is(error) && codes.includes(error.code),
    `${what}: failed with ${got}, must be a JwtAuthorityError with ${wanted}. ${why}`,
  );
}

function describe(error: unknown): string {
  return error instanceof Error ? error.name : `a thrown ${typeof error}`;
}

/** Checks that `work` is refused as misuse. */
export async function checkMisuse(
  work: () => Promise<unknown>,
  what: string,
  why: string,
  patience: number,
): Promise<void> {
  const error = await failureOf(
    // A method that throws instead of rejecting is as good.
    Promise.resolve().then(work),
    patience,
    `${what}: no answer within ${patience} ms`,
  );
  check(
    error instanceof TypeError,
    `${what}: ${error === undefined ? 'accepted, must be refused with' : 'refused, but not with'} a TypeError. ${why}`,
  );
}
