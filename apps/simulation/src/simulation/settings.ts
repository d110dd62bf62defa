import type { Algorithm, KeySetPolicyOptions } from '@jwt-authority/core';
import { Random } from './random.ts';

/** Milliseconds of what the checker needs to know of a policy. */
export interface Timing {
  readonly propagationDelay: number;
  readonly rotationInterval: number;
  readonly tokenLifetime: number;
  readonly staleBound: number;
  readonly refreshInterval: number;
  readonly clockTolerance: number;
  readonly commitDeadline: number;
}

/** How a fleet is set up, and how time runs in it. Policies in seconds. */
interface Profile {
  readonly name: string;
  /** The first is how the fleet starts; a deploy brings one of the others, or the first again. */
  readonly policies: readonly KeySetPolicyOptions[];
}

/** The whole inequality used up: stale bound 250 + caches 125 + 125 + twice the tolerance 30 = 560. */
const tight: KeySetPolicyOptions = {
  propagationDelay: 560,
  staleBound: 250,
  refreshInterval: 100,
  jwksMaxAge: 125,
  staleIfError: 125,
  clockTolerance: 30,
  commitDeadline: 50,
  rotationInterval: 1400,
  maxTokenLifetime: 300,
};

/** As .NET's verifiers need it, who cache for 12 hours whatever they are told. */
const days: KeySetPolicyOptions = {
  propagationDelay: 86_400,
  refreshInterval: 7200,
  rotationInterval: 216_000,
  maxTokenLifetime: 3600,
};

const minutes: KeySetPolicyOptions = {
  propagationDelay: 1000,
  refreshInterval: 100,
  rotationInterval: 2500,
  maxTokenLifetime: 600,
};

const profiles: readonly Profile[] = [
  {
    name: 'tight',
    policies: [
      tight,
      { ...tight, maxTokenLifetime: 150 },
      { ...tight, rotationInterval: 2000, maxTokenLifetime: 700 },
      { ...tight, propagationDelay: 700 },
      // Twice as slow in everything: caches that this one allows are too long for keys published by the others.
      {
        ...tight,
        propagationDelay: 1120,
        staleBound: 500,
        jwksMaxAge: 250,
        staleIfError: 250,
        rotationInterval: 2600,
      },
    ],
  },
  {
    name: 'minutes',
    policies: [
      minutes,
      { ...minutes, maxTokenLifetime: 300 },
      { ...minutes, propagationDelay: 1400, rotationInterval: 3000 },
      { ...minutes, maxTokenLifetime: 1500 },
    ],
  },
  {
    name: 'days',
    policies: [
      days,
      { ...days, maxTokenLifetime: 43_200 },
      { ...days, rotationInterval: 130_000 },
      { ...days, propagationDelay: 100_000 },
    ],
  },
];

export interface Settings {
  readonly profile: string;
  readonly policies: readonly [KeySetPolicyOptions, ...KeySetPolicyOptions[]];
  /** Milliseconds that each instance's clock is ahead, and the store's. Any two differ by at most the tolerance. */
  readonly ahead: readonly number[];
  readonly storeAhead: number;
  readonly storeHasClock: boolean;
  readonly storePushes: boolean;
  /** Whether the store may lose data, the clocks may leave the tolerance, reads may be stale. */
  readonly loses: boolean;
  readonly beyond: boolean;
}

/** Every timing that a policy of this profile gives, the largest or smallest of each being what the checker must allow for. */
export function makeSettings(seed: number, algorithms?: readonly Algorithm[]): Settings {
  const random = new Random(seed).fork(1);
  const profile = random.pick(profiles);
  const size = random.next();
  const instances =
    size < 0.08
      ? 1
      : size < 0.3
        ? 2
        : size < 0.7
          ? 3
          : size < 0.97
            ? 4 + random.below(3)
            : 10 + random.below(41);
  const chosen =
    algorithms ?? (random.chance(0.15) ? (['Ed25519', 'EdDSA'] as const) : (['Ed25519'] as const));
  const [first, ...rest] = profile.policies.map((policy) => ({ ...policy, algorithms: chosen }));
  if (first === undefined) throw new Error('a profile has policies');
  const migrations = [
    { ...first, algorithms: ['EdDSA', 'Ed25519'] as const },
    { ...first, algorithms: ['EdDSA'] as const },
  ];
  const policies = [
    first,
    ...rest,
    ...(algorithms === undefined && random.chance(0.4) ? migrations : []),
  ] as const;
  // Whole tolerance between the extremes, since each may drift half a tolerance to either side of true time.
  const tolerance = 30_000;
  const storeAhead = Math.round(random.between(-0.49, 0.49) * tolerance);
  // A store without a clock of its own is a folder: all its users are on one machine, and share that clock.
  const storeHasClock = random.chance(0.8);
  return {
    profile: profile.name,
    policies,
    ahead: Array.from({ length: instances }, () =>
      storeHasClock ? Math.round(random.between(-0.49, 0.49) * tolerance) : storeAhead,
    ),
    storeAhead,
    storeHasClock,
    storePushes: random.chance(0.3),
    loses: random.chance(0.6),
    beyond: random.chance(0.1),
  };
}
