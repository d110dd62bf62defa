import { createSecretKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openBytes } from '../src/aead.ts';
import { encodeFields } from '../src/encoding.ts';
import { type AnyJwtAuthorityError, JwtAuthorityError } from '../src/errors.ts';
import { decryptText, encryptText } from '../src/text-encryption.ts';
import { alterationsOf } from './alterations.ts';

const key = randomBytes(32);
const context = { table: 'clients', id: '42' };
const wellFormed = fc.string({ unit: 'binary' });
const anyContext = fc.dictionary(fc.string(), fc.string());

/** The code of the error that it ends in, or `'opened'`. */
function outcome(action: () => unknown): string {
  return failure(action)?.code ?? 'opened';
}

function failure(action: () => unknown): AnyJwtAuthorityError | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (JwtAuthorityError.is(error)) return error;
    throw error;
  }
}

describe('encryptText and decryptText', () => {
  it('gives back any text, in the same context', () => {
    fc.assert(
      fc.property(wellFormed, anyContext, (text, bound) => {
        const encrypted = encryptText(text, key, { context: bound });
        expect(encrypted, 'the format').toMatch(/^v1\.[A-Za-z0-9_-]{38,}$/);
        expect(decryptText(encrypted, key, { context: bound }), 'the same text').toBe(text);
      }),
    );
  });

  it('takes the key in any form', () => {
    const encrypted = encryptText('secret', key.toString('base64'));
    expect(decryptText(encrypted, key.toString('hex')), 'one key, two spellings').toBe('secret');
  });

  it('never gives the same encrypted text twice', () => {
    const all = Array.from({ length: 1000 }, () => encryptText('secret', key));
    expect(new Set(all.map((encrypted) => encrypted.slice(0, 19))).size, 'nonces must differ').toBe(
      all.length,
    );
  });

  it('refuses another context, also one that looks alike when joined', () => {
    const encrypted = encryptText('secret', key, { context });
    const others = [
      undefined,
      {},
      { table: 'clients' },
      { id: '42' },
      { ...context, more: '' },
      { table: 'clients', id: '43' },
    ];
    const alike = [
      { table: 'clientsid', '': '42' },
      { tableclients: 'id', '42': '' },
      { id: 'clients', table: '42' },
    ];
    for (const other of [...others, ...alike]) {
      const options = other && { context: other };
      expect(
        outcome(() => decryptText(encrypted, key, options)),
        `context ${JSON.stringify(other)} is another one`,
      ).toBe('decryption_failed');
    }
    const turned = { id: '42', table: 'clients' };
    expect(decryptText(encrypted, key, { context: turned }), 'the order of members does not matter').toBe(
      'secret',
    );
  });

  it('refuses another key', () => {
    expect(
      outcome(() => decryptText(encryptText('secret', key), randomBytes(32))),
      'another key',
    ).toBe('decryption_failed');
  });

  it('refuses any alteration: one character changed, cut, added or taken out', () => {
    const encrypted = encryptText('the secret text', key, { context });
    for (const altered of alterationsOf(encrypted, 'AB_=.\né')) {
      expect(
        outcome(() => decryptText(altered, key, { context })),
        `altered to ${altered}`,
      ).toBe('decryption_failed');
    }
  });

  it('refuses any text that it did not make', () => {
    const made = fc.oneof(
      fc.string(),
      fc.base64String().map((text) => `v1.${text}`),
      fc.constant(`v2.${'A'.repeat(60)}`),
    );
    fc.assert(
      fc.property(made, (text) => {
        expect(
          outcome(() => decryptText(text, key)),
          'not made by encryptText',
        ).toBe('decryption_failed');
      }),
    );
  });

  it('P5: shows neither text nor key nor ciphertext in its errors', () => {
    const encrypted = encryptText('my client secret', key, { context });
    const error = failure(() => decryptText(`${encrypted}A`, key));
    if (error === undefined) throw new Error('an altered text was opened');
    for (const secret of [
      'my client secret',
      encrypted.slice(3),
      key.toString('base64'),
      key.toString('hex'),
      'clients',
    ]) {
      expect(`${error.message}${error.stack}${JSON.stringify(error)}`, 'no secret in an error').not.toContain(
        secret,
      );
    }
    expect(Object.hasOwn(error, 'cause'), 'no cause').toBe(false);
  });

  it.each([
    [
      'text',
      () => encryptText(5 as unknown as string, key),
      '"text" must be well-formed Unicode text, got the number 5',
    ],
    [
      'half a pair',
      () => encryptText('a\ud800', key),
      '"text" must be well-formed Unicode text, got a string of 2 characters',
    ],
    [
      'encrypted',
      () => decryptText(undefined as unknown as string, key),
      '"encrypted" must be a text, got undefined',
    ],
    ['key', () => encryptText('a', 'passphrase'), '"key" must be 32 bytes'],
    ['key to decrypt', () => decryptText('v1.', new Uint8Array(31)), '"key" must be 32 bytes, got 31'],
    [
      'context',
      () => encryptText('a', key, { context: 'a' as unknown as {} }),
      '"context" must be an object whose values',
    ],
    [
      'option',
      () => decryptText('a', key, { aad: {} } as object),
      '"aad" is not an option of decryptText. It takes: context',
    ],
  ])('refuses misuse: %s', (_what, action, message) => {
    // The casts: from JavaScript, anything may come.
    expect(action, 'a TypeError that names what is wrong').toThrow(TypeError);
    expect(action, 'a TypeError that names what is wrong').toThrow(message);
  });

  it('leaves the key as it was', () => {
    const mine = Uint8Array.from(key);
    decryptText(encryptText('a', mine), mine);
    expect([...mine], "the caller's bytes are the caller's").toEqual([...key]);
  });

  it('opens what version 1 wrote, and says in its associated data what it is for', () => {
    const fixed = Buffer.from('9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', 'hex');
    const stored = 'v1.XruzXL5s5ueqMfd8-2jRVJ3BXIWFoU885RHcpxjYVqpeww';
    expect(decryptText(stored, fixed, { context }), 'users have such texts in their databases').toBe(
      'secret',
    );
    const data = Buffer.from(stored.slice(3), 'base64url');
    const open = (associatedData: Uint8Array): unknown =>
      openBytes(createSecretKey(fixed), data.subarray(12), associatedData, data.subarray(0, 12))?.toString();
    const label = 'jwt-authority/text/v1.';
    expect(
      open(encodeFields([label, 2, 'id', '42', 'table', 'clients'])),
      'label, count, sorted members',
    ).toBe('secret');
  });
});
