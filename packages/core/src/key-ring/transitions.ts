import type { Algorithm, KeyPair } from '../algorithms.ts';
import { inSeconds } from '../options.ts';
import { JwtAuthorityError } from '../errors.ts';
import {
  deactivate,
  importKey,
  promote,
  publish,
  replace,
  revocationNeedsNewKey,
  revoke,
  rollBack,
  type ImportRole,
  type NewKey,
} from '../key-set/changes.ts';
import type { KeySet } from '../key-set/document.ts';
import { applySteps, makesKey, newKeyAlgorithms, plan, type Step } from '../key-set/plan.ts';
import type { KeySetPolicy } from '../key-set/policy.ts';
import { activeKey, algorithmsOf, keyState, pendingKey } from '../key-set/states.ts';

/** What a transition makes of the current key set. Decided again on each attempt, on what the store has then. */
type Decision<Result> =
  /** Commit this. */
  | { readonly keySet: KeySet; readonly result: Result }
  /** Nothing to commit. */
  | { readonly keySet?: undefined; readonly result: Result }
  /** Not to be decided before key pairs of these algorithms are made. */
  | { readonly needs: readonly Algorithm[] };

export interface Transition<Result> {
  /** What its commit is sealed under. `fresh-or-present`: the present one if the KEK does not answer. */
  readonly dataKey: 'fresh' | 'fresh-or-present' | 'present';
  /** Not to be committed if the present data-encryption key is wrapped by the same version of the same KEK already. */
  readonly unlessWrappedAlike?: boolean;
  /** Whether what is held suffices to say that nothing is to be done. A command asks the store first. */
  readonly trustsMemory?: true;
  /** The key pair that it brings in from outside. */
  readonly importing?: KeyPair;
  /** Whether it may be done by an instance whose clock differs from the store's: only what must not wait. */
  readonly despiteClockSkew: boolean;
  decide(
    current: KeySet | undefined,
    now: number,
    newKeys: readonly NewKey[],
    policy: KeySetPolicy,
  ): Decision<Result>;
}

const notApplicable = (message: string): JwtAuthorityError =>
  new JwtAuthorityError('not_applicable', message);

function required(keySet: KeySet | undefined): KeySet {
  if (keySet === undefined) throw new JwtAuthorityError('not_initialised', 'the store holds no key set yet');
  return keySet;
}

/** Finds the prepared key of an algorithm; `undefined` sends the commit back to make one. */
function prepared(newKeys: readonly NewKey[], alg: Algorithm): NewKey | undefined {
  return newKeys.find((key) => key.alg === alg);
}

/** Does what is due. Steps that make keys and those that do not go into commits of their own: these need no KEK. */
export function dueSteps(which: 'making keys' | 'housekeeping'): Transition<readonly Step[]> {
  const makingKeys = which === 'making keys';
  return {
    dataKey: makingKeys ? 'fresh' : 'present',
    trustsMemory: true,
    // A clock that is ahead would end keys that others sign and verify with.
    despiteClockSkew: false,
    decide(current, now, newKeys, policy) {
      const steps = plan(current, now, policy).filter((step) => makesKey(step) === makingKeys);
      const missing = newKeyAlgorithms(steps).filter((alg) => prepared(newKeys, alg) === undefined);
      if (missing.length > 0) return { needs: missing };
      const keySet = steps.length === 0 ? undefined : applySteps(current, steps, now, policy, newKeys);
      return keySet === undefined ? { result: [] } : { keySet, result: steps };
    },
  };
}

/** What `rotateNow` did. */
export type RotateNowResult =
  | { readonly outcome: 'rotated'; readonly kid: string; readonly activatesAt: number }
  /** A rotation is under way already; `emergency` would let this key take over at once. */
  | { readonly outcome: 'already_pending'; readonly kid: string; readonly activatesAt: number };

