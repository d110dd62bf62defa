import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  policyOptionNames,
  resolvePolicy,
  type KeySetPolicy,
  type KeySetPolicyOptions,
} from '../../src/key-set/policy.ts';

/** Every inequality with the propagation delay holds with nothing to spare: one millisecond more of any term breaks it. */
const tight = {
  propagationDelay: 100,
  staleBound: 30,
  jwksMaxAge: 40,
  staleIfError: 20,
  clockTolerance: 5,
} as const satisfies KeySetPolicyOptions;

/** The message of the `TypeError` that this misuse throws; fails the test if it throws nothing. */
function refusal(options: unknown): string {
  try {
    // Misuse is what a caller without types does.
    resolvePolicy(options as KeySetPolicyOptions);
  } catch (error) {
    if (error instanceof TypeError) return error.message;
    throw error;
  }
  throw new Error(`these options were accepted: ${JSON.stringify(options)}`);
}

describe('defaults (protocol 1)', () => {
  it('are 90 days, 24 hours and what derives from them', () => {
    expect(resolvePolicy(), 'in milliseconds').toEqual({
      algorithms: ['RS256'],
      modulusLength: 2048,
      rotationInterval: 90 * 86_400_000,
      propagationDelay: 86_400_000,
      tokenLifetime: 3_600_000,
      staleBound: 21_600_000,
      refreshInterval: 60_000,
      jwksMaxAge: 600_000,
      staleIfError: 3_600_000,
      clockTolerance: 30_000,
      commitDeadline: 10_000,
      maxPublishedKeys: 20,
      initialise: 'auto',
    } satisfies KeySetPolicy);
  });

  it('shrink with the propagation delay: compressed time P 4 s, I 6 s, L 2 s works', () => {
    const policy = resolvePolicy({ propagationDelay: 4, rotationInterval: 6, maxTokenLifetime: 2 });
    expect(policy, 'B = P/4, A = E = τ = P/8, D = P/4, R = P/10').toMatchObject({
      staleBound: 1000,
      refreshInterval: 400,
      jwksMaxAge: 500,
      staleIfError: 500,
      clockTolerance: 500,
      commitDeadline: 1000,
    });
  });

  it('P11: fit any propagation delay, with a quarter of it to spare', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1000, max: 3_000_000_000_000 }), (delay) => {
        const policy = resolvePolicy({
          propagationDelay: delay / 1000,
          rotationInterval: (delay / 1000) * 2,
          maxTokenLifetime: 1,
        });
        const { staleBound, jwksMaxAge, staleIfError, clockTolerance } = policy;
        const sum = staleBound + jwksMaxAge + staleIfError + 2 * clockTolerance;
        expect(sum, 'B + A + E + 2τ').toBeLessThanOrEqual(0.75 * policy.propagationDelay);
      }),
    );
  });

  it('stand for options that are given as undefined', () => {
    const nothing = Object.fromEntries(policyOptionNames.map((name) => [name, undefined]));
    expect(resolvePolicy(nothing), 'undefined is "not given"').toEqual(resolvePolicy());
  });

  it('keep what is given, in seconds or as a text, rounded to whole milliseconds', () => {
    const policy = resolvePolicy({
      algorithms: ['EdDSA', 'ES256'],
      propagationDelay: '2 days',
      jwksMaxAge: 0.0004,
      staleIfError: '1.5m',
    });
    expect(policy, 'what the caller chose').toMatchObject({
      algorithms: ['EdDSA', 'ES256'],
      propagationDelay: 172_800_000,
      jwksMaxAge: 0,
      staleIfError: 90_000,
    });
  });

  it('give a policy that nobody can change afterwards', () => {
    const algorithms: ('ES256' | 'EdDSA')[] = ['ES256'];
    const policy = resolvePolicy({ algorithms });
    algorithms.push('EdDSA');
    expect(policy.algorithms, "the caller's array is not kept").toEqual(['ES256']);
    expect(Object.isFrozen(policy) && Object.isFrozen(policy.algorithms), 'frozen').toBe(true);
  });
});

