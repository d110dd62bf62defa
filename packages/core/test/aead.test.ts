import { createCipheriv, createSecretKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nonceLength, openBytes, sealBytes } from '../src/aead.ts';

const key = createSecretKey(randomBytes(32));
const nonce = Buffer.alloc(nonceLength, 1);
const none = new Uint8Array(0);

describe('sealBytes and openBytes', () => {
  it('gives back what was sealed, 16 bytes longer in between', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.uint8Array({ maxLength: 200 }),
        (plaintext, associatedData) => {
          const fresh = randomBytes(nonceLength);
          const sealed = sealBytes(key, plaintext, associatedData, fresh);
          expect(sealed.length, 'ciphertext and a full tag').toBe(plaintext.length + 16);
          expect(openBytes(key, sealed, associatedData, fresh), 'opened').toEqual(Buffer.from(plaintext));
        },
      ),
    );
  });

  it('refuses any altered bit of ciphertext, tag, associated data or nonce', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.uint8Array({ maxLength: 60 }),
        fc.nat(),
        (plaintext, associatedData, seed) => {
          const sealed = sealBytes(key, plaintext, associatedData, nonce);
          const all = [sealed, Buffer.from(associatedData), Buffer.from(nonce)] as const;
          const part = all[seed % 3] ?? sealed;
          if (part.length === 0) return;
          const at = seed % part.length;
          part[at] = (part[at] ?? 0) ^ (1 << (seed % 8));
          expect(openBytes(key, all[0], all[1], all[2]), 'one altered bit must not open').toBeUndefined();
        },
      ),
      { numRuns: 500 },
    );
  });

  it('refuses a short tag, also the 4 bytes that plain Node 20 takes', () => {
    const sealed = sealBytes(key, none, none, nonce);
    for (let length = 0; length < 16; length++) {
      expect(
        openBytes(key, sealed.subarray(0, length), none, nonce),
        `tag of ${length} bytes`,
      ).toBeUndefined();
    }
    const longer = sealBytes(key, Buffer.from('plaintext of 32 bytes, as a DEK.'), none, nonce);
    for (let length = 0; length < longer.length; length++) {
      expect(
        openBytes(key, longer.subarray(0, length), none, nonce),
        `cut to ${length} bytes`,
      ).toBeUndefined();
    }
    expect(
      openBytes(key, Buffer.concat([longer, none, Buffer.of(0)]), none, nonce),
      'one byte more',
    ).toBeUndefined();
  });

  it('refuses another key and a nonce of another length', () => {
    const sealed = sealBytes(key, Buffer.from('text'), none, nonce);
    expect(openBytes(createSecretKey(randomBytes(32)), sealed, none, nonce), 'another key').toBeUndefined();
    for (const length of [0, 11, 13, 16]) {
      expect(
        openBytes(key, sealed, none, Buffer.alloc(length, 1)),
        `nonce of ${length} bytes`,
      ).toBeUndefined();
      expect(() => sealBytes(key, none, none, Buffer.alloc(length, 1)), `nonce of ${length} bytes`).toThrow(
        TypeError,
      );
    }
  });

  it('is AES-256-GCM as others have it', () => {
    const associatedData = Buffer.from('associated');
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(associatedData);
    const theirs = Buffer.concat([cipher.update('text'), cipher.final(), cipher.getAuthTag()]);
    expect(sealBytes(key, Buffer.from('text'), associatedData, nonce), 'same bytes as node:crypto').toEqual(
      theirs,
    );
  });

  it('is given bytes of its own, so that zeroing them touches nothing else', () => {
    const sealed = sealBytes(key, Buffer.from('text'), none, nonce);
    openBytes(key, sealed, none, nonce)?.fill(0);
    expect(openBytes(key, sealed, none, nonce)?.toString(), 'the sealed text is untouched').toBe('text');
  });
});