export function rotateNow(alg: Algorithm, emergency: boolean): Transition<RotateNowResult> {
  return {
    dataKey: 'fresh',
    despiteClockSkew: false,
    decide(current, now, newKeys, policy) {
      const newKey = prepared(newKeys, alg);
      const rotated = (keySet: KeySet, kid: string): Decision<RotateNowResult> => {
        const activatesAt = keySet.keys.find((key) => key.kid === kid)?.activatesAt ?? now;
        return { keySet, result: { outcome: 'rotated', kid, activatesAt } };
      };
      if (current === undefined) {
        // An algorithm that is asked for by name gets its key, configured or not, as it does in a key set that exists.
        const algorithms = [...new Set([...policy.algorithms, alg])];
        const missing = algorithms.filter((algorithm) => prepared(newKeys, algorithm) === undefined);
        if (missing.length > 0) return { needs: missing };
        const steps: readonly Step[] = [{ step: 'initialise', algorithms }];
        const first = applySteps(undefined, steps, now, policy, newKeys);
        return rotated(required(first), prepared(newKeys, alg)?.kid ?? '');
      }
      const pending = pendingKey(current, alg, now);
      if (pending !== undefined) {
        if (emergency) return rotated(promote(current, policy, now, pending), pending.kid);
        return { result: { outcome: 'already_pending', kid: pending.kid, activatesAt: pending.activatesAt } };
      }
      if (newKey === undefined) return { needs: [alg] };
      return rotated(
        emergency ? replace(current, policy, now, newKey) : publish(current, policy, now, newKey),
        newKey.kid,
      );
    },
  };
}

/** What a roll back did. */
export interface RollBackResult {
  /** The key that was withdrawn. It stays published until `expiresAt`, since a slower instance may still switch to it. */
  readonly kid: string;
  readonly expiresAt: number;
  /** No new key is published before this, epoch milliseconds. */
  readonly publishNotBefore: number;
}

export function rollBackPending(
  alg: Algorithm,
  publishNotBefore: number | undefined,
): Transition<RollBackResult> {
  return {
    dataKey: 'present',
    despiteClockSkew: false,
    decide(current, now, _newKeys, policy) {
      const pending = pendingKey(required(current), alg, now);
      if (current === undefined || pending === undefined) {
        throw notApplicable(
          `no key of ${alg} is waiting to take over; one that signs already cannot be rolled back, rotate instead`,
        );
      }
      if (activeKey(current, alg, now) === undefined) {
        throw notApplicable(`the pending key of ${alg} is its only one: rolling it back would leave none`);
      }
      const keySet = rollBack(current, policy, now, pending, publishNotBefore);
      const withdrawn = keySet.keys.find(({ kid }) => kid === pending.kid);
      return {
        keySet,
        result: {
          kid: pending.kid,
          expiresAt: withdrawn?.expiresAt ?? now,
          publishNotBefore: keySet.publishNotBefore ?? now,
        },
      };
    },
  };
}

/** Whether the key was revoked by this commit, before, or is gone altogether. */
export type RevocationOutcome = 'revoked' | 'already_revoked' | 'departed';

export function revokeKey(kid: string, reason: string): Transition<RevocationOutcome> {
  return {
    dataKey: 'fresh-or-present',
    despiteClockSkew: true,
    decide(current, now, newKeys, policy) {
      const keySet = required(current);
      const key = keySet.keys.find((candidate) => candidate.kid === kid);
      if (key === undefined) {
        if (keySet.departed.some((departed) => departed.kid === kid)) return { result: 'departed' };
        throw new JwtAuthorityError('unknown_kid', 'no key of this key set has this kid');
      }
      if (key.revokedAt !== undefined) return { result: 'already_revoked' };
      if (!revocationNeedsNewKey(keySet, now, kid))
        return { keySet: revoke(keySet, policy, now, { kid, reason }), result: 'revoked' };
      const replacement = prepared(newKeys, key.alg);
      if (replacement === undefined) return { needs: [key.alg] };
      return { keySet: revoke(keySet, policy, now, { kid, reason, replacement }), result: 'revoked' };
    },
  };
}

