import {
  JwtAuthorityError,
  type JwtAuthority,
  type JwtAuthorityErrorCode,
  type JwtClaims,
} from '@jwt-authority/core';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { HttpError, type Handler } from './http.ts';

export interface TokenRequirements {
  readonly audience: string;
  readonly scope: string;
}

/** What is wrong with the token itself. Everything else that `verify` throws is about this instance. */
const tokenProblems: ReadonlySet<JwtAuthorityErrorCode> = new Set([
  'malformed',
  'unknown_kid',
  'key_revoked',
  'algorithm_mismatch',
  'signature_invalid',
  'expired',
  'not_yet_valid',
  'wrong_issuer',
  'wrong_audience',
  'wrong_type',
  'missing_claim',
  'invalid_claim',
]);

/** Calls `handler` with the claims of the Bearer token, or refuses the request as RFC 6750, 3 says. */
export function requireToken(
  authority: JwtAuthority,
  { audience, scope }: TokenRequirements,
  handler: (claims: JwtClaims, request: IncomingMessage, response: ServerResponse) => void | Promise<void>,
): Handler {
  return async (request, response) => {
    const claims = await verify(authority, bearerToken(request), audience);
    const granted = typeof claims['scope'] === 'string' ? claims['scope'].split(' ') : [];
    if (!granted.includes(scope)) throw refusal(403, 'insufficient_scope', `scope="${scope}"`);
    await handler(claims, request, response);
  };
}

function bearerToken({ headers: { authorization } }: IncomingMessage): string {
  const [, token] = /^Bearer +(\S+)$/i.exec(authorization ?? '') ?? [];
  // No error code: this client did not know that a token is needed.
  if (token === undefined) throw new HttpError(401, 'unauthorized', 'a Bearer token is needed', challenge());
  return token;
}

async function verify(authority: JwtAuthority, token: string, audience: string): Promise<JwtClaims> {
  try {
    return await authority.verify(token, { audience });
  } catch (error) {
    if (!JwtAuthorityError.is(error)) throw error;
    if (tokenProblems.has(error.code))
      throw refusal(401, 'invalid_token', `error_description="${error.code}"`, error.code);
    // The token may be good: this instance cannot tell now.
    throw new HttpError(503, 'temporarily_unavailable', error.code, { 'retry-after': '1' });
  }
}

function refusal(status: number, code: string, attribute: string, message = code): HttpError {
  return new HttpError(status, code, message, challenge(`error="${code}"`, attribute));
}

function challenge(...attributes: string[]): Record<string, string> {
  return { 'www-authenticate': `Bearer ${['realm="example"', ...attributes].join(', ')}` };
}
