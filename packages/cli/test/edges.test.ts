import { execFile, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandLine, type CommandLine, type Outcome } from './command.ts';

let command: CommandLine;
let run: (args: string, options?: Parameters<CommandLine['run']>[1]) => Promise<Outcome>;
const env = { JWT_AUTHORITY_KEY: randomBytes(32).toString('base64') };

beforeAll(async () => {
  command = await commandLine();
  run = async (args, options) => command.run(args.split(' '), { env, ...options });
  await run('rotate --alg ES256');
});
afterAll(async () => command.remove());

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A TCP server's address.
  return (server.address() as AddressInfo).port;
}

/** Ends with the exit code of the command, whose standard output a shell sends elsewhere. */
async function redirected(redirection: string): Promise<{ code: number; err: string }> {
  const script = `{ "$0" "$1" export; echo "code $?" >&2; } ${redirection}`;
  return new Promise((resolve) => {
    const options = { cwd: command.folder, env: { ...process.env, ...env } };
    execFile('sh', ['-c', script, process.execPath, command.file], options, (_error, _out, err) => {
      resolve({ code: Number(/code (\d+)/.exec(err)?.[1]), err });
    });
  });
}

describe('standard output', () => {
  it.skipIf(!existsSync('/dev/full'))('a full disk is a failure', async () => {
    const { code, err } = await redirected('> /dev/full');
    expect(code).toBe(1);
    expect(err).toContain('ENOSPC');
  });

  it('a reader that has seen enough is none', async () => {
    expect(await redirected('| true')).toMatchObject({ code: 0 });
  });

  it('with --json a wrong call has its one object too', async () => {
    for (const args of ['status --bogus --json', 'revoke --json', 'bogus --json', '--json']) {
      const outcome = await run(args);
      expect(outcome.code, `with ${args}`).toBe(2);
      expect(outcome.json(), `with ${args}`).toMatchObject({ error: { code: 'usage' } });
    }
  });
});

describe('services that do not do their part', () => {
  it.each(['ioredis', 'redis-om'])('Ctrl-C ends a call to a Redis that never answers (%s)', async (store) => {
    let child: ChildProcess | undefined;
    const frozen = createServer(() => child?.kill('SIGINT'));
    const port = await listen(frozen);
    const outcome = await run(`status --store ${store}`, {
      env: { ...env, REDIS_URL: `redis://127.0.0.1:${port}` },
      onStart: (started) => {
        child = started;
      },
    });
    frozen.close();
    expect(outcome.code, 'not 1: its deadline has not passed').toBe(130);
    expect(outcome.err).toContain('interrupted');
  });

  it('jwks --serve on a port that is taken names it', async () => {
    const taken = createServer();
    const port = await listen(taken);
    const outcome = await run(`jwks --serve ${port}`);
    taken.close();
    expect(outcome.code).toBe(2);
    expect(outcome.err).toContain(`127.0.0.1:${port}`);
    expect(outcome.err).toContain('EADDRINUSE');
  });

  it.each([
    ['null', 'no JWKS'],
    ['[]', 'no JWKS'],
    ['{"keys":{}}', 'no JWKS'],
    ['{"keys":[null]}', 'lacks'],
    ['{"keys":[{"kid":"long-revoked"}]}', 'has long-revoked, which the store does not have'],
  ])('doctor judges a published %s', async (body, finding) => {
    const server = createHttpServer((_request, response) => response.end(body));
    const port = await listen(server);
    const outcome = await run(`doctor --jwks-url http://127.0.0.1:${port}/`);
    server.close();
    expect(outcome.code).toBe(1);
    expect(outcome.out).toContain(finding);
  });
});

describe('what is refused', () => {
  it('generate makes keys for signing only', async () => {
    for (const alg of ['RSA-OAEP', 'ECDH-ES', 'HS256', 'none']) {
      const outcome = await run(`generate --alg ${alg}`);
      expect(outcome.code, `with ${alg}`).toBe(2);
      expect(outcome.out, `with ${alg}`).toBe('');
    }
  });

  it('verify shows what a refused token says, as unverified', async () => {
    const token = (await run('sign --sub user-1 --alg ES256')).out.trim();
    const [head = '', body = ''] = token.split('.');
    const forged = `${head}.${body}.${Buffer.alloc(64, 1).toString('base64url')}`;
    const outcome = await run('verify - --json', { input: forged });
    expect(outcome.code).toBe(1);
    expect(outcome.json()).toMatchObject({
      valid: false,
      code: 'signature_invalid',
      unverified: { header: { alg: 'ES256' }, claims: { sub: 'user-1' } },
    });
    expect((await run('verify -', { input: forged })).out).toContain('which nothing vouches for');
  });
});
