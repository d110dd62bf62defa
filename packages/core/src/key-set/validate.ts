import type { KeyRecord, KeySet } from './document.ts';

/**
 * Says which invariant a key set breaks, `undefined` if none.
 *
 * 1. Every `kid` stands once, in `keys` or in `departed`.
 * 2. `deactivatesAt` and `expiresAt` come together, and a key stays published for at least its token lifetime after it
 *    stopped signing (P4).
 * 3. A key with a private half is not revoked and does not stop before it starts: `activatesAt ≤ deactivatesAt`.
 * 4. A key without one has an end: `deactivatesAt` and `expiresAt`.
 * 5. Of one algorithm, at most one key signs without an end.
 * 6. A reason stands only with a revocation.
 */
export function validate(keySet: KeySet): string | undefined {
  const kids = [...keySet.keys, ...keySet.departed].map(({ kid }) => kid);
  if (new Set(kids).size !== kids.length) return 'a kid stands twice';
  const openEnded = keySet.keys.filter((key) => key.hasPrivateKey && key.deactivatesAt === undefined);
  if (new Set(openEnded.map(({ alg }) => alg)).size !== openEnded.length)
    return 'two keys of one algorithm sign without an end';
  return keySet.keys.map(keyProblem).find((problem) => problem !== undefined);
}

function keyProblem(key: KeyRecord): string | undefined {
  const { deactivatesAt, expiresAt } = key;
  if ((deactivatesAt === undefined) !== (expiresAt === undefined))
    return 'a key has only one of deactivatesAt and expiresAt';
  if (
    deactivatesAt !== undefined &&
    expiresAt !== undefined &&
    expiresAt < deactivatesAt + key.tokenLifetime
  ) {
    return 'a key expires before the last token it may have signed';
  }
  if (key.hasPrivateKey && key.revokedAt !== undefined) return 'a revoked key has a private half';
  if (key.hasPrivateKey && deactivatesAt !== undefined && deactivatesAt < key.activatesAt)
    return 'a key with a private half stops before it starts';
  if (!key.hasPrivateKey && deactivatesAt === undefined) return 'a key without a private half has no end';
  if (key.revocationReason !== undefined && key.revokedAt === undefined)
    return 'a key has a reason of revocation but is not revoked';
  return undefined;
}
