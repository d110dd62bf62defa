import { describeError, JwtAuthorityError } from '@jwt-authority/core';

type Code = 'kek_unavailable' | 'kek_not_configured';

/** What became of a request that did not succeed. */
export type Failure =
  /** What is to be decrypted is not authentic here: altered, or of another context or key. */
  | { readonly kind: 'not_authentic' }
  /** The version that wrapped it is below the key's `min_decryption_version`. */
  | { readonly kind: 'too_old' }
  /** The token is not accepted, or not for this. */
  | { readonly kind: 'forbidden' }
  | { readonly kind: 'other'; readonly code: Code; readonly what: string; readonly retry: boolean };

const unfit = other(
  'kek_not_configured',
  'a key of this type is not usable here. Use one of type aes256-gcm96, say',
);

/** Vault's answers with status 400 by their text, which says more than the status. The first that fits. */
const texts: readonly (readonly [pattern: RegExp, failure: Failure])[] = [
  [/version is disallowed by policy/, { kind: 'too_old' }],
  [
    /encryption key not found/,
    other('kek_not_configured', 'there is no such key. Nothing was created: create it, or correct "key"'),
  ],
  [
    /missing 'context'/,
    other(
      'kek_not_configured',
      "the key is derived and asks for a context. Set binding: 'context', or use a key that is not derived",
    ),
  ],
  [/not support|non-AEAD cipher suite/, unfit],
  [/message authentication failed|invalid ciphertext/, { kind: 'not_authentic' }],
];

const certificateCodes =
  /^(?:CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|ERR_TLS_CERT_ALTNAME_INVALID|INVALID_CA)/;

/** Reads an error of whatever client it is. Nothing of it is kept but its name, the system's code and the HTTP status. */
export function readFailure(error: unknown): Failure {
  const response = member(error, 'response');
  const status = [
    member(response, 'statusCode'),
    member(response, 'status'),
    member(error, 'statusCode'),
    member(error, 'status'),
  ].find((value) => typeof value === 'number');
  return typeof status === 'number' ? readStatus(status, messagesOf(error, response)) : readNetwork(error);
}

function readStatus(status: number, messages: readonly string[] | undefined): Failure {
  const answer = `HTTP ${status}`;
  if (status === 403) return { kind: 'forbidden' };
  if (messages === undefined && status < 500)
    return other('kek_unavailable', `${answer}, and not by Vault. Is there a proxy?`);
  if (status === 400) {
    const found = texts.find(([pattern]) => messages?.some((message) => pattern.test(message)));
    return found?.[1] ?? other('kek_unavailable', `Vault refused the request (${answer})`);
  }
  if (status === 404)
    return other(
      'kek_not_configured',
      `there is no transit engine (${answer}). Enable it, or correct "mount" or the client's address or namespace`,
    );
  // The only answer of an RSA key to what it did not encrypt. Other texts with 500 may be about Vault's own storage.
  if (messages?.some((message) => /failed to RSA decrypt/.test(message)) === true) return unfit;
  const isSealed = status === 503 && messages?.some((message) => /sealed/i.test(message)) === true;
  if (isSealed) return other('kek_unavailable', `Vault is sealed (${answer})`, true);
  const retry = status === 412 || status === 429 || status >= 500;
  return other('kek_unavailable', `Vault is not able to answer now (${answer})`, retry);
}

function readNetwork(error: unknown): Failure {
  const code = member(error, 'code');
  if (typeof code === 'string' && certificateCodes.test(code))
    return other(
      'kek_unavailable',
      `the server's certificate is not trusted (${describeError(error)}). Give the client the CA, and the name in the certificate`,
    );
  return other('kek_unavailable', `Vault cannot be reached (${describeError(error)})`, true);
}

/** The `errors` that Vault puts into its answers; `undefined` if it is no answer of Vault. */
function messagesOf(error: unknown, response: unknown): readonly string[] | undefined {
  const errors = [member(response, 'body'), member(response, 'data'), error]
    .map((body) => member(body, 'errors'))
    .find((value) => Array.isArray(value));
  return errors?.filter((message) => typeof message === 'string');
}

export function other(code: Code, what: string, retry = false): Failure {
  return { kind: 'other', code, what, retry };
}

export function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

export type Verb = 'wrap' | 'unwrap' | 'rewrap';

/** The error for a failure. */
export function failureError(failure: Failure, id: string, verb: Verb, path: string): JwtAuthorityError {
  const sentence = `"${id}" could not ${verb} a data-encryption key`;
  switch (failure.kind) {
    case 'not_authentic':
      return new JwtAuthorityError(
        'decryption_failed',
        `${sentence}: it was altered, or wrapped for another context or by another key or version than this Vault has`,
      );
    case 'too_old':
      return new JwtAuthorityError(
        'kek_unavailable',
        `${sentence}: its version is below the key's min_decryption_version. Lower that, and raise it again after a rewrap`,
      );
    case 'forbidden':
      return new JwtAuthorityError(
        'kek_unavailable',
        `${sentence} (HTTP 403): the token has expired, is of another namespace, or has no policy with "update" on "${path}"`,
      );
    case 'other':
      return new JwtAuthorityError(failure.code, `${sentence}: ${failure.what}`);
  }
}
