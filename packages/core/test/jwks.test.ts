import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type RequestListener,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRemoteJWKSet, jwtVerify, type JSONWebKeySet } from 'jose';
import { afterEach, describe, expect, it } from 'vitest';
import { jwksHandler, jwksResponse, JwtAuthority, KeyRing, localEncrypter } from '../src/index.ts';
import type { JwksSource } from '../src/index.ts';
import { quickKeyPair, setUp, verdict } from './support/authorities.ts';

const jwkSet = 'application/jwk-set+json';
const json = 'application/json';

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A real server on a free port. */
async function serve(listener: RequestListener): Promise<URL> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  });
  // A server on a port has an AddressInfo; a text is for pipes.
  const { port } = server.address() as AddressInfo;
  return new URL(`http://127.0.0.1:${port}/.well-known/jwks.json`);
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One request without any header of its own: fetch would add `accept`. */
async function send(
  url: URL,
  {
    method = 'GET',
    headers = {},
    agent,
  }: { method?: string; headers?: Record<string, string>; agent?: Agent } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, headers, agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        });
      });
    });
    request.on('error', reject);
    request.end();
  });
}

/** The fetch form: what it answers to GET with these headers. */
async function ask(
  source: JwksSource,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<Response> {
  return jwksResponse(source, new Request('https://auth.example.com/jwks', { method, headers }));
}

describe('the JWKS over HTTP', () => {
  it('GET: the published keys, how long to keep them, and a strong validator', async () => {
    const { authority, pairs } = await setUp();
    const url = await serve(jwksHandler(authority));
    const { status, headers, body } = await send(url);
    expect(status, 'the answer').toBe(200);
    const [pair] = pairs;
    expect(JSON.parse(body), 'public members only').toStrictEqual({
      keys: [{ ...pair?.publicJwk, kid: pair?.kid, alg: 'ES256', use: 'sig' }],
    });
    expect(headers, 'plain JSON unless asked otherwise').toMatchObject({
      'content-type': json,
      'content-length': String(Buffer.byteLength(body)),
      vary: 'accept',
      etag: expect.stringMatching(/^"[\w-]{43}"$/) as string,
    });
    expect(headers, 'no browser is let in').not.toHaveProperty('access-control-allow-origin');
    expect(await send(url), 'the same again, to the byte').toMatchObject({
      status,
      body,
      headers: { etag: headers.etag },
    });
  });

  it('the fetch form answers the same', async () => {
    const { authority } = await setUp();
    const url = await serve(jwksHandler(authority, { cors: true }));
    const requests = [
      ['GET', {}],
      ['GET', { accept: jwkSet }],
      ['GET', { 'if-none-match': '*' }],
      ['HEAD', {}],
      ['HEAD', { 'if-none-match': '*' }],
      ['POST', {}],
      ['OPTIONS', {}],
    ] as const;
    for (const [method, headers] of requests) {
      const overHttp = await send(url, { method, headers });
      const response = await jwksResponse(authority, new Request(url, { method, headers }), { cors: true });
      const what = `${method} ${JSON.stringify(headers)}`;
      expect(response.status, `${what}: status`).toBe(overHttp.status);
      expect(await response.text(), `${what}: body`).toBe(overHttp.body);
      const { connection: _, date: __, 'keep-alive': ___, ...own } = overHttp.headers;
      expect(Object.fromEntries(response.headers), `${what}: headers`).toEqual(own);
    }
  });

  it('HEAD: the headers of GET, no content, also of a failure', async () => {
    const { authority } = await setUp();
    const url = await serve(jwksHandler(authority));
    const { headers: of } = await send(url);
    const head = await send(url, { method: 'HEAD' });
    const same = ['etag', 'cache-control', 'content-type', 'content-length', 'vary'] as const;
    expect(head.status, 'as GET').toBe(200);
    for (const name of same) expect(head.headers[name], `the header ${name}`).toBe(of[name]);
    expect(head.body, 'no content').toBe('');
    await authority.close();
    const failed = await ask(authority, {}, 'HEAD');
    expect(failed.status, 'as GET').toBe(503);
    expect(await failed.text(), 'no content').toBe('');
  });

  it.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])('%s: 405, and what is allowed', async (method) => {
    const { authority } = await setUp();
    const { status, headers, body } = await send(await serve(jwksHandler(authority)), { method });
    expect(status, 'not allowed').toBe(405);
    expect(headers, 'RFC 9110, 15.5.6').toMatchObject({ allow: 'GET, HEAD', 'cache-control': 'no-store' });
    expect(JSON.parse(body), 'what is wrong').toEqual({ error: 'method_not_allowed' });
  });

  it('cors: any origin may read it, and asks in vain for more', async () => {
    const { authority } = await setUp();
    const url = await serve(jwksHandler(authority, { cors: true }));
    const origin = 'https://app.example';
    expect((await send(url, { headers: { origin } })).headers, 'GET').toMatchObject({
      'access-control-allow-origin': '*',
    });
    const preflight = await send(url, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'GET' },
    });
    expect(preflight.status, 'a preflight has no content').toBe(204);
    expect(preflight.headers, 'what a browser may do').toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'GET, HEAD',
      'access-control-max-age': '86400',
      allow: 'GET, HEAD, OPTIONS',
    });
    const post = await send(url, { method: 'POST', headers: { origin } });
    expect([post.status, post.headers.allow], 'still read only').toEqual([405, 'GET, HEAD, OPTIONS']);
    await authority.close();
    const failed = await send(url, { headers: { origin } });
    expect(
      [failed.status, failed.headers['access-control-allow-origin']],
      'a failure can be read too',
    ).toEqual([503, '*']);
  });

  it.each<[accept: string | undefined, type: string]>([
    [undefined, json],
    ['', json],
    ['*/*', json],
    ['application/*', json],
    ['text/html, */*;q=0.1', json],
    ['text/html', json],
    [json, json],
    [jwkSet, jwkSet],
    ['Application/JWK-Set+JSON', jwkSet],
    [`${jwkSet}, ${json}`, jwkSet],
    [`${json}, ${jwkSet}`, jwkSet],
    [`${json}, ${jwkSet};q=0.5`, json],
    [`${json};q=0.5, ${jwkSet}`, jwkSet],
    [`${jwkSet};q=0.9, ${json};q=0.8`, jwkSet],
    [`${jwkSet};q=0.8 , ${json}; q=0.9`, json],
    [`${jwkSet};q=0, */*`, json],
    [`${jwkSet};q=0.000`, json],
    [`${jwkSet}; Q=1, */*;q=0.1`, jwkSet],
    [`${jwkSet};q=0.5, */*`, json],
    [`${jwkSet};q=0.5, application/*;q=0.4, */*`, jwkSet],
    [`${jwkSet};charset=utf-8`, jwkSet],
    [`${jwkSet};q=many`, json],
    ['application/jwk-set+jsonp', json],
    ['x-application/jwk-set+json', json],
    [',;,q=;=', json],
  ])('Accept: %s', async (accept, type) => {
    const { authority } = await setUp();
    const response = await ask(authority, accept === undefined ? {} : { accept });
    expect(response.headers.get('content-type'), 'the type that the client likes best').toBe(type);
    expect((await response.json()) as JSONWebKeySet, 'the same content').toEqual(
      await authority.getPublicKeys(),
    );
  });

  it('has another ETag for each content type: they are two representations', async () => {
    const { authority } = await setUp();
    const [plain, named] = [await ask(authority), await ask(authority, { accept: jwkSet })];
    const etag = plain.headers.get('etag') ?? '';
    expect(named.headers.get('etag'), 'another one').not.toBe(etag);
    for (const value of [etag, named.headers.get('etag')]) expect(value, 'strong').toMatch(/^"[^"]+"$/);
    const mixed = await ask(authority, { accept: jwkSet, 'if-none-match': etag });
    expect(mixed.status, 'that of one type says nothing about the other').toBe(200);
  });

  it.each<[ifNoneMatch: (etag: string) => string, status: number]>([
    [(etag) => etag, 304],
    [(etag) => `W/${etag}`, 304],
    [() => '*', 304],
    [(etag) => `"old", ${etag}`, 304],
    [(etag) => `"old",W/${etag} , "older"`, 304],
    [(etag) => `  ${etag}  `, 304],
    [() => '"old"', 200],
    [(etag) => etag.slice(1, -1), 200],
    [(etag) => etag.toLowerCase(), 200],
    [(etag) => `"${etag.slice(1, -1)}x"`, 200],
    [() => '', 200],
    [() => '"*"', 200],
  ])('If-None-Match: %s gives %i', async (ifNoneMatch, status) => {
    const { authority } = await setUp();
    const url = await serve(jwksHandler(authority));
    const { headers, body } = await send(url);
    const answer = await send(url, { headers: { 'if-none-match': ifNoneMatch(headers.etag ?? '') } });
    expect(answer.status, 'RFC 9110, 13.1.2').toBe(status);
    expect(answer.body, 'a 304 has no content').toBe(status === 304 ? '' : body);
    const kept = ['etag', 'cache-control', 'vary'] as const;
    for (const name of kept)
      expect(answer.headers[name], `${name} renews what the cache has`).toBe(headers[name]);
  });

  it('P1: max-age is that of the policy, and shorter around a key that had to sign at once', async () => {
    const { authority, clock } = await setUp();
    const cacheControl = async (): Promise<string | null> =>
      (await ask(authority)).headers.get('cache-control');
    expect(await cacheControl(), 'the first key signs at once').toBe(
      'public, max-age=60, stale-if-error=3600',
    );
    await clock.advance('6h');
    expect(await cacheControl(), 'settled').toBe('public, max-age=600, stale-if-error=3600');
    await authority.rotator.rotateNow({ emergency: true });
    expect(await cacheControl(), 'an emergency').toBe('public, max-age=60, stale-if-error=3600');
    await clock.advance('6h');
    await authority.rotator.rotateNow();
    expect(await cacheControl(), 'an ordinary rotation is published long before').toBe(
      'public, max-age=600, stale-if-error=3600',
    );
  });

  it('P1: max-age is rounded down, never up', async () => {
    const { authority, clock } = await setUp({ propagationDelay: '1m', rotationInterval: '5m' });
    await clock.advance(30);
    const { headers } = await ask(authority);
    expect(headers.get('cache-control'), '7.5 s each').toBe('public, max-age=7, stale-if-error=7');
  });

  it('P7: answers from memory while the store is down, then 503 rather than what may be wrong', async () => {
    const { authority, clock, store } = await setUp();
    const url = await serve(jwksHandler(authority));
    const before = await send(url);
    store.state = 'down';
    await clock.advance('6h');
    expect(await send(url), 'at the bound').toMatchObject({ status: 200, body: before.body });
    await clock.advance(1);
    const after = await send(url, { headers: { 'if-none-match': '*' } });
    expect(after, 'beyond it, also for those who have it').toMatchObject({
      status: 503,
      headers: { 'retry-after': '5', 'cache-control': 'no-store', 'content-type': json, vary: 'accept' },
      body: '{"error":"stale"}',
    });
    expect(after.headers, 'nothing to keep').not.toHaveProperty('etag');
    store.state = 'up';
    await clock.advance('1m');
    expect(await send(url), 'the store is back').toMatchObject({ status: 200, body: before.body });
  });

  it('503 before the first load, while the store is down or empty; 200 as soon as there is something', async () => {
    const encrypter = localEncrypter.forTests();
    const { authority, store, clock } = await setUp({ encrypter, initialise: 'never' });
    await using keyRing = new KeyRing({ store, encrypter, clock, policy: { algorithms: ['ES256'] } });
    const other = new JwtAuthority({ keyRing });
    const url = await serve(jwksHandler(other));
    store.state = 'down';
    expect(await send(url), 'down').toMatchObject({
      status: 503,
      body: '{"error":"store_unavailable"}',
      headers: { 'retry-after': '5' },
    });
    store.state = 'up';
    expect(await send(url), 'empty').toMatchObject({ status: 503, body: '{"error":"not_initialised"}' });
    await authority.generateKeyPair();
    await keyRing.refresh();
    expect(await send(url), 'there it is').toMatchObject({ status: 200 });
  });

  it('P5: no private member, in any state of a key, of any kind of key', async () => {
    const { authority, clock, pairs } = await setUp({
      algorithms: ['RS256', 'ES256', 'Ed25519'],
      maxPublishedKeys: 20,
      generateKeyPair: quickKeyPair,
    });
    const secrets = async (): Promise<string[]> => {
      const body = await (await ask(authority)).text();
      const { keys } = JSON.parse(body) as JSONWebKeySet;
      expect(keys.length, 'keys were published').toBeGreaterThanOrEqual(3);
      const allowed = new Set(['kty', 'kid', 'alg', 'use', 'n', 'e', 'crv', 'x', 'y']);
      return keys.flatMap((key) => Object.keys(key).filter((member) => !allowed.has(member)));
    };
    expect(await secrets(), 'first keys').toEqual([]);
    await authority.rotator.rotateNow({ alg: 'ES256' });
    expect(await secrets(), 'a pending key').toEqual([]);
    await clock.advance('25h');
    expect(await secrets(), 'a deactivated key').toEqual([]);
    const { kid } = await authority.sign({}, { alg: 'Ed25519' });
    await authority.rotator.revoke(kid, { reason: 'test' });
    const { keys } = (await (await ask(authority)).json()) as JSONWebKeySet;
    expect(
      keys.map((key) => key.kid),
      'a revoked key is gone',
    ).not.toContain(kid);
    expect(await secrets(), 'its replacement').toEqual([]);
    expect(pairs, 'made by the source given').toEqual([]);
    await authority.close();
  });

  it('bytes and ETag stay until the keys change, and are made once', async () => {
    const { authority, clock } = await setUp();
    const look = async (): Promise<{ etag: string | null; body: string }> => {
      const response = await ask(authority);
      return { etag: response.headers.get('etag'), body: await response.text() };
    };
    const first = await look();
    await clock.advance('1h');
    expect(await look(), 'after refreshes').toEqual(first);
    await authority.rotator.rewrap({ force: true });
    expect(await look(), 'after a commit that changes no public key').toEqual(first);
    await authority.rotator.rotateNow();
    const second = await look();
    expect(second.etag, 'a new key').not.toBe(first.etag);
    await clock.advance('25h');
    expect(await look(), 'after its activation and the retirement of the other').toEqual(second);
    await clock.advance('26h');
    expect((await look()).etag, 'the old key expired').not.toBe(second.etag);
    await authority.close();
  });

  it('instances with the same keys give the same bytes: any load balancer will do', async () => {
    const encrypter = localEncrypter.forTests();
    const { authority, store, clock } = await setUp({ encrypter });
    await authority.rotator.rotateNow();
    await using keyRing = new KeyRing({ store, encrypter, clock, policy: { algorithms: ['ES256'] } });
    const [one, other] = [await ask(authority), await ask(new JwtAuthority({ keyRing }))];
    expect(other.headers.get('etag'), 'the same ETag').toBe(one.headers.get('etag'));
    expect(await other.text(), 'the same bytes').toBe(await one.text());
  });

  it('P10: a thousand requests at once do not touch the store', async () => {
    const { authority, store } = await setUp();
    const url = await serve(jwksHandler(authority));
    const agent = new Agent({ keepAlive: true, maxSockets: 40 });
    closing.push(() => agent.destroy());
    const before = store.calls;
    const answers = await Promise.all(Array.from({ length: 1000 }, async () => send(url, { agent })));
    expect(new Set(answers.map(({ status }) => status)), 'all answered').toEqual(new Set([200]));
    expect(new Set(answers.map(({ body }) => body)).size, 'alike').toBe(1);
    expect(store.calls - before, 'calls of the store').toBe(0);
  });
});

