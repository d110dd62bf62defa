import { execFileSync } from 'node:child_process';
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StoredKeySet } from '@jwt-authority/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileStore } from '../src/index.ts';
import { outcomeOf } from './outcome.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'store-file-'));
  await fileStore({ folder }).compareAndSwap(first, undefined, Infinity);
  await fileStore({ folder }).compareAndSwap(second, first, Infinity);
  file = join(folder, 'default/keyset.000000000002.json');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const first: StoredKeySet = { revision: 1, etag: 'one', updatedAt: 5, document: 'the first document' };
const second: StoredKeySet = { revision: 2, etag: 'two', updatedAt: 6, document: 'the second document' };
const third: StoredKeySet = { revision: 3, etag: 'three', updatedAt: 7, document: 'the third document' };

/** What reading and every way of writing come to. */
async function outcomes(): Promise<string> {
  const store = fileStore({ folder });
  const all = new Set([await outcomeOf(store.load())]);
  for (const expected of [undefined, first, second]) {
    all.add(await outcomeOf(store.compareAndSwap(third, expected, Infinity)));
  }
  return [...all].join(' | ');
}

function unreadable(message: string): RegExp {
  return new RegExp(`^store_unreadable: "[^|]*${message}[^|]*$`);
}

describe('a damaged or foreign current file is named, with what to do, and left as it is', () => {
  const valid = `${JSON.stringify({ format: 'jwt-authority/key-set-file/1', namespace: 'default', ...second })}\n`;
  const edit = (change: object): string => JSON.stringify({ ...(JSON.parse(valid) as object), ...change });
  const toDo = /keyset\.000000000002\.json" .*Put ".*default" back from a backup as a whole, or move it away/;

  it('reads the file these cases are made from', async () => {
    await writeFile(file, valid);
    expect((await fileStore({ folder }).load()).stored, 'or the cases below prove nothing').toEqual(second);
  });

  it.each([
    ['empty', '', 'is empty'],
    ['cut short by one character', valid.slice(0, -2), 'damaged or cut short'],
    ['cut in half', valid.slice(0, 80), 'damaged or cut short'],
    ['blanks', ' \n', 'damaged or cut short'],
    ['zeros, as after a loss of power', '\0'.repeat(500), 'damaged or cut short'],
    ['with something behind it', `${valid}}`, 'damaged or cut short'],
    ['no object', 'null', 'is not a key set file'],
    ['a list', `[${valid}]`, 'is not a key set file'],
    ['a JWKS', '{"keys":[]}', 'is not a key set file'],
    ['without a format', edit({ format: undefined }), 'is not a key set file'],
    ['with a wrong revision', edit({ revision: '2' }), 'is not a key set file'],
    ['with an unsafe revision', edit({ revision: 2 ** 53 }), 'is not a key set file'],
    ['without an etag', edit({ etag: '' }), 'is not a key set file'],
    ['without a time', edit({ updatedAt: null }), 'is not a key set file'],
    ['with a document that is no text', edit({ document: {} }), 'is not a key set file'],
  ])('%s', async (_what, content, message) => {
    await writeFile(file, content);
    const outcome = await outcomes();
    expect(outcome, 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable(message),
    );
    expect(outcome, 'and it says what to do').toMatch(toDo);
    expect(await readFile(file, 'utf8'), 'evidence and perhaps rescue').toBe(content);
    expect(await readdir(join(folder, 'default')), 'no file was made').toHaveLength(2);
  });

  it('of a newer version', async () => {
    await writeFile(file, edit({ format: 'jwt-authority/key-set-file/2' }));
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('format that this version of store-file does not know. Update @jwt-authority/store-file'),
    );
  });

  it('of another namespace', async () => {
    await writeFile(file, edit({ namespace: 'Default' }));
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('belongs to another namespace than "default"'),
    );
  });

  it('far too large', async () => {
    await truncate(file, 3 * 2 ** 30);
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('too large'),
    );
  });

  it('a folder in its place', async () => {
    await unlink(file);
    await mkdir(file);
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('not a regular file'),
    );
  });

  it('a named pipe in its place', async () => {
    await unlink(file);
    execFileSync('mkfifo', ['-m', '600', file]);
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('not a regular file'),
    );
  });

  it('removed: what is left before it is empty', async () => {
    await unlink(file);
    file = file.replace('2.json', '1.json');
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('keyset\\.000000000001\\.json" is empty'),
    );
  });

  it('moved away as advised, it starts anew', async () => {
    await writeFile(file, 'damaged');
    await rename(join(folder, 'default'), join(folder, 'away'));
    const store = fileStore({ folder });
    expect(await store.load(), 'absent').toEqual({});
    expect(
      await store.compareAndSwap(third, undefined, Infinity),
      'and can be written again, as healing does',
    ).toBe(true);
  });
});

describe('symbolic links are refused', () => {
  it('as the file', async () => {
    const target = join(folder, 'elsewhere.json');
    await rename(file, target);
    await symlink(target, file);
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('keyset\\.000000000002\\.json" is a symbolic link'),
    );
  });

  it('as the folder of a namespace', async () => {
    await rename(join(folder, 'default'), join(folder, 'elsewhere'));
    await symlink('elsewhere', join(folder, 'default'));
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('default" is a symbolic link'),
    );
  });

  it('as the next file: the link does not go through it', async () => {
    const target = join(folder, 'elsewhere.json');
    await symlink(target, join(folder, 'default/keyset.000000000003.json'));
    expect(await outcomes(), 'an error for reading and writing alike: "absent" means make new keys').toMatch(
      unreadable('keyset\\.000000000003\\.json" is a symbolic link'),
    );
    expect(await readdir(folder), 'nothing was made where it leads').toEqual(['default']);
  });

  it('but not above what the store makes itself: that is up to whoever wrote the option', async () => {
    await symlink(folder, `${folder}-link`);
    try {
      const { stored } = await fileStore({ folder: `${folder}-link` }).load();
      expect(stored, 'a folder reached by a link, as with releases or macOS /tmp').toEqual(second);
    } finally {
      await unlink(`${folder}-link`);
    }
  });
});
