import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';

export const issuer = 'https://auth.example.com';
export const client = { id: 'demo', secret: 'a-secret-of-the-demo' };

export interface Token {
  readonly token: string;
  readonly kid: string;
}

/** Nothing in the demo waits for ever. */
async function request(url: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url, { ...init, signal: AbortSignal.timeout(10_000) });
}

/** POST /token, as a client does. */
export async function getToken(server: { readonly url: string }): Promise<Token> {
  const basic = Buffer.from(`${client.id}:${client.secret}`).toString('base64');
  const response = await request(`${server.url}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  const body: unknown = await response.json();
  if (!response.ok) throw new Error(`POST /token: ${response.status} ${JSON.stringify(body)}`);
  const { access_token: token } = body as { access_token: string };
  return { token, kid: decodeProtectedHeader(token).kid ?? '' };
}

/** GET /protected: `200`, or the status and why. */
export async function visit(server: { readonly url: string }, token?: string): Promise<string> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const response = await request(`${server.url}/protected`, { headers });
  await response.arrayBuffer();
  const [, reason] = /error_description="([^"]+)"/.exec(response.headers.get('www-authenticate') ?? '') ?? [];
  return reason === undefined ? String(response.status) : `${response.status} ${reason}`;
}

/** GET /.well-known/jwks.json: the kids, the newest first. */
export async function publishedKids(server: { readonly url: string }): Promise<string[]> {
  const response = await request(`${server.url}/.well-known/jwks.json`);
  if (!response.ok) throw new Error(`GET /.well-known/jwks.json: ${response.status}`);
  const { keys } = (await response.json()) as { keys: { kid: string }[] };
  return keys.map(({ kid }) => kid);
}

/**
 * A verifier that knows nothing but the URL of the JWKS: jose, which has no part in verifying inside the server. It caches
 * for a second, twice what `max-age` allows here, and never looks again because of an unknown kid: a key that signed before
 * it was published would be noticed.
 */
export class IndependentVerifier {
  readonly #keys: ReturnType<typeof createRemoteJWKSet>;

  constructor(server: { readonly url: string }) {
    const url = new URL(`${server.url}/.well-known/jwks.json`);
    this.#keys = createRemoteJWKSet(url, { cacheMaxAge: 1000, cooldownDuration: Infinity });
  }

  /** `accepted`, or the code of jose's error. */
  async judge(token: string): Promise<string> {
    try {
      await jwtVerify(token, this.#keys, { issuer, audience: `${issuer}/protected`, typ: 'at+jwt' });
      return 'accepted';
    } catch (error) {
      return error instanceof Error && 'code' in error ? String(error.code) : String(error);
    }
  }
}
