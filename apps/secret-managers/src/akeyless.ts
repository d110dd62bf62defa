import { checkOptions, checkText, misuse, type KeyEncrypter } from '@jwt-authority/core';
import { post, remoteEncrypter, type Call } from './remote-encrypter.ts';

export interface AkeylessEncrypterOptions {
  /** `https://api.akeyless.io`, or your gateway's. */
  readonly address: string;
  /** The name of an AES key (AES256GCM): `/jwt/kek`. */
  readonly keyName: string;
  /** Gives a valid token, from `POST /auth`; renewing it is up to the caller. */
  readonly token: () => string | Promise<string>;
  /** Milliseconds a call may take. Default 5000. */
  readonly timeout?: number;
}

/**
 * A KEK in Akeyless. It needs read permission on the key.
 *
 * Akeyless could bind an `encryption-context` itself, but does not document by which error it tells another context from
 * a key that is gone or not permitted: the one must be `decryption_failed`, the other must never be. So it is bound here.
 */
export function akeylessEncrypter(options: AkeylessEncrypterOptions): KeyEncrypter {
  checkOptions(options, 'akeylessEncrypter', ['address', 'keyName', 'token', 'timeout']);
  const { address, keyName, token, timeout = 5000 } = options;
  if (!/^[\w./-]{1,200}$/.test(checkText(keyName, 'keyName'))) {
    throw misuse('keyName', 'be the name of an Akeyless key', keyName);
  }
  const id = `akeyless:${keyName}`;
  const call = (action: 'encrypt' | 'decrypt'): Call => ({
    id,
    url: new URL(`/${action}`, address),
    timeout,
  });
  const common = async (): Promise<object> => ({ 'key-name': keyName, token: await token(), json: true });
  return remoteEncrypter({
    id,
    encrypt: async (plaintext) => {
      const body = { ...(await common()), plaintext: plaintext.toString('base64'), 'input-format': 'base64' };
      return post(call('encrypt'), body, 'result');
    },
    decrypt: async (ciphertext) => {
      const body = { ...(await common()), ciphertext, 'output-format': 'base64' };
      return Buffer.from(await post(call('decrypt'), body, 'result'), 'base64');
    },
  });
}
