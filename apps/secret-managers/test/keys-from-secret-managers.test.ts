import { execFile, spawnSync } from 'node:child_process';
import { createSign, generateKeyPairSync, randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

/** What src/app.ts prints. */
interface Printed {
  readonly kid?: string;
  readonly token?: string;
  readonly sealedBy?: string;
  readonly error?: string;
  /** What Node warned of. */
  readonly warnings: string;
}

type Variables = Readonly<Record<string, string>>;

let scratch: string;
let program: string;
let folder: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'jwt-authority-secrets-'));
  program = join(scratch, 'app.mjs');
  const bundle = await rolldown({
    input: join(import.meta.dirname, '../src/app.ts'),
    platform: 'node',
    resolve: { conditionNames: ['@jwt-authority/source', 'node', 'import', 'default'] },
  });
  await bundle.write({ file: program, format: 'esm', codeSplitting: false });
  await bundle.close();
  // And the command line tool, by the name that the page calls it.
  const cli = await rolldown({
    input: join(import.meta.dirname, '../../../packages/cli/src/bin.ts'),
    platform: 'node',
    // Adapters that are not asked for here.
    external: [
      'ioredis',
      'redis',
      /^@jwt-authority\/(?:store-(?:ioredis|redis-om)|encrypt-)/,
      /^@aws-sdk\//,
      'node-vault',
    ],
    resolve: { conditionNames: ['@jwt-authority/source', 'node', 'import', 'default'] },
  });
  await cli.write({ file: join(scratch, 'cli.mjs'), format: 'esm', codeSplitting: false });
  await cli.close();
  await mkdir(join(scratch, 'bin'));
  const script = `#!/bin/sh\nexec node "${join(scratch, 'cli.mjs')}" "$@"\n`;
  await writeFile(join(scratch, 'bin/jwt-authority'), script, { mode: 0o755 });
});
afterAll(async () => rm(scratch, { recursive: true, force: true }));
beforeEach(async () => {
  folder = await mkdtemp(join(scratch, 'keys-'));
});

/** Runs a command through the shell with these variables and no others, as the documents write it. */
async function shell(
  command: string,
  variables: Variables = {},
): Promise<{ stdout: string; stderr: string }> {
  const env = {
    PATH: `${join(scratch, 'bin')}:${process.env['PATH']}`,
    HOME: scratch,
    APP: program,
    KEYS: folder,
    JWT_AUTHORITY_FOLDER: folder,
    ...variables,
  };
  return new Promise((resolve, reject) => {
    execFile(
      'bash',
      ['-c', `set -o pipefail; ${command}`],
      { env, cwd: scratch },
      (error, stdout, stderr) => {
        if (error && stdout === '') reject(new Error(`${command}: ${stderr}`));
        else resolve({ stdout, stderr });
      },
    );
  });
}

async function run(command: string, variables: Variables = {}): Promise<Printed> {
  const { stdout, stderr } = await shell(command, variables);
  // Printed by the fixture.
  return { ...(JSON.parse(stdout) as Omit<Printed, 'warnings'>), warnings: stderr };
}

const newKey = (): string => randomBytes(32).toString('base64');
const start = 'node "$APP" start "$KEYS"';

describe('the key in a variable (op run, doppler run, infisical run: they end in this; the programs themselves are not run)', () => {
  it('starts, and the key is in no file', async () => {
    const key = newKey();
    const { sealedBy, warnings } = await run(start, { JWT_AUTHORITY_KEY: key });
    expect(sealedBy, 'the local encrypter').toMatch(/^local:/);
    expect(warnings, 'nothing to say').toBe('');
    const { stdout } = await shell(`grep -rF -c '${key}' "$KEYS" || true`);
    expect(stdout, 'the store has the wrapped key only').not.toMatch(/:[1-9]/);
  });

  it('takes what a command substitution gives (op read, doppler secrets get, akeyless get-secret-value)', async () => {
    await writeFile(join(scratch, 'given'), `${newKey()}\n`);
    expect(await run(`JWT_AUTHORITY_KEY="$(cat given)" ${start}`), 'the newline is gone').toHaveProperty(
      'token',
    );
  });

  it.each([
    ['not set', {}, 'Neither "JWT_AUTHORITY_KEY" nor "JWT_AUTHORITY_KEY_FILE" is set'],
    [
      'a reference that was not resolved',
      { JWT_AUTHORITY_KEY: 'op://prod/jwt/key' },
      '"JWT_AUTHORITY_KEY" must be 32 ',
    ],
    [
      'a passphrase',
      { JWT_AUTHORITY_KEY: 'correct horse battery staple 123' },
      '"JWT_AUTHORITY_KEY" must be 32 ',
    ],
    ['both', { JWT_AUTHORITY_KEY: newKey(), JWT_AUTHORITY_KEY_FILE: '/x' }, 'are both set'],
  ])('%s: says so, without the value', async (_what, variables: Variables, message) => {
    const { error = '' } = await run(start, variables);
    expect(error, 'the variable and the rule').toContain(message);
    for (const value of Object.values(variables).filter((text) => text.length > 2)) {
      expect(error, 'the value may be the key').not.toContain(value);
    }
  });
});

