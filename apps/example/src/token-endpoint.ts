import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { JwtAuthorityError, type JwtAuthority } from '@jwt-authority/core';
import { decodeJwt } from 'jose';
import { HttpError, readForm, sendJson, type Handler } from './http.ts';

export interface Client {
  readonly id: string;
  readonly secret: string;
}

/** What tokens of this server can allow; the first is what a request without `scope` gets. */
export const scopes = ['read', 'write'] as const;

/** The client credentials grant (RFC 6749, 4.4), with access tokens after RFC 9068. */
export function tokenEndpoint(authority: JwtAuthority, client: Client, audience: string): Handler {
  return async (request, response) => {
    const form = await readForm(request);
    authenticate(request, form, client);
    const grantType = form.get('grant_type');
    if (grantType === undefined) throw new HttpError(400, 'invalid_request', 'grant_type is missing');
    if (grantType !== 'client_credentials') {
      throw new HttpError(400, 'unsupported_grant_type', 'the only grant here is client_credentials');
    }
    const scope = grantedScope(form.get('scope'));
    const token = await sign(authority, { sub: client.id, client_id: client.id, aud: audience, scope });
    const { iat = 0, exp = 0 } = decodeJwt(token);
    sendJson(response, 200, { access_token: token, token_type: 'Bearer', expires_in: exp - iat, scope });
  };
}

async function sign(authority: JwtAuthority, claims: Record<string, string>): Promise<string> {
  try {
    return (await authority.sign(claims, { jti: true })).token;
  } catch (error) {
    // Stale, store or KEK not there: another instance may do better, or this one later.
    if (JwtAuthorityError.is(error)) {
      throw new HttpError(503, 'temporarily_unavailable', error.code, { 'retry-after': '1' });
    }
    throw error;
  }
}

/** RFC 6749, 2.3.1: HTTP Basic or parameters of the form, not both. */
function authenticate(
  { headers: { authorization } }: IncomingMessage,
  form: ReadonlyMap<string, string>,
  client: Client,
): void {
  if (authorization !== undefined && form.has('client_secret')) {
    throw new HttpError(400, 'invalid_request', 'the client authenticates in two ways at once');
  }
  const [id, secret] =
    authorization === undefined
      ? [form.get('client_id'), form.get('client_secret')]
      : decodeBasic(authorization);
  // Both are compared, whatever the first gives: the time it takes tells nothing.
  if (![isEqual(id, client.id), isEqual(secret, client.secret)].every(Boolean)) {
    throw new HttpError(401, 'invalid_client', 'the client is unknown, or its secret is wrong', {
      'www-authenticate': 'Basic realm="token"',
    });
  }
}

/** Id and secret are form-encoded each, joined by a colon, and then base64. */
function decodeBasic(authorization: string): string[] {
  const [, base64 = ''] = /^Basic +(\S+)$/i.exec(authorization) ?? [];
  const [, id = '', secret = ''] = /^([^:]*):(.*)$/s.exec(Buffer.from(base64, 'base64').toString()) ?? [];
  return [id, secret].map((text) => new URLSearchParams(`_=${text.replaceAll('&', '%26')}`).get('_') ?? '');
}

function isEqual(given: string | undefined, expected: string): boolean {
  // Hashes are of one length, as timingSafeEqual needs them.
  const [one, other] = [given ?? '', expected].map((text) => createHash('sha256').update(text).digest());
  return one !== undefined && other !== undefined && timingSafeEqual(one, other);
}

function grantedScope(requested: string | undefined): string {
  if (!requested) return scopes[0];
  const names = requested.split(' ');
  if (!names.every((name) => scopes.some((scope) => scope === name))) {
    throw new HttpError(400, 'invalid_scope', `the scopes here are: ${scopes.join(' ')}`);
  }
  return [...new Set(names)].join(' ');
}
