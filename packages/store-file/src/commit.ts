import { randomBytes } from 'node:crypto';
import { linkSync } from 'node:fs';
import { constants, lstat, open, truncate, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, JwtAuthorityError } from '@jwt-authority/core';
import type { StoredKeySet } from '@jwt-authority/core';
import { encodeFile, noFollow } from './key-set-file.ts';
import { handOver, type KeySetFolder, type Listing, syncFolder } from './key-set-folder.ts';
import { codeOf, ignoreAbsence, unavailable } from './problems.ts';

/** How many of the superseded, emptied files are kept for their numbers. */
const keptNumbers = 64;
/** A draft this much older than a new one has lost its writer, or the writer its race. Milliseconds. */
const draftLifetime = 60_000;

/**
 * Makes `next` the file with this number, unless another process does first or `inTime()` is false when all is prepared.
 *
 * 1. A draft in the same folder, complete and on disk.
 * 2. link(2) gives it the number. It fails if the number is taken, so one process wins.
 * 3. Names on disk.
 * 4. Was the number taken long ago, and its file removed since? Then this process was stopped before the link. Nobody
 *    ever read the file, since later ones exist; it goes away again.
 * 5. Private keys of earlier files are destroyed.
 */
export async function commit(
  folder: KeySetFolder,
  next: StoredKeySet,
  sequence: number,
  inTime: () => boolean,
): Promise<boolean> {
  const file = folder.fileOf(sequence);
  const draft = join(folder.path, `.keyset.${randomBytes(16).toString('hex')}.draft`);
  let writtenAt: number;
  try {
    writtenAt = await writeDraft(folder, draft, encodeFile(folder.namespace, next));
    // Synchronous: nothing may come between this look at the clock and the link, not even a busy thread pool.
    if (!inTime()) return false;
    const linked = tryLink(draft, file);
    // Another process has the number, unless it was this very commit, repeated.
    if (!linked) return (await folder.current()).stored?.etag === next.etag;
  } finally {
    // Should this fail, a later commit clears the draft away.
    await unlink(draft).catch(() => undefined);
  }

  try {
    await syncFolder(folder.path);
  } catch (error) {
    throw unavailable('save', folder.path, error);
  }
  const listing = await folder.list();
  if (listing.last - sequence > keptNumbers) {
    await unlink(file).catch(ignoreAbsence);
    return false;
  }
  await clean(folder, listing, writtenAt);
  return true;
}

/** Answers when it was written, by the clock of the file system. */
async function writeDraft(folder: KeySetFolder, path: string, text: string): Promise<number> {
  await folder.prepare();
  const { O_WRONLY, O_CREAT, O_EXCL } = constants;
  try {
    const handle = await open(path, O_WRONLY | O_CREAT | O_EXCL | noFollow, 0o600);
    try {
      await handOver(path, await lstat(folder.path));
      await handle.writeFile(text);
      await handle.sync();
      return (await handle.stat()).mtimeMs;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw unavailable('write', path, error);
  }
}

function tryLink(draft: string, file: string): boolean {
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    const code = codeOf(error) ?? '';
    if (code === 'EEXIST') return false;
    // The draft is gone: cleared away as abandoned, or with the whole folder.
    if (code === 'ENOENT') return false;
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code))
      throw unavailable('make', file, error);
    const reason = 'this file system has no hard links; choose a folder on a local disk';
    throw new JwtAuthorityError(
      'store_unavailable',
      `Cannot make "${file}": ${describeError(error)}, ${reason}`,
    );
  }
}

/**
 * Empties what is superseded: in place, because that needs no space on a full disk and reaches drafts that are the same
 * file under a second name. A reader who is in the middle of it notices and reads the later file. The commit has
 * happened, so nothing here makes it fail; the next one cleans again.
 */
async function clean(
  folder: KeySetFolder,
  { sequences, last, drafts }: Listing,
  writtenAt: number,
): Promise<void> {
  const files = sequences.filter((sequence) => sequence < last);
  await Promise.allSettled([
    ...files.map(async (sequence) => {
      const path = folder.fileOf(sequence);
      if ((await lstat(path)).size > 0) await truncate(path);
      if (last - sequence > keptNumbers) await unlink(path);
    }),
    ...drafts.map(async (name) => {
      const path = join(folder.path, name);
      if (writtenAt - (await lstat(path)).mtimeMs > draftLifetime) await unlink(path);
    }),
  ]);
}
