import type { Stats } from 'node:fs';
import { chown, lstat, mkdir, open, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { JwtAuthorityError } from '@jwt-authority/core';
import type { StoredKeySet } from '@jwt-authority/core';
import { hasModes, modeOf, readFile } from './key-set-file.ts';
import { ignoreAbsence, unavailable, unreadable } from './problems.ts';

export interface Listing {
  /** The numbers of the key set's files. */
  readonly sequences: readonly number[];
  /** The last of them, 0 if there is none: the number of the current key set. Never removed, so it never goes back. */
  readonly last: number;
  /** Names of files that a writer prepares, or was killed over. */
  readonly drafts: readonly string[];
}

/**
 * The folder of one namespace. Commits are files numbered without a gap from 1, the last being the current key set.
 * Those before it are empty and only keep their number taken; the oldest of them are removed.
 */
export class KeySetFolder {
  readonly namespace: string;
  readonly path: string;
  readonly #parent: string;

  constructor(parent: string, namespace: string) {
    this.namespace = namespace;
    this.#parent = parent;
    // The one character of a namespace that means something in paths, on Windows.
    this.path = join(parent, namespace.replaceAll(':', '+'));
  }

  fileOf(sequence: number): string {
    return join(this.path, `keyset.${String(sequence).padStart(12, '0')}.json`);
  }

  async list(): Promise<Listing> {
    try {
      // The given path may lead over symbolic links, as its owner likes. What we make below it has none.
      const parent = await stat(this.#parent).catch(ignoreAbsence);
      if (parent !== undefined) checkFolder(this.#parent, parent);
      const own = await lstat(this.path).catch(ignoreAbsence);
      if (own !== undefined) checkFolder(this.path, own);
      const names = (own && (await readdir(this.path).catch(ignoreAbsence))) ?? [];
      const sequences = names.flatMap((name) => /^keyset\.(\d{12})\.json$/.exec(name)?.[1] ?? []).map(Number);
      return {
        sequences,
        last: sequences.reduce((one, other) => Math.max(one, other), 0),
        drafts: names.filter((name) => /^\.keyset\.[0-9a-f]{32}\.draft$/.test(name)),
      };
    } catch (error) {
      throw unavailable('read', this.path, error);
    }
  }

  /** The current key set and the number of its file. It was current when this call began, or became so since. */
  async current(): Promise<{ readonly stored?: StoredKeySet; readonly sequence: number }> {
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const { last } = await this.list();
      if (last === 0) return { sequence: 0 };
      try {
        return { stored: await readFile(this.fileOf(last), this.namespace), sequence: last };
      } catch (error) {
        // A commit may have emptied it meanwhile. That happens after the next file is in place: then read that one.
        if ((await this.list()).last === last) throw error;
      }
    }
    throw new JwtAuthorityError('store_unavailable', `"${this.path}" changes faster than it can be read`);
  }

  /** Makes the folder if need be, and those above it. */
  async prepare(): Promise<void> {
    try {
      const first = await mkdir(this.path, { recursive: true, mode: 0o700 });
      if (first === undefined) return;
      const owner = await stat(dirname(first));
      for (let path = this.path; path !== dirname(first); path = dirname(path)) {
        await handOver(path, owner);
        await syncFolder(dirname(path));
      }
    } catch (error) {
      throw unavailable('make', this.path, error);
    }
  }
}

function checkFolder(path: string, stats: Stats): void {
  if (stats.isSymbolicLink())
    throw unreadable(`"${path}" is a symbolic link: it must be a folder of its own`);
  if (!stats.isDirectory()) throw unreadable(`"${path}" must be a folder`);
  if (!hasModes) return;
  if ((stats.mode & 0o022) !== 0) {
    throw unreadable(
      `"${path}" can be written by other users (mode ${modeOf(stats)}): they could remove the keys or put back old ones. ` +
        `Run: chmod go-w '${path}', or give "folder" a new folder inside it`,
    );
  }
  const user = process.geteuid?.();
  if (user !== 0 && stats.uid !== 0 && stats.uid !== user) {
    throw unreadable(
      `"${path}" belongs to user ${stats.uid}, this process runs as ${user}: run it as the user who owns the folder`,
    );
  }
}

/** What a command run by root makes in the folder of a service belongs to that service: else it could not read it. */
export async function handOver(path: string, { uid, gid }: Pick<Stats, 'uid' | 'gid'>): Promise<void> {
  if (process.geteuid?.() === 0) await chown(path, uid, gid);
}

/** Makes the names in a folder last through a loss of power. */
export async function syncFolder(path: string): Promise<void> {
  // Windows cannot, and need not.
  if (!hasModes) return;
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
