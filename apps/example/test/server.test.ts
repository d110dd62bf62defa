import { randomBytes } from 'node:crypto';
import { createServer, request as httpRequest } from 'node:http';
import { once } from 'node:events';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redisMissing } from '../../../test/support/redis-binary.ts';
import { eventually, RedisServer } from '../../../test/support/redis-server.ts';
import { start, type RunningServer } from '../src/start.ts';

const issuer = 'https://auth.example.test';
const env = {
  PORT: '0',
  ISSUER: issuer,
  STORE: 'memory',
  ALGORITHMS: 'ES256',
  CLIENT_ID: 'cli:ent',
  CLIENT_SECRET: 'se cret&+',
  JWT_AUTHORITY_KEY: randomBytes(32).toString('base64'),
};

let server: RunningServer;
beforeAll(async () => {
  server = await start(env);
});
afterAll(async () => server.close());

const form = (fields: Record<string, string>, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  body: new URLSearchParams(fields),
  headers,
});
const credentials = { client_id: env.CLIENT_ID, client_secret: env.CLIENT_SECRET };
const grant = { grant_type: 'client_credentials', ...credentials };

async function ask(
  path: string,
  init?: RequestInit,
): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> {
  const response = await fetch(server.url + path, init);
  const text = await response.text();
  // Every answer of this server is a JSON object, or empty.
  const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
  return { status: response.status, headers: response.headers, body };
}

async function tokenWith(scope: string): Promise<string> {
  const { body } = await ask('/token', form({ ...grant, scope }));
  return String(body['access_token']);
}

const withToken = (token: string): RequestInit => ({ headers: { authorization: `Bearer ${token}` } });