/** Ends an algorithm now: its active key signs no more, a pending one is withdrawn. */
export function retireAlgorithm(alg: Algorithm): Transition<{ readonly kids: readonly string[] }> {
  return {
    dataKey: 'present',
    despiteClockSkew: false,
    decide(current, now, _newKeys, policy) {
      const keySet = required(current);
      if (policy.algorithms.includes(alg)) {
        throw notApplicable(
          `"${alg}" is among the configured algorithms and would be published again; take it out of "algorithms" first`,
        );
      }
      const pending = pendingKey(keySet, alg, now);
      const withdrawn = pending === undefined ? keySet : rollBack(keySet, policy, now, pending);
      const active = activeKey(withdrawn, alg, now);
      if (active === undefined && pending === undefined) return { result: { kids: [] } };
      if (
        !algorithmsOf(keySet).some((other) => other !== alg && activeKey(keySet, other, now) !== undefined)
      ) {
        throw notApplicable(
          `no other algorithm has an active key: retiring "${alg}" would leave nothing that signs`,
        );
      }
      const { publishNotBefore: _, ...rest } = withdrawn;
      const before =
        keySet.publishNotBefore === undefined ? rest : { ...rest, publishNotBefore: keySet.publishNotBefore };
      return {
        keySet: active === undefined ? before : deactivate(before, policy, now, active),
        result: { kids: [active, pending].flatMap((key) => (key === undefined ? [] : [key.kid])) },
      };
    },
  };
}

export function addImportedKey(
  pair: KeyPair,
  role: ImportRole,
  tokenLifetime: number,
): Transition<{ readonly kid: string; readonly activatesAt: number }> {
  const { privateKey: _, ...key } = pair;
  const { kid, alg } = key;
  return {
    dataKey: 'fresh',
    importing: pair,
    despiteClockSkew: false,
    decide(current, now, newKeys, policy) {
      if (current === undefined) return importIntoNothing(key, role, tokenLifetime, now, newKeys, policy);
      if ([...current.keys, ...current.departed].some((known) => known.kid === kid)) {
        throw new JwtAuthorityError('key_exists', 'this key set already has, or had, a key with this kid');
      }
      const pending = pendingKey(current, alg, now);
      if (role === 'next' && pending !== undefined) {
        throw notApplicable(
          `a key of ${alg} is waiting already, until ${inSeconds(pending.activatesAt - now)} s from now; roll it back first`,
        );
      }
      if (
        role === 'first' &&
        current.keys.some((known) => ['active', 'pre-activation'].includes(keyState(known, now)))
      ) {
        throw notApplicable('another key signs, or will: import this one as "next" or "verify-only"');
      }
      const keySet = importKey(current, policy, now, { key, role, tokenLifetime });
      return {
        keySet,
        result: { kid, activatesAt: keySet.keys.find((known) => known.kid === kid)?.activatesAt ?? now },
      };
    },
  };
}

function importIntoNothing(
  key: NewKey,
  role: ImportRole,
  tokenLifetime: number,
  now: number,
  newKeys: readonly NewKey[],
  policy: KeySetPolicy,
): Decision<{ kid: string; activatesAt: number }> {
  const others = policy.algorithms.filter((alg) => role === 'verify-only' || alg !== key.alg);
  const missing = others.filter((alg) => prepared(newKeys, alg) === undefined);
  if (missing.length > 0) return { needs: missing };
  // In an empty store nothing signs: what is "next" comes first.
  const first = role === 'next' ? 'first' : role;
  const steps: readonly Step[] = [{ step: 'initialise', algorithms: others }];
  const initial = required(applySteps(undefined, steps, now, policy, newKeys));
  const keySet = importKey(initial, policy, now, { key, role: first, tokenLifetime });
  return {
    keySet,
    result: { kid: key.kid, activatesAt: keySet.keys.find(({ kid }) => kid === key.kid)?.activatesAt ?? now },
  };
}

export interface RewrapOptions {
  /** Default `false`. */
  readonly force?: boolean;
}

/** What `rewrap` did. */
export interface RewrapResult {
  /** `false`: the first encrypter had sealed it already. */
  readonly committed: boolean;
  /** The label of the encrypter that had sealed it. */
  readonly from: string | undefined;
  /** The label of the encrypter that has sealed it now. */
  readonly to: string;
  /** The keys whose private halves were sealed again. */
  readonly kids: readonly string[];
}

/** Seals the key set as it is under a fresh data-encryption key of the primary KEK; unless `always`, only if another one wrapped the present. */
export function reseal(always: boolean): Transition<{ readonly kids: readonly string[] }> {
  return {
    dataKey: 'fresh',
    despiteClockSkew: true,
    unlessWrappedAlike: !always,
    decide(current) {
      const keySet = required(current);
      const kids = keySet.keys.filter((key) => key.hasPrivateKey).map(({ kid }) => kid);
      return { keySet, result: { kids } };
    },
  };
}
