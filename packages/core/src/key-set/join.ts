import { effectivePropagationDelay, promote, signingNow } from './changes.ts';
import type { DepartedKey, KeyRecord, KeySet } from './document.ts';
import type { KeySetPolicy } from './policy.ts';
import { activeKey, algorithmsOf, keyState, pendingKey } from './states.ts';

/**
 * Whether adopting `stored` loses nothing of what `held` knows; the revisions have no say. `signedUntil`: the latest time at
 * which whoever holds that may have signed by it.
 */
export function covers(stored: KeySet, held: KeySet, now: number, signedUntil: number = now): boolean {
  const departed = new Set(stored.departed.map(({ kid }) => kid));
  const alive = new Map(stored.keys.map((key) => [key.kid, key]));
  const keysCovered = held.keys.every((key) => {
    const other = alive.get(key.kid);
    if (other === undefined)
      return departed.has(key.kid) || (isExpired(key, now) && key.revokedAt === undefined);
    return (
      (key.revokedAt === undefined || other.revokedAt !== undefined) &&
      other.tokenLifetime >= key.tokenLifetime &&
      (other.expiresAt ?? Infinity) >= neededUntil(key, other, signedUntil)
    );
  });
  return keysCovered && !held.departed.some(({ kid }) => alive.has(kid));
}

/**
 * How long `other`, the same key in the store, must verify for the tokens of whoever holds `key`. One without an end signs on:
 * where both sides read one store, an end there is always late enough, since P' ≥ B + 2τ; not so where a split brain kept it
 * from one side.
 */
function neededUntil(key: KeyRecord, other: KeyRecord, signedUntil: number): number {
  if (key.expiresAt !== undefined) return key.expiresAt;
  return key.hasPrivateKey && other.revokedAt === undefined ? signedUntil + key.tokenLifetime : 0;
}

/** What an instance that slept for longer than a key's full life still knows for certain: what was revoked, what has gone. */
export function revocationsOf(held: KeySet): KeySet {
  // Without an origin: what it does not list may be younger than its sleep, or known to it and left out here.
  return { ...held, origin: Infinity, keys: held.keys.filter((key) => key.revokedAt !== undefined) };
}

export interface JoinInput {
  readonly keySet: KeySet;
  readonly revision: number;
}

export interface Joined {
  readonly keySet: KeySet;
  /** Which side gave the roles. */
  readonly base: 'stored' | 'held';
  /** Nothing is left that signs: the same commit must bring a new key. */
  readonly needsNewKey: boolean;
}

/**
 * The join of what the store has and what an instance holds (facts/protocol.md, 3). Covers both sides; both sides joined
 * by anybody give a set that covers either, so healing ends, and everyone ends on one document.
 */
export function join(
  stored: JoinInput | undefined,
  held: JoinInput,
  now: number,
  policy: KeySetPolicy,
): Joined {
  const heldIsBase = stored === undefined || held.revision > stored.revision;
  const base = heldIsBase ? held : stored;
  const other = heldIsBase ? stored : held;
  const nothing: KeySet = { ...base.keySet, keys: [], departed: [] };
  const otherSet = other?.keySet ?? nothing;
  const storedSet = stored?.keySet ?? nothing;

  const propagationDelay = Math.max(
    effectivePropagationDelay(base.keySet, policy),
    otherSet.propagationDelay,
  );
  const horizon = Math.max(base.keySet.horizon, otherSet.horizon);
  const latest: Lateness = { now, propagationDelay, commitDeadline: policy.commitDeadline };

  const departed = mergeDeparted([
    ...base.keySet.departed,
    ...otherSet.departed,
    ...longGone(storedSet, held.keySet, now, horizon),
    ...expiredOnly(otherSet, base.keySet, now),
  ]);
  const gone = new Set(departed.map(({ kid }) => kid));
  const others = new Map(otherSet.keys.map((key) => [key.kid, key]));
  const known = new Set(base.keySet.keys.map(({ kid }) => kid));

  const keys = [
    ...base.keySet.keys.map((key) => mergeKey(key, others.get(key.kid), latest)),
    ...otherSet.keys.filter((key) => !known.has(key.kid)).map((key) => verifyOnly(key, latest)),
  ].filter((key) => !gone.has(key.kid));

  const joined: KeySet = {
    ...base.keySet,
    origin: Math.min(base.keySet.origin, otherSet.origin),
    propagationDelay: Math.max(base.keySet.propagationDelay, otherSet.propagationDelay),
    horizon,
    keys: postponeUnpublished(keys, new Set(storedSet.keys.map(({ kid }) => kid)), latest),
    departed,
  };
  return { ...leaveSigner(joined, otherSet, now, policy), base: heldIsBase ? 'held' : 'stored' };
}

interface Lateness {
  readonly now: number;
  readonly propagationDelay: number;
  readonly commitDeadline: number;
}

/** When a key that somebody may still sign with now, without knowing of this join, expires. */
function unplannedExpiry(key: KeyRecord, { now, propagationDelay, commitDeadline }: Lateness): number {
  return now + key.tokenLifetime + propagationDelay + commitDeadline;
}

