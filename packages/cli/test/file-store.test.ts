import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRemoteJWKSet, importPKCS8, jwtVerify, SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { commandLine, type CommandLine, type Outcome } from './command.ts';

let command: CommandLine;
let run: (args: string, options?: Parameters<CommandLine['run']>[1]) => Promise<Outcome>;
const env = { JWT_AUTHORITY_KEY: randomBytes(32).toString('base64') };

beforeAll(async () => {
  command = await commandLine();
  run = async (args, options) => command.run(args.split(' '), { env, ...options });
});
afterAll(async () => command.remove());
beforeEach(async () => {
  await Promise.all(
    ['keys', 'jwt-authority.config.json', 'jwt-authority.key'].map(async (name) =>
      rm(join(command.folder, name), { recursive: true, force: true }),
    ),
  );
});

async function kidOf(outcome: Promise<Outcome>): Promise<string> {
  return String((await outcome).json()['kid']);
}

describe('from nothing', () => {
  it('init, rotate, status: the way in, without a secret on the terminal', async () => {
    const init = await run('init', { env: {} });
    expect(init).toMatchObject({ code: 0, err: '' });
    const key = (await readFile(join(command.folder, 'jwt-authority.key'), 'utf8')).trim();
    expect(Buffer.from(key, 'base64').length, 'a key of 256 bits').toBe(32);
    expect((await stat(join(command.folder, 'jwt-authority.key'))).mode & 0o777, 'for its owner only').toBe(
      0o600,
    );
    expect(init.out, 'a terminal is recorded, scrolled and shared').not.toContain(key);
    const withFile = { env: { JWT_AUTHORITY_KEY_FILE: './jwt-authority.key' } };

    const before = await run('status', withFile);
    expect(before, 'looking makes nothing').toMatchObject({ code: 3, out: '' });
    expect(before.err).toContain('Make one with: jwt-authority rotate');
    expect(await run('rotate', withFile)).toMatchObject({ code: 0 });
    const after = await run('status', withFile);
    expect(after).toMatchObject({ code: 0, err: '' });
    expect(after.out).toMatch(/^namespace default, revision 1, sealed by local:\S+: healthy$/m);
    expect(after.out).toMatch(/^KID +ALG +STATE +SINCE +NEXT$/m);
    expect(after.out, 'no colours in a pipe').not.toContain('\u001b[');
  });

  it('init overwrites nothing: a KEK that is lost takes all keys with it', async () => {
    await run('init');
    const key = await readFile(join(command.folder, 'jwt-authority.key'), 'utf8');
    expect(await run('init')).toMatchObject({ code: 2 });
    expect(await readFile(join(command.folder, 'jwt-authority.key'), 'utf8')).toBe(key);
  });

  it('init --show-key prints the key, since it was asked for, and writes none', async () => {
    const { key } = (await run('init --show-key --json')).json();
    expect(Buffer.from(String(key), 'base64').length).toBe(32);
    await expect(stat(join(command.folder, 'jwt-authority.key'))).rejects.toThrow('ENOENT');
  });
});