describe('P11: every inequality, at its boundary (protocol 1)', () => {
  const millisecond = 0.001;
  const fitting = {
    propagationDelay: 100,
    staleBound: 30,
    rotationInterval: 200,
    maxTokenLifetime: 200,
  } as const;

  it('P11: B + A + E + 2τ ≤ P holds when equal', () => {
    expect(resolvePolicy(tight).propagationDelay, 'equal is enough').toBe(100_000);
  });

  it.each(['staleBound', 'jwksMaxAge', 'staleIfError', 'clockTolerance'] as const)(
    'P11: B + A + E + 2τ ≤ P fails with one millisecond more of %s, and names it',
    (name) => {
      const message = refusal({ ...tight, [name]: tight[name] + millisecond });
      expect(message, 'names the option that must change').toMatch(
        /^"propagationDelay" \(100 s\) must be at least/,
      );
      expect(message, 'shows the value that is too high').toContain(String(tight[name] + millisecond));
    },
  );

  it('P11: B + A + E + 2τ ≤ P fails with one millisecond less of propagationDelay', () => {
    expect(refusal({ ...tight, propagationDelay: 99.999 }), 'names the option').toMatch(
      /^"propagationDelay" \(99.999 s\)/,
    );
  });

  it.each([
    { rule: 'R ≤ B / 2', name: 'refreshInterval', highest: 15 },
    { rule: 'D ≤ B', name: 'commitDeadline', highest: 30 },
  ] as const)('P11: $rule holds when equal and fails one millisecond beyond', ({ name, highest }) => {
    expect(() => resolvePolicy({ ...fitting, [name]: highest }), 'equal is enough').not.toThrow();
    expect(refusal({ ...fitting, [name]: highest + millisecond }), 'names option, value and rule').toMatch(
      new RegExp(`^"${name}" \\(${highest}\\.001 s\\) must be at most .*"staleBound" \\(30 s\\)`),
    );
  });

  it('P11: P + D < I fails when equal and holds one millisecond beyond', () => {
    const options = { ...fitting, maxTokenLifetime: 1, commitDeadline: 10 };
    expect(() => resolvePolicy({ ...options, rotationInterval: 110.001 }), 'longer').not.toThrow();
    expect(refusal({ ...options, rotationInterval: 110 }), 'equal is not longer').toMatch(
      /^"rotationInterval" \(110 s\)/,
    );
  });

  it('P11: published keys (L + 2P) / I + 2 ≤ maxPublishedKeys holds when equal and fails one millisecond beyond', () => {
    expect(
      () => resolvePolicy({ ...fitting, maxPublishedKeys: 4 }),
      '(200 + 200) / 200 + 2 = 4',
    ).not.toThrow();
    expect(refusal({ ...fitting, maxTokenLifetime: 200.001, maxPublishedKeys: 4 }), 'a fifth key').toMatch(
      /about 5 keys/,
    );
  });

  it('P11: published keys are counted for each algorithm', () => {
    const algorithms = ['ES256', 'EdDSA'] as const;
    expect(() => resolvePolicy({ ...fitting, algorithms, maxPublishedKeys: 8 }), '2 × 4').not.toThrow();
    expect(refusal({ ...fitting, algorithms, maxPublishedKeys: 7 }), 'one too many').toMatch(/about 8 keys/);
  });

  it.each([
    { name: 'propagationDelay', least: 1 },
    { name: 'maxTokenLifetime', least: 1 },
    { name: 'refreshInterval', least: 0.01 },
    { name: 'commitDeadline', least: 0.05 },
  ] as const)('P11: $name is at least $least s', ({ name, least }) => {
    expect(() => resolvePolicy({ [name]: least }), 'equal is enough').not.toThrow();
    const below = Math.round(least * 1000 - 1) / 1000;
    expect(refusal({ [name]: below })).toBe(`"${name}" (${below} s) must be at least ${least} s`);
  });
});

