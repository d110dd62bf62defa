import type { KeySet } from '../key-set/document.ts';
import { covers, join, revocationsOf, type Joined } from '../key-set/join.ts';
import type { KeySetPolicy } from '../key-set/policy.ts';

/** A key set with its revision. */
interface Revised {
  readonly keySet: KeySet;
  readonly revision: number;
}

export type Reconciliation =
  /** Nothing is stored and nothing is held. */
  | { readonly kind: 'empty' }
  /** What is stored loses nothing: hold it. */
  | { readonly kind: 'adopt' }
  /** What is stored lacks something: commit this, under this revision. */
  | { readonly kind: 'heal'; readonly joined: Joined; readonly revision: number };

/**
 * What to do about what the store has (facts/protocol.md, 3, rules 3 to 5). `stored`: authentic and opened, or `undefined`
 * if there is nothing, or nothing authentic.
 */
export function reconcile(
  stored: Revised | undefined,
  held: (Revised & { /** Milliseconds since it was last confirmed. */ readonly age: number }) | undefined,
  now: number,
  policy: KeySetPolicy,
): Reconciliation {
  if (held === undefined) return stored === undefined ? { kind: 'empty' } : { kind: 'adopt' };
  // What slept for longer than a key lives would bring back what was pruned meanwhile. With nothing stored, it is all there is.
  const asleep = stored !== undefined && held.age > held.keySet.horizon;
  const known = asleep ? revocationsOf(held.keySet) : held.keySet;
  const staleBound = Math.min(policy.staleBound, held.keySet.staleBound);
  const signedUntil = now - Math.max(0, held.age - staleBound);
  if (stored !== undefined && covers(stored.keySet, known, now, signedUntil)) return { kind: 'adopt' };
  // A sleeper's revision says nothing either: the stored set stays the base.
  const heldRevision = asleep ? 0 : held.revision;
  return {
    kind: 'heal',
    joined: join(stored, { keySet: known, revision: heldRevision }, now, policy),
    revision: Math.max(stored?.revision ?? 0, held.revision) + 1,
  };
}