describe('a rotation', () => {
  it('P3: rotate, plan, rollback; a second rotate says that one is pending', async () => {
    await run('rotate');
    const pending = await kidOf(run('rotate --json'));
    expect(await run('rotate')).toMatchObject({
      code: 3,
      out: expect.stringContaining(`Key ${pending} is pending already`) as string,
    });
    const plan = await run('plan');
    expect(plan.out).toMatch(new RegExp(`in 24 h +${pending}  starts to sign`));
    expect((await run('rollback')).out).toContain(`Key ${pending} is withdrawn`);
    expect(await run('rollback'), 'nothing is pending any more').toMatchObject({ code: 1 });
  });

  it('--dry-run decides with the same code and changes nothing', async () => {
    await run('rotate');
    const before = (await run('status --json')).json()['revision'];
    const dry = await run('rotate --emergency --dry-run');
    expect(dry.out).toMatch(/^Dry run, nothing was changed\. Key \S+ is published and signs now\.$/m);
    expect((await run('status --json')).json()['revision']).toBe(before);
  });

  it('P9: revoke asks where somebody can be asked, and takes --yes elsewhere', async () => {
    const kid = await kidOf(run('rotate --json'));
    const token = (await run('sign --sub me')).out.trim();
    const unasked = await run(`revoke ${kid} --reason leaked`);
    expect(unasked, 'in a script, silence is no consent').toMatchObject({ code: 2, out: '' });
    expect(await run(`revoke ${kid}`), 'a reason is required').toMatchObject({ code: 2 });
    expect((await run(`revoke ${kid} --reason leaked --dry-run`)).out).toMatch(/^Dry run/);
    expect((await run(`verify ${token}`)).code).toBe(0);

    const revoked = await run(`revoke ${kid} --reason leaked --yes`);
    expect(revoked).toMatchObject({
      code: 0,
      out: expect.stringMatching(/is revoked\. Key \S+ signs now\./) as string,
    });
    expect(await run(`verify ${token}`)).toMatchObject({
      code: 1,
      out: expect.stringMatching(/^Refused \(key_revoked\)/) as string,
    });
    expect((await run('revoke nobody --reason x --yes')).err).toContain(
      'no key of this key set has this kid',
    );
  });

  it('P2: two operators at once make one rotation', async () => {
    await run('rotate');
    const outcomes = await Promise.all([run('rotate --json'), run('rotate --json'), run('rotate --json')]);
    const kids = new Set(outcomes.map((outcome) => outcome.json()['kid']));
    expect(kids.size, 'all three name the same key').toBe(1);
    expect(
      outcomes.map(({ code }) => Number(code)).toSorted((a, b) => a - b),
      'one made it, the others are told',
    ).toEqual([0, 3, 3]);
  });

  it('rewrap seals under the first KEK; then the old one can go', async () => {
    await run('rotate');
    const next = randomBytes(32).toString('base64');
    const both = { env: { ...env, NEXT_KEY: next } };
    await writeFile(
      join(command.folder, 'jwt-authority.config.json'),
      JSON.stringify({ encrypter: [{ kind: 'local', keyEnv: 'NEXT_KEY', id: 'next' }, { kind: 'local' }] }),
    );
    expect((await run('rewrap', both)).out).toMatch(
      /^Sealed by local:next, before by (local:\w+)\. Needed no more: \1\.$/m,
    );
    expect((await run('rewrap', both)).out, 'safe to repeat').toContain('already; nothing was to be done');
    expect((await run('rewrap --force', both)).out, 'a fresh data-encryption key').toMatch(
      /^Sealed by local:next, before/,
    );
    await rm(join(command.folder, 'jwt-authority.config.json'));
    expect(
      (await run('status')).err,
      'the old KEK alone opens it no more, and the message names the one it takes',
    ).toContain('"local:next"');
    expect((await run('status --key-env NEXT_KEY', both)).code, 'found by another name too').toBe(1);
  });
});

