import type { Algorithm, PublicJwk } from '../algorithms.ts';
import type { KeyRecord, KeySet } from './document.ts';
import type { KeySetPolicy } from './policy.ts';
import { activeKey, keyState, pendingKey } from './states.ts';

/** The public half of a key pair that a change brings in. */
export interface NewKey {
  readonly kid: string;
  readonly alg: Algorithm;
  readonly publicJwk: PublicJwk;
}

/** The propagation delay that holds for a change: of this policy or of the document, whichever is longer. */
export function effectivePropagationDelay(keySet: KeySet, policy: KeySetPolicy): number {
  return Math.max(policy.propagationDelay, keySet.propagationDelay);
}

/** The longest full life of a key under this policy: beyond it a sleeper's knowledge no longer counts. */
function horizonOf(policy: KeySetPolicy, propagationDelay: number, tokenLifetime: number): number {
  const { commitDeadline, rotationInterval, staleBound, clockTolerance } = policy;
  return (
    propagationDelay + commitDeadline + rotationInterval + staleBound + tokenLifetime + 4 * clockTolerance
  );
}

/** The key set with room in its horizon for a key of this policy, and for one of `tokenLifetime`. */
function withHorizon(keySet: KeySet, policy: KeySetPolicy, tokenLifetime = 0): KeySet {
  const longest = Math.max(tokenLifetime, policy.tokenLifetime);
  const life = horizonOf(policy, effectivePropagationDelay(keySet, policy), longest);
  return { ...keySet, horizon: Math.max(keySet.horizon, life) };
}

/** The first key set of an empty store: one key per algorithm, active at once, because nothing older exists to prefer. */
export function initialise(policy: KeySetPolicy, now: number, newKeys: readonly NewKey[]): KeySet {
  const { propagationDelay, staleBound } = policy;
  return {
    format: 1,
    origin: now,
    propagationDelay,
    staleBound,
    horizon: horizonOf(policy, propagationDelay, policy.tokenLifetime),
    keys: newKeys.map((key) => record(key, policy, now, now - policy.clockTolerance)),
    departed: [],
  };
}

function record(key: NewKey, policy: KeySetPolicy, now: number, activatesAt: number): KeyRecord {
  const { kid, alg, publicJwk } = key;
  return {
    kid,
    alg,
    publicJwk,
    tokenLifetime: policy.tokenLifetime,
    createdAt: now,
    activatesAt,
    hasPrivateKey: true,
  };
}

/** Publishes the next key of an algorithm, and says when it takes over from the active one. */
export function publish(
  keySet: KeySet,
  policy: KeySetPolicy,
  now: number,
  newKey: NewKey,
  propagationDelay: number = effectivePropagationDelay(keySet, policy),
): KeySet {
  // Time passes between this decision and the write: without the commit deadline the key would sign too early.
  const activatesAt = now + propagationDelay + policy.commitDeadline;
  const active = activeKey(keySet, newKey.alg, now);
  const { publishNotBefore, ...rest } = withHorizon(keySet, policy, active?.tokenLifetime);
  return {
    ...rest,
    // Published by command in spite of it: it still holds for what comes by itself.
    ...(publishNotBefore !== undefined && publishNotBefore > now && { publishNotBefore }),
    propagationDelay: policy.propagationDelay,
    staleBound: policy.staleBound,
    keys: [
      ...replaceKey(keySet.keys, active, (key) => ({
        ...key,
        deactivatesAt: activatesAt,
        expiresAt: Math.max(key.expiresAt ?? 0, activatesAt + key.tokenLifetime + propagationDelay),
      })),
      record(newKey, policy, now, activatesAt),
    ],
  };
}

/** A new key that signs at once: a replacement, or an emergency. The active key of its algorithm, if any, stops signing. */
export function replace(keySet: KeySet, policy: KeySetPolicy, now: number, newKey: NewKey): KeySet {
  const active = activeKey(keySet, newKey.alg, now);
  return {
    ...withHorizon(keySet, policy),
    keys: [
      ...replaceKey(keySet.keys, active, (key) => deactivated(key, keySet, policy, now)),
      record(newKey, policy, now, now - policy.clockTolerance),
    ],
  };
}

/** The pending key of an algorithm signs at once, and the active one, if any, stops. */
export function promote(keySet: KeySet, policy: KeySetPolicy, now: number, pending: KeyRecord): KeySet {
  const active = activeKey(keySet, pending.alg, now);
  const keys = replaceKey(keySet.keys, active, (key) => deactivated(key, keySet, policy, now));
  return { ...keySet, keys: replaceKey(keys, pending, (key) => signingNow(key, policy, now)) };
}

/** The key signing now: dated back by the tolerance, or an instance with a slower clock would have no signer for that long. */
export function signingNow(key: KeyRecord, policy: KeySetPolicy, now: number): KeyRecord {
  return { ...key, activatesAt: Math.min(key.activatesAt, now - policy.clockTolerance) };
}

/** Ends a key's signing now, unplanned: others may go on signing with it for a stale bound and a commit deadline. */
function deactivated(key: KeyRecord, keySet: KeySet, policy: KeySetPolicy, now: number): KeyRecord {
  return {
    ...key,
    deactivatesAt: now,
    expiresAt: Math.max(key.expiresAt ?? 0, unplannedExpiry(key, keySet, policy, now)),
  };
}

function unplannedExpiry(key: KeyRecord, keySet: KeySet, policy: KeySetPolicy, now: number): number {
  return now + key.tokenLifetime + effectivePropagationDelay(keySet, policy) + policy.commitDeadline;
}

/** Ends the signing of an algorithm's active key. */
export function deactivate(keySet: KeySet, policy: KeySetPolicy, now: number, active: KeyRecord): KeySet {
  return { ...keySet, keys: replaceKey(keySet.keys, active, (key) => deactivated(key, keySet, policy, now)) };
}

