import type { Stats } from 'node:fs';
import { constants, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { StoredKeySet } from '@jwt-authority/core';
import { codeOf, unavailable, unreadable } from './problems.ts';

const format = 'jwt-authority/key-set-file/1';
/** A key set has 2 to 30 KB: whatever is larger than this is none, and is not read into memory. */
const maxBytes = 16 * 1024 * 1024;

/** Windows has no such permissions, and no such flag. */
export const hasModes: boolean = process.platform !== 'win32';
export const noFollow: number = hasModes ? constants.O_NOFOLLOW : 0;

/** The text of a key set's file. No prefix of it is valid, so that one cut short is noticed. */
export function encodeFile(namespace: string, { revision, etag, updatedAt, document }: StoredKeySet): string {
  return `${JSON.stringify({ format, namespace, revision, etag, updatedAt, document })}\n`;
}

export async function readFile(path: string, namespace: string): Promise<StoredKeySet> {
  try {
    // Without O_NONBLOCK, a named pipe in place of the file would hang.
    const handle = await open(path, constants.O_RDONLY | noFollow | (hasModes ? constants.O_NONBLOCK : 0));
    try {
      checkFile(await handle.stat(), path);
      return decodeFile(await handle.readFile('utf8'), path, namespace);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (codeOf(error) === 'ELOOP') throw unreadable(`"${path}" is a symbolic link. ${advice(path)}`);
    throw unavailable('read', path, error);
  }
}

function checkFile(stats: Stats, path: string): void {
  if (!stats.isFile()) throw unreadable(`"${path}" is not a regular file. ${advice(path)}`);
  if (stats.size === 0) throw unreadable(`"${path}" is empty. ${advice(path)}`);
  if (stats.size > maxBytes) throw unreadable(`"${path}" is too large for a key set. ${advice(path)}`);
  if (hasModes && (stats.mode & 0o077) !== 0) {
    throw unreadable(
      `"${path}" is open to other users (mode ${modeOf(stats)}), and it holds the encrypted private keys. Run: chmod 600 '${path}'`,
    );
  }
}

function decodeFile(text: string, path: string, namespace: string): StoredKeySet {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw unreadable(`"${path}" is damaged or cut short. ${advice(path)}`);
  }
  if (typeof content !== 'object' || content === null || !('format' in content) || !isStoredKeySet(content)) {
    throw unreadable(`"${path}" is not a key set file. ${advice(path)}`);
  }
  if (content.format !== format) {
    throw unreadable(
      `"${path}" has a format that this version of store-file does not know. Update @jwt-authority/store-file`,
    );
  }
  if (!('namespace' in content) || content.namespace !== namespace) {
    throw unreadable(
      `"${path}" belongs to another namespace than "${namespace}". Use another folder: files were copied here, or this file ` +
        'system does not tell upper and lower case apart',
    );
  }
  const { revision, etag, updatedAt, document } = content;
  return { revision, etag, updatedAt, document };
}

export function isStoredKeySet(value: object): value is StoredKeySet {
  const { revision, etag, updatedAt, document }: Partial<Record<keyof StoredKeySet, unknown>> = value;
  return (
    typeof revision === 'number' &&
    Number.isSafeInteger(revision) &&
    revision >= 1 &&
    typeof etag === 'string' &&
    etag !== '' &&
    typeof updatedAt === 'number' &&
    Number.isFinite(updatedAt) &&
    typeof document === 'string'
  );
}

export function modeOf(stats: Stats): string {
  return (stats.mode & 0o7777).toString(8);
}

function advice(path: string): string {
  return (
    `Put "${dirname(path)}" back from a backup as a whole, or move it away: then a running instance writes back what it ` +
    'holds, or, if none runs, new keys are made and tokens of the old ones are refused'
  );
}
