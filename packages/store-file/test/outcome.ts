import { JwtAuthorityError } from '@jwt-authority/core';

/** What became of it, as one text: `code: message` of a failure, or JSON. */
export async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    return JSON.stringify(await work) ?? 'undefined';
  } catch (error) {
    if (JwtAuthorityError.is(error)) return `${error.code}: ${error.message}`;
    return error instanceof Error ? `${error.name}: ${error.message}` : 'thrown by no error';
  }
}
