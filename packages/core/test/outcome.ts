import { type AnyJwtAuthorityError, JwtAuthorityError } from '../src/errors.ts';

/** The code of the error that it ends in, or `'opened'`. */
export async function outcome(decrypting: Promise<unknown>): Promise<string> {
  const error = await failure(decrypting);
  return error === undefined ? 'opened' : error.code;
}

/** The error that it ends in. Misuse and everything else unexpected is thrown. */
export async function failure(decrypting: Promise<unknown>): Promise<AnyJwtAuthorityError | undefined> {
  try {
    await decrypting;
    return undefined;
  } catch (error) {
    if (JwtAuthorityError.is(error)) return error;
    throw error;
  }
}
