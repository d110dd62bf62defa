import { randomUUID } from 'node:crypto';
import { readdirSync, renameSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { StoredKeySet } from '@jwt-authority/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileStore } from '../src/index.ts';
import { handClock } from './hand-clock.ts';
import { outcomeOf } from './outcome.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'store-file-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const own = (): string => join(folder, 'default');
const fileOf = (sequence: number): string => join(own(), `keyset.${String(sequence).padStart(12, '0')}.json`);

function keySet(revision: number): StoredKeySet {
  return { revision, etag: randomUUID(), updatedAt: 5, document: `document ${revision}` };
}

describe('a commit whose process is stopped between its last look at the clock and the link', () => {
  // The clock is asked right before the link: what it does here, other processes did while this one stood still.
  async function commitWhile(
    meanwhile: (next: StoredKeySet) => void,
  ): Promise<{ answer: boolean; left: string[] }> {
    const clock = handClock();
    const store = fileStore({ folder, clock });
    const first = keySet(1);
    await store.compareAndSwap(first, undefined, Infinity);
    const next = keySet(2);
    clock.onNow = () => meanwhile(next);
    const answer = await store.compareAndSwap(next, first, Infinity);
    const left = await readdir(own()).catch(() => []);
    return { answer, left: left.filter((name) => name.endsWith('.draft')) };
  }
  const text = (stored: StoredKeySet): string =>
    `${JSON.stringify({ format: 'jwt-authority/key-set-file/1', namespace: 'default', ...stored })}\n`;
  const put = (sequence: number, stored: StoredKeySet): void =>
    writeFileSync(fileOf(sequence), text(stored), { mode: 0o600 });

  it('has lost if another commit took the number', async () => {
    const other = keySet(2);
    const result = await commitWhile(() => put(2, other));
    expect(result, 'refused, and no draft with private keys is left').toEqual({ answer: false, left: [] });
    expect((await fileStore({ folder }).load()).stored, "the other's commit stands").toEqual(other);
  });

  it('has won if it was its own commit, sent twice, that took the number', async () => {
    const result = await commitWhile((next) => put(2, next));
    expect(result, 'its own etag is stored: the write did happen').toEqual({ answer: true, left: [] });
  });

  it('has lost if others committed for so long that its number is free again', async () => {
    const other = keySet(90);
    const result = await commitWhile(() => {
      put(90, other);
      truncateSync(fileOf(1));
      unlinkSync(fileOf(1));
    });
    expect(result, 'the link succeeds, yet the answer must be that it was too late').toEqual({
      answer: false,
      left: [],
    });
    expect(
      (await fileStore({ folder }).load()).stored,
      'a late link is never read: the last number counts',
    ).toEqual(other);
    expect(await readdir(own()), 'what it linked late is gone again').toEqual(['keyset.000000000090.json']);
  });

  it('has lost if its draft was cleared away as abandoned', async () => {
    const result = await commitWhile(() => {
      for (const name of readdirSync(own())) if (name.endsWith('.draft')) rmSync(join(own(), name));
    });
    expect(result, 'nothing was written').toEqual({ answer: false, left: [] });
  });

  it('has lost if the whole folder was moved away, and does not bring it back', async () => {
    const result = await commitWhile(() => renameSync(own(), join(folder, 'moved')));
    expect(result, 'nothing was written').toEqual({ answer: false, left: [] });
    expect(
      (await fileStore({ folder }).load()).stored,
      'absent, for a holder of the key set to heal',
    ).toBeUndefined();
  });

  it('is too late by its own clock, asked after the draft is on disk', async () => {
    const clock = handClock();
    const store = fileStore({ folder, clock });
    const start = clock.time;
    let draftsAtLook = 0;
    clock.onNow = () => {
      draftsAtLook = readdirSync(own()).filter((name) => name.endsWith('.draft')).length;
      clock.time = start + 11;
    };
    expect(
      await store.compareAndSwap(keySet(1), undefined, start + 10),
      'writing took longer than it may',
    ).toBe(false);
    expect(draftsAtLook, 'the look at the clock comes last, after all that can take long').toBe(1);
    expect(await readdir(own()), 'nothing is left').toEqual([]);
  });
});

describe('fileStore', () => {
  it('makes its folder with the first commit only', async () => {
    const store = fileStore({ folder: join(folder, 'deep/er') });
    expect(await store.load(), 'nothing is stored, and there is no clock of its own').toEqual({});
    expect(await readdir(folder), 'reading makes nothing').toEqual([]);
    await store.compareAndSwap(keySet(1), undefined, Infinity);
    expect(await readdir(join(folder, 'deep/er')), 'one folder per namespace').toEqual(['default']);
  });

  it('means the folder as it was when the store was made', async () => {
    const store = fileStore({ folder: relative(process.cwd(), folder) });
    const before = process.cwd();
    try {
      process.chdir(tmpdir());
      await store.compareAndSwap(keySet(1), undefined, Infinity);
    } finally {
      process.chdir(before);
    }
    expect(await readdir(folder), 'a daemon changes its working directory').toEqual(['default']);
  });

  it('has no ":" in file names, which means something else on Windows', async () => {
    const store = fileStore({ folder, namespace: 'tenant:a' });
    await store.compareAndSwap(keySet(1), undefined, Infinity);
    expect(await readdir(folder), 'the namespace as a folder').toEqual(['tenant+a']);
  });

  it('writes nothing that it could not read again', async () => {
    const store = fileStore({ folder });
    for (const wrong of [
      { revision: 0 },
      { revision: 1.5 },
      { revision: NaN },
      { etag: '' },
      { updatedAt: NaN },
      { document: undefined },
    ]) {
      // Wrong on purpose.
      const next = { ...keySet(1), ...wrong } as StoredKeySet;
      const outcome = await outcomeOf(store.compareAndSwap(next, undefined, Infinity));
      expect(outcome, 'somebody would have to clear it away by hand').toMatch(
        /^TypeError: "next" must be a stored key set/,
      );
    }
    expect(await readdir(folder), 'nothing is written').toEqual([]);
  });

  it('writes a file that says what it is', async () => {
    const next = keySet(1);
    await fileStore({ folder, namespace: 'prod' }).compareAndSwap(next, undefined, Infinity);
    const file = await readFile(join(folder, 'prod/keyset.000000000001.json'), 'utf8');
    expect(JSON.parse(file), 'format and namespace, so that foreign files are known').toEqual({
      format: 'jwt-authority/key-set-file/1',
      namespace: 'prod',
      ...next,
    });
  });

  it.each([
    ['no options', undefined, /"fileStore" must be given an options object/],
    ['no folder', {}, /"folder" must be the path of a folder, got undefined/],
    ['an empty folder', { folder: '' }, /"folder" must be the path of a folder, got an empty string/],
    ['a folder with NUL', { folder: 'a\0b' }, /"folder" must be the path of a folder/],
    ['a URL', { folder: new URL('file:///tmp') }, /"folder" must be the path of a folder, got an object/],
    ['an unknown option', { folder: 'x', path: 'y' }, /"path" is not an option of fileStore/],
    ['a namespace that is none', { folder: 'x', namespace: '..' }, /"namespace" must be 1 to 128/],
    ['a clock that is none', { folder: 'x', clock: {} }, /"clock" must be an object with now\(\)/],
    ['an interval of nothing', { folder: 'x', pollInterval: 0 }, /"pollInterval" must be above 0/],
    ['an interval that is none', { folder: 'x', pollInterval: 'often' }, /"pollInterval" must be seconds/],
  ])('P11: refuses %s', (_what, options, message) => {
    // Wrong on purpose.
    expect(() => fileStore(options as { folder: string }), 'wrong use is a TypeError').toThrow(TypeError);
    expect(() => fileStore(options as { folder: string }), 'wrong options fail at once and by name').toThrow(
      message,
    );
  });
});
