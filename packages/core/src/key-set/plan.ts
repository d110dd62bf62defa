import type { Algorithm } from '../algorithms.ts';
import {
  deactivate,
  effectivePropagationDelay,
  initialise,
  prune,
  publish,
  raiseLifetime,
  replace,
  retire,
  type NewKey,
} from './changes.ts';
import type { KeyRecord, KeySet } from './document.ts';
import type { KeySetPolicy } from './policy.ts';
import { activeKey, algorithmsOf, keyState, pendingKey } from './states.ts';

/** Something that is due: each is one change of the key set. */
export type Step =
  /** The store is empty: make the first keys. */
  | { readonly step: 'initialise'; readonly algorithms: readonly Algorithm[] }
  /** Nothing can sign: make a key that signs at once. */
  | { readonly step: 'replace'; readonly alg: Algorithm }
  /** Publish the next key of an algorithm. */
  | { readonly step: 'publish'; readonly alg: Algorithm }
  /** Destroy the private halves of keys that no longer sign. */
  | { readonly step: 'retire'; readonly kids: readonly string[] }
  /** Remove expired keys. */
  | { readonly step: 'prune'; readonly kids: readonly string[] }
  /** Promise a longer token lifetime for keys that still sign. */
  | { readonly step: 'raise_lifetime'; readonly kids: readonly string[] }
  /** End the signing of an algorithm that nobody renews. */
  | { readonly step: 'deactivate'; readonly alg: Algorithm; readonly kid: string };

/** Whether a step brings in a new key, and so takes key generation and the KEK. */
export function makesKey(step: Step): step is Extract<Step, { step: 'initialise' | 'replace' | 'publish' }> {
  return step.step === 'initialise' || step.step === 'replace' || step.step === 'publish';
}

/** The algorithms of the new keys that these steps need. */
export function newKeyAlgorithms(steps: readonly Step[]): readonly Algorithm[] {
  return steps
    .filter(makesKey)
    .flatMap((step) => (step.step === 'initialise' ? step.algorithms : [step.alg]));
}

/** What is due at this moment. Pure: the same document, moment and policy give the same answer on every instance. */
export function plan(keySet: KeySet | undefined, now: number, policy: KeySetPolicy): readonly Step[] {
  if (keySet === undefined)
    return policy.initialise === 'auto' ? [{ step: 'initialise', algorithms: policy.algorithms }] : [];
  const { clockTolerance } = policy;
  const kidsOf = (due: (key: KeyRecord) => boolean): readonly string[] =>
    keySet.keys.filter(due).map(({ kid }) => kid);

  const steps: Step[] = [];
  const retired = stoppedKids(keySet, now, policy);
  if (retired.length > 0) steps.push({ step: 'retire', kids: retired });
  // An instance with a slower clock must not take a pruned key for lost and put it back.
  const pruned = kidsOf((key) => key.expiresAt !== undefined && key.expiresAt + clockTolerance <= now);
  if (pruned.length > 0) steps.push({ step: 'prune', kids: pruned });
  const raised = kidsOf((key) => canRaiseLifetime(key, policy));
  if (raised.length > 0) steps.push({ step: 'raise_lifetime', kids: raised });

  const nothingSigns = algorithmsOf(keySet).every(
    (alg) => activeKey(keySet, alg, now) === undefined && pendingKey(keySet, alg, now) === undefined,
  );
  if (nothingSigns) return [...steps, { step: 'replace', alg: policy.algorithms[0] }];

  for (const alg of algorithmsOf(keySet)) {
    const active = activeKey(keySet, alg, now);
    const due = deactivationTime(keySet, alg, now, policy);
    if (active !== undefined && due !== undefined && due <= now)
      steps.push({ step: 'deactivate', alg, kid: active.kid });
  }
  for (const alg of policy.algorithms) {
    const due = publicationTime(keySet, alg, now, policy);
    if (due !== undefined && due <= now) steps.push({ step: 'publish', alg });
  }
  return steps;
}

/** The keys that signed for the last time, by every clock, and still have their private half. */
export function stoppedKids(
  keySet: KeySet,
  now: number,
  { clockTolerance }: Pick<KeySetPolicy, 'clockTolerance'>,
): readonly string[] {
  const isStopped = ({ hasPrivateKey, deactivatesAt = Infinity }: KeyRecord): boolean =>
    hasPrivateKey && deactivatesAt + clockTolerance <= now;
  return keySet.keys.filter(isStopped).map(({ kid }) => kid);
}

function canRaiseLifetime(key: KeyRecord, policy: KeySetPolicy): boolean {
  const signsOn = key.hasPrivateKey && key.deactivatesAt === undefined;
  return signsOn && policy.algorithms.includes(key.alg) && key.tokenLifetime < policy.tokenLifetime;
}

