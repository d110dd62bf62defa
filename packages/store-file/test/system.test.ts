import { execFileSync } from 'node:child_process';
import { chmod, chown, lstat, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StoredKeySet } from '@jwt-authority/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fileStore } from '../src/index.ts';
import { outcomeOf } from './outcome.ts';
import { bundleProgram, type Program } from './processes.ts';

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

const nobody = { uid: 65_534, gid: 65_534 };
const whySkipped = whyNotTwoUsers();
const twoUsers = whySkipped === undefined ? '' : ` (skipped: ${whySkipped})`;
const first: StoredKeySet = { revision: 1, etag: 'one', updatedAt: 5, document: 'the first document' };

function whyNotTwoUsers(): string | undefined {
  if (process.geteuid?.() !== 0) return 'it takes root to act as two users';
  try {
    execFileSync(process.execPath, ['--version'], nobody);
    return undefined;
  } catch {
    return 'this Node lies where another user cannot run it';
  }
}

async function modeOf(...path: string[]): Promise<string> {
  return ((await lstat(join(folder, ...path))).mode & 0o7777).toString(8);
}

describe('permissions', () => {
  it('makes folders 700 and files 600, whatever the umask', async () => {
    expect(await program.run(['write', join(folder, 'new/base'), '5'], { limit: 'umask 000' })).toEqual([
      { written: true },
    ]);
    const modes = await Promise.all([modeOf('new'), modeOf('new/base'), modeOf('new/base/default')]);
    expect(modes, 'others may not even look').toEqual(['700', '700', '700']);
    expect(
      await modeOf('new/base/default/keyset.000000000001.json'),
      'it holds private keys, encrypted',
    ).toBe('600');
  });

  it.each([
    [
      'the file can be read by others',
      'default/keyset.000000000001.json',
      0o644,
      /is open to other users \(mode 644\).*Run: chmod 600 '/,
    ],
    [
      'the file can be written by the group',
      'default/keyset.000000000001.json',
      0o620,
      /is open to other users \(mode 620\)/,
    ],
    [
      'the folder can be written by the group',
      'default',
      0o770,
      /default" can be written by other users \(mode 770\).*Run: chmod go-w '/,
    ],
    ['the folder can be written by others', 'default', 0o702, /can be written by other users \(mode 702\)/],
    [
      'the folder above can be written by the group',
      '.',
      0o770,
      /can be written by other users \(mode 770\)/,
    ],
    [
      'the folder above is like /tmp',
      '.',
      0o1777,
      /can be written by other users \(mode 1777\).*or give "folder" a new folder inside it/,
    ],
  ])('refuses to go on when %s, and gives the command', async (_what, path, mode, message) => {
    const store = fileStore({ folder });
    await store.compareAndSwap(first, undefined, Infinity);
    await chmod(join(folder, path), mode);
    const reading = await outcomeOf(store.load());
    expect(reading, 'reading').toMatch(message);
    expect(reading, 'somebody has to act').toMatch(/^store_unreadable: /);
    const writing = await outcomeOf(store.compareAndSwap({ ...first, etag: 'x' }, first, Infinity));
    expect(writing, 'writing fails likewise').toBe(reading);

    const command = /chmod [\w-]+ '[^']+'/.exec(reading)?.[0] ?? 'no command';
    execFileSync('sh', ['-c', command]);
    expect((await store.load()).stored, `after "${command}" it must go on`).toEqual(first);
  });

  it('a folder may be looked into by others', async () => {
    const store = fileStore({ folder });
    await store.compareAndSwap(first, undefined, Infinity);
    await chmod(folder, 0o755);
    await chmod(join(folder, 'default'), 0o755);
    expect((await store.load()).stored, 'the files are what must be closed').toEqual(first);
  });

  it(`a folder that this user may not read is a clear error${twoUsers}`, async (test) => {
    if (whySkipped !== undefined) test.skip(whySkipped);
    await program.run(['write', folder, '5']);
    const events = await program.run(['load', folder], nobody);
    expect(events[0]?.failure, 'not "absent": that means make new keys').toMatch(
      /^store_unavailable: Cannot read ".*default": Error EACCES, this user may not; the folder must belong to/,
    );
  });

  it(`a folder of another user is refused${twoUsers}`, async (test) => {
    if (whySkipped !== undefined) test.skip(whySkipped);
    await mkdir(join(folder, 'default'));
    for (const path of [folder, join(folder, 'default')]) await chmod(path, 0o755);
    await chown(join(folder, 'default'), 65_533, 65_533);
    const events = await program.run(['load', folder], nobody);
    expect(events[0]?.failure, 'somebody else put it there').toMatch(
      /^store_unreadable: .*default" belongs to user 65533, this process runs as 65534/,
    );
  });

  it(`what root makes in the folder of a service can be read by the service${twoUsers}`, async (test) => {
    if (whySkipped !== undefined) test.skip(whySkipped);
    await chown(folder, nobody.uid, nobody.gid);
    await program.run(['append', folder, '2']);
    expect(
      (await program.run(['load', folder], nobody)).at(0)?.revision,
      'a command run with sudo must not lock the service out',
    ).toBe(2);
    expect(
      (await program.run(['append', folder, '1'], nobody)).at(0)?.revision,
      'nor keep it from committing',
    ).toBe(3);
    expect(
      (await program.run(['load', folder])).at(0)?.revision,
      'and root reads what the service wrote',
    ).toBe(3);
  });
});

