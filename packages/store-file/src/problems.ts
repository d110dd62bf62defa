import { describeError, JwtAuthorityError } from '@jwt-authority/core';

const hints: Readonly<Record<string, string>> = {
  EACCES: 'this user may not; the folder must belong to the user that runs the process',
  EDQUOT: "the user's disk quota is used up",
  EFBIG: 'the limit for the size of files is reached',
  EMFILE: 'too many files are open',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'it is not a folder',
  EROFS: 'the file system is read-only',
};

/** The system's code of a failure of `node:fs`. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** For `catch`: gives `undefined` if nothing is there, and throws on. */
export function ignoreAbsence(error: unknown): undefined {
  if (codeOf(error) !== 'ENOENT') throw error;
}

/** What the system refused, as the store's error. `doing` completes the sentence: `Cannot read "…"`. */
export function unavailable(doing: string, path: string, error: unknown): JwtAuthorityError {
  if (JwtAuthorityError.is(error)) return error;
  const hint = hints[codeOf(error) ?? ''];
  const reason = describeError(error) + (hint === undefined ? '' : `, ${hint}`);
  return new JwtAuthorityError('store_unavailable', `Cannot ${doing} "${path}": ${reason}`);
}

export function unreadable(message: string): JwtAuthorityError {
  return new JwtAuthorityError('store_unreadable', message);
}
