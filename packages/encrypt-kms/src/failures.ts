import { describeError, JwtAuthorityError, type JwtAuthorityErrorCode } from '@jwt-authority/core';

/** What is asked of KMS, in the words of messages and of IAM. */
export interface Operation {
  readonly verb: 'wrap' | 'unwrap';
  readonly action: 'kms:Encrypt' | 'kms:Decrypt';
}

interface Finding {
  readonly code: Extract<
    JwtAuthorityErrorCode,
    'kek_unavailable' | 'kek_not_configured' | 'decryption_failed'
  >;
  readonly advice: (operation: Operation) => string;
}

const credentials: Finding = {
  code: 'kek_unavailable',
  advice: () => 'AWS does not accept the credentials in use, or there are none',
};
const permission: Finding = {
  code: 'kek_unavailable',
  advice: ({ action }) =>
    `allow ${action} on this key to the credentials in use, in their IAM policy and the key's policy. ` +
    'A key of another account or region, or one that does not exist, may look like this too',
};
const state: Finding = {
  code: 'kek_unavailable',
  advice: () => 'enable the key, or cancel its deletion: what it wrapped is lost once it is deleted',
};
const missing: Finding = {
  code: 'kek_not_configured',
  advice: () => 'there is no such key or alias in the account and region in use',
};
const unfit: Finding = {
  code: 'kek_not_configured',
  advice: () => 'it must be a symmetric key for encryption (SYMMETRIC_DEFAULT), named correctly',
};
const altered: Finding = {
  code: 'decryption_failed',
  advice: () => 'it was altered, or wrapped for another context or by another key',
};
const outage: Finding = {
  code: 'kek_unavailable',
  advice: () => 'KMS cannot be reached, is busy, or does not answer properly',
};

/** By name, since the SDK has classes for a few of them only. What is not here counts as an outage. */
const findings = new Map<string, Finding>(
  Object.entries({
    CredentialsProviderError: credentials,
    TokenProviderError: credentials,
    ExpiredToken: credentials,
    ExpiredTokenException: credentials,
    IncompleteSignature: credentials,
    InvalidClientTokenId: credentials,
    InvalidSignatureException: credentials,
    MissingAuthenticationToken: credentials,
    MissingAuthenticationTokenException: credentials,
    OptInRequired: credentials,
    RequestExpired: credentials,
    SignatureDoesNotMatch: credentials,
    UnrecognizedClientException: credentials,
    AccessDenied: permission,
    AccessDeniedException: permission,
    NotAuthorized: permission,
    DisabledException: state,
    KMSInvalidStateException: state,
    NotFoundException: missing,
    InvalidArnException: unfit,
    InvalidKeyUsageException: unfit,
    UnsupportedOperationException: unfit,
    ValidationException: unfit,
    IncorrectKeyException: altered,
    InvalidCiphertextException: altered,
  }),
);

/** Our error for one of the SDK's, of which only the name, the system's code and the HTTP status are kept. */
export function failureOf(error: unknown, id: string, operation: Operation): JwtAuthorityError {
  if (JwtAuthorityError.is(error)) return error;
  const isRegionMissing = error instanceof Error && error.message === 'Region is missing';
  if (isRegionMissing) {
    const message = `${sentence(id, operation)}: no region is set. Give "region", a client that has one, or set AWS_REGION`;
    return new JwtAuthorityError('kek_not_configured', message);
  }
  const { code, advice } = findings.get(error instanceof Error ? error.name : '') ?? outage;
  const status = httpStatusOf(error);
  const what = `${describeError(error)}${status === undefined ? '' : `, HTTP ${status}`}`;
  return new JwtAuthorityError(code, `${sentence(id, operation)} (${what}): ${advice(operation)}`);
}

/** For an answer that KMS would not give. */
export function wrongAnswer(
  id: string,
  operation: Operation,
  code: Finding['code'],
  what: string,
): JwtAuthorityError {
  return new JwtAuthorityError(code, `${sentence(id, operation)}: ${what}`);
}

export function sentence(id: string, { verb }: Operation): string {
  return `"${id}" could not ${verb} a data-encryption key`;
}

function httpStatusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const metadata: unknown = Reflect.get(error, '$metadata');
  if (typeof metadata !== 'object' || metadata === null) return undefined;
  const status: unknown = Reflect.get(metadata, 'httpStatusCode');
  return typeof status === 'number' ? status : undefined;
}
