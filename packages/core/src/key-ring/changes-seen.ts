import type { KeyRingEvents } from '../events.ts';
import type { KeyRecord, KeySet } from '../key-set/document.ts';

/** Reports what differs between two key sets that an instance held one after the other. */
export function reportChanges(events: KeyRingEvents, before: KeySet, after: KeySet, revision: number): void {
  const earlier = new Map(before.keys.map((key) => [key.kid, key]));
  const later = new Map(after.keys.map((key) => [key.kid, key]));
  const about = ({ kid, alg }: KeyRecord): Pick<KeyRecord, 'kid' | 'alg'> & { revision: number } => ({
    kid,
    alg,
    revision,
  });

  for (const key of after.keys) {
    const previous = earlier.get(key.kid);
    if (previous === undefined && key.revokedAt === undefined) {
      events.report('published', { ...about(key), activatesAt: key.activatesAt });
    }
    if (previous?.hasPrivateKey === true && !key.hasPrivateKey) events.report('retired', about(key));
    if (key.revokedAt !== undefined && previous?.revokedAt === undefined) {
      events.report('revoked', {
        kid: key.kid,
        alg: key.alg,
        reason: key.revocationReason ?? '',
        committed: true,
      });
    }
  }
  for (const key of before.keys) if (!later.has(key.kid)) events.report('pruned', about(key));
}
