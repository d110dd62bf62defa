import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Algorithm } from '../../src/algorithms.ts';
import { applySteps, newKeyAlgorithms, plan, upcoming } from '../../src/key-set/plan.ts';
import type { KeySet } from '../../src/key-set/document.ts';
import { covers, join, revocationsOf } from '../../src/key-set/join.ts';
import type { KeySetPolicy, KeySetPolicyOptions } from '../../src/key-set/policy.ts';
import { activeKey, algorithmsOf, isPublished, keyState } from '../../src/key-set/states.ts';
import { validate } from '../../src/key-set/validate.ts';
import { Fleet, type Operation, type Write } from './fleet.ts';
import { newKey } from './support.ts';

// The same histories on every run, unless told otherwise: RUNS=50 SEED=7 looks further.
const seed = Number(process.env['SEED'] ?? 20_261_124);
const factor = Number(process.env['RUNS'] ?? 1);
const runs = (numRuns: number): { seed: number; numRuns: number } => ({ seed, numRuns: numRuns * factor });

const algorithms = ['ES256', 'EdDSA', 'RS256'] as const satisfies readonly Algorithm[];
const anyAlgorithm = fc.constantFrom(...algorithms);
const who = fc.nat(5);
const which = fc.nat(20);

// Compressed time: a propagation delay of seconds, so that a short history sees many rotations.
const settings: fc.Arbitrary<KeySetPolicyOptions> = fc
  .record({
    algorithms: fc.subarray([...algorithms], { minLength: 1, maxLength: 2 }),
    propagationDelay: fc.constantFrom(4, 6, 10),
    intervals: fc.constantFrom(1.5, 2, 5),
    maxTokenLifetime: fc.constantFrom(1, 2, 20),
  })
  .map(({ intervals, ...options }) => ({
    ...options,
    rotationInterval: options.propagationDelay * intervals,
    maxPublishedKeys: 100,
  }));

/** Any two clocks differ by no more than the smallest clock tolerance of these settings. */
const ahead = fc.array(fc.integer({ min: -250, max: 250 }), { minLength: 3, maxLength: 3 });
const wait = fc.oneof(
  fc.integer({ min: 0, max: 1000 }),
  fc.integer({ min: 1000, max: 20_000 }),
  fc.integer({ min: 0, max: 200_000 }),
);

const ordinary: fc.WeightedArbitrary<Operation>[] = [
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait'), milliseconds: wait }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('check'), who }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('refresh'), who }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('rotate'), who, alg: anyAlgorithm, emergency: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom('roll back', 'retire algorithm'), who, alg: anyAlgorithm }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('revoke'), who, which }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('import'),
      who,
      alg: anyAlgorithm,
      role: fc.constantFrom('first', 'next', 'verify-only'),
      tokenLifetime: fc.constantFrom(1000, 30_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('configure'), who, options: settings }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart'), who }) },
];
const losses: fc.WeightedArbitrary<Operation>[] = [
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('copy', 'wipe') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restore'), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('fork', 'unite'), who }) },
];

interface History {
  readonly fleet: readonly KeySetPolicyOptions[];
  readonly ahead: readonly number[];
  readonly operations: readonly Operation[];
}

function histories(...operations: fc.WeightedArbitrary<Operation>[]): fc.Arbitrary<History> {
  return fc.record({
    fleet: fc.array(settings, { minLength: 2, maxLength: 3 }),
    ahead,
    operations: fc.array(fc.oneof(...operations), { minLength: 5, maxLength: 60, size: 'max' }),
  });
}

/** Runs a history, with everything looked at before it is stored; all that is stored is frozen. */
function play(history: History, onWrite: (write: Write) => void): Fleet {
  const fleet = new Fleet(history.fleet, history.ahead, onWrite);
  for (const operation of history.operations) fleet.run(operation);
  return fleet;
}

/** The moments at which a state can change. */
function turningPoints(keySet: KeySet): number[] {
  return keySet.keys.flatMap(({ activatesAt, deactivatesAt = 0, expiresAt = 0 }) => [
    activatesAt,
    deactivatesAt,
    expiresAt,
  ]);
}

