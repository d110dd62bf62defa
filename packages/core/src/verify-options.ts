import type { ClaimExpectations, JwtClaims } from './claims.ts';
import { checkSchema, type ClaimsSchema } from './claims-schema.ts';
import {
  checkOptions,
  checkText,
  checkTextList,
  checkTexts,
  milliseconds,
  type Duration,
} from './options.ts';

export interface VerifyOptions<Claims extends JwtClaims = JwtClaims> {
  /** Default: that of the authority. */
  readonly issuer?: string | readonly string[] | undefined;
  /** One of these must be in `aud`. Default: that of the authority. */
  readonly audience?: string | readonly string[] | undefined;
  readonly subject?: string | undefined;
  /** Expected `typ` header, ignoring case and a leading `application/`. Default: that of the authority, if it was given one. */
  readonly typ?: string | undefined;
  /** Leeway of `exp`, `nbf` and `iat`. Default: the policy's `clockTolerance`. */
  readonly clockTolerance?: Duration | undefined;
  /** How long ago `iat` may be. Makes `iat` required. */
  readonly maxTokenAge?: Duration | undefined;
  /** Claims that must be there besides `exp`. */
  readonly requiredClaims?: readonly string[] | undefined;
  /** What the claims must fit, looked at last; its output is what you get, with its type. Default: none, the claims as they are. */
  readonly schema?: ClaimsSchema<Claims> | undefined;
}

const verifyOptionNames = [
  'issuer',
  'audience',
  'subject',
  'typ',
  'clockTolerance',
  'maxTokenAge',
  'requiredClaims',
  'schema',
] as const satisfies readonly (keyof VerifyOptions)[];

function checkVerifyOptions<Claims extends JwtClaims>(options: VerifyOptions<Claims>): void {
  checkOptions(options, 'verify', verifyOptionNames);
  const { issuer, audience, subject, typ, requiredClaims, schema } = options;
  if (issuer !== undefined) checkTexts(issuer, 'issuer');
  if (audience !== undefined) checkTexts(audience, 'audience');
  if (subject !== undefined) checkText(subject, 'subject');
  if (typ !== undefined) checkText(typ, 'typ', 100);
  if (schema !== undefined) checkSchema(schema);
  // Of a text, each character would be required.
  if (requiredClaims !== undefined && !(Array.isArray(requiredClaims) && requiredClaims.length === 0)) {
    checkTextList(requiredClaims, 'requiredClaims');
  }
}

/** What the claims must be, by the options of one call and the defaults of the authority. @throws {TypeError} */
export function expectationsOf<Claims extends JwtClaims>(
  options: VerifyOptions<Claims>,
  defaults: Pick<ClaimExpectations, 'issuer' | 'audience' | 'typ' | 'clockTolerance'>,
): ClaimExpectations {
  checkVerifyOptions(options);
  const { issuer = defaults.issuer, audience = defaults.audience, typ = defaults.typ } = options;
  const { subject, clockTolerance, maxTokenAge, requiredClaims } = options;
  return {
    issuer,
    audience,
    subject,
    typ,
    clockTolerance:
      clockTolerance === undefined ? defaults.clockTolerance : milliseconds(clockTolerance, 'clockTolerance'),
    maxTokenAge: maxTokenAge === undefined ? undefined : milliseconds(maxTokenAge, 'maxTokenAge'),
    requiredClaims,
  };
}
