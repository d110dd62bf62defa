import { randomInt } from 'node:crypto';
import { link, lstat, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StoredKeySet } from '@jwt-authority/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { fileStore } from '../src/index.ts';
import { bundleProgram, type Program } from './processes.ts';

// Two seconds each on an idle machine; others may be busy.
vi.setConfig({ testTimeout: 120_000 });

let program: Program;
let folder: string;
beforeAll(async () => {
  program = await bundleProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'store-file-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const own = (): string => join(folder, 'default');

/** Names of files that hold anything. */
async function filled(): Promise<string[]> {
  const names = await readdir(own());
  const sizes = await Promise.all(names.map(async (name) => (await lstat(join(own(), name))).size));
  return names.filter((_name, index) => sizes[index] !== 0);
}

async function stored(): Promise<StoredKeySet> {
  const result = await fileStore({ folder }).load();
  if (result.stored === undefined) throw new Error('nothing is stored');
  return result.stored;
}

describe('many processes', () => {
  it('P2: 8 processes × 50 commits, stopped and continued at random: one winner per revision, nothing lost', async () => {
    const processes = Array.from({ length: 8 }, () => program.start(['append', folder, '50']));
    const allEnded = Promise.all(processes.map(({ ended }) => ended));
    const running = (): boolean =>
      processes.some(({ child }) => child.exitCode === null && child.signalCode === null);

    const seen: number[] = [];
    const reader = (async () => {
      const store = fileStore({ folder });
      while (running()) seen.push((await store.load()).stored?.revision ?? 0);
    })();
    const stopper = (async () => {
      while (running()) {
        const { child } = processes[randomInt(8)] ?? { child: undefined };
        child?.kill('SIGSTOP');
        await sleep(randomInt(60));
        child?.kill('SIGCONT');
        await sleep(randomInt(20));
      }
    })();
    const codes = await allEnded;
    await Promise.all([reader, stopper]);

    expect(codes, 'every process got its 50 commits through, without an error').toEqual(Array(8).fill(0));
    const events = processes.flatMap((one) => one.events);
    const won = events
      .filter(({ etag }) => etag !== undefined)
      .toSorted((one, other) => (one.revision ?? 0) - (other.revision ?? 0));
    expect(
      won.map(({ revision }) => revision),
      'each revision has exactly one winner',
    ).toEqual(Array.from({ length: 400 }, (_, index) => index + 1));
    const end = await stored();
    expect(
      end.document.split(' '),
      'every commit builds on the one before: an unbroken chain of the winners',
    ).toEqual(won.map(({ etag }) => etag));
    const lost = events.flatMap((event) => event.lost ?? []);
    expect(
      lost.filter((etag) => end.document.includes(etag)),
      'nobody was told "lost" who had written',
    ).toEqual([]);
    expect(lost.length, 'the processes did race, or this proves nothing').toBeGreaterThan(20);
    expect(seen, 'a reader in the middle of it never fails and never sees time go back').toEqual(
      seen.toSorted((one, other) => one - other),
    );
    expect(new Set(seen).size, 'the reader did read in the middle of it').toBeGreaterThan(5);
    expect(await filled(), 'P5: of 400 commits, only the last one holds anything').toEqual([
      'keyset.000000000400.json',
    ]);
  });

  it('P2: SIGKILL at any instant leaves the key set before or after, never half of one', async () => {
    let acknowledged: string[] = [];
    let revision = 0;
    for (let round = 0; round < 10; round += 1) {
      const processes = Array.from({ length: 2 }, () => program.start(['append', folder, '100000']));
      await vi.waitFor(() => {
        const silent = processes.filter(({ events }) => events.length === 0);
        expect(silent.length, 'both must be at work').toBe(0);
      }, 60_000);
      await sleep(randomInt(20));
      for (const { child } of processes) child.kill('SIGKILL');
      expect(
        await Promise.all(processes.map(({ ended }) => ended)),
        'both were killed in the middle',
      ).toEqual(['SIGKILL', 'SIGKILL']);
      acknowledged = acknowledged.concat(
        processes.flatMap(({ events }) => events.flatMap(({ etag }) => etag ?? [])),
      );

      const now = await stored();
      const chain = now.document.split(' ');
      expect(chain.length, 'revision and chain agree').toBe(now.revision);
      expect(chain.at(-1), 'the document is of the commit that it says').toBe(now.etag);
      expect(now.revision, 'nothing goes back').toBeGreaterThan(revision);
      expect(
        acknowledged.filter((etag) => !chain.includes(etag)),
        'no commit that was acknowledged is lost',
      ).toEqual([]);
      revision = now.revision;
    }
    expect(
      (await program.run(['append', folder, '1'])).at(-1)?.revision,
      'a new process goes on at once',
    ).toBe(revision + 1);
    const sets = (await filled()).filter((name) => name.endsWith('.json'));
    expect(sets.length, 'P5: the first commit after destroys what killed processes left').toBe(1);
  });

  it('P5: the first commit after a kill empties earlier files, their second names too, and removes old drafts', async () => {
    await program.run(['append', folder, '3']);
    const file = (sequence: number): string => join(own(), `keyset.00000000000${sequence}.json`);
    const draft = (digit: string): string => join(own(), `.keyset.${digit.repeat(32)}.draft`);
    // As if killed between link and unlink, and before emptying what came before.
    await writeFile(file(1), 'encrypted private keys');
    await writeFile(file(2), 'encrypted private keys');
    await link(file(2), draft('a'));
    await writeFile(draft('b'), 'abandoned long ago');
    await utimes(draft('b'), 1000, 1000);
    await writeFile(draft('c'), 'of a process that may still run');
    await writeFile(join(own(), 'notes.txt'), 'somebody else’s');

    await program.run(['append', folder, '1']);
    for (const path of [file(1), file(2), file(3), draft('a')]) {
      expect(
        (await lstat(path)).size,
        `${path} must be empty: it held private keys of an earlier revision`,
      ).toBe(0);
    }
    const names = await readdir(own());
    expect(names, 'a draft older than a minute is cleared away').not.toContain(
      '.keyset.' + 'b'.repeat(32) + '.draft',
    );
    expect(names, 'a fresh draft may belong to a running process').toContain(
      '.keyset.' + 'c'.repeat(32) + '.draft',
    );
    expect(await readFile(join(own(), 'notes.txt'), 'utf8'), 'foreign files are left alone').toBe(
      'somebody else’s',
    );
  });

  it('keeps the folder small: the last 64 numbers and no more', async () => {
    await program.run(['append', folder, '80']);
    const names = (await readdir(own())).toSorted();
    expect(names.length, 'emptied files are removed in the end').toBe(65);
    expect([names[0], names.at(-1)], 'the oldest go first').toEqual([
      'keyset.000000000016.json',
      'keyset.000000000080.json',
    ]);
  });

  it('a process that watches ends by itself', async () => {
    await program.run(['append', folder, '1']);
    expect(
      await program.start(['watch', folder]).ended,
      'neither timer nor watcher keeps the process alive',
    ).toBe(0);
  });
});