/** When the next key of an algorithm is to be published; `undefined` while one is pending. */
function publicationTime(
  keySet: KeySet,
  alg: Algorithm,
  now: number,
  policy: KeySetPolicy,
): number | undefined {
  if (pendingKey(keySet, alg, now) !== undefined) return undefined;
  const active = activeKey(keySet, alg, now);
  const earliest = keySet.publishNotBefore ?? 0;
  // An algorithm without an active key is new here; one whose key ends without a successor has none coming.
  if (active === undefined || active.deactivatesAt !== undefined) return earliest;
  return Math.max(
    earliest,
    active.activatesAt + policy.rotationInterval - effectivePropagationDelay(keySet, policy),
  );
}

/** When the active key of an algorithm that this instance does not use ends, if nobody renews it and another one signs. */
function deactivationTime(
  keySet: KeySet,
  alg: Algorithm,
  now: number,
  policy: KeySetPolicy,
): number | undefined {
  if (policy.algorithms.includes(alg) || pendingKey(keySet, alg, now) !== undefined) return undefined;
  const active = activeKey(keySet, alg, now);
  if (active === undefined || active.deactivatesAt !== undefined) return undefined;
  if (!policy.algorithms.some((configured) => activeKey(keySet, configured, now) !== undefined))
    return undefined;
  return active.activatesAt + policy.rotationInterval + effectivePropagationDelay(keySet, policy);
}

/** The key set after these steps. Takes one of `newKeys` for each key that they make. */
export function applySteps(
  keySet: KeySet | undefined,
  steps: readonly Step[],
  now: number,
  policy: KeySetPolicy,
  newKeys: readonly NewKey[],
): KeySet | undefined {
  const newKey = (alg: Algorithm): NewKey => {
    const found = newKeys.find((key) => key.alg === alg);
    if (found === undefined) throw new TypeError(`no new key was prepared for ${alg}`);
    return found;
  };
  // What holds is the delay before this commit, for each algorithm: the first to publish writes down its own.
  const propagationDelay = keySet && effectivePropagationDelay(keySet, policy);
  return steps.reduce<KeySet | undefined>((current, step) => {
    if (step.step === 'initialise') return initialise(policy, now, step.algorithms.map(newKey));
    if (current === undefined) return undefined;
    switch (step.step) {
      case 'replace':
        return replace(current, policy, now, newKey(step.alg));
      case 'publish':
        return publish(current, policy, now, newKey(step.alg), propagationDelay);
      case 'retire':
        return retire(current, step.kids);
      case 'prune':
        return prune(current, now, step.kids);
      case 'raise_lifetime':
        return raiseLifetime(current, policy, step.kids);
      case 'deactivate': {
        const active = activeKey(current, step.alg, now);
        return active === undefined ? current : deactivate(current, policy, now, active);
      }
    }
  }, keySet);
}

/** Something that will happen, and when (epoch milliseconds). Activation, deactivation and expiry need no commit. */
export interface UpcomingEvent {
  readonly at: number;
  readonly what: 'publish' | 'activate' | 'deactivate' | 'retire' | 'expire' | 'prune';
  readonly alg: Algorithm;
  /** Absent for the key that is yet to be made. */
  readonly kid?: string;
}

/** What will happen if nobody intervenes, in order, as far as the document determines it: one publication per algorithm ahead. */
export function upcoming(keySet: KeySet, now: number, policy: KeySetPolicy): readonly UpcomingEvent[] {
  const { clockTolerance } = policy;
  const events = keySet.keys.flatMap((key): UpcomingEvent[] => {
    const { kid, alg, deactivatesAt, expiresAt } = key;
    const state = keyState(key, now);
    const at = (what: UpcomingEvent['what'], time: number | undefined): UpcomingEvent[] =>
      time === undefined ? [] : [{ at: time, what, alg, kid }];
    return [
      ...(state === 'pre-activation' ? at('activate', key.activatesAt) : []),
      ...(key.hasPrivateKey && deactivatesAt !== undefined && deactivatesAt > now
        ? at('deactivate', deactivatesAt)
        : []),
      ...(key.hasPrivateKey && deactivatesAt !== undefined
        ? at('retire', deactivatesAt + clockTolerance)
        : []),
      ...(state === 'destroyed' || state === 'compromised' ? [] : at('expire', expiresAt)),
      ...(expiresAt === undefined ? [] : at('prune', expiresAt + clockTolerance)),
    ];
  });
  const publications = policy.algorithms.flatMap((alg): UpcomingEvent[] => {
    const at = publicationTime(keySet, alg, now, policy);
    return at === undefined ? [] : [{ at, what: 'publish', alg }];
  });
  const deactivations = algorithmsOf(keySet).flatMap((alg): UpcomingEvent[] => {
    const at = deactivationTime(keySet, alg, now, policy);
    return at === undefined ? [] : [{ at, what: 'deactivate', alg }];
  });
  return [...events, ...publications, ...deactivations].toSorted((a, b) => a.at - b.at);
}