describe('the token endpoint', () => {
  it('gives an access token that an independent verifier takes by the JWKS alone', async () => {
    const { status, headers, body } = await ask('/token', form({ ...grant, scope: 'write read write' }));
    expect(status).toBe(200);
    expect(headers.get('cache-control'), 'RFC 6749, 5.1: a token must not be cached').toBe('no-store');
    expect(body).toMatchObject({ token_type: 'Bearer', expires_in: 3600, scope: 'write read' });
    const keys = createRemoteJWKSet(new URL(`${server.url}/.well-known/jwks.json`));
    const { payload, protectedHeader } = await jwtVerify(String(body['access_token']), keys, {
      issuer,
      audience: `${issuer}/protected`,
      typ: 'at+jwt',
      requiredClaims: ['jti', 'client_id', 'exp'],
    });
    expect(payload.sub).toBe(env.CLIENT_ID);
    expect(protectedHeader.alg).toBe('ES256');
  });

  it('takes credentials by HTTP Basic, each form-encoded (RFC 6749, 2.3.1)', async () => {
    const encoded = [env.CLIENT_ID, env.CLIENT_SECRET].map(encodeURIComponent).join(':');
    const basic = { authorization: `Basic ${Buffer.from(encoded).toString('base64')}` };
    expect((await ask('/token', form({ grant_type: 'client_credentials' }, basic))).status).toBe(200);
    expect((await ask('/token', form(grant, basic))).body['error'], 'not in two ways at once').toBe(
      'invalid_request',
    );
  });

  it.each([
    ['a wrong secret', { ...grant, client_secret: 'x' }, 401, 'invalid_client'],
    ['an unknown client', { ...grant, client_id: 'x' }, 401, 'invalid_client'],
    ['no credentials', { grant_type: 'client_credentials' }, 401, 'invalid_client'],
    ['no grant type', credentials, 400, 'invalid_request'],
    ['another grant type', { ...grant, grant_type: 'password' }, 400, 'unsupported_grant_type'],
    ['an unknown scope', { ...grant, scope: 'read admin' }, 400, 'invalid_scope'],
    ['a body that is too long', { ...grant, scope: 'x'.repeat(9000) }, 413, 'invalid_request'],
  ])('refuses %s', async (_, fields, status, error) => {
    const answer = await ask('/token', form(fields));
    expect(answer).toMatchObject({ status, body: { error } });
    expect(JSON.stringify(answer.body), 'an answer must not repeat what was sent').not.toContain(
      env.CLIENT_SECRET,
    );
    expect(answer.headers.get('www-authenticate'), 'RFC 6749, 5.2').toBe(
      status === 401 ? 'Basic realm="token"' : null,
    );
  });

  it('refuses a parameter that is given twice, and what is no form', async () => {
    const twice = new URLSearchParams(grant);
    twice.append('scope', 'read');
    twice.append('scope', 'write');
    expect((await ask('/token', { method: 'POST', body: twice })).body['error']).toBe('invalid_request');
    const json = {
      method: 'POST',
      body: JSON.stringify(grant),
      headers: { 'content-type': 'application/json' },
    };
    expect(await ask('/token', json)).toMatchObject({ status: 400, body: { error: 'invalid_request' } });
  });

  it('a body without a stated length is cut off at the same limit', async () => {
    const request = httpRequest(`${server.url}/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'transfer-encoding': 'chunked' },
    });
    // The server may close while this is still being sent.
    request.on('error', () => {});
    request.write('x'.repeat(9000));
    const [response] = (await once(request, 'response')) as [{ statusCode: number; resume(): void }];
    response.resume();
    request.destroy();
    expect(response.statusCode).toBe(413);
  });
});

describe('the guarded resource', () => {
  it('answers who has a token with the scope', async () => {
    expect(await ask('/protected', withToken(await tokenWith('read')))).toMatchObject({
      status: 200,
      body: { message: `hello ${env.CLIENT_ID}` },
    });
  });

  it.each([
    ['no token', {}, 401, 'Bearer realm="example"'],
    ['another scheme', { headers: { authorization: 'Basic eA==' } }, 401, 'Bearer realm="example"'],
    [
      'what is no token',
      withToken('x.y.z'),
      401,
      'Bearer realm="example", error="invalid_token", error_description="malformed"',
    ],
  ])('refuses %s as RFC 6750 says', async (_, init, status, challenge) => {
    const answer = await ask('/protected', init);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('www-authenticate')).toBe(challenge);
  });

  it('refuses a token without the scope with 403, and one of a revoked key with its code', async () => {
    const forbidden = await ask('/protected', withToken(await tokenWith('write')));
    expect(forbidden.status).toBe(403);
    expect(forbidden.headers.get('www-authenticate')).toBe(
      'Bearer realm="example", error="insufficient_scope", scope="read"',
    );
    const token = await tokenWith('read');
    const [, kid = ''] =
      /"kid":"([^"]+)"/.exec(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) ?? [];
    await server.rotator.revoke(kid, { reason: 'a test' });
    expect(await ask('/protected', withToken(token)), 'P9: refused at once').toMatchObject({
      status: 401,
      body: { error: 'invalid_token', error_description: 'key_revoked' },
    });
    expect((await ask('/protected', withToken(await tokenWith('read')))).status, 'the service goes on').toBe(
      200,
    );
  });
});

describe('everything else', () => {
  it.each(['/.well-known/openid-configuration', '/.well-known/oauth-authorization-server'])(
    '%s says where everything is, with the algorithms that are published',
    async (path) => {
      expect((await ask(path)).body).toMatchObject({
        issuer,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/.well-known/jwks.json`,
        id_token_signing_alg_values_supported: ['ES256'],
      });
    },
  );

  it('health says fresh; live needs nothing', async () => {
    expect(await ask('/health')).toMatchObject({ status: 200, body: { status: 'fresh' } });
    expect(await ask('/health/live')).toMatchObject({ status: 200, body: { status: 'live' } });
  });

  it('404 for other paths, 405 with Allow for other methods', async () => {
    for (const path of ['/', '/nothing', '/__proto__', '/constructor', '/token/']) {
      expect((await ask(path)).status, `${path} is no path of this server`).toBe(404);
    }
    const wrong = await ask('/token');
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get('allow')).toBe('POST');
    expect((await ask('/protected', { method: 'DELETE' })).headers.get('allow')).toBe('GET, HEAD');
  });
});