describe('random histories of two or three instances', () => {
  it('every key set is valid, whatever the store loses', () => {
    fc.assert(
      fc.property(histories(...ordinary, ...losses), (history) => {
        play(history, ({ keySet }) => {
          expect(validate(keySet), 'an invariant').toBeUndefined();
        });
      }),
      runs(200),
    );
  });

  it('P4: no key expires before deactivatesAt + its token lifetime', () => {
    fc.assert(
      fc.property(histories(...ordinary, ...losses), (history) => {
        play(history, ({ keySet }) => {
          for (const { deactivatesAt, expiresAt = Infinity, tokenLifetime } of keySet.keys) {
            expect(expiresAt, 'its last token').toBeGreaterThanOrEqual((deactivatesAt ?? 0) + tokenLifetime);
          }
        });
      }),
      runs(200),
    );
  });

  it('P4: what a key signed verifies until its exp, unless it was revoked, while the store loses nothing', () => {
    fc.assert(
      fc.property(histories(...ordinary), (history) => {
        const lastToken = new Map<string, number>();
        const fleet = new Fleet(history.fleet, history.ahead, ({ now, keySet }) => {
          for (const [kid, exp] of lastToken) {
            const key = keySet.keys.find((candidate) => candidate.kid === kid);
            if (exp <= now || key?.revokedAt !== undefined) lastToken.delete(kid);
          }
          const ends = new Map(keySet.keys.map(({ kid, expiresAt = Infinity }) => [kid, expiresAt]));
          for (const [kid, exp] of lastToken) {
            expect(ends.get(kid), `${kid} verifies as long as its last token lives`).toBeGreaterThanOrEqual(
              exp,
            );
          }
        });
        for (const operation of history.operations) {
          for (const { held, policy, confirmedAt, ahead: skew } of fleet.instances) {
            const now = fleet.now + skew;
            // An instance signs from memory for as long as its stale bound.
            if (held === undefined || now - confirmedAt > Math.min(policy.staleBound, held.keySet.staleBound))
              continue;
            for (const alg of algorithmsOf(held.keySet)) {
              const key = activeKey(held.keySet, alg, now);
              if (key === undefined) continue;
              const exp = now + Math.min(policy.tokenLifetime, key.tokenLifetime);
              lastToken.set(key.kid, Math.max(exp, lastToken.get(key.kid) ?? 0));
            }
          }
          fleet.run(operation);
        }
      }),
      runs(200),
    );
  });

  it('P2, P3: per algorithm at most one key signs at any moment from now on', () => {
    fc.assert(
      fc.property(histories(...ordinary, ...losses), (history) => {
        play(history, ({ now, policy, keySet }) => {
          // A key that took over at once is dated back by τ: until every clock is past that, two look active; one signs.
          const clear = now + 2 * policy.clockTolerance;
          for (const moment of [clear, ...turningPoints(keySet).filter((time) => time > clear)]) {
            const active = keySet.keys
              .filter((key) => keyState(key, moment) === 'active')
              .map(({ alg }) => alg);
            expect(new Set(active).size, 'one per algorithm').toBe(active.length);
          }
        });
      }),
      runs(200),
    );
  });

  it('P5: no private half outlives the end of its signing by more than the next check', () => {
    fc.assert(
      fc.property(histories(...ordinary, ...losses), (history) => {
        const fleet = play(history, () => {});
        for (const instance of fleet.instances) {
          fleet.check(instance);
          const latest = fleet.now + instance.ahead - instance.policy.clockTolerance;
          for (const key of instance.held?.keySet.keys ?? []) {
            expect(key.hasPrivateKey && (key.deactivatesAt ?? Infinity) <= latest, `${key.kid} has one`).toBe(
              false,
            );
          }
        }
      }),
      runs(200),
    );
  });
});

