import type { Algorithm } from './algorithms.ts';
import type { Health } from './key-ring/health.ts';
import type { KeyRing } from './key-ring/key-ring.ts';
import type { KekUse } from './key-ring/services.ts';
import { plan, upcoming, type Step, type UpcomingEvent } from './key-set/plan.ts';
import { activeKey, algorithmsOf, keyState, type KeyState } from './key-set/states.ts';
import { inSeconds } from './options.ts';

/** A key as an operator sees it. Times are epoch milliseconds. */
export interface KeyStatus {
  readonly kid: string;
  readonly alg: Algorithm;
  readonly state: KeyState;
  /** Whether its private half still exists. */
  readonly hasPrivateKey: boolean;
  readonly createdAt: number;
  readonly activatesAt: number;
  readonly deactivatesAt: number | undefined;
  readonly expiresAt: number | undefined;
  readonly revokedAt: number | undefined;
  readonly revocationReason: string | undefined;
  /** Seconds. */
  readonly tokenLifetime: number;
}

/** What {@link JwksRotator.explain} says. */
export interface Explanation {
  readonly namespace: string;
  readonly revision: number | undefined;
  /** The label of the encrypter that the key set is sealed by. */
  readonly sealedBy: string | undefined;
  /** The KEK as the key set itself names it, and its version if it has one: `vault:transit/jwt:v3`. */
  readonly sealedUnder: string | undefined;
  /** The KEKs given, the one that seals first. One that neither seals nor opens is needed no more. */
  readonly keks: readonly KekUse[];
  readonly now: number;
  readonly keys: readonly KeyStatus[];
  /** Per algorithm the key that signs, and why it is this one. */
  readonly active: readonly { readonly alg: Algorithm; readonly kid: string; readonly why: string }[];
  /** What is due now. */
  readonly due: readonly Step[];
  /** What will happen, in order, if nobody intervenes. */
  readonly upcoming: readonly UpcomingEvent[];
  /** What holds things up; empty if nothing does. */
  readonly heldUpBy: readonly string[];
  readonly health: Health;
}

export function explain(keyRing: KeyRing): Explanation {
  const { namespace, keySet, policy, clock, revision, sealedBy } = keyRing;
  const now = clock.now();
  const health = keyRing.health();
  const keys = keySet?.keys ?? [];
  return {
    namespace,
    revision,
    sealedBy,
    sealedUnder: keyRing.sealedUnder,
    keks: keyRing.keks,
    now,
    keys: keys.map((key) => ({
      kid: key.kid,
      alg: key.alg,
      state: keyState(key, now),
      hasPrivateKey: key.hasPrivateKey,
      createdAt: key.createdAt,
      activatesAt: key.activatesAt,
      deactivatesAt: key.deactivatesAt,
      expiresAt: key.expiresAt,
      revokedAt: key.revokedAt,
      revocationReason: key.revocationReason,
      tokenLifetime: key.tokenLifetime / 1000,
    })),
    active:
      keySet === undefined
        ? []
        : algorithmsOf(keySet).flatMap((alg) => {
            const key = activeKey(keySet, alg, now);
            return key === undefined
              ? []
              : [{ alg, kid: key.kid, why: whyActive(key.activatesAt, key.deactivatesAt) }];
          }),
    due: plan(keySet, now, policy),
    upcoming: keySet === undefined ? [] : upcoming(keySet, now, policy),
    heldUpBy: heldUpBy(keyRing, health, now),
    health,
  };
}

function whyActive(activatesAt: number, deactivatesAt: number | undefined): string {
  const since = `of the keys that may sign it took over last, at ${iso(activatesAt)}`;
  return deactivatesAt === undefined ? since : `${since}, and signs until ${iso(deactivatesAt)}`;
}

function heldUpBy(keyRing: KeyRing, health: Health, now: number): readonly string[] {
  const { keySet, policy, clockDifference } = keyRing;
  const reasons: string[] = [];
  if (health.reason !== undefined) reasons.push(health.reason);
  if (keySet === undefined && policy.initialise === 'never') {
    reasons.push(
      'the store is empty and "initialise" is \'never\': an instance that still holds the keys must put them back, or rotateNow() makes new ones',
    );
  }
  if (Math.abs(clockDifference) > policy.clockTolerance) {
    reasons.push(
      `this machine's clock and the store's differ by ${inSeconds(Math.abs(clockDifference))} s: no key is published, retired or removed from here`,
    );
  }
  for (const kid of keyRing.uncommittedRevocations) {
    reasons.push(`key ${kid} is revoked here, and the store could not be told of it yet`);
  }
  if (keySet?.publishNotBefore !== undefined && keySet.publishNotBefore > now) {
    reasons.push(`after a roll back, no key is published before ${iso(keySet.publishNotBefore)}`);
  }
  const longestWait =
    Math.max(policy.propagationDelay, keySet?.propagationDelay ?? 0) +
    policy.commitDeadline +
    2 * policy.clockTolerance;
  for (const key of keySet?.keys ?? []) {
    if (keyState(key, now) === 'pre-activation' && key.activatesAt - now > longestWait) {
      reasons.push(
        `key ${key.kid} activates only at ${iso(key.activatesAt)}: a clock was wrong when it was made; rollback() or rotateNow({ emergency: true }) mends it`,
      );
    }
  }
  return reasons;
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