describe('the configuration', () => {
  it.each([
    ['PORT', { PORT: 'http' }, /^"PORT" must be a number from 0 to 65535$/],
    ['PORT', { PORT: '70000' }, /^"PORT" must/],
    ['ISSUER', { ISSUER: '' }, /^"ISSUER" must be set where "PORT" is 0/],
    ['ISSUER', { ISSUER: 'http://auth.example.com' }, /^"ISSUER" must be an https: URL/],
    ['ISSUER', { ISSUER: 'https://auth.example.com/' }, /^"ISSUER" must be an https: URL/],
    ['STORE', { STORE: 'floppy' }, /^"STORE" must be one of memory, file.*got "floppy"$/],
    [
      'REDIS_URL',
      { STORE: '', REDIS_URL: 'localhost:secret' },
      /^"REDIS_URL" must be a URL like [^:]*:\/\/user(?!.*secret)/,
    ],
    ['NAMESPACE', { STORE: 'redis-om', NAMESPACE: 'a b' }, /^"NAMESPACE" must/],
    ['ENCRYPTER', { ENCRYPTER: 'constructor' }, /^"ENCRYPTER" must be one of local/],
    ['JWT_AUTHORITY_KEY', { JWT_AUTHORITY_KEY: 'short' }, /JWT_AUTHORITY_KEY/],
    ['ALGORITHMS', { ALGORITHMS: 'HS256' }, /ALGORITHMS/],
    ['PROPAGATION_DELAY', { PROPAGATION_DELAY: 'soon' }, /^"PROPAGATION_DELAY" must/],
    [
      'ROTATION_INTERVAL',
      { ROTATION_INTERVAL: '1h' },
      /ROTATION_INTERVAL.*PROPAGATION_DELAY|PROPAGATION_DELAY.*ROTATION_INTERVAL/,
    ],
    ['INITIALISE', { INITIALISE: 'maybe' }, /INITIALISE/],
  ])('P11: a wrong %s is refused by its own name', async (_, wrong, message) => {
    await expect(start({ ...env, ...wrong })).rejects.toThrow(message);
  });

  it('a port that is taken is a clear error, and nothing is left running', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    // A TCP server's address, as it listens.
    const { port } = other.address() as { port: number };
    await expect(start({ ...env, PORT: String(port) })).rejects.toThrow(
      `cannot listen at "HOST" 127.0.0.1 and "PORT" ${port} (Error EADDRINUSE)`,
    );
    other.close();
  });
});

describe.skipIf(redisMissing !== '')(`on Redis${redisMissing}`, () => {
  it('servers with either client share their keys, warn of what may lose them, and leave no connection', async () => {
    const redis = await RedisServer.start();
    const warnings: string[] = [];
    const logger = {
      debug() {},
      info() {},
      warn: (_: object, message: string) => warnings.push(message),
      error() {},
    };
    const REDIS_URL = `redis://${redis.host}:${redis.port}`;
    const servers = await Promise.all(
      ['', 'redis-om'].map((STORE) => start({ ...env, REDIS_URL, STORE, NAMESPACE: 'example' }, logger)),
    );
    const kids = await Promise.all(
      servers.map(async ({ url }) => {
        const response = await fetch(`${url}/.well-known/jwks.json`);
        return ((await response.json()) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
      }),
    );
    expect(kids[0]).toHaveLength(1);
    expect(kids[1], 'one key set, one first key').toEqual(kids[0]);
    expect(await redis.command('EXISTS', '{jwt-authority:example}:keyset')).toBe(':1\r\n');
    expect(warnings.filter((text) => text.startsWith('Redis writes nothing to disk'))).toHaveLength(2);
    for (const running of servers) await running.close();
    await eventually('no connection left', async () =>
      (await redis.command('INFO', 'clients')).includes('connected_clients:1\r\n'),
    );
    await redis.stop();
  });

  it.each(['ioredis', 'redis-om'])(
    '%s: a Redis that is down is a clear error in time, without its password',
    async (STORE) => {
      const REDIS_URL = 'redis://user:do-not-print@127.0.0.1:1';
      const failed = start({ ...env, STORE, REDIS_URL });
      await expect(failed).rejects.toMatchObject({ code: 'store_unavailable' });
      await expect(failed).rejects.not.toThrow('do-not-print');
    },
  );
});
