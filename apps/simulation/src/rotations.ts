import { fork, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Round, RoundResult } from './worker.ts';

/** What many processes did to one file store. */
export interface RotationFigures {
  readonly processes: number;
  /** Due rotations, and keys published for them: must be equal. */
  readonly due: number;
  readonly published: number;
  /** Rounds in which more than one process published. */
  readonly doubled: number;
  readonly lostRaces: number;
  readonly tokensSigned: number;
  readonly verifications: number;
  readonly tokensLost: number;
  readonly seconds: number;
}

const propagationDelay = 60;
const rotationInterval = 3600;
const tokenLifetime = 3600;

interface TimedToken {
  readonly token: string;
  readonly expiresAt: number;
}

/**
 * Lets `processes` real processes on one folder meet `rotations` due rotations, all at the same instant each time, and
 * verify each other's tokens across them. Time is virtual: the parent says what time it is, the rest is real.
 */
export async function rotate(processes: number, rotations: number): Promise<RotationFigures> {
  const started = performance.now();
  const folder = await mkdtemp(join(tmpdir(), 'jwt-authority-rotations-'));
  const key = randomBytes(32).toString('base64');
  const settings = JSON.stringify({
    propagationDelay,
    rotationInterval,
    maxTokenLifetime: tokenLifetime,
    algorithms: ['ES256'],
  });
  const workers = Array.from({ length: processes }, () =>
    fork(fileURLToPath(new URL('worker.js', import.meta.url)), [folder, key, settings], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    }),
  );
  const figures = {
    published: 0,
    doubled: 0,
    lostRaces: 0,
    tokensSigned: 0,
    verifications: 0,
    tokensLost: 0,
  };
  let tokens: TimedToken[] = [];
  let now = Date.UTC(2026, 0, 1);

  const round = async (): Promise<number> => {
    tokens = tokens.filter(({ expiresAt }) => expiresAt > now);
    const asked: Round = { now, tokens: tokens.map(({ token }) => token) };
    const results = await Promise.all(workers.map(async (worker) => ask(worker, asked)));
    const published = new Set(results.flatMap((result) => result.published));
    for (const result of results) {
      figures.lostRaces += result.lostRace ? 1 : 0;
      figures.verifications += asked.tokens.length;
      figures.tokensLost += result.refused.length;
      tokens.push({ token: result.token, expiresAt: now + tokenLifetime * 1000 });
    }
    figures.tokensSigned += results.length;
    figures.doubled += published.size > 1 ? 1 : 0;
    return published.size;
  };

  try {
    await Promise.all(workers.map(async (worker) => once(worker, 'message')));
    await round();
    for (let rotation = 0; rotation < rotations; rotation++) {
      // To the moment at which the next key is due, then past its activation and the end of its predecessor.
      now += (rotationInterval - propagationDelay) * 1000;
      figures.published += await round();
      now += (propagationDelay + 40) * 1000;
      figures.published += await round();
      // An active key's time counts from its activation.
      now -= 20 * 1000;
    }
    return {
      processes,
      due: rotations,
      ...figures,
      seconds: Math.round((performance.now() - started) / 100) / 10,
    };
  } finally {
    for (const worker of workers) worker.kill();
    await rm(folder, { recursive: true, force: true });
  }
}

async function ask(worker: ChildProcess, round: Round): Promise<RoundResult> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error('a worker ended in the middle'));
    worker.once('exit', onExit);
    worker.once('message', (result) => {
      worker.off('exit', onExit);
      // Ours: worker.ts sends nothing else.
      resolve(result as RoundResult);
    });
    worker.send(round);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [processes = '8', rotations = '200', format] = process.argv.slice(2);
  const figures = await rotate(Number(processes), Number(rotations));
  console.log(format === '--json' ? JSON.stringify(figures) : figures);
  const holds = figures.published === figures.due && figures.doubled === 0 && figures.tokensLost === 0;
  process.exitCode = holds ? 0 : 1;
}
