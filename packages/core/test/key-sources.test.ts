import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { keyFromEnv, keyFromFile, parseKey } from '../src/key-sources.ts';

const command = 'Make one with: openssl rand -base64 32';
const key = Buffer.from('9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', 'hex');
const base64 = key.toString('base64');
const randomKey = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(() => randomBytes(32));

/** The message of the TypeError that `action` throws. */
function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof TypeError) return error.message;
    throw error;
  }
  return 'nothing was refused';
}

describe('parseKey', () => {
  it('takes a random key in every form', () => {
    fc.assert(
      fc.property(randomKey, (bytes) => {
        const padded = bytes.toString('base64');
        const forms = {
          bytes: new Uint8Array(bytes),
          base64: padded,
          'base64 without padding': padded.replace('=', ''),
          base64url: bytes.toString('base64url'),
          'base64url with padding': `${bytes.toString('base64url')}=`,
          hex: bytes.toString('hex'),
          'capital hex': bytes.toString('hex').toUpperCase(),
        };
        for (const [form, value] of Object.entries(forms)) {
          expect([...parseKey(value, 'key')], `as ${form}`).toEqual([...bytes]);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('gives a copy of its own', () => {
    const given = Uint8Array.from(key);
    const parsed = parseKey(given, 'key');
    parsed.fill(0);
    expect([...given], 'zeroing the result leaves the value alone').toEqual([...key]);
    expect(parseKey(base64, 'key').buffer.byteLength, 'the result shares no pool').toBe(32);
  });

  it('says what is wrong with the length, word by word as in the scenarios', () => {
    const short = key.subarray(0, 24);
    expect(refusal(() => parseKey(short.toString('base64'), 'key'))).toBe(
      '"key" must be 32 bytes, got 24 (a base64 text of 32 characters). Make one with: openssl rand -base64 32',
    );
    expect(refusal(() => parseKey(key.subarray(0, 16).toString('hex'), 'key'))).toBe(
      `"key" must be 32 bytes, got 16 (a hex text of 32 characters). ${command}`,
    );
    expect(refusal(() => parseKey(Buffer.alloc(33, 0xfb).toString('base64url'), 'key'))).toBe(
      `"key" must be 32 bytes, got 33 (a base64url text of 44 characters). ${command}`,
    );
    expect(refusal(() => parseKey(short, 'JWT_AUTHORITY_KEY'))).toBe(
      `"JWT_AUTHORITY_KEY" must be 32 bytes, got 24. ${command}`,
    );
  });

  it.each([
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['an empty text', '', 'an empty string'],
    ['a number', 5, 'the number 5'],
    ['an array', [...key], 'an array of 32'],
    ['an ArrayBuffer', new ArrayBuffer(32), 'an object'],
    ['words', 'correct horse battery staple', 'a string of 28 characters'],
    ['32 characters with spaces', 'my super secret passphrase 12345', 'a string of 32 characters'],
    ['a newline at the end', `${base64}\n`, 'a string of 45 characters'],
    ['white space in front', ` ${base64}`, 'a string of 45 characters'],
    ['too much padding', `${base64}=`, 'a string of 45 characters'],
    ['padding in the middle', `${base64.slice(0, 20)}=${base64.slice(20)}`, 'a string of 45 characters'],
    ['both alphabets', `+-${base64.slice(2)}`, 'a string of 44 characters'],
    ['unused bits set', `${base64.slice(0, 42)}9=`, 'a string of 44 characters'],
    ['hex with 0x', `0x${key.toString('hex')}`, 'a string of 66 characters'],
    ['hex with colons', key.toString('hex').replace(/..(?=.)/g, '$&:'), 'a string of 95 characters'],
    [
      'a PEM block',
      '-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----',
      'a string of 58 characters',
    ],
  ])('refuses %s', (_what, value, kind) => {
    // From JavaScript, anything may come.
    const message = refusal(() => parseKey(value as string, 'key'));
    expect(message, 'what it must be, what it is, what to do').toBe(
      `"key" must be 32 bytes, or a text of them in base64, base64url or hex, got ${kind}. ${command}`,
    );
  });

  const readable = 'be 32 random bytes, got readable text (a passphrase?)';
  it.each([
    ['32 characters as bytes', Buffer.from('my super secret passphrase 12345'), readable],
    ['32 characters as base64', Buffer.from('my super secret passphrase 12345').toString('base64'), readable],
    ['32 characters as hex', Buffer.from('my super secret passphrase 12345').toString('hex'), readable],
    ['32 bytes of Cyrillic', Buffer.from('самыйсекретныйкл'), readable],
    ['a passphrase of 43 small letters', 'thisisaverylongpassphrasewithfortythreechas', readable],
    ['one of capitals', 'THISISAVERYLONGPASSPHRASEWITHFORTYTHREECHAR'.slice(0, 42) + 'A=', readable],
    ['zeroes', Buffer.alloc(32), 'be 32 random bytes, got 32 equal ones'],
    ['one byte repeated, as hex', 'ab'.repeat(32), 'be 32 random bytes, got 32 equal ones'],
    ['a key of 16 bytes twice', Buffer.concat([key.subarray(16), key.subarray(16)]), 'got ones that repeat'],
    ['hex digits repeated', '0123456789abcdef'.repeat(4), 'got ones that repeat'],
    ['0, 1, 2 …', Uint8Array.from({ length: 32 }, (_, index) => index), 'got ones that count'],
    [
      '250, 247 … through 0',
      Uint8Array.from({ length: 32 }, (_, index) => 20 - 3 * index),
      'got ones that count',
    ],
  ])('refuses what is not random: %s', (_what, value, said) => {
    const message = refusal(() => parseKey(value, 'key'));
    expect(message, 'says what it looks like').toContain(said);
    expect(message, 'and how to make a good one').toMatch(new RegExp(`^"key" must .*\\. ${command}$`));
  });

  it('P5: never shows the value', () => {
    const values = fc.oneof(
      fc.string({ minLength: 8 }),
      fc.uint8Array({ minLength: 8, maxLength: 64 }).map((bytes) => Buffer.from(bytes).toString('base64')),
    );
    fc.assert(
      fc.property(values, (value) => {
        const message = refusal(() => parseKey(value, 'key'));
        // What the message says of every value is no leak.
        const others = refusal(() => parseKey('no key', 'key')) + refusal(() => parseKey('AAAA', 'key'));
        expect(message.includes(value) && !others.includes(value), 'the value is a secret').toBe(false);
      }),
    );
  });
});

describe('keyFromEnv and keyFromFile', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'key-sources-'));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(folder, { recursive: true });
  });

  function fileOf(content: string | Uint8Array, mode = 0o600, name = 'key'): string {
    const path = join(folder, name);
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  }

  it('reads the variable, newlines at its end dropped', () => {
    for (const end of ['', '\n', '\r\n', '\n\n']) {
      const read = keyFromEnv('JWT_AUTHORITY_KEY', { env: { JWT_AUTHORITY_KEY: base64 + end } });
      expect([...read], `a value that ends in ${JSON.stringify(end)}`).toEqual([...key]);
    }
  });

  it('reads process.env by default', () => {
    vi.stubEnv('JWT_AUTHORITY_TEST_KEY', base64);
    expect([...keyFromEnv('JWT_AUTHORITY_TEST_KEY')], 'the key of the variable').toEqual([...key]);
    vi.unstubAllEnvs();
  });

  it('reads the file that NAME_FILE names, also beside an empty NAME', () => {
    const path = fileOf(`${base64}\n`);
    for (const env of [{ MY_KEY_FILE: path }, { MY_KEY_FILE: path, MY_KEY: '' }]) {
      expect([...keyFromEnv('MY_KEY', { env })], 'the key of the file').toEqual([...key]);
    }
  });

  it('names both variables and the command if neither is set', () => {
    for (const env of [{}, { MY_KEY: '' }, { MY_KEY: '', MY_KEY_FILE: '' }]) {
      expect(refusal(() => keyFromEnv('MY_KEY', { env }))).toBe(
        'Neither "MY_KEY" nor "MY_KEY_FILE" is set in the environment. Set the first to a key of 32 bytes, or the second to ' +
          `the path of a file that holds one. ${command}`,
      );
    }
  });

  it('refuses both at once', () => {
    const env = { MY_KEY: base64, MY_KEY_FILE: fileOf(base64) };
    expect(refusal(() => keyFromEnv('MY_KEY', { env }))).toBe(
      '"MY_KEY" and "MY_KEY_FILE" are both set: set one of them only',
    );
  });

  it('names the variable in what is wrong with its value', () => {
    const env = { MY_KEY: 'c2hvcnQ=' };
    expect(refusal(() => keyFromEnv('MY_KEY', { env }))).toBe(
      `"MY_KEY" must be 32 bytes, got 5 (a base64 text of 8 characters). ${command}`,
    );
  });

  it.each([undefined, '', 'my key', 'A-B', '1A', 'lower_case', base64, key.toString('hex'), 'AB'.repeat(32)])(
    'P5: refuses %j as the name of a variable, without showing it',
    (name) => {
      // From JavaScript: keyFromEnv(process.env.MY_KEY) instead of keyFromEnv('MY_KEY').
      const message = refusal(() => keyFromEnv(name as string, { env: {} }));
      expect(message, 'the rule').toMatch(/^"name" must be the name of an environment variable/);
      const shown = name !== undefined && name !== '' && message.includes(name);
      expect(shown, 'it may be the key itself').toBe(false);
    },
  );

  it('P5: does not show a key given in place of a path', () => {
    for (const value of [base64, key.toString('hex'), `a\0${base64}`]) {
      const messages = [
        refusal(() => keyFromEnv('MY_KEY', { env: { MY_KEY_FILE: value } })),
        refusal(() => keyFromFile(value)),
      ];
      expect(messages[0], 'names the variable').toMatch(
        /^"MY_KEY_FILE" must be the path of a file that can be read \(\w+ /,
      );
      expect(messages[1], 'names the parameter').toMatch(
        /^"path" must be the path of a file that can be read \(\w+ /,
      );
      expect(messages.join(), 'the value is a secret').not.toContain(value);
    }
  });

  it.each([
    ['base64', base64],
    ['base64 and a newline', `${base64}\n`],
    ['base64 and a Windows newline', `${base64}\r\n`],
    ['base64url', key.toString('base64url')],
    ['hex', `${key.toString('hex')}\n`],
    ['32 bytes', key],
  ])('reads a file of %s', (_what, content) => {
    expect([...keyFromFile(fileOf(content))], 'the key of the file').toEqual([...key]);
  });

  it('keeps a newline that belongs to a key of 32 bytes', () => {
    const bytes = Uint8Array.from([...key.subarray(0, 31), 10]);
    expect([...keyFromFile(fileOf(bytes))], 'the last byte is part of the key').toEqual([...bytes]);
  });

  it('names the file in what is wrong with its content', () => {
    const path = fileOf(key.subarray(0, 24).toString('base64'));
    expect(
      refusal(() => keyFromFile(path)),
      '32 characters of base64 are not taken for 32 bytes',
    ).toBe(`"${path}" must be 32 bytes, got 24 (a base64 text of 32 characters). ${command}`);
    expect(refusal(() => keyFromFile(fileOf('')))).toContain('got an empty string');
  });

  it('follows a symlink, as Kubernetes mounts secrets', () => {
    const link = join(folder, 'link');
    symlinkSync(fileOf(base64), link);
    expect([...keyFromFile(link)], 'the key of the file behind it').toEqual([...key]);
  });

  it('refuses what is no regular file of at most 1024 bytes, without waiting for it', () => {
    const subfolder = join(folder, 'subfolder');
    mkdirSync(subfolder);
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const large = fileOf('A'.repeat(1025), 0o600, 'large');
    for (const path of [subfolder, pipe, large, '/dev/zero']) {
      expect(refusal(() => keyFromFile(path))).toBe(`"${path}" must be a regular file of at most 1024 bytes`);
    }
  });

  it.each([undefined, 5, ''])('refuses %j as a path', (path) => {
    // From JavaScript, anything may come.
    expect(refusal(() => keyFromFile(path as string))).toMatch(
      /^"path" must be a text of 1 to 4096 characters/,
    );
  });

  it('refuses a misspelt option', () => {
    const misspelt: object = { environment: {} };
    expect(refusal(() => keyFromEnv('MY_KEY', misspelt))).toBe(
      '"environment" is not an option of keyFromEnv. It takes: env',
    );
  });

  it.each([0o640, 0o604, 0o644, 0o444, 0o660])('warns of a file of mode %o, with the command', (mode) => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const path = fileOf(base64, mode, "it's a key");
    expect([...keyFromFile(path)], 'it is a warning, not a refusal').toEqual([...key]);
    const quoted = `'${path.replace("'", `'\\''`)}'`;
    expect(warn.mock.calls, 'one warning that can be acted on').toEqual([
      [
        `The group or others may read the key file ${path}. Run: chmod 600 ${quoted}`,
        { type: 'JwtAuthorityWarning', code: 'JWT_AUTHORITY_KEY_FILE_MODE' },
      ],
    ]);
    const fix = String(warn.mock.calls[0]?.[0]).split('Run: ')[1] ?? '';
    execFileSync('sh', ['-c', fix]);
    keyFromFile(path);
    expect(warn, 'the command given ends the warning').toHaveBeenCalledTimes(1);
  });

  it.each([0o600, 0o400, 0o700])('does not warn of mode %o', (mode) => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    keyFromFile(fileOf(base64, mode));
    expect(warn, 'nobody else may read it').not.toHaveBeenCalled();
  });
});
