import { decodeBase64url } from './encoding.ts';
import { JwtAuthorityError, type MalformedReason } from './errors.ts';
import { deepFreeze, parseJsonObject } from './json.ts';

/** No `kid` may be longer than this, in characters. */
export const maxKidLength = 256;

/** A JWS in compact serialization (RFC 7515, 7.1), taken apart. Nothing in it is trustworthy yet. */
export interface CompactJws {
  readonly encodedHeader: string;
  readonly encodedPayload: string;
  readonly encodedSignature: string;
  /** What was signed: header and payload with the dot between them. ASCII, if the header is canonical base64url. */
  readonly signingInput: string;
  readonly payload: Buffer;
  readonly signature: Buffer;
}

/** A protected header that {@link parseHeader} accepts. Frozen throughout: it may be kept and handed out. */
export interface TokenHeader {
  readonly alg: string;
  readonly kid: string;
  readonly typ?: string;
  /** Every header parameter, these three included. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

function malformed(reason: MalformedReason, what: string): JwtAuthorityError<'malformed'> {
  return new JwtAuthorityError('malformed', `The token ${what}`, reason);
}

/**
 * Splits a token and decodes its payload and signature. The header stays text, to be compared with known ones;
 * {@link parseHeader} decodes and judges one that is not known.
 *
 * An empty signature passes: it is wrong for every key, and {@link parseHeader} has a better reason for `none`.
 *
 * @throws `JwtAuthorityError` with code `malformed` and reason `not_a_string`, `too_long` (more than `maxLength`
 *   characters), `not_compact` or `not_base64url` (also for whitespace or a byte order mark anywhere).
 */
export function parseCompact(token: unknown, maxLength: number): CompactJws {
  if (typeof token !== 'string') throw malformed('not_a_string', 'is not a string');
  if (token.length > maxLength) throw malformed('too_long', `is longer than ${maxLength} characters`);
  const firstDot = token.indexOf('.');
  const secondDot = token.indexOf('.', firstDot + 1);
  // Without any dot, the first search gives -1 and the second one finds none either.
  if (secondDot <= firstDot || token.includes('.', secondDot + 1)) {
    throw malformed('not_compact', 'does not consist of three parts separated by dots');
  }
  const encodedHeader = token.slice(0, firstDot);
  const encodedPayload = token.slice(firstDot + 1, secondDot);
  const encodedSignature = token.slice(secondDot + 1);
  return {
    encodedHeader,
    encodedPayload,
    encodedSignature,
    signingInput: token.slice(0, secondDot),
    payload: decodePart(encodedPayload, 'payload'),
    signature: decodePart(encodedSignature, 'signature'),
  };
}

function decodePart(text: string, part: string): Buffer {
  const bytes = decodeBase64url(text);
  if (bytes === undefined) throw malformed('not_base64url', `has a ${part} that is not canonical base64url`);
  return bytes;
}

/**
 * Decodes and judges a protected header. Refused, besides what is no JSON object or names a member twice: no `alg` or `kid`,
 * `none` and HMAC, keys that the token brings along (`jwk`, `jku`, `x5u`, `x5c`; RFC 8725, 3.10), any extension that
 * must be understood (`crit`), `b64` (RFC 7797), and a `typ` that is no text. Other parameters are kept and mean nothing.
 *
 * @throws `JwtAuthorityError` with code `malformed` and the reason.
 */
export function parseHeader(encodedHeader: string): TokenHeader {
  const parsed = parseJsonObject(decodePart(encodedHeader, 'header'));
  if ('problem' in parsed) {
    throw parsed.problem === 'not_json'
      ? malformed('header_not_json', 'has a header that is not a JSON object in UTF-8')
      : malformed('header_duplicate_member', 'has a header that names a member twice');
  }
  const parameters = parsed.value;
  const { alg, kid, typ } = parameters;
  if (typeof alg !== 'string' || alg === '')
    throw malformed('header_no_alg', 'has no "alg" (a text) in its header');
  if (/^(?:none|HS\d+)$/i.test(alg)) {
    throw malformed(
      'header_alg_not_allowed',
      'is not signed with a private key: its "alg" is "none" or an HMAC',
    );
  }
  if (['jwk', 'jku', 'x5u', 'x5c'].some((name) => Object.hasOwn(parameters, name))) {
    throw malformed('header_embedded_key', 'brings a key along in its header (jwk, jku, x5u or x5c)');
  }
  if (Object.hasOwn(parameters, 'crit'))
    throw malformed('header_crit', 'has "crit" in its header; no extension is known');
  if (Object.hasOwn(parameters, 'b64'))
    throw malformed('header_b64', 'has "b64" in its header, which is not supported');
  if (typ !== undefined && typeof typ !== 'string')
    throw malformed('header_typ', 'has a "typ" that is not a text');
  if (typeof kid !== 'string' || kid === '' || kid.length > maxKidLength) {
    throw malformed(
      'header_no_kid',
      `has no "kid" (a text of 1 to ${maxKidLength} characters) in its header`,
    );
  }
  return Object.freeze({ alg, kid, ...(typ !== undefined && { typ }), parameters: deepFreeze(parameters) });
}