describe('no space', () => {
  const size = 60_000;

  it('a file that may not grow is a clear error, and nothing half-written stays', async () => {
    await program.run(['append', folder, '1']);
    const events = await program.run(['write', folder, String(size)], { limit: 'ulimit -f 8' });
    expect(events[0]?.failure, 'the path and the code of the system').toMatch(
      /^store_unavailable: Cannot write ".*\.draft": Error EFBIG, the limit for the size of files is reached/,
    );
    expect(await readdir(join(folder, 'default')), 'only what was there').toEqual([
      'keyset.000000000001.json',
    ]);
    expect((await fileStore({ folder }).load()).stored?.revision, 'what was there is whole').toBe(1);
  });

  it('a full disk is a clear error, nothing half-written stays, and it recovers', async (test) => {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k,mode=700', 'tmpfs', folder], {
        stdio: 'ignore',
      });
    } catch {
      test.skip('a small disk cannot be mounted here');
    }
    try {
      const store = fileStore({ folder });
      await store.compareAndSwap(first, undefined, Infinity);
      const large = { ...first, revision: 2, etag: 'two', document: 'x'.repeat(size) };
      expect(await store.compareAndSwap(large, first, Infinity), 'there is room for it once').toBe(true);
      await writeFile(join(folder, 'filler'), 'x'.repeat(30_000));
      const larger = { ...large, revision: 3, etag: 'three' };
      const outcome = await outcomeOf(store.compareAndSwap(larger, large, Infinity));
      expect(outcome, 'the path and the code of the system').toMatch(
        /^store_unavailable: Cannot write ".*\.draft": Error ENOSPC, the disk is full/,
      );
      expect((await store.load()).stored, 'what was there is whole').toEqual(large);
      expect(
        (await readdir(join(folder, 'default'))).filter((name) => name.endsWith('.draft')),
        'no draft stays',
      ).toEqual([]);
      await rm(join(folder, 'filler'));
      expect(await store.compareAndSwap(larger, large, Infinity), 'with space again, it goes on').toBe(true);
    } finally {
      execFileSync('umount', [folder]);
    }
  });

  it('a path that leads through a file is a clear error', async () => {
    await writeFile(join(folder, 'file'), '');
    const store = fileStore({ folder: join(folder, 'file/keys') });
    expect(await outcomeOf(store.load()), 'the path and the code of the system').toMatch(
      /^store_unavailable: Cannot read ".*": Error ENOTDIR, it is not a folder/,
    );
    const other = fileStore({ folder: join(folder, 'file') });
    expect(await outcomeOf(other.load()), 'the folder itself is a file').toMatch(
      /^store_unreadable: ".*file" must be a folder/,
    );
  });
});
