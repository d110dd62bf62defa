import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { JWK } from 'jose';
import { JwtAuthorityError } from './errors.ts';
import type { Publication } from './key-ring/key-ring.ts';
import type { KeyRecord } from './key-set/document.ts';
import { checkBoolean, checkMethods, checkOptions } from './options.ts';

/** A published key: public members, `kid`, `alg` and `use: 'sig'` (RFC 7517, 4). */
export type PublishedJwk = JWK & { readonly kid: string; readonly alg: string; readonly use: 'sig' };

/** A key as the JWKS shows it. Its members in one order: every instance gives the same bytes, whoever made the key. */
export function publishedJwk({ publicJwk, kid, alg }: KeyRecord): PublishedJwk {
  const { kty, ...members } = publicJwk;
  const sorted = Object.entries(members).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return { kty, kid, alg, use: 'sig', ...Object.fromEntries(sorted) };
}

/** Keys as the JWKS lists them: the newest first. */
export function publishedJwks(keys: readonly KeyRecord[]): PublishedJwk[] {
  return keys.toSorted((a, b) => b.createdAt - a.createdAt || (a.kid < b.kid ? -1 : 1)).map(publishedJwk);
}

/** The bytes of a JWKS and their strong validator. */
interface JwksBytes {
  readonly keys: readonly KeyRecord[];
  readonly body: Buffer;
  readonly digest: string;
}

/** Who publishes: a {@link JwtAuthority}. */
export interface JwksSource {
  /** Loads the key set if that was not done yet, or is too long ago. */
  prepare(): Promise<void>;
  /** What to publish now. @throws `JwtAuthorityError` if nothing may be. */
  publication(): Publication;
}

export interface JwksHandlerOptions {
  /** Sends `Access-Control-Allow-Origin: *`, for verifiers in browsers. The JWKS is public. Default `false`. */
  readonly cors?: boolean | undefined;
}

interface JwksRequest {
  readonly method: string;
  readonly accept: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

interface JwksAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
}

const bytesOf = new WeakMap<JwksSource, JwksBytes>();

/** Made once per set of published keys, not per request: records never change in place. */
function currentBytes(source: JwksSource, keys: readonly KeyRecord[]): JwksBytes {
  const known = bytesOf.get(source);
  if (known?.keys.length === keys.length && known.keys.every((key, index) => key === keys[index]))
    return known;
  const body = Buffer.from(JSON.stringify({ keys: publishedJwks(keys) }));
  const bytes = { keys, body, digest: createHash('sha256').update(body).digest('base64url') };
  bytesOf.set(source, bytes);
  return bytes;
}

const jwkSetType = 'application/jwk-set+json';
const jsonType = 'application/json';

/** RFC 9110, 12.5.1. Plain JSON unless the client asks for a JWK set by name, and does not like JSON better. */
function preferredType(accept: string): string {
  const weights = new Map<string, number>();
  for (const range of accept.toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    const weight = parameters.find((parameter) => parameter.startsWith('q='));
    weights.set(type, weight === undefined ? 1 : Number(weight.slice(2)));
  }
  const named = weights.get(jwkSetType) ?? 0;
  const json = weights.get(jsonType) ?? weights.get('application/*') ?? weights.get('*/*') ?? 0;
  return named > 0 && named >= json ? jwkSetType : jsonType;
}

async function answer(source: JwksSource, request: JwksRequest, cors: boolean): Promise<JwksAnswer> {
  const toGet = await answerWithContent(source, request, cors);
  // RFC 9110, 9.3.2: HEAD has the headers of GET and no content.
  return request.method === 'HEAD' ? { ...toGet, body: undefined } : toGet;
}

