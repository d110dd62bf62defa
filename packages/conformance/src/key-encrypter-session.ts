import { randomBytes } from 'node:crypto';
import type { JwtAuthorityErrorCode, KeyEncrypter } from '@jwt-authority/core';
import { type CaseOptions, check } from './cases.ts';

export interface KeyEncrypterCaseOptions extends CaseOptions {
  /** Makes an encrypter of the same kind with another KEK. Without it, that case is not listed. */
  readonly openOther?: (() => KeyEncrypter | Promise<KeyEncrypter>) | undefined;
  /** Texts that only this KEK must not open, besides those that no encrypter opens. */
  readonly foreignTexts?: readonly string[] | undefined;
  /** In how many places a text is altered and cut, each costing a call. Default 40. */
  readonly samples?: number | undefined;
  /** Releases an encrypter that a case opened. */
  readonly close?: ((encrypter: KeyEncrypter) => Promise<void>) | undefined;
  /** Takes the KEK's service away, for all clients, and gives it back. Without it, that case is not listed. */
  readonly outage?:
    | {
        readonly begin: () => Promise<void>;
        readonly end: () => Promise<void>;
        /** The longest time that a call may take until it fails, in milliseconds. */
        readonly deadline: number;
      }
    | undefined;
}

export const context = { namespace: 'contract', purpose: 'key-set', 'other field': 'a:b,c=d' };
/** `kek_not_configured` is right where an alteration hits the part that names the KEK. */
export const refusals: readonly JwtAuthorityErrorCode[] = ['decryption_failed', 'kek_not_configured'];

/** What one case works with. */
export class EncrypterSession {
  readonly patience: number;
  readonly #open: () => KeyEncrypter | Promise<KeyEncrypter>;
  readonly #options: KeyEncrypterCaseOptions;
  readonly #opened: KeyEncrypter[] = [];

  constructor(open: () => KeyEncrypter | Promise<KeyEncrypter>, options: KeyEncrypterCaseOptions) {
    this.#open = open;
    this.#options = options;
    this.patience = options.patience ?? 4000;
  }

  async open(): Promise<KeyEncrypter> {
    const encrypter = await this.#open();
    this.#opened.push(encrypter);
    return encrypter;
  }

  async close(): Promise<void> {
    for (const encrypter of this.#opened) await this.#options.close?.(encrypter);
  }

  /** An encrypter, a data-encryption key and its wrapped text. */
  async openWrapped(): Promise<{ encrypter: KeyEncrypter; dataKey: Uint8Array; encrypted: string }> {
    const encrypter = await this.open();
    const dataKey = newDataKey();
    const encrypted = await encrypter.encrypt(dataKey.slice(), context);
    check(
      typeof encrypted === 'string' && encrypted !== '',
      'encrypt must resolve to a text: it is stored with the key set',
    );
    return { encrypter, dataKey, encrypted };
  }
}

export function newDataKey(): Uint8Array {
  return new Uint8Array(randomBytes(32));
}

export function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
