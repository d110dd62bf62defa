import { type BinaryLike, createSecretKey, randomBytes, type ScryptOptions, scryptSync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openBytes } from '../src/aead.ts';
import { encodeFields } from '../src/encoding.ts';
import { localEncrypter } from '../src/local-encrypter.ts';
import { outcome } from './outcome.ts';

type ScryptArguments = [
  password: BinaryLike,
  salt: BinaryLike,
  length: number,
  options: ScryptOptions,
  callback: (error: Error | null, key: Buffer<ArrayBuffer>) => void,
];

// Counts the calls of the real scrypt, and can let it fail.
const scryptCalls = vi.hoisted(() => ({ count: 0, fails: false }));
vi.mock(import('node:crypto'), async (importOriginal) => {
  const original = await importOriginal();
  const scrypt = (...[password, salt, length, options, callback]: ScryptArguments): void => {
    scryptCalls.count += 1;
    const used = scryptCalls.fails ? { ...options, maxmem: 1024 } : options;
    original.scrypt(password, salt, length, used, callback);
  };
  // The overload without options is not used here, and not counted.
  return { ...original, scrypt: scrypt as typeof original.scrypt };
});

const dataKey = Uint8Array.from({ length: 32 }, (_, index) => 255 - index);
const context = { namespace: 'prod', purpose: 'key set' };
const password = 'correct horse battery';
const salt = '0123456789abcdef';
// The least that is allowed: 60 ms per derivation.
const cost = 2 ** 14;

beforeEach(() => {
  scryptCalls.count = 0;
});
afterEach(() => {
  scryptCalls.fails = false;
});

