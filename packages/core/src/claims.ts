import type { JWTPayload } from 'jose';
import type { TokenHeader } from './compact.ts';
import { JwtAuthorityError, type JwtAuthorityErrorCode } from './errors.ts';

/** A claims set, as jose types it: the registered claims of RFC 7519 (4.1) and any others. */
export type JwtClaims = JWTPayload;

/** What the claims of a token must be, besides not expired. What is absent here is not looked at. Checked elsewhere. */
export interface ClaimExpectations {
  /** `iss` must be this, or one of these. */
  readonly issuer?: string | readonly string[] | undefined;
  /** `aud` must be or contain this, or one of these. */
  readonly audience?: string | readonly string[] | undefined;
  readonly subject?: string | undefined;
  /** The `typ` header, ignoring case and a leading `application/` (RFC 7515, 4.1.9). */
  readonly typ?: string | undefined;
  /** How much the clocks of issuer and verifier may differ, in milliseconds. */
  readonly clockTolerance: number;
  /** How long ago `iat` may be, in milliseconds. `iat` is then required, and must not lie in the future. */
  readonly maxTokenAge?: number | undefined;
  /** Names of claims that must be present, whatever they are. */
  readonly requiredClaims?: readonly string[] | undefined;
}

/** What a JavaScript date can hold, in seconds. */
const latestDate = 8.64e12;

const timeClaims = ['exp', 'nbf', 'iat'] as const;
const textClaims = ['iss', 'sub', 'jti'] as const;

/**
 * Checks the claims of a token whose signature holds: as jose's `jwtVerify` does and in its order, but stricter. `exp` is
 * required, registered claims must have their kind, a time must be a date, and times are compared in milliseconds (jose
 * drops the fraction of a second of the present time first). `iat` in the future matters only with `maxTokenAge`, as
 * with jose: RFC 7519 gives it no meaning for validity.
 *
 * `now` is in epoch milliseconds. A token is expired from `exp` plus the tolerance on, and valid from `nbf` minus the
 * tolerance on.
 *
 * @throws `JwtAuthorityError` with code `wrong_type`, `invalid_claim`, `missing_claim`, `wrong_issuer`, `wrong_subject`,
 *   `wrong_audience`, `not_yet_valid`, `expired` or `too_old`.
 */
export function checkClaims(
  claims: Record<string, unknown>,
  header: Pick<TokenHeader, 'typ'>,
  expectations: ClaimExpectations,
  now: number,
): asserts claims is JwtClaims & { exp: number } {
  const { issuer, audience, subject, typ, clockTolerance, maxTokenAge, requiredClaims = [] } = expectations;
  if (typ !== undefined && (header.typ === undefined || mediaType(header.typ) !== mediaType(typ))) {
    throw refuse('wrong_type', 'The "typ" header is not the expected one');
  }
  for (const claim of requiredClaims) requirePresent(claims, claim);
  if (issuer !== undefined) requirePresent(claims, 'iss');
  if (subject !== undefined) requirePresent(claims, 'sub');
  if (audience !== undefined) requirePresent(claims, 'aud');
  if (maxTokenAge !== undefined) requirePresent(claims, 'iat');
  requirePresent(claims, 'exp');
  const { iss, sub, aud, exp, nbf, iat } = checkKinds(claims);

  if (issuer !== undefined && !isAmong(iss, issuer))
    throw refuse('wrong_issuer', '"iss" is not an expected issuer');
  if (subject !== undefined && sub !== subject)
    throw refuse('wrong_subject', '"sub" is not the expected subject');
  if (audience !== undefined && ![aud].flat().some((member) => isAmong(member, audience))) {
    throw refuse('wrong_audience', '"aud" names none of the expected audiences');
  }
  if (nbf !== undefined && nbf * 1000 > now + clockTolerance)
    throw refuse('not_yet_valid', '"nbf" has not come yet');
  if (exp !== undefined && exp * 1000 <= now - clockTolerance) throw refuse('expired', '"exp" has passed');
  if (maxTokenAge !== undefined && iat !== undefined) {
    if (iat * 1000 < now - clockTolerance - maxTokenAge) {
      throw refuse('too_old', '"iat" is longer ago than the maximum token age');
    }
    if (iat * 1000 > now + clockTolerance) throw refuse('not_yet_valid', '"iat" lies in the future');
  }
}

function refuse(code: Exclude<JwtAuthorityErrorCode, 'malformed'>, message: string): JwtAuthorityError {
  return new JwtAuthorityError(code, message);
}

function mediaType(typ: string): string {
  const lower = typ.toLowerCase();
  return lower.includes('/') ? lower : `application/${lower}`;
}

function isAmong(value: string | undefined, expected: string | readonly string[]): boolean {
  return (
    value !== undefined && (typeof expected === 'string' ? value === expected : expected.includes(value))
  );
}

function requirePresent(claims: Record<string, unknown>, claim: string): void {
  if (!Object.hasOwn(claims, claim)) throw refuse('missing_claim', `"${claim}" is required and absent`);
}

/** The registered claims that are present have the kinds of value that RFC 7519 (4.1) gives them. */
function checkKinds(claims: Record<string, unknown>): JwtClaims {
  for (const claim of textClaims) {
    const value = claims[claim];
    if (value !== undefined && typeof value !== 'string')
      throw refuse('invalid_claim', `"${claim}" must be a text`);
  }
  const { aud } = claims;
  const isList = Array.isArray(aud) && aud.every((member) => typeof member === 'string');
  if (aud !== undefined && typeof aud !== 'string' && !isList) {
    throw refuse('invalid_claim', '"aud" must be a text or a list of texts');
  }
  for (const claim of timeClaims) {
    const value = claims[claim];
    // JSON.parse makes Infinity of 1e999. Written so that NaN fails too.
    if (value !== undefined && !(typeof value === 'number' && Math.abs(value) <= latestDate)) {
      throw refuse('invalid_claim', `"${claim}" must be a number of seconds that makes a date`);
    }
  }
  return claims;
}