describe('an unexpected failure', () => {
  const broken: JwksSource = {
    prepare: async () => {},
    publication: () => {
      throw new RangeError('a fault of this library');
    },
  };

  it('goes to next(), as in Express', async () => {
    const errors: unknown[] = [];
    const handler = jwksHandler(broken);
    const url = await serve((request, response) => {
      handler(request, response, (error) => {
        errors.push(error);
        response.writeHead(500).end('handled by the application');
      });
    });
    expect(await send(url), 'the application decides').toMatchObject({
      status: 500,
      body: 'handled by the application',
    });
    expect(errors, 'it is told what').toEqual([new RangeError('a fault of this library')]);
  });

  it('becomes a 500 without a word where there is no next()', async () => {
    expect(await send(await serve(jwksHandler(broken))), 'nothing is told').toMatchObject({
      status: 500,
      body: '',
    });
  });

  it('rejects in the fetch form', async () => {
    expect(await ask(broken).catch((error: unknown) => error), 'for the framework').toBeInstanceOf(
      RangeError,
    );
  });

  it('a good answer does not call next()', async () => {
    const { authority } = await setUp();
    let called = false;
    const handler = jwksHandler(authority);
    const url = await serve((request, response) => {
      handler(request, response, () => {
        called = true;
      });
    });
    expect((await send(url)).status, 'answered').toBe(200);
    expect(called, 'no other middleware').toBe(false);
  });
});