describe('a .env file, by node --env-file', () => {
  it.each([
    ['plain', (key: string) => `JWT_AUTHORITY_KEY=${key}\n`],
    ['quoted, with a comment', (key: string) => `# the key\nJWT_AUTHORITY_KEY="${key}" # until 2027\n`],
    ['with carriage returns', (key: string) => `JWT_AUTHORITY_KEY=${key}\r\n`],
  ])('%s', async (_what, content) => {
    await writeFile(join(scratch, '.env'), content(newKey()), { mode: 0o600 });
    expect(await run('node --env-file=.env "$APP" start "$KEYS"'), 'it starts').toHaveProperty('token');
  });
});

describe('the key in a file', () => {
  it.each([
    ['base64', (key: Buffer) => key.toString('base64')],
    ['base64 and a newline', (key: Buffer) => `${key.toString('base64')}\n`],
    ['hex and a newline of Windows', (key: Buffer) => `${key.toString('hex')}\r\n`],
    ['the 32 bytes themselves', (key: Buffer) => key],
  ])('%s', async (_what, content) => {
    const [key, path] = [randomBytes(32), join(scratch, 'key')];
    await rm(path, { force: true });
    await writeFile(path, content(key), { mode: 0o400 });
    const { sealedBy, warnings } = await run(start, { JWT_AUTHORITY_KEY_FILE: path });
    expect(warnings, 'mode 0400 is as it should be').toBe('');
    const inVariable = await run(start, { JWT_AUTHORITY_KEY: key.toString('base64') });
    expect(inVariable.sealedBy, 'the same key, however it comes').toBe(sealedBy);
  });

  it('systemd LoadCredential: $CREDENTIALS_DIRECTORY, mode 0400 in a folder of mode 0500 (systemd itself is not run)', async () => {
    const credentials = join(scratch, 'credentials/app.service');
    await mkdir(credentials, { recursive: true, mode: 0o700 });
    await writeFile(join(credentials, 'jwt-authority-key'), `${newKey()}\n`, { mode: 0o400 });
    await chmod(credentials, 0o500);
    const command = `JWT_AUTHORITY_KEY_FILE="$CREDENTIALS_DIRECTORY/jwt-authority-key" ${start}`;
    const printed = await run(command, { CREDENTIALS_DIRECTORY: credentials });
    await chmod(credentials, 0o700);
    expect(printed, 'it starts, without a warning').toMatchObject({
      kid: expect.any(String) as unknown,
      warnings: '',
    });
  });

  it('Docker secrets: mode 0444 works and warns; 0400, or the flag, is silent', async () => {
    const secret = join(scratch, 'jwt_authority_key');
    await writeFile(secret, newKey());
    await chmod(secret, 0o444);
    const variables = { JWT_AUTHORITY_KEY_FILE: secret };
    const open = await run(start, variables);
    expect(open.warnings, 'others on the host may read it').toContain('JWT_AUTHORITY_KEY_FILE_MODE');
    const hushed = await run(
      'node --disable-warning=JWT_AUTHORITY_KEY_FILE_MODE "$APP" start "$KEYS"',
      variables,
    );
    expect(hushed, 'where it is as it must be').toMatchObject({ kid: open.kid, warnings: '' });
    await chmod(secret, 0o400);
    expect(await run(start, variables), 'as the page sets it').toMatchObject({ kid: open.kid, warnings: '' });
  });

  it('Kubernetes secrets: through the symbolic links of a mounted secret, which is replaced as a whole', async () => {
    const mount = join(scratch, 'secret-mount');
    const version = async (name: string, key: string): Promise<void> => {
      await mkdir(join(mount, name), { recursive: true });
      await writeFile(join(mount, name, 'key'), key, { mode: 0o400 });
      await symlink(name, join(mount, '..data_tmp'));
      await rename(join(mount, '..data_tmp'), join(mount, '..data'));
    };
    const [before, after] = [newKey(), newKey()];
    await version('..2026_11_28_05_00_00.1', before);
    await symlink('..data/key', join(mount, 'key'));
    const variables = { JWT_AUTHORITY_KEY_FILE: join(mount, 'key') };
    const first = await run(start, variables);
    expect(first.warnings, 'the mode is that of the file, not of the link').toBe('');

    await version('..2026_11_28_06_00_00.2', after);
    const changed = { ...variables, JWT_AUTHORITY_PREVIOUS_KEY: before };
    const second = await run('node "$APP" rewrap "$KEYS"', changed);
    expect(second, 'a process started later reads the new one').toMatchObject({
      kid: first.kid,
      warnings: '',
    });
    expect(second.sealedBy, 'and seals with it').not.toBe(first.sealedBy);
  });
});