describe('joins in random histories', () => {
  /** Calls back for every join that is made. */
  function eachJoin(check: (write: Write, sides: NonNullable<Write['joins']>) => void): void {
    let joins = 0;
    fc.assert(
      fc.property(histories(...ordinary, ...losses, ...losses), (history) => {
        play(history, (write) => {
          if (write.joins === undefined) return;
          joins++;
          check(write, write.joins);
        });
      }),
      runs(200),
    );
    expect(joins, 'there were joins to look at').toBeGreaterThan(50);
  }

  it('P8: a join is valid and covers both sides', () => {
    eachJoin(({ now, keySet }, { stored, held, asleep }) => {
      expect(validate(keySet), 'valid').toBeUndefined();
      expect(covers(keySet, asleep ? revocationsOf(held) : held, now), 'covers what was held').toBe(true);
      expect(stored === undefined || covers(keySet, stored, now), 'covers what was stored').toBe(true);
    });
  });

  it('P8: joining the result again changes nothing but an expiry, once: it ends', () => {
    eachJoin(({ now, policy, keySet }, { held, asleep }) => {
      const other = { keySet: asleep ? revocationsOf(held) : held, revision: 1 };
      const twice = join({ keySet, revision: 2 }, other, now, policy);
      expect(twice.needsNewKey, 'somebody signs').toBe(false);
      // When a revoked key would have stopped signing is nothing.
      const roles = (of: KeySet): object[] =>
        of.keys.map(({ expiresAt: _, deactivatesAt, ...role }) => ({
          ...role,
          deactivatesAt: role.revokedAt === undefined ? deactivatesAt : 'revoked',
        }));
      expect(roles(twice.keySet), 'the same keys in the same roles').toEqual(roles(keySet));
      const thrice = join({ keySet: twice.keySet, revision: 2 }, other, now, policy);
      expect(thrice.keySet, 'nothing is left to change').toEqual(twice.keySet);
    });
  });

  it('P8: leaves a signer', () => {
    eachJoin(({ now, keySet }) => {
      const signing = algorithmsOf(keySet).filter((alg) => activeKey(keySet, alg, now) !== undefined);
      expect(signing, 'by the clock of who joins').not.toEqual([]);
    });
  });

  it('P8: a key revoked on either side is never alive after it', () => {
    eachJoin(({ now, keySet }, { stored, held }) => {
      const revoked = [stored, held].flatMap(
        (side) => side?.keys.filter((key) => key.revokedAt !== undefined) ?? [],
      );
      const alive = new Set(keySet.keys.filter((key) => isPublished(key, now)).map(({ kid }) => kid));
      for (const { kid } of revoked) expect(alive.has(kid), `${kid} was revoked`).toBe(false);
    });
  });

  it('P8: once all have refreshed, all hold one document', () => {
    fc.assert(
      fc.property(histories(...ordinary, ...losses, ...losses), (history) => {
        const fleet = play(history, () => {});
        for (const instance of [...fleet.instances, ...fleet.instances]) {
          instance.store = 0;
          fleet.refresh(instance);
        }
        const [first, ...others] = fleet.instances.map(({ held }) => held);
        for (const other of others) expect(other, 'the same write').toBe(first);
      }),
      runs(200),
    );
  });
});

describe('from any moment on', () => {
  /** The key set after `duration` of due steps, done by one instance, whenever something is due. */
  function forward(
    keySet: KeySet | undefined,
    from: number,
    duration: number,
    policy: KeySetPolicy,
  ): KeySet | undefined {
    let current = keySet;
    let made = 0;
    for (let now = from; now <= from + duration;) {
      const steps = plan(current, now, policy);
      const newKeys = newKeyAlgorithms(steps).map((alg) => newKey(`later ${++made}`, alg));
      const applied = applySteps(current, steps, now, policy, newKeys);
      expect(applied === undefined ? undefined : validate(applied), 'valid').toBeUndefined();
      current = applied;
      const next =
        current === undefined
          ? []
          : upcoming(current, now, policy)
              .map(({ at }) => at)
              .filter((at) => at > now);
      now = Math.min(now + policy.rotationInterval, ...next);
    }
    return current;
  }

  it('P1: due steps lead to exactly one active key per configured algorithm, and none of any other', () => {
    fc.assert(
      fc.property(histories(...ordinary, ...losses), (history) => {
        const fleet = play(history, () => {});
        const now = fleet.now + 1000;
        for (const { held, policy } of fleet.instances) {
          // Long enough for the slowest settings that the document may bring along.
          const duration =
            6 * policy.rotationInterval +
            12 * Math.max(policy.propagationDelay, held?.keySet.propagationDelay ?? 0);
          const after = forward(held?.keySet, now, duration, policy);
          if (after === undefined) throw new Error('an empty store gets a key set');
          for (const moment of [now + duration, now + duration + policy.clockTolerance]) {
            const active = after.keys
              .filter((key) => keyState(key, moment) === 'active')
              .map(({ alg }) => alg);
            expect(active.toSorted(), 'active keys').toEqual(policy.algorithms.toSorted());
          }
        }
      }),
      runs(60),
    );
  });
});
