import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { JwtAuthorityError, type KeyEncrypter } from '@jwt-authority/core';
import { Random } from './random.ts';

/** What a KEK service may do instead of its work. */
export type KekMood = 'well' | 'down' | 'slow' | 'hangs' | 'gives wrong keys';

/** How calls travel: in a simulation, through its scheduler. */
export interface Carrier {
  call<T>(work: () => T): Promise<T>;
  mood(): KekMood;
}

/** A KEK as KMS or Vault holds one: AES-256-GCM with the context bound, each call a round trip that may fail. */
export class SimulatedKek {
  readonly id: string;
  readonly #key: Buffer;
  readonly #random: Random;

  constructor(name: string, seed: number) {
    this.id = `sim:${name}`;
    this.#random = new Random(seed);
    this.#key = Buffer.from(this.#random.bytes(32));
  }

  /** The way of one process to this KEK. */
  encrypter(carrier: Carrier): KeyEncrypter {
    return {
      id: this.id,
      canDecrypt: (encrypted) => encrypted.startsWith(`${this.id}:v1:`),
      encrypt: async (dataKey, context) => {
        // The caller zeroes its bytes; a request holds a copy.
        const copy = Buffer.from(dataKey);
        return carrier.call(() => this.#wrap(copy, context));
      },
      decrypt: async (encrypted, context) =>
        carrier.call(() => {
          const dataKey = this.#unwrap(encrypted, context);
          return carrier.mood() === 'gives wrong keys' ? dataKey.map((byte) => byte ^ 0x55) : dataKey;
        }),
    };
  }

  #wrap(dataKey: Uint8Array, context: Readonly<Record<string, string>>): string {
    const nonce = this.#random.bytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce, { authTagLength: 16 });
    cipher.setAAD(digest(context));
    const bytes = Buffer.concat([nonce, cipher.update(dataKey), cipher.final(), cipher.getAuthTag()]);
    return `${this.id}:v1:${bytes.toString('base64url')}`;
  }

  #unwrap(encrypted: string, context: Readonly<Record<string, string>>): Uint8Array {
    const bytes = Buffer.from(encrypted.slice(encrypted.lastIndexOf(':') + 1), 'base64url');
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, 12), {
        authTagLength: 16,
      });
      decipher.setAuthTag(bytes.subarray(-16));
      decipher.setAAD(digest(context));
      return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
    } catch {
      throw new JwtAuthorityError('decryption_failed', 'the simulated KEK cannot open this');
    }
  }
}

function digest(context: Readonly<Record<string, string>>): Buffer {
  const entries = Object.entries(context).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(entries)).digest();
}