describe('P11: exact messages', () => {
  it.each([
    [
      'of scenarios.md',
      { propagationDelay: 60, jwksMaxAge: 600 },
      '"propagationDelay" (60 s) must be at least "staleBound" + "jwksMaxAge" + "staleIfError" + 2 × "clockTolerance" (15 + 600 + 7.5 + 2 × 7.5 = 637.5 s): a new key would sign before every cache could know it. Lower jwksMaxAge (default here: 7.5 s) or raise propagationDelay.',
    ],
    [
      'with every option that is above its default',
      { ...tight, propagationDelay: 90 },
      '"propagationDelay" (90 s) must be at least "staleBound" + "jwksMaxAge" + "staleIfError" + 2 × "clockTolerance" (30 + 40 + 20 + 2 × 5 = 100 s): a new key would sign before every cache could know it. Lower jwksMaxAge (default here: 11.25 s) or staleIfError (default here: 11.25 s) or staleBound (default here: 22.5 s) or raise propagationDelay.',
    ],
    [
      'for the refresh interval',
      { staleBound: 90 },
      '"refreshInterval" (60 s) must be at most half of "staleBound" (90 s): one missed refresh would stop the service.',
    ],
    [
      'for the commit deadline',
      { staleBound: 120, commitDeadline: '3m' },
      '"commitDeadline" (180 s) must be at most "staleBound" (120 s): a commit could take effect after the instance that made it may no longer act on it.',
    ],
    [
      'for the rotation interval',
      { rotationInterval: '1d' },
      '"rotationInterval" (86400 s) must be longer than "propagationDelay" + "commitDeadline" (86400 + 10 s): the next key is published that long before it signs.',
    ],
    [
      'for the number of keys',
      { maxTokenLifetime: '30d', rotationInterval: '36h' },
      '"rotationInterval" (129600 s) would publish about 24 keys at a time, more than "maxPublishedKeys" (20): each stays for "maxTokenLifetime" + 2 × "propagationDelay" (2764800 s). Rotate less often, or shorten the token lifetime.',
    ],
  ] as const)('%s', (_title, options, message) => {
    expect(refusal(options)).toBe(message);
  });
});

describe('P11: wrong values', () => {
  const durations = policyOptionNames.filter(
    (name) => !['algorithms', 'modulusLength', 'maxPublishedKeys', 'initialise'].includes(name),
  );
  const notDurations = [
    null,
    true,
    {},
    [],
    [1],
    '',
    'soon',
    '-1s',
    '1 fortnight',
    'PT1H',
    -1,
    -0.001,
    NaN,
    Infinity,
    1n,
    31_557_600_001,
  ];

  it.each(durations)('P11: %s refuses everything but a duration, by name', (name) => {
    for (const value of notDurations) {
      expect(refusal({ [name]: value }), `for ${inspect(value)}`).toMatch(
        new RegExp(`^"${name}" must be .*, got `),
      );
    }
  });

  it.each<{ name: keyof KeySetPolicyOptions; wrong: readonly unknown[]; right: readonly unknown[] }>([
    {
      name: 'modulusLength',
      wrong: [null, '2048', 2047, 8193, 2048.5, NaN, true],
      right: [2048, 3072, 8192],
    },
    { name: 'maxPublishedKeys', wrong: [null, '20', 1, 101, 3.5, NaN], right: [3, 100] },
    { name: 'initialise', wrong: [null, true, 'always', ''], right: ['auto', 'never'] },
    {
      name: 'algorithms',
      wrong: [
        null,
        'ES256',
        {},
        [],
        [null],
        ['ES257'],
        ['HS256'],
        ['none'],
        ['es256'],
        ['ES256', 'ES256'],
        [['ES256']],
      ],
      right: [['ES256'], ['EdDSA', 'PS256', 'RS256']],
    },
  ])('P11: $name has its range', ({ name, wrong, right }) => {
    for (const value of wrong) {
      expect(refusal({ [name]: value }), `for ${JSON.stringify(value)}`).toMatch(
        new RegExp(`^"${name}(\\[0\\])?" must `),
      );
    }
    for (const value of right) {
      expect(() => resolvePolicy({ [name]: value }), `for ${JSON.stringify(value)}`).not.toThrow();
    }
  });

  it('P11: names an option that does not exist, and those that do', () => {
    expect(refusal({ rotationIntervall: '90d' })).toBe(
      `"rotationIntervall" is not an option of policy. It takes: ${policyOptionNames.join(', ')}`,
    );
  });

  it('P11: refuses what is no options object', () => {
    for (const options of [null, 'ES256', 7, []]) {
      expect(refusal(options), 'says what it wants').toMatch(/^"policy" must be given an options object/);
    }
  });

  it('P11: never repeats a text in a message: a secret may stand in the wrong place', () => {
    for (const name of policyOptionNames) {
      expect(refusal({ [name]: 'hunter2-secret' }), `for ${name}`).not.toContain('hunter2');
    }
  });
});
