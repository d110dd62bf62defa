import { checkAlgorithm, type Algorithm } from './algorithms.ts';
import type { JwtClaims } from './claims.ts';
import { JwtAuthorityError } from './errors.ts';
import {
  checkOptions,
  checkText,
  checkTexts,
  inSeconds,
  milliseconds,
  misuse,
  type Duration,
} from './options.ts';

export interface SignOptions {
  /** Default: the first configured algorithm that has an active key. */
  readonly alg?: Algorithm | undefined;
  /** Default: that of the authority. */
  readonly typ?: string | undefined;
  /** `exp`, this long after now; at least 1 s. Default: the longest that the key set promises. */
  readonly expiresIn?: Duration | undefined;
  /** `nbf`, this long after now. Default: none. */
  readonly notBefore?: Duration | undefined;
  readonly audience?: string | string[] | undefined;
  readonly subject?: string | undefined;
  /** `jti`: this one, or with `true` a random UUID. `verifyOnce` needs one. */
  readonly jti?: string | true | undefined;
}

/** @throws {TypeError} */
export function checkSignOptions(options: SignOptions): SignOptions {
  checkOptions(options, 'sign', ['alg', 'typ', 'expiresIn', 'notBefore', 'audience', 'subject', 'jti']);
  const { alg, typ, expiresIn, notBefore, audience, subject, jti } = options;
  if (alg !== undefined) checkAlgorithm(alg, 'alg');
  if (typ !== undefined) checkText(typ, 'typ', 100);
  // Times in a token are whole seconds, rounded down: with less, it would sometimes be born expired.
  if (expiresIn !== undefined && milliseconds(expiresIn, 'expiresIn') < 1000) {
    throw misuse('expiresIn', 'be at least 1 s', expiresIn);
  }
  if (notBefore !== undefined) milliseconds(notBefore, 'notBefore');
  if (audience !== undefined) checkTexts(audience, 'audience');
  if (subject !== undefined) checkText(subject, 'subject');
  if (jti !== undefined && jti !== true) checkText(jti, 'jti');
  return options;
}

/** What the authority and its key bring to a token. */
interface Issuance {
  readonly issuer: string | undefined;
  /** `aud` unless the caller gives one. */
  readonly audience: string | undefined;
  /** The longest time from now to `exp`, in milliseconds. */
  readonly tokenLifetime: number;
  /** Epoch milliseconds. */
  readonly now: number;
}

/**
 * The claims set of a token, as JSON. What would make a token that nobody accepts is refused here, where it can be mended.
 * `options` are checked.
 *
 * @throws {TypeError}
 * @throws `JwtAuthorityError` with code `token_lifetime_exceeded`.
 */
export function claimsToSign(payload: JwtClaims, options: SignOptions, issuance: Issuance): string {
  checkPayload(payload);
  const { issuer, tokenLifetime, now } = issuance;
  const { subject, audience = issuance.audience, jti, notBefore, expiresIn } = options;
  const inFuture = (duration: Duration, name: string): number =>
    Math.floor((now + milliseconds(duration, name)) / 1000);
  const latest = Math.floor((now + tokenLifetime) / 1000);
  const {
    iss = issuer,
    sub = subject,
    aud = audience,
    iat = Math.floor(now / 1000),
    exp = expiresIn === undefined ? latest : inFuture(expiresIn, 'expiresIn'),
  } = payload;
  const claims = {
    ...payload,
    ...(iss !== undefined && { iss }),
    ...(sub !== undefined && { sub }),
    ...(aud !== undefined && { aud }),
    ...(jti !== undefined && { jti: jti === true ? crypto.randomUUID() : jti }),
    iat,
    ...(notBefore !== undefined && { nbf: inFuture(notBefore, 'notBefore') }),
    exp,
  };
  checkGivenOnce(payload, options);
  checkClaims(claims, issuer, now);
  if (exp * 1000 > now + tokenLifetime) {
    throw new JwtAuthorityError(
      'token_lifetime_exceeded',
      `"exp" is ${inSeconds((exp - iat) * 1000)} s after "iat", the limit promised for this key set is ${inSeconds(tokenLifetime)} s ` +
        '("maxTokenLifetime").',
    );
  }
  return toJson(claims);
}

/** Of a class instance, only some of what it means would be signed; toJSON could put anything in place of the claims checked here. */
function checkPayload(payload: unknown): void {
  const prototype: unknown =
    typeof payload === 'object' && payload !== null ? Object.getPrototypeOf(payload) : undefined;
  const isPlain =
    prototype === null || (prototype !== undefined && Object.getPrototypeOf(prototype) === null);
  if (!isPlain || (typeof payload === 'object' && payload !== null && 'toJSON' in payload)) {
    throw misuse('payload', 'be a plain object of claims (no array, class instance or toJSON)', payload);
  }
}

function checkGivenOnce(payload: JwtClaims, options: SignOptions): void {
  const optionOf = {
    sub: 'subject',
    aud: 'audience',
    jti: 'jti',
    nbf: 'notBefore',
    exp: 'expiresIn',
  } as const;
  for (const claim of ['sub', 'aud', 'jti', 'nbf', 'exp'] as const) {
    const option = optionOf[claim];
    if (payload[claim] !== undefined && options[option] !== undefined) {
      throw new TypeError(`"${claim}" is given in the payload and by the option "${option}": give it once`);
    }
  }
}

function checkClaims(
  claims: JwtClaims & { iat: number; exp: number },
  issuer: string | undefined,
  now: number,
): void {
  for (const claim of ['iss', 'sub', 'jti'] as const) {
    if (claims[claim] !== undefined && !isClaimText(claims[claim])) throw wrongClaim(claim, textRule);
  }
  const { aud }: { aud?: unknown } = claims;
  const isList = Array.isArray(aud) && aud.length > 0 && aud.every(isClaimText);
  if (aud !== undefined && !isClaimText(aud) && !isList)
    throw wrongClaim('aud', `${textRule}, or a list of such`);
  if (issuer !== undefined && claims.iss !== issuer) {
    throw wrongClaim('iss', 'be the issuer of this authority, or left out');
  }
  for (const claim of ['iat', 'nbf', 'exp'] as const) {
    const value: unknown = claims[claim];
    if (value !== undefined && !(typeof value === 'number' && value >= 0 && value <= 8.64e12)) {
      throw wrongClaim(claim, 'be seconds since 1970 as a number');
    }
  }
  const { iat, nbf, exp } = claims;
  if (iat * 1000 > now) throw wrongClaim('iat', 'not lie in the future');
  if (exp * 1000 <= now) throw wrongClaim('exp', 'lie in the future');
  if (nbf !== undefined && nbf >= exp) throw wrongClaim('nbf', 'lie before "exp"');
}

const textRule = 'be a text of 1 to 4096 characters';

function isClaimText(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.length <= 4096;
}

/** Says nothing of the claim's value, not even of a number. */
function wrongClaim(claim: string, rule: string): TypeError {
  return new TypeError(`"${claim}" must ${rule}`);
}

function toJson(claims: JwtClaims): string {
  try {
    return JSON.stringify(claims);
  } catch {
    // Its own message names members.
    throw new TypeError(
      '"payload" must be what JSON can hold: it has a BigInt, refers to itself or a toJSON failed',
    );
  }
}