async function answerWithContent(
  source: JwksSource,
  request: JwksRequest,
  cors: boolean,
): Promise<JwksAnswer> {
  const shared = { vary: 'accept', ...(cors && { 'access-control-allow-origin': '*' }) };
  const { method, accept, ifNoneMatch } = request;
  const allow = cors ? 'GET, HEAD, OPTIONS' : 'GET, HEAD';
  if (cors && method === 'OPTIONS') {
    const preflight = {
      'access-control-allow-methods': 'GET, HEAD',
      'access-control-max-age': '86400',
      allow,
    };
    return { status: 204, headers: { ...shared, ...preflight }, body: undefined };
  }
  if (method !== 'GET' && method !== 'HEAD') {
    return problem(405, 'method_not_allowed', { ...shared, allow });
  }
  try {
    await source.prepare();
    const { keys, maxAge, staleIfError } = source.publication();
    const { body, digest } = currentBytes(source, keys);
    const type = preferredType(accept ?? '');
    const etag = type === jwkSetType ? `"${digest}.jwk-set"` : `"${digest}"`;
    const headers = {
      ...shared,
      etag,
      // Whole seconds, rounded down: a cache must not keep it longer than the schedule of keys allows.
      'cache-control': `public, max-age=${Math.floor(maxAge / 1000)}, stale-if-error=${Math.floor(staleIfError / 1000)}`,
    };
    if (ifNoneMatch !== undefined && matches(ifNoneMatch, etag)) {
      return { status: 304, headers, body: undefined };
    }
    const content = { ...headers, 'content-type': type, 'content-length': String(body.length) };
    return { status: 200, headers: content, body };
  } catch (error) {
    // 503: caches fall back to what they have (stale-if-error), load balancers to another instance.
    if (JwtAuthorityError.is(error)) return problem(503, error.code, { ...shared, 'retry-after': '5' });
    throw error;
  }
}

function problem(status: number, code: string, headers: Readonly<Record<string, string>>): JwksAnswer {
  const body = Buffer.from(JSON.stringify({ error: code }));
  const content = {
    'content-type': jsonType,
    'content-length': String(body.length),
    'cache-control': 'no-store',
  };
  return { status, headers: { ...headers, ...content }, body };
}

/** RFC 9110, 13.1.2: weak comparison, a list, or `*`. */
function matches(ifNoneMatch: string, etag: string): boolean {
  return ifNoneMatch.split(',').some((candidate) => ['*', etag, `W/${etag}`].includes(candidate.trim()));
}

function checkHandlerOptions(source: JwksSource, options: JwksHandlerOptions): boolean {
  checkMethods(source, 'authority', ['prepare', 'publication']);
  checkOptions(options, 'JWKS handler', ['cors']);
  return options.cors === undefined ? false : checkBoolean(options.cors, 'cors');
}

/**
 * The JWKS over HTTP in fetch form, for Hono, Next and the like: GET and HEAD, strong `ETag` and 304, `max-age` and
 * `stale-if-error` of the policy (shorter around a key that signs at once), `application/jwk-set+json` by `Accept`,
 * else `application/json`. 405 with `Allow` for other methods. 503 when nothing may be published: past the stale bound,
 * or before the first load.
 */
export async function jwksResponse(
  authority: JwksSource,
  request: Request,
  options: JwksHandlerOptions = {},
): Promise<Response> {
  const cors = checkHandlerOptions(authority, options);
  const { status, headers, body } = await answer(
    authority,
    {
      method: request.method,
      accept: request.headers.get('accept') ?? undefined,
      ifNoneMatch: request.headers.get('if-none-match') ?? undefined,
    },
    cors,
  );
  return new Response(body ?? null, { status, headers });
}

/** The JWKS over HTTP for `node:http` and Express: see {@link jwksResponse}. An unexpected failure goes to `next`, or becomes a 500. */
export function jwksHandler(
  authority: JwksSource,
  options: JwksHandlerOptions = {},
): (request: IncomingMessage, response: ServerResponse, next?: (error: unknown) => void) => void {
  const cors = checkHandlerOptions(authority, options);
  const handle = async (
    { method = 'GET', headers }: IncomingMessage,
    response: ServerResponse,
    next?: (error: unknown) => void,
  ): Promise<void> => {
    try {
      const request = { method, accept: headers.accept, ifNoneMatch: headers['if-none-match'] };
      const result = await answer(authority, request, cors);
      response.writeHead(result.status, result.headers);
      response.end(result.body);
    } catch (error) {
      if (next !== undefined) return next(error);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    }
  };
  return (request, response, next) => void handle(request, response, next);
}