/** Destroys the private halves of these keys. */
export function retire(keySet: KeySet, kids: readonly string[]): KeySet {
  return {
    ...keySet,
    keys: keySet.keys.map((key) => (kids.includes(key.kid) ? { ...key, hasPrivateKey: false } : key)),
  };
}

/** Removes these keys and remembers that they have gone; forgets those that went more than twice the horizon ago. */
export function prune(keySet: KeySet, now: number, kids: readonly string[]): KeySet {
  return {
    ...keySet,
    keys: keySet.keys.filter((key) => !kids.includes(key.kid)),
    departed: [
      ...keySet.departed.filter(({ time }) => time + 2 * keySet.horizon > now),
      ...kids.map((kid) => ({ kid, time: now })),
    ],
  };
}

/** Raises the token lifetime of these keys to that of the policy. */
export function raiseLifetime(keySet: KeySet, policy: KeySetPolicy, kids: readonly string[]): KeySet {
  return {
    ...withHorizon(keySet, policy),
    keys: keySet.keys.map((key) =>
      kids.includes(key.kid) ? { ...key, tokenLifetime: policy.tokenLifetime } : key,
    ),
  };
}

/** Withdraws the pending key, before it signs. It stays published, since a slower instance may still switch to it. */
export function rollBack(
  keySet: KeySet,
  policy: KeySetPolicy,
  now: number,
  pending: KeyRecord,
  publishNotBefore?: number,
): KeySet {
  const keys = replaceKey(withoutEnd(keySet, pending.alg, now), pending, (key) => ({
    ...deactivated(key, keySet, policy, now),
    hasPrivateKey: false,
  }));
  return {
    ...keySet,
    publishNotBefore: publishNotBefore ?? now + effectivePropagationDelay(keySet, policy),
    keys,
  };
}

/** The keys, with the active one of this algorithm signing on without an end. */
function withoutEnd(keySet: KeySet, alg: Algorithm, now: number): readonly KeyRecord[] {
  return replaceKey(
    keySet.keys,
    activeKey(keySet, alg, now),
    ({ deactivatesAt: _, expiresAt: __, ...key }) => key,
  );
}

/** Whether revoking this key takes a new one in the same commit: it signs, and nothing is there to take over. */
export function revocationNeedsNewKey(keySet: KeySet, now: number, kid: string): boolean {
  const key = keySet.keys.find((candidate) => candidate.kid === kid);
  return (
    key !== undefined &&
    activeKey(keySet, key.alg, now)?.kid === kid &&
    pendingKey(keySet, key.alg, now) === undefined
  );
}

/** Revokes a key. Was it the active one, the pending key or else `replacement` takes over at once; was it the pending one, the active key signs on. */
export function revoke(
  keySet: KeySet,
  policy: KeySetPolicy,
  now: number,
  revocation: { readonly kid: string; readonly reason: string; readonly replacement?: NewKey },
): KeySet {
  const { kid, reason, replacement } = revocation;
  const target = keySet.keys.find((key) => key.kid === kid);
  if (target === undefined || target.revokedAt !== undefined) return keySet;
  const state = keyState(target, now);
  const wasActive = activeKey(keySet, target.alg, now)?.kid === kid;
  const keys = replaceKey(
    state === 'pre-activation' ? withoutEnd(keySet, target.alg, now) : keySet.keys,
    target,
    (key): KeyRecord => ({
      ...key,
      deactivatesAt: Math.min(key.deactivatesAt ?? now, now),
      expiresAt: key.expiresAt ?? unplannedExpiry(key, keySet, policy, now),
      revokedAt: now,
      revocationReason: reason,
      hasPrivateKey: false,
    }),
  );
  const revoked = { ...keySet, keys };
  if (!wasActive) {
    // To an instance with a slower clock the key may be the active one still, and the one that took over not yet.
    const active = activeKey(revoked, target.alg, now);
    return { ...revoked, keys: replaceKey(keys, active, (key) => signingNow(key, policy, now)) };
  }
  const pending = pendingKey(revoked, target.alg, now);
  if (pending !== undefined) return promote(revoked, policy, now, pending);
  return replacement === undefined ? revoked : replace(revoked, policy, now, replacement);
}

/** How an imported key enters: signing first, signing next, or only verifying what it signed elsewhere. */
export type ImportRole = 'first' | 'next' | 'verify-only';

/** Adds an imported key. `tokenLifetime` (ms): how long tokens that are already out may live. */
export function importKey(
  keySet: KeySet,
  policy: KeySetPolicy,
  now: number,
  imported: { readonly key: NewKey; readonly role: ImportRole; readonly tokenLifetime: number },
): KeySet {
  const { key, role, tokenLifetime } = imported;
  // The lifetime given is a fact about tokens already out: it may exceed what this policy would sign.
  const importPolicy = {
    ...policy,
    tokenLifetime: Math.max(tokenLifetime, role === 'verify-only' ? 0 : policy.tokenLifetime),
  };
  if (role === 'next') return publish(keySet, importPolicy, now, key);
  if (role === 'first') return replace(keySet, importPolicy, now, key);
  const entry = record(key, importPolicy, now, now - policy.clockTolerance);
  return {
    ...withHorizon(keySet, importPolicy),
    keys: [...keySet.keys, { ...deactivated(entry, keySet, importPolicy, now), hasPrivateKey: false }],
  };
}

function replaceKey(
  keys: readonly KeyRecord[],
  target: KeyRecord | undefined,
  change: (key: KeyRecord) => KeyRecord,
): readonly KeyRecord[] {
  return keys.map((key) => (key.kid === target?.kid ? change(key) : key));
}
