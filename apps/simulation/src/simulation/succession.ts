import type { KeySet } from '@jwt-authority/core';

/**
 * What one commit may not do to the key set before it, whoever made it and why. Judged without core's help. `undefined`:
 * nothing is wrong.
 */
export function successionProblem(
  previous: KeySet,
  next: KeySet,
  now: number,
  tolerance: number,
): string | undefined {
  const later = new Map(next.keys.map((key) => [key.kid, key]));
  const earlier = new Set(previous.keys.map(({ kid }) => kid));
  const departed = new Set(next.departed.map(({ kid }) => kid));
  const openEnded = next.keys.filter((key) => key.hasPrivateKey && key.deactivatesAt === undefined);
  if (new Set(openEnded.map(({ alg }) => alg)).size !== openEnded.length)
    return 'P2: two keys of one algorithm sign without an end';
  for (const key of previous.keys) {
    const other = later.get(key.kid);
    if (other === undefined) {
      if (!departed.has(key.kid)) return `P8: ${key.kid} was lost`;
      continue;
    }
    if (key.revokedAt !== undefined && other.revokedAt === undefined)
      return `P8: the revocation of ${key.kid} was undone`;
    if (other.tokenLifetime < key.tokenLifetime) return `P4: the lifetime of ${key.kid} was lowered`;
  }
  for (const key of next.keys) {
    if (earlier.has(key.kid) || !key.hasPrivateKey || key.activatesAt <= now + tolerance) continue;
    const pending = previous.keys.find(
      (other) =>
        other.alg === key.alg &&
        other.hasPrivateKey &&
        other.revokedAt === undefined &&
        other.activatesAt > now + tolerance &&
        (other.deactivatesAt === undefined || other.deactivatesAt > now + tolerance) &&
        later.get(other.kid)?.hasPrivateKey === true,
    );
    if (pending !== undefined) return `P2: ${key.kid} was published although ${pending.kid} is pending`;
  }
  return undefined;
}
