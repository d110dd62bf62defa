import type { Algorithm } from '../algorithms.ts';
import type { KeyRecord, KeySet } from './document.ts';

/**
 * State of a key at a moment (NIST SP 800-57 part 1, 7): *pre-activation* is published and does not sign yet, *active*
 * signs, *deactivated* only verifies, *compromised* is revoked, *destroyed* has expired.
 */
export type KeyState = 'pre-activation' | 'active' | 'deactivated' | 'compromised' | 'destroyed';

/** A pure function of the document's absolute times: no setting has a say. */
export function keyState(key: KeyRecord, now: number): KeyState {
  if (key.revokedAt !== undefined) return 'compromised';
  if (key.expiresAt !== undefined && key.expiresAt <= now) return 'destroyed';
  if (!key.hasPrivateKey || (key.deactivatesAt !== undefined && key.deactivatesAt <= now))
    return 'deactivated';
  return key.activatesAt <= now ? 'active' : 'pre-activation';
}

/**
 * The key of this algorithm that signs at this moment: of those active the one that goes on signing for longest, then the
 * one that took over last. They overlap by clocks that are behind: a key that was stopped at once is active there until
 * its end, besides the one that replaced it, which is dated back and must count everywhere as the one to be succeeded.
 */
export function activeKey(keySet: KeySet, alg: Algorithm, now: number): KeyRecord | undefined {
  return keySet.keys
    .filter((key) => key.alg === alg && keyState(key, now) === 'active')
    .toSorted((a, b) => byEnd(a, b) || byActivation(a, b))
    .at(-1);
}

/** The key of this algorithm that is published and will sign next. */
export function pendingKey(keySet: KeySet, alg: Algorithm, now: number): KeyRecord | undefined {
  return keySet.keys
    .filter((key) => key.alg === alg && keyState(key, now) === 'pre-activation')
    .toSorted(byActivation)
    .at(0);
}

/** The keys that verify and stand in the JWKS at this moment: pre-activation, active and deactivated ones. */
export function publishedKeys(keySet: KeySet, now: number): readonly KeyRecord[] {
  return keySet.keys.filter((key) => isPublished(key, now));
}

export function isPublished(key: KeyRecord, now: number): boolean {
  return key.revokedAt === undefined && (key.expiresAt === undefined || now < key.expiresAt);
}

/** The algorithms that have keys, in the order in which they first appear. */
export function algorithmsOf(keySet: KeySet): readonly Algorithm[] {
  return [...new Set(keySet.keys.map((key) => key.alg))];
}

function byEnd(a: KeyRecord, b: KeyRecord): number {
  const [left, right] = [a.deactivatesAt ?? Infinity, b.deactivatesAt ?? Infinity];
  return left === right ? 0 : left - right;
}

// The kid decides between equal times, so that every instance sees the same order.
function byActivation(a: KeyRecord, b: KeyRecord): number {
  return a.activatesAt - b.activatesAt || (a.kid < b.kid ? -1 : 1);
}
