import type { KeyEncrypter } from '@jwt-authority/core';

type Context = Readonly<Record<string, string>>;

/** An encrypter whose calls are counted, and whose data-encryption keys are remembered in order to look for them. */
export class WatchedKek implements KeyEncrypter {
  readonly calls = { encrypt: 0, decrypt: 0 };
  readonly dataKeys: Buffer[] = [];
  readonly #real: KeyEncrypter;

  constructor(real: KeyEncrypter) {
    this.#real = real;
  }

  get id(): string {
    return this.#real.id;
  }

  canDecrypt(encrypted: string): boolean {
    return this.#real.canDecrypt(encrypted);
  }

  async encrypt(dataKey: Uint8Array, context: Context): Promise<string> {
    this.calls.encrypt++;
    this.dataKeys.push(Buffer.from(dataKey));
    return this.#real.encrypt(dataKey, context);
  }

  async decrypt(encrypted: string, context: Context): Promise<Uint8Array> {
    this.calls.decrypt++;
    return this.#real.decrypt(encrypted, context);
  }
}