/** A key of the base: its role and `deactivatesAt` stay; revocation, lifetime and expiry only grow. */
function mergeKey(key: KeyRecord, other: KeyRecord | undefined, latest: Lateness): KeyRecord {
  if (other === undefined) return key;
  const merged: KeyRecord = { ...key, tokenLifetime: Math.max(key.tokenLifetime, other.tokenLifetime) };
  const revokedBy = [key, other].find((side) => side.revokedAt !== undefined);
  const expiresAt =
    key.expiresAt === undefined && revokedBy === undefined
      ? undefined
      : Math.max(
          key.expiresAt ?? unplannedExpiry(merged, latest),
          other.expiresAt ?? unplannedExpiry(merged, latest),
          (key.deactivatesAt ?? latest.now) + merged.tokenLifetime + latest.propagationDelay,
        );
  if (expiresAt === undefined) return merged;
  const deactivatesAt = key.deactivatesAt ?? latest.now;
  if (revokedBy?.revokedAt === undefined) return { ...merged, deactivatesAt, expiresAt };
  return {
    ...merged,
    deactivatesAt: Math.min(deactivatesAt, latest.now),
    expiresAt,
    revokedAt: Math.min(key.revokedAt ?? Infinity, other.revokedAt ?? Infinity),
    ...(revokedBy.revocationReason === undefined ? {} : { revocationReason: revokedBy.revocationReason }),
    hasPrivateKey: false,
  };
}

/** A key that only the other side has: from now on it verifies, and nothing else. */
function verifyOnly(key: KeyRecord, latest: Lateness): KeyRecord {
  return {
    ...key,
    deactivatesAt: Math.min(key.deactivatesAt ?? latest.now, latest.now),
    expiresAt: Math.max(key.expiresAt ?? 0, unplannedExpiry(key, latest)),
    hasPrivateKey: false,
  };
}

function mergeDeparted(entries: readonly DepartedKey[]): readonly DepartedKey[] {
  const latestTimes = new Map<string, number>();
  for (const { kid, time } of entries) latestTimes.set(kid, Math.max(time, latestTimes.get(kid) ?? 0));
  return [...latestTimes].map(([kid, time]) => ({ kid, time }));
}

/** Keys of the store that this history must have known and no longer does: pruned long ago, brought back by an old backup. */
function longGone(stored: KeySet, held: KeySet, now: number, horizon: number): readonly DepartedKey[] {
  const known = new Set(held.keys.map(({ kid }) => kid));
  return stored.keys
    .filter((key) => !known.has(key.kid) && key.createdAt < now - 2 * horizon && key.createdAt >= held.origin)
    .map(({ kid }) => ({ kid, time: now }));
}

/** Keys that only the other side has and that are over: the base has pruned them. */
function expiredOnly(otherSet: KeySet, base: KeySet, now: number): readonly DepartedKey[] {
  const known = new Set(base.keys.map(({ kid }) => kid));
  return otherSet.keys
    .filter((key) => !known.has(key.kid) && isExpired(key, now))
    .map(({ kid }) => ({ kid, time: now }));
}

/** A pending key that the store lacked was never seen by verifiers: it waits a whole propagation delay again, and its predecessor signs on. */
function postponeUnpublished(
  keys: readonly KeyRecord[],
  stored: ReadonlySet<string>,
  latest: Lateness,
): readonly KeyRecord[] {
  const activatesAt = latest.now + latest.propagationDelay + latest.commitDeadline;
  const lost = keys.filter(
    (key) =>
      keyState(key, latest.now) === 'pre-activation' && !stored.has(key.kid) && key.activatesAt < activatesAt,
  );
  return lost.reduce<readonly KeyRecord[]>((current, pending) => {
    const isPredecessor = (key: KeyRecord): boolean =>
      key.alg === pending.alg && key.hasPrivateKey && key.deactivatesAt === pending.activatesAt;
    return current.map((key) => {
      if (key.kid === pending.kid) return { ...key, activatesAt };
      if (!isPredecessor(key)) return key;
      const expiresAt = Math.max(
        key.expiresAt ?? 0,
        activatesAt + key.tokenLifetime + latest.propagationDelay,
      );
      return { ...key, deactivatesAt: activatesAt, expiresAt };
    });
  }, keys);
}

/** If the join left nothing that signs: the other side's active key signs on, else a pending key signs at once, else a new one is needed. */
function leaveSigner(joined: KeySet, other: KeySet, now: number, policy: KeySetPolicy): Omit<Joined, 'base'> {
  const firstOf = (keySet: KeySet, find: typeof activeKey): KeyRecord | undefined =>
    algorithmsOf(keySet)
      .map((alg) => find(keySet, alg, now))
      .find((key) => joined.keys.some(({ kid, revokedAt }) => kid === key?.kid && revokedAt === undefined));

  if (firstOf(joined, activeKey) !== undefined) return { keySet: joined, needsNewKey: false };
  const successor = firstOf(other, activeKey) ?? firstOf(joined, pendingKey);
  if (successor === undefined) return { keySet: joined, needsNewKey: true };
  const pending = pendingKey(joined, successor.alg, now);
  if (pending?.kid === successor.kid)
    return { keySet: promote(joined, policy, now, pending), needsNewKey: false };
  const propagationDelay = effectivePropagationDelay(joined, policy);
  const keys = joined.keys.map((key) =>
    key.kid === successor.kid ? signingUntil(signingNow(key, policy, now), pending, propagationDelay) : key,
  );
  return { keySet: { ...joined, keys }, needsNewKey: false };
}

function signingUntil(key: KeyRecord, pending: KeyRecord | undefined, propagationDelay: number): KeyRecord {
  const { deactivatesAt: _, expiresAt, ...signing } = key;
  if (pending === undefined) return { ...signing, hasPrivateKey: true };
  const end = pending.activatesAt;
  const planned = end + key.tokenLifetime + propagationDelay;
  return {
    ...signing,
    hasPrivateKey: true,
    deactivatesAt: end,
    expiresAt: Math.max(expiresAt ?? 0, planned),
  };
}

function isExpired(key: KeyRecord, now: number): boolean {
  return key.expiresAt !== undefined && key.expiresAt <= now;
}
