import { checkOptions, checkText, misuse, type KeyEncrypter } from '@jwt-authority/core';
import { post, remoteEncrypter, type Call } from './remote-encrypter.ts';

export interface InfisicalEncrypterOptions {
  /** `https://us.infisical.com`, `https://eu.infisical.com`, or your own. */
  readonly address: string;
  /** The id of an "Encrypt/Decrypt" key of Infisical KMS. */
  readonly keyId: string;
  /** Gives a valid access token of a machine identity; renewing it is up to the caller. */
  readonly accessToken: () => string | Promise<string>;
  /** Milliseconds a call may take. Default 5000. */
  readonly timeout?: number;
}

/**
 * A KEK in Infisical KMS. It needs the actions `encrypt` and `decrypt` on the key (the role Cryptographic Operator has
 * them). Infisical decrypts what an earlier version of the key encrypted: rotating it there needs nothing here.
 */
export function infisicalEncrypter(options: InfisicalEncrypterOptions): KeyEncrypter {
  checkOptions(options, 'infisicalEncrypter', ['address', 'keyId', 'accessToken', 'timeout']);
  const { address, keyId, accessToken, timeout = 5000 } = options;
  if (!/^[\w-]{1,64}$/.test(checkText(keyId, 'keyId')))
    throw misuse('keyId', 'be the id of a KMS key', keyId);
  const id = `infisical:${keyId}`;
  const call = async (action: 'encrypt' | 'decrypt'): Promise<Call> => ({
    id,
    url: new URL(`/api/v1/kms/keys/${keyId}/${action}`, address),
    headers: { authorization: `Bearer ${await accessToken()}` },
    timeout,
  });
  return remoteEncrypter({
    id,
    encrypt: async (plaintext) =>
      post(await call('encrypt'), { plaintext: plaintext.toString('base64') }, 'ciphertext'),
    decrypt: async (ciphertext) =>
      Buffer.from(await post(await call('decrypt'), { ciphertext }, 'plaintext'), 'base64'),
  });
}
