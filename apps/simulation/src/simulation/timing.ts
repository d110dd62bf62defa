import { KeyRing, localEncrypter, type KeySetPolicyOptions } from '@jwt-authority/core';
import { memoryStore } from '@jwt-authority/store-memory';
import type { Timing } from './settings.ts';

const timings = new Map<string, Timing>();

export function timingOf(policy: KeySetPolicyOptions): Timing {
  const name = JSON.stringify(policy);
  let timing = timings.get(name);
  if (timing === undefined) {
    timing = new KeyRing({ store: memoryStore(), encrypter: localEncrypter.forTests(), policy }).policy;
    timings.set(name, timing);
  }
  return timing;
}

/** The smallest or largest of each, over several policies. */
export function extreme(
  policies: readonly KeySetPolicyOptions[],
  choose: (...values: number[]) => number,
): Timing {
  const of = (member: keyof Timing): number => choose(...policies.map((policy) => timingOf(policy)[member]));
  return {
    propagationDelay: of('propagationDelay'),
    rotationInterval: of('rotationInterval'),
    tokenLifetime: of('tokenLifetime'),
    staleBound: of('staleBound'),
    refreshInterval: of('refreshInterval'),
    clockTolerance: of('clockTolerance'),
    commitDeadline: of('commitDeadline'),
  };
}