describe('changing the key', () => {
  it.each(['variables', 'files'])('P1: new and previous, rewrap, drop the previous: by %s', async (by) => {
    const give = async (name: string, key: string): Promise<Variables> => {
      if (by === 'variables') return { [name]: key };
      const path = join(folder, `../${name}.${randomBytes(4).toString('hex')}`);
      await writeFile(path, `${key}\n`, { mode: 0o400 });
      return { [`${name}_FILE`]: path };
    };
    const [before, after] = [newKey(), newKey()];
    const [old, current] = [await give('JWT_AUTHORITY_KEY', before), await give('JWT_AUTHORITY_KEY', after)];
    const previous = await give('JWT_AUTHORITY_PREVIOUS_KEY', before);
    const first = await run(start, old);
    const withToken = `node "$APP" start "$KEYS" ${first.token}`;

    const wrong = await run(withToken, current);
    expect(wrong.error, 'says which key the document wants, and which was given').toMatch(
      new RegExp(`sealed by "${first.sealedBy}", but the encrypters given are "local:[0-9a-f]{8}"`),
    );
    expect(await run(withToken, { ...current, ...previous }), 'both open it').toMatchObject({
      kid: first.kid,
      sealedBy: first.sealedBy,
    });
    const { sealedBy } = await run('node "$APP" rewrap "$KEYS"', { ...current, ...previous });
    expect(await run(withToken, current), 'the new one alone, and the token of before').toMatchObject({
      kid: first.kid,
      sealedBy,
    });
    expect((await run(withToken, old)).error, 'the old one opens nothing any more').toContain(
      `sealed by "${sealedBy}"`,
    );
  });
});

/** Why a test that needs a program is skipped, for its title; where everything must be tested, the program must be there. */
function missing(name: string): string | undefined {
  if (spawnSync(name, ['--version']).error === undefined) return undefined;
  if (process.env['CI'] === 'true') throw new Error(`${name} is not on PATH; scripts/services.sh gets it`);
  return ` (skipped: ${name} is not on PATH)`;
}