describe('localEncrypter with a password', () => {
  it('opens what it wrapped, and derives its key once', async () => {
    const encrypter = localEncrypter({ password, salt, cost });
    const all = await Promise.all([encrypter.encrypt(dataKey, context), encrypter.encrypt(dataKey, context)]);
    for (const encrypted of all) {
      expect([...(await encrypter.decrypt(encrypted, context))], 'the same data key').toEqual([...dataKey]);
    }
    expect(scryptCalls.count, 'scrypt takes 0.6 s by default').toBe(1);
  });

  it('is scrypt as RFC 7914 has it, N and salt in the wrapped text', async () => {
    const bytes = randomBytes(20);
    const encrypted = await localEncrypter({ password, salt: bytes, cost, id: 'x' }).encrypt(dataKey, {
      a: 'b',
    });
    const header = `local:x:v1-scrypt:16384:${bytes.toString('base64url')}:`;
    expect(encrypted.startsWith(header), 'what another process needs').toBe(true);
    const derived = createSecretKey(scryptSync(password, bytes, 32, { N: cost, r: 8, p: 1 }));
    const data = Buffer.from(encrypted.slice(header.length), 'base64url');
    const associatedData = encodeFields(['jwt-authority/local-encrypter/wrap', header, 1, 'a', 'b']);
    const opened = openBytes(derived, data.subarray(12), associatedData, data.subarray(0, 12));
    expect(opened, 'opened by hand').toEqual(Buffer.from(dataKey));
  });

  it('takes 2^17 by default', async () => {
    const encrypted = await localEncrypter({ password, salt }).encrypt(dataKey, context);
    expect(encrypted, 'what the docs say').toContain(':v1-scrypt:131072:');
    const cheaper = localEncrypter({ password, salt, cost });
    const opened = await cheaper.decrypt(encrypted, context);
    expect([...opened], 'the default opens at any setting').toEqual([...dataKey]);
  });

  it('opens what was wrapped at another cost or under another salt, if the id is the same', async () => {
    const first = await localEncrypter({ password, salt, cost, id: 'x' }).encrypt(dataKey, context);
    const later = localEncrypter({ password, salt: 'another salt, later', cost: 2 * cost, id: 'x' });
    expect([...(await later.decrypt(first, context))], 'cost and salt are in the text').toEqual([...dataKey]);
  });

  it('refuses another password, and any alteration', async () => {
    const encrypter = localEncrypter({ password, salt, cost, id: 'x' });
    const encrypted = await encrypter.encrypt(dataKey, context);
    const other = localEncrypter({ password: `${password}!`, salt, cost, id: 'x' });
    expect(await outcome(other.decrypt(encrypted, context)), 'another password').toBe('decryption_failed');
    expect(await outcome(encrypter.decrypt(encrypted, {})), 'another context').toBe('decryption_failed');
    const altered = [
      encrypted.slice(0, -1),
      `${encrypted}A`,
      encrypted.replace(':16384:', ':32768:'),
      encrypted.replace('v1-scrypt', 'v1'),
      encrypted.replace(
        Buffer.from(salt).toString('base64url'),
        Buffer.from('0123456789abcdeg').toString('base64url'),
      ),
    ];
    for (const text of altered) {
      expect(await outcome(encrypter.decrypt(text, context)), `altered to ${text}`).toBe('decryption_failed');
    }
  });

  it('spends neither memory nor time on a wrapped text with a hostile cost or salt', async () => {
    const encrypter = localEncrypter({ password, salt, cost, id: 'x' });
    const data = 'A'.repeat(80);
    const goodSalt = Buffer.from(salt).toString('base64url');
    const costs = [2 ** 18, 2 ** 20, 2 ** 24, 2 ** 30, 2 ** 31, 2 ** 53, 0, -16384, 16383, 131071, 16384.5];
    const parameters = [
      ...[...costs, 'NaN', '', '1e5', '0x4000', '016384', ' 16384', '16384\n', 'Infinity'].map(
        (n) => `${n}:${goodSalt}`,
      ),
      '16384',
      `16384:${goodSalt}:8`,
      `16384:8:1:${goodSalt}`,
      '16384:',
      `16384:${goodSalt}=`,
      `16384:${Buffer.alloc(15).toString('base64url')}`,
      `16384:${Buffer.alloc(65).toString('base64url')}`,
      `16384:${Buffer.alloc(100_000).toString('base64url')}`,
      '',
    ];
    for (const hostile of parameters) {
      expect(
        await outcome(encrypter.decrypt(`local:x:v1-scrypt:${hostile}:${data}`, context)),
        `hostile ${hostile.slice(0, 50)}`,
      ).toBe('decryption_failed');
    }
    expect(
      await outcome(encrypter.decrypt(`local:x:v1-scrypt:16384:${goodSalt}:not/base64url`, context)),
      'no base64url',
    ).toBe('decryption_failed');
    expect(scryptCalls.count, 'scrypt is never reached').toBe(0);
  });

  it('opens a higher cost than the default once the setting allows it', async () => {
    const encrypted = await localEncrypter({ password, salt, cost: 2 ** 18, id: 'x' }).encrypt(
      dataKey,
      context,
    );
    expect(
      await outcome(localEncrypter({ password, salt, id: 'x' }).decrypt(encrypted, context)),
      'more than the default',
    ).toBe('decryption_failed');
    const allowed = localEncrypter({ password, salt, cost: 2 ** 18, id: 'x' });
    expect([...(await allowed.decrypt(encrypted, context))], 'as much as the setting').toEqual([...dataKey]);
  });

  it('forgets derived keys instead of keeping one for each salt it ever saw', async () => {
    const encrypter = localEncrypter({ password, salt, cost, id: 'x' });
    await encrypter.encrypt(dataKey, context);
    const foreign = (index: number): string =>
      `local:x:v1-scrypt:16384:${Buffer.alloc(16, index).toString('base64url')}:${'A'.repeat(80)}`;
    for (let index = 0; index < 8; index++)
      expect(await outcome(encrypter.decrypt(foreign(index), context)), 'not authentic').toBe(
        'decryption_failed',
      );
    await encrypter.encrypt(dataKey, context);
    expect(scryptCalls.count, 'own, 8 foreign ones, own again').toBe(10);
  });

  it('says kek_unavailable if scrypt fails, and tries again with the next call', async () => {
    const encrypter = localEncrypter({ password, salt, cost });
    scryptCalls.fails = true;
    await expect(
      encrypter.encrypt(dataKey, context),
      'not "altered": the same call may work later',
    ).rejects.toMatchObject({
      code: 'kek_unavailable',
      retryable: true,
      message: 'The key could not be derived by scrypt (RangeError ERR_CRYPTO_INVALID_SCRYPT_PARAMS)',
    });
    scryptCalls.fails = false;
    expect(await encrypter.encrypt(dataKey, context), 'a failure is not remembered').toContain(encrypter.id);
  });

  it('takes a password in either Unicode form', async () => {
    const composed = localEncrypter({ password: 'un élève à Paris', salt, cost });
    const decomposed = localEncrypter({ password: 'un élève à Paris'.normalize('NFD'), salt, cost });
    const encrypted = await composed.encrypt(dataKey, context);
    expect([...(await decomposed.decrypt(encrypted, context))], 'macOS and Linux type it alike').toEqual([
      ...dataKey,
    ]);
  });

  it('P5: labels it by its salt; the label says nothing about the password', () => {
    const { id } = localEncrypter({ password, salt });
    expect(id, 'stored texts name it').toBe('local:3f33bd8a');
    expect(localEncrypter({ password: 'another good password', salt, cost }).id, 'same salt').toBe(id);
    expect(localEncrypter({ password, salt: Buffer.from(salt) }).id, 'the same salt as bytes').toBe(id);
    expect(localEncrypter({ password, salt: `${salt}0` }).id, 'another salt').not.toBe(id);
    expect(localEncrypter({ password, salt, id: 'mine' }).id, 'the id given').toBe('local:mine');
  });

  it('opens what version 1 wrapped', async () => {
    const stored =
      'local:3f33bd8a:v1-scrypt:16384:MDEyMzQ1Njc4OWFiY2RlZg:Jg6Hk-NT7pf5739j5lhGF-6Hemroj4ZZPBDxetjQ-RBNpuZGWQcvQfNYltfSRG9dQ6w1hqtKQOPJe_md';
    const encrypter = localEncrypter({ password, salt });
    expect([...(await encrypter.decrypt(stored, { namespace: 'prod' }))], 'such texts are stored').toEqual([
      ...dataKey,
    ]);
  });
});
