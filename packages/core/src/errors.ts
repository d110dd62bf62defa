/** What a caller can act on, and whether the same call may succeed later without anybody's doing. One row per code. */
const codes = {
  /** The text is not a JWS this library accepts; `reason` says what is wrong with it. */
  malformed: { retryable: false },
  /** The token names a key that the key set does not hold (never did, or it has expired). */
  unknown_kid: { retryable: false },
  /** The token names an unknown key and the store could not be asked: "cannot tell", not "invalid". */
  unknown_kid_while_stale: { retryable: true },
  /** The token was signed by a key that has been revoked. */
  key_revoked: { retryable: false },
  /** The token's `alg` is not the algorithm of the key it names (RFC 8725, 3.1). */
  algorithm_mismatch: { retryable: false },
  /** The signature does not belong to this token and key. */
  signature_invalid: { retryable: false },
  /** `exp` has passed. */
  expired: { retryable: false },
  /** `nbf` has not come yet, or `iat` lies in the future. */
  not_yet_valid: { retryable: true },
  /** `iat` is longer ago than `maxTokenAge` allows. */
  too_old: { retryable: false },
  wrong_issuer: { retryable: false },
  wrong_audience: { retryable: false },
  wrong_subject: { retryable: false },
  /** The `typ` header is not the expected one. */
  wrong_type: { retryable: false },
  /** A required claim is absent. */
  missing_claim: { retryable: false },
  /** A registered claim has a value of the wrong kind, or the claims do not fit the schema given. */
  invalid_claim: { retryable: false },
  /** A one-time token was used before. */
  replayed: { retryable: false },
  /** The replay store did not answer: the token is refused, because nobody can say that it was not used before. */
  replay_store_unavailable: { retryable: true },
  /** `exp` lies beyond what the key set promises for its keys. */
  token_lifetime_exceeded: { retryable: false },
  /** The last successful refresh began longer ago than the stale bound. */
  stale: { retryable: true },
  /** No key may sign at the moment. */
  no_active_key: { retryable: true },
  /** The store holds no key set, and this instance may not make one (`initialise: 'never'`). */
  not_initialised: { retryable: true },
  /** The store did not answer in time, or answered with a failure. */
  store_unavailable: { retryable: true },
  /** What the store holds under this name cannot be read as a stored key set. Nothing is overwritten. */
  store_unreadable: { retryable: false },
  /** The key set is sealed under a KEK that none of the given encrypters holds, or an encrypter names a KEK that cannot be it. */
  kek_not_configured: { retryable: false },
  /** The KEK service did not answer in time, or refused: nothing is wrong with what is stored. */
  kek_unavailable: { retryable: true },
  /** A wrapped data-encryption key or an encrypted text fails its authentication: altered, or of another context or key. */
  decryption_failed: { retryable: false },
  /** The stored document is not an authentic key set of this namespace. */
  document_rejected: { retryable: false },
  /** The stored document has a format that this version does not know. */
  document_unsupported: { retryable: false },
  /** The commit lost its race, or ran out of its deadline, too often in a row. */
  commit_conflict: { retryable: true },
  /** This machine's clock differs from the store's by more than the clock tolerance. */
  clock_skew: { retryable: true },
  /** The operation does not fit the state the key set is in now; the message says which state that is. */
  not_applicable: { retryable: false },
  /** The key set already has, or had, a key with this `kid`. */
  key_exists: { retryable: false },
  /** The key cannot be used: wrong kind, too weak, or not the private half of its public half. */
  unusable_key: { retryable: false },
  /** This object has been closed. */
  closed: { retryable: false },
} as const;

/** Every `code` that a {@link JwtAuthorityError} can have. */
export type JwtAuthorityErrorCode = keyof typeof codes;

/** Why a token is `malformed`. */
export type MalformedReason =
  | 'not_a_string'
  | 'too_long'
  | 'not_compact'
  | 'not_base64url'
  | 'header_not_json'
  | 'header_duplicate_member'
  | 'header_no_alg'
  | 'header_no_kid'
  | 'header_alg_not_allowed'
  | 'header_embedded_key'
  | 'header_crit'
  | 'header_b64'
  | 'header_typ'
  | 'claims_not_json'
  | 'claims_duplicate_member';

const brand = Symbol.for('@jwt-authority/core/JwtAuthorityError');

/**
 * The one error class of this project. Wrong use of the API is a `TypeError` instead.
 *
 * Messages never contain a token, a key, a claim's value, a ciphertext or a connection string, and there is no `cause`:
 * errors of clients carry all of these.
 */
export class JwtAuthorityError<Code extends JwtAuthorityErrorCode = JwtAuthorityErrorCode> extends Error {
  override readonly name = 'JwtAuthorityError';
  /** Stable; `switch` on it. */
  readonly code: Code;
  /** With `malformed` only: what is wrong with the token. */
  readonly reason: Code extends 'malformed' ? MalformedReason : undefined;
  /** Whether the same call may succeed later, without a change of code or settings. */
  readonly retryable: boolean;

  constructor(
    code: Code,
    message: string,
    ...reason: Code extends 'malformed' ? [reason: MalformedReason] : []
  ) {
    super(message);
    this.code = code;
    // The rest parameter has exactly this conditional type; TypeScript does not index it through the generic.
    this.reason = reason[0] as typeof this.reason;
    this.retryable = codes[code].retryable;
    Object.defineProperty(this, brand, { value: true });
  }

  /** Whether `value` is an error of this project, also one made by another copy of this package. Narrows by `code`. */
  static is(value: unknown): value is AnyJwtAuthorityError {
    return typeof value === 'object' && value !== null && brand in value;
  }
}

/** The union that `switch (error.code)` narrows. */
export type AnyJwtAuthorityError = {
  [Code in JwtAuthorityErrorCode]: JwtAuthorityError<Code>;
}[JwtAuthorityErrorCode];

/**
 * What may be said of somebody else's error: our own message, else its name and system code. Never its message: clients
 * put connection strings, commands and payloads there.
 */
export function describeError(error: unknown): string {
  if (JwtAuthorityError.is(error)) return error.message;
  if (!(error instanceof Error)) return `a thrown ${typeof error}`;
  const code =
    'code' in error && typeof error.code === 'string' && /^[A-Z_0-9]{2,40}$/.test(error.code)
      ? error.code
      : '';
  const name = /^[A-Za-z]{1,60}$/.test(error.name) ? error.name : 'Error';
  return code === '' ? name : `${name} ${code}`;
}
