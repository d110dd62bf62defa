import fc from 'fast-check';
import { errors, generateKeyPair, jwtVerify, SignJWT, type JWTPayload, type JWTVerifyOptions } from 'jose';
import { describe, expect, it } from 'vitest';
import { checkClaims, type ClaimExpectations } from '../src/claims.ts';
import { JwtAuthorityError } from '../src/errors.ts';

const now = 1_760_000_000_000;
const seconds = now / 1000;
const claims = {
  iss: 'https://issuer.example',
  sub: 'alice',
  aud: ['api', 'other'],
  jti: 'id-1',
  iat: seconds - 100,
  nbf: seconds - 100,
  exp: seconds + 100,
};

interface Outcome {
  readonly code: string;
  readonly message: string;
}

function check(received: object, header: { typ?: string }, expectations: ClaimExpectations): Outcome {
  try {
    // Without the members that are undefined: no JSON text has such.
    const present = Object.fromEntries(Object.entries(received).filter(([, value]) => value !== undefined));
    checkClaims(present, header, expectations, now);
    return { code: 'accepted', message: '' };
  } catch (error) {
    if (JwtAuthorityError.is(error)) return error;
    throw error;
  }
}

/** The outcome for the good claims with some changes. */
function judge(
  changes: Record<string, unknown>,
  expectations: Partial<ClaimExpectations> = {},
  header: { typ?: string } = { typ: 'JWT' },
): Outcome {
  return check({ ...claims, ...changes }, header, { clockTolerance: 0, ...expectations });
}