describe('an independent verifier', () => {
  it('P1 P3: jose over HTTP verifies before, during and after a rotation, and knows the new key before it signs', async () => {
    const { authority, clock } = await setUp({ issuer: 'https://auth.example.com' });
    const handler = jwksHandler(authority);
    let requests = 0;
    const url = await serve((request, response) => {
      requests++;
      handler(request, response);
    });
    const jwks = createRemoteJWKSet(url, { cacheMaxAge: Infinity, cooldownDuration: 0 });
    const judge = async (token: string): Promise<string> =>
      jwtVerify(token, jwks, { issuer: 'https://auth.example.com', currentDate: new Date(clock.now()) }).then(
        () => 'accepted',
        (error: unknown) => String(error),
      );
    const first = await authority.sign({});
    expect(await judge(first.token), 'first key').toBe('accepted');
    expect(requests, 'fetched once').toBe(1);

    await clock.advance('89d');
    await clock.advance('1h');
    expect((await authority.getPublicKeys()).keys.length, 'the next key is published').toBe(2);
    await jwks.reload();
    expect(requests, 'as a cache does within its max-age').toBe(2);
    const old = await authority.sign({});
    expect(old.kid, 'not signing yet').toBe(first.kid);

    await clock.advance('22.5h');
    const edge = await authority.sign({});
    expect(edge.kid, 'the last half hour of the old key').toBe(first.kid);
    await clock.advance('31m');
    const next = await authority.sign({});
    expect(next.kid, 'the next key has taken over').not.toBe(first.kid);
    expect(await judge(next.token), 'known already').toBe('accepted');
    expect(await judge(edge.token), 'a token of the old key').toBe('accepted');
    expect(await verdict(authority.verify(edge.token)), 'here too').toBe('accepted');
    expect(requests, 'no unknown kid, so no fetch').toBe(2);

    await authority.rotator.revoke(next.kid, { reason: 'test' });
    await jwks.reload();
    expect(await judge(next.token), 'revoked').toMatch(/JWKSNoMatchingKey/);
    const replacement = await authority.sign({});
    expect(await judge(replacement.token), 'its replacement, by the fetch that an unknown kid causes').toBe(
      'accepted',
    );
    await authority.close();
    expect(clock.timers, 'nothing is left').toBe(0);
  });
});