describe('a private key that lies encrypted on disk', () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const passphrase = 'the passphrase of the old file';

  beforeAll(async () => {
    await writeFile(join(scratch, 'private.pem'), pem, { mode: 0o600 });
    await writeFile(join(scratch, 'passphrase'), `${passphrase}\n`, { mode: 0o600 });
  });

  /** A token that the old service signed with this very key. */
  function oldToken(): string {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const input = `${part({ alg: 'RS256', kid: 'main' })}.${part({ sub: 'user-1', iat: now, exp: now + 600 })}`;
    return `${input}.${createSign('sha256').update(input).sign(privateKey, 'base64url')}`;
  }

  const importKey = `node "$APP" import "$KEYS" ${oldToken()}`;
  const cliImport = 'jwt-authority import - --as first --alg RS256 --kid main';
  const recipes = [
    [
      'openssl enc',
      'openssl enc -aes-256-cbc -pbkdf2 -salt -in private.pem -out private.pem.enc -pass file:passphrase',
      'openssl enc -d -aes-256-cbc -pbkdf2 -in private.pem.enc -pass file:passphrase',
    ],
    [
      'openssl enc of before OpenSSL 1.1',
      'openssl enc -aes-256-cbc -md md5 -in private.pem -out old.enc -pass file:passphrase',
      'openssl enc -d -aes-256-cbc -md md5 -in old.enc -pass file:passphrase',
    ],
    [
      'openssl pkcs8 (BEGIN ENCRYPTED PRIVATE KEY)',
      'openssl pkcs8 -topk8 -v2 aes-256-cbc -in private.pem -out encrypted.pem -passout file:passphrase',
      'openssl pkcs8 -in encrypted.pem -passin file:passphrase',
    ],
    [
      'openssl rsa (Proc-Type: 4,ENCRYPTED)',
      'openssl rsa -traditional -aes256 -in private.pem -out legacy.pem -passout file:passphrase',
      'openssl rsa -in legacy.pem -passin file:passphrase',
    ],
    [
      'gpg',
      'gpg --batch --yes --pinentry-mode loopback --passphrase-file passphrase --symmetric -o private.pem.gpg private.pem',
      'gpg --batch --quiet --pinentry-mode loopback --passphrase-file passphrase -d private.pem.gpg',
    ],
  ] as const;

  for (const [name, encrypt, decrypt] of recipes) {
    const reason = missing(name.startsWith('gpg') ? 'gpg' : 'openssl');
    it.skipIf(reason !== undefined)(
      `${name}: decrypted into the import, never onto disk${reason ?? ''}`,
      async () => {
        const gnupg = join(scratch, 'gnupg');
        await mkdir(gnupg, { recursive: true, mode: 0o700 });
        const variables = { GNUPGHOME: gnupg, JWT_AUTHORITY_KEY: newKey() };
        await shell(`${encrypt}; echo done`, variables);

        const { kid, token } = await run(`${decrypt} | ${importKey}`, variables);
        if (name === 'gpg') await shell('gpgconf --kill all; echo done', variables);

        expect(kid, 'it signs at once, under its own kid; the token of the old service was verified').toBe(
          'main',
        );
        const { stdout } = await shell('cat "$KEYS"/*/*; echo');
        expect(stdout, 'the store has it sealed').not.toContain(pem.split('\n')[1]);
        const restarted = await run(`node "$APP" start "$KEYS" ${token}`, variables);
        expect(restarted, 'and after a restart').toMatchObject({ kid: 'main' });
      },
    );
  }

  for (const [name, encrypt, decrypt] of recipes) {
    const reason = missing(name.startsWith('gpg') ? 'gpg' : 'openssl');
    it.skipIf(reason !== undefined)(`${name} | jwt-authority import -${reason ?? ''}`, async () => {
      const gnupg = join(scratch, 'gnupg-cli');
      await mkdir(gnupg, { recursive: true, mode: 0o700 });
      const variables = { GNUPGHOME: gnupg, JWT_AUTHORITY_KEY: newKey() };
      await shell(`${encrypt}; echo done`, variables);
      const { stdout } = await shell(`${decrypt} | ${cliImport}`, variables);
      if (name === 'gpg') await shell('gpgconf --kill all; echo done', variables);
      expect(stdout, 'what the tool says').toContain('Key main is imported');
      const started = await run(`node "$APP" start "$KEYS" ${oldToken()}`, variables);
      expect(started, 'the service signs with it, and takes the tokens of before').toMatchObject({
        kid: 'main',
      });
    });
  }

  it.skipIf(missing('openssl') !== undefined)('a wrong passphrase imports nothing', async () => {
    const variables = { JWT_AUTHORITY_KEY: newKey() };
    await shell(`${recipes[0][1]}; echo done`, variables);
    const wrong = recipes[0][2].replace('file:passphrase', 'pass:wrong');
    const { stdout } = await shell(`${wrong} 2>/dev/null | ${importKey}; true`, variables);
    expect(stdout, 'what comes out is no PEM').toContain('\\"key\\" must be a private key as PEM');
    expect((await run(start, variables)).kid, 'the store stayed empty').not.toBe('main');
  });

  it('the page has these very commands', () => {
    const page = readFileSync(
      join(import.meta.dirname, '../../../docs/keys-from-secret-managers.md'),
      'utf8',
    );
    for (const [, , decrypt] of recipes) expect(page, 'a reader copies them').toContain(decrypt);
    expect(page).toContain(cliImport);
    expect(page).toContain('node --env-file=.env');
  });
});