describe('checkClaims', () => {
  it.each<
    [what: string, changes: Record<string, unknown>, expectations: Partial<ClaimExpectations>, code: string]
  >([
    ['nothing is expected', {}, {}, 'accepted'],
    [
      'everything is as expected',
      {},
      { issuer: claims.iss, audience: 'api', subject: 'alice', typ: 'JWT' },
      'accepted',
    ],
    [
      'only exp is there',
      { iss: undefined, sub: undefined, aud: undefined, jti: undefined, iat: undefined, nbf: undefined },
      {},
      'accepted',
    ],

    ['exp is absent', { exp: undefined }, {}, 'missing_claim'],
    ['exp is now', { exp: seconds }, {}, 'expired'],
    ['exp is 1 ms from now', { exp: seconds + 0.001 }, {}, 'accepted'],
    [
      'exp was 29.999 s ago, 30 s tolerated',
      { exp: seconds - 29.999 },
      { clockTolerance: 30_000 },
      'accepted',
    ],
    ['exp was 30 s ago, 30 s tolerated', { exp: seconds - 30 }, { clockTolerance: 30_000 }, 'expired'],
    ['exp is 0', { exp: 0 }, {}, 'expired'],
    ['exp is -0.5', { exp: -0.5 }, {}, 'expired'],

    ['nbf is now', { nbf: seconds }, {}, 'accepted'],
    ['nbf is 1 ms from now', { nbf: seconds + 0.001 }, {}, 'not_yet_valid'],
    ['nbf is 30 s from now, 30 s tolerated', { nbf: seconds + 30 }, { clockTolerance: 30_000 }, 'accepted'],
    [
      'nbf is 30.001 s from now, 30 s tolerated',
      { nbf: seconds + 30.001 },
      { clockTolerance: 30_000 },
      'not_yet_valid',
    ],

    ['iat lies in the future and no age is asked for', { iat: seconds + 50 }, {}, 'accepted'],
    ['iat lies in the future', { iat: seconds + 50 }, { maxTokenAge: 1000 }, 'not_yet_valid'],
    [
      'iat lies in the future within the tolerance',
      { iat: seconds + 30 },
      { maxTokenAge: 0, clockTolerance: 30_000 },
      'accepted',
    ],
    ['iat is as old as allowed', {}, { maxTokenAge: 100_000 }, 'accepted'],
    ['iat is 1 ms too old', {}, { maxTokenAge: 99_999 }, 'too_old'],
    ['iat is too old within the tolerance', {}, { maxTokenAge: 70_000, clockTolerance: 30_000 }, 'accepted'],
    ['iat is absent and an age is asked for', { iat: undefined }, { maxTokenAge: 1000 }, 'missing_claim'],

    ['iss is another', {}, { issuer: 'https://other.example' }, 'wrong_issuer'],
    ['iss is one of several', {}, { issuer: ['x', claims.iss] }, 'accepted'],
    ['iss is none of several', {}, { issuer: ['x', 'y'] }, 'wrong_issuer'],
    ['iss is only a part of the expected one', { iss: 'issuer' }, { issuer: claims.iss }, 'wrong_issuer'],
    ['iss is absent', { iss: undefined }, { issuer: claims.iss }, 'missing_claim'],
    ['sub is another', {}, { subject: 'bob' }, 'wrong_subject'],
    ['sub differs in case', {}, { subject: 'Alice' }, 'wrong_subject'],
    ['sub is absent', { sub: undefined }, { subject: 'alice' }, 'missing_claim'],
    ['aud is a text', { aud: 'api' }, { audience: 'api' }, 'accepted'],
    ['aud is only a part of the expected one', { aud: 'ap' }, { audience: 'api' }, 'wrong_audience'],
    ['aud contains one of several', {}, { audience: ['x', 'other'] }, 'accepted'],
    ['aud contains none of several', {}, { audience: ['x', 'y'] }, 'wrong_audience'],
    ['aud is empty', { aud: [] }, { audience: 'api' }, 'wrong_audience'],
    ['aud is absent', { aud: undefined }, { audience: 'api' }, 'missing_claim'],
    ['an expected list is empty', {}, { audience: [] }, 'wrong_audience'],

    ['a required claim is there', { tenant: null }, { requiredClaims: ['tenant'] }, 'accepted'],
    ['a required claim is absent', {}, { requiredClaims: ['tenant'] }, 'missing_claim'],
    ['a required claim is only inherited', {}, { requiredClaims: ['constructor'] }, 'missing_claim'],

    ['exp is 1e999', { exp: JSON.parse('1e999') as unknown }, {}, 'invalid_claim'],
    ['exp is NaN', { exp: Number.NaN }, {}, 'invalid_claim'],
    ['exp is a text', { exp: String(seconds + 100) }, {}, 'invalid_claim'],
    ['exp is null', { exp: null }, {}, 'invalid_claim'],
    ['exp is the last moment of a date', { exp: 8.64e12 }, {}, 'accepted'],
    ['exp is later than any date', { exp: 8.64e12 + 1 }, {}, 'invalid_claim'],
    ['exp is in milliseconds', { exp: now * 10_000 }, {}, 'invalid_claim'],
    ['nbf is -1e999', { nbf: JSON.parse('-1e999') as unknown }, {}, 'invalid_claim'],
    ['nbf is a list', { nbf: [seconds] }, {}, 'invalid_claim'],
    ['iat is a text, though nobody asked', { iat: 'yesterday' }, {}, 'invalid_claim'],
    ['iat is 1e999, though nobody asked', { iat: JSON.parse('1e999') as unknown }, {}, 'invalid_claim'],
    ['aud is a number', { aud: 1 }, {}, 'invalid_claim'],
    ['aud contains a number', { aud: ['api', 1] }, { audience: 'api' }, 'invalid_claim'],
    ['aud is null', { aud: null }, {}, 'invalid_claim'],
    ['iss is a list', { iss: [claims.iss] }, { issuer: claims.iss }, 'invalid_claim'],
    ['sub is a number', { sub: 1 }, {}, 'invalid_claim'],
    ['jti is a number', { jti: 1 }, {}, 'invalid_claim'],
  ])('%s', (_, changes, expectations, code) => {
    expect(judge(changes, expectations).code, 'the code of the refusal').toBe(code);
  });

  it.each<[typ: string | undefined, expected: string | undefined, code: string]>([
    ['JWT', 'JWT', 'accepted'],
    ['jwt', 'JWT', 'accepted'],
    ['at+jwt', 'application/at+jwt', 'accepted'],
    ['Application/AT+JWT', 'at+jwt', 'accepted'],
    ['JWT', 'at+jwt', 'wrong_type'],
    ['text/jwt', 'jwt', 'wrong_type'],
    ['', 'JWT', 'wrong_type'],
    [undefined, 'JWT', 'wrong_type'],
    ['anything', undefined, 'accepted'],
  ])('typ %j where %j is expected: %s', (typ, expected, code) => {
    const header = typ === undefined ? {} : { typ };
    expect(judge({}, { typ: expected }, header).code, 'compared as media types (RFC 7515, 4.1.9)').toBe(code);
  });

  it('names the claim and the rule, never a value', () => {
    const secret = 'secret-value';
    const cases: [Record<string, unknown>, Partial<ClaimExpectations>, name: string][] = [
      [{ iss: secret }, { issuer: 'secret-expectation' }, '"iss"'],
      [{ sub: secret }, { subject: 'secret-expectation' }, '"sub"'],
      [{ aud: secret }, { audience: 'secret-expectation' }, '"aud"'],
      [{ aud: [secret, 1] }, {}, '"aud"'],
      [{ exp: secret }, {}, '"exp"'],
      [{ exp: seconds - 1 }, {}, '"exp"'],
      [{ nbf: seconds + 1 }, {}, '"nbf"'],
      [{ iat: seconds - 101 }, { maxTokenAge: 100_000 }, '"iat"'],
      [{}, { requiredClaims: ['tenant'] }, '"tenant"'],
    ];
    for (const [changes, expectations, name] of cases) {
      const { message } = judge(changes, expectations);
      expect(message, 'which claim to look at').toContain(name);
      expect(message, 'messages end up in logs').not.toMatch(/secret|\d/);
    }
  });

  it('judges like jose, in whole seconds and where exp is there', async () => {
    const { privateKey, publicKey } = await generateKeyPair('Ed25519');
    const near = fc.integer({ min: -3, max: 3 }).map((distance) => seconds + distance);
    const maybe = <T>(values: fc.Arbitrary<T>, freq = 10): fc.Arbitrary<T | undefined> =>
      fc.option(values, { nil: undefined, freq });
    // Mostly alike: the rules that are judged last must be reached too.
    const name = fc.constantFrom('a', 'a', 'a', 'a', 'a', 'b');
    const names = fc.oneof(name, fc.array(name, { minLength: 1, maxLength: 2 }));
    const payloads = fc.record({
      iss: maybe(name),
      sub: maybe(name),
      aud: maybe(names),
      exp: fc.oneof(near, fc.constant(seconds + 100)),
      nbf: maybe(near, 2),
      iat: maybe(near),
    });
    const rules = fc.record({
      issuer: maybe(names, 2),
      subject: maybe(name, 2),
      audience: maybe(names, 2),
      typ: maybe(fc.constantFrom('JWT', 'application/jwt', 'application/jwt', 'at+jwt'), 2),
      clockTolerance: fc.integer({ min: 0, max: 3 }),
      maxTokenAge: maybe(fc.integer({ min: 0, max: 3 })),
      requiredClaims: maybe(fc.subarray(['sub', 'iat']), 2),
    });
    const outcomes = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        payloads,
        rules,
        maybe(fc.constantFrom('JWT', 'JWT', 'JWT', 'at+jwt')),
        async (payload, rule, typ) => {
          const header = typ === undefined ? {} : { typ };
          // jose takes a member that is undefined for an absent one; its types do not.
          const token = await new SignJWT(payload as JWTPayload)
            .setProtectedHeader({ alg: 'Ed25519', ...header })
            .sign(privateKey);
          const options = { ...rule, currentDate: new Date(now) } as JWTVerifyOptions;
          const theirs = await jwtVerify(token, publicKey, options).then(() => 'accepted', codeOf);
          const expectations = {
            ...rule,
            clockTolerance: rule.clockTolerance * 1000,
            maxTokenAge: rule.maxTokenAge === undefined ? undefined : rule.maxTokenAge * 1000,
          };
          outcomes.add(theirs);
          const { code } = check(payload, header, expectations);
          expect(code, `of ${JSON.stringify({ payload, rule, typ })}`).toBe(theirs);
        },
      ),
      { numRuns: 1500 },
    );
    expect([...outcomes].toSorted(), 'the comparison met every outcome').toEqual([
      'accepted',
      'expired',
      'missing_claim',
      'not_yet_valid',
      'too_old',
      'wrong_audience',
      'wrong_issuer',
      'wrong_subject',
      'wrong_type',
    ]);
  });
});

/** What our code would be for an error of jose's. */
function codeOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return error.claim === 'exp' ? 'expired' : 'too_old';
  if (!(error instanceof errors.JWTClaimValidationFailed)) return String(error);
  if (error.reason === 'missing') return 'missing_claim';
  const codes: Record<string, string> = {
    iss: 'wrong_issuer',
    sub: 'wrong_subject',
    aud: 'wrong_audience',
    typ: 'wrong_type',
    nbf: 'not_yet_valid',
    iat: 'not_yet_valid',
  };
  return codes[error.claim] ?? error.claim;
}