describe('keys from elsewhere', () => {
  it('import takes PEM by pipe from OpenSSL, and its tokens stay good', async () => {
    const pem = execFileSync(
      'openssl',
      ['genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const old = await new SignJWT({ sub: 'old' })
      .setProtectedHeader({ alg: 'RS256', kid: 'main' })
      .setExpirationTime('5m')
      .sign(await importPKCS8(pem.toString(), 'RS256'));
    const imported = await run('import - --as first --alg RS256 --kid main --token-lifetime 24h', {
      input: pem.toString(),
    });
    expect(imported).toMatchObject({
      code: 0,
      out: expect.stringContaining('Key main is imported') as string,
    });
    expect((await run(`verify ${old}`)).out).toContain('Valid, signed by main.');
    expect(await run('import - --alg RS256 --kid main', { input: pem.toString() })).toMatchObject({
      code: 1,
    });
  });

  it('generate, import as JWK, export, and an independent verifier', async () => {
    const jwk = (await run('generate --alg ES256 --format jwk', { env: {} })).out;
    const config = JSON.stringify({ policy: { algorithms: ['ES256'] } });
    await writeFile(join(command.folder, 'jwt-authority.config.json'), config);
    expect((await run('import - --as first', { input: jwk })).code).toBe(0);
    const { kid, d } = JSON.parse(jwk) as { kid: string; d: string };
    const exported = await run('export');
    expect(exported.out).toContain(kid);
    expect(exported.out, 'P5: the public half only').not.toContain(d);
    const set = JSON.stringify({ keys: [JSON.parse(jwk), JSON.parse(jwk)] });
    expect((await run('import -', { input: set })).err).toContain('this JWKS has 2 keys');
  });

  it.each([
    ['nothing', ''],
    [
      'a public key',
      '-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----',
    ],
    ['half a JWK', '{"kty":"EC"'],
    ['text', 'hello'],
  ])('import refuses %s, and does not repeat it', async (_, input) => {
    await run('rotate');
    const refused = await run('import -', { input });
    expect(refused.code).toBe(2);
    expect(refused.out + refused.err).not.toMatch(/MFkwEwYHKoZI|"kty"|hello/);
  });

  it('jwks --serve publishes from the store until Ctrl-C', async () => {
    await run('rotate');
    const token = (await run('sign --aud api')).out.trim();
    let subject: Promise<unknown> = Promise.resolve();
    const served = await run('jwks --serve 0', {
      onError(child, said) {
        const [, url] = /(http:\S+)/.exec(said) ?? [];
        if (url === undefined) return;
        subject = jwtVerify(token, createRemoteJWKSet(new URL(url)), { audience: 'api' }).finally(() =>
          child.kill('SIGINT'),
        );
      },
    });
    expect(served.code, 'ended in good order').toBe(0);
    await expect(subject).resolves.toMatchObject({ payload: { aud: 'api' } });
  });
});

describe('tokens', () => {
  it('sign takes claims from flags, JSON and standard input; verify takes the token from there', async () => {
    await run('rotate');
    const signed = await run('sign --claims - --expires-in 15m --jti', {
      input: '{"sub":"user-1","role":"admin"}',
    });
    const verified = await run('verify - --json', { input: signed.out });
    expect(verified.json()).toMatchObject({
      valid: true,
      claims: { sub: 'user-1', role: 'admin' },
      header: { alg: 'RS256' },
    });
    const refused = await run('verify - --json --audience api', { input: signed.out });
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.json()).toMatchObject({ valid: false, code: 'missing_claim' });
    expect((await run('verify - --json', { input: 'x.y.z' })).json()).toMatchObject({
      code: 'malformed',
      reason: 'not_base64url',
    });
    expect((await run('sign --claims [1]')).code).toBe(2);
  });
});

describe('looking ahead', () => {
  it('timeline shows when keys would appear, sign and go', async () => {
    const config = JSON.stringify({ policy: { algorithms: ['ES256'], rotationInterval: '90d' } });
    await writeFile(join(command.folder, 'jwt-authority.config.json'), config);
    const { out, code } = await run('timeline --for 200d', { env: {} });
    expect(code).toBe(0);
    expect(out).toMatch(
      /key 1 \(ES256\) signs from now on\n.*key 2 \(ES256\) is published\n.*key 2 \(ES256\) signs from now on\n.*key 1 \(ES256\) only verifies/,
    );
    expect(out, 'three keys in two hundred days').toContain('key 3');
    expect(out).not.toContain('key 4');
  });

  it('doctor finds nothing on a healthy key set, and says what is wrong with an altered one', async () => {
    await run('rotate');
    const healthy = await run('doctor');
    expect(healthy.code).toBe(0);
    expect(healthy.out).toContain('kek local:');
    const keys = join(command.folder, 'keys/default/keyset.000000000001.json');
    const stored = await readFile(keys, 'utf8');
    await chmod(keys, 0o644);
    expect((await run('doctor')).out, 'with the command that mends it').toContain('chmod 600');
    await chmod(keys, 0o600);
    await writeFile(keys, stored.replace('RS256', 'RS384'));
    const altered = await run('doctor --json');
    expect(altered.code).toBe(1);
    expect(altered.json()['findings']).toContainEqual(
      expect.objectContaining({
        check: 'key set',
        level: 'error',
        remedy: expect.stringContaining('backup') as string,
      }),
    );
  });

  it('doctor compares the published JWKS with the store', async () => {
    await run('rotate');
    const outcomes: Outcome[] = [];
    let looked: Promise<void> = Promise.resolve();
    await run('jwks --serve 0', {
      onError(child, said) {
        const [, url] = /(http:\S+)/.exec(said) ?? [];
        if (url === undefined) return;
        looked = (async () => {
          outcomes.push(await run(`doctor --jwks-url ${url}`));
          await run('rotate --emergency');
          outcomes.push(await run(`doctor --jwks-url ${url}nothing.json --namespace other`));
        })().finally(() => child.kill('SIGINT'));
      },
    });
    await looked;
    expect(outcomes[0]?.out).toContain('jwks: has every key that the store has (1)');
    expect(outcomes[0]?.out).toContain('jwks: answers 304 to its own ETag');
    expect(outcomes[1]?.code, 'another namespace has no keys').toBe(1);
  });
});

describe('wrong calls', () => {
  it.each([
    ['an unknown command', 'rotatte', /unknown command 'rotatte'/],
    ['an unknown flag', 'status --jsn', /unknown option '--jsn'/],
    ['a missing argument', 'revoke --reason x', /missing required argument 'kid'/],
    [
      'an unknown store',
      'status --store floppy',
      /there is no store "floppy"; there are: file, ioredis, redis-om/,
    ],
    ['an unknown encrypter', 'status --encrypter rot13', /there is no encrypter "rot13"/],
    ['a configuration that is not there', 'status --config nothing.json', /nothing\.json cannot be read/],
    ['Redis without a URL', 'status --store ioredis', /REDIS_URL/],
    ['a namespace that cannot be one', 'status --namespace {}', /namespace/],
    ['an unknown algorithm', 'rotate --alg HS256', /"alg" must/],
    ['a port that is none', 'jwks --serve http', /port/],
  ])('%s: exit 2, and what to do', async (_, args, message) => {
    const wrong = await run(args);
    expect(wrong.err).toMatch(message);
    expect(wrong).toMatchObject({ code: 2, out: '' });
  });

  it('a KEK that is missing or too short is named by its variable, and not shown', async () => {
    expect(await run('status', { env: {} })).toMatchObject({
      code: 2,
      err: expect.stringContaining('JWT_AUTHORITY_KEY') as string,
    });
    const short = await run('status', { env: { JWT_AUTHORITY_KEY: 'hunter2hunter2' } });
    expect(short).toMatchObject({
      code: 2,
      err: expect.stringContaining('openssl rand -base64 32') as string,
    });
    expect(short.err).not.toContain('hunter2');
  });

  it.each([
    ['[]', /must hold an object/],
    ['{"stroe":{}}', /"stroe" in .* is not known/],
    ['{"store":"file"}', /"store" in .* must be an object with a "kind"/],
    ['{', /is not JSON/],
    ['{"policy":{"propagationDelay":60,"jwksMaxAge":600}}', /"propagationDelay" \(60 s\) must be at least/],
  ])('P11: the configuration %s is refused with the reason', async (content, message) => {
    await writeFile(join(command.folder, 'jwt-authority.config.json'), content);
    const wrong = await run('status');
    expect(wrong.err).toMatch(message);
    expect(wrong.code).toBe(2);
  });

  it('a configuration in JavaScript may bring a store of its own', async () => {
    const path = join(command.folder, 'own.config.mjs');
    await writeFile(
      path,
      "export default { store: { namespace: 'own', load: async () => ({}), compareAndSwap: async () => true } };",
    );
    expect((await run('status --config own.config.mjs')).err).toContain('holds no key set');
    await rm(path);
  });

  it('--json has one object also for a failure; help and version are no failures', async () => {
    expect((await run('status --json')).json()).toEqual({
      error: { code: 'not_initialised', message: expect.stringContaining('jwt-authority rotate') as string },
    });
    const help = await run('--help');
    expect(help.code).toBe(0);
    for (const word of ['status', 'revoke', 'doctor', 'Exit codes', 'Examples'])
      expect(help.out).toContain(word);
    expect((await run('completion')).out).toContain('complete -o default -F _jwt_authority jwt-authority');
  });
});
