import { JwtAuthorityError } from '@jwt-authority/core';
import { expect } from 'vitest';
import { Fleet } from '../src/fleet.ts';
import type { WatchedKek } from '../src/watched-kek.ts';

export interface Outage {
  readonly kek: WatchedKek;
  readonly begin: () => Promise<void>;
  readonly end: () => Promise<void>;
}

/**
 * What goes on while the KEK's service is down, by facts/protocol.md, 4: everything but publications, which wait, and cold
 * starts, which say so.
 */
export async function proveOutage({ kek, begin, end }: Outage): Promise<Fleet['figures']> {
  const fleet = new Fleet();
  const refreshAll = async (): Promise<void> => {
    for (const { keyRing } of fleet.instances) await keyRing.refresh();
  };
  const activeKid = (): string => fleet.first.keyRing.signingKey().kid;
  const keyOf = (kid: string): { hasPrivateKey: boolean } | undefined =>
    fleet.first.keyRing.keySet?.keys.find((key) => key.kid === kid);
  try {
    await fleet.deploy([kek]);
    fleet.startLoad();
    const first = activeKid();
    const rotated = await fleet.first.rotator.rotateNow();
    await refreshAll();
    await fleet.advance(200);
    await begin();
    const before = { ...kek.calls };

    // A rotation that is under way ends: the next key takes over, the private half of the old one is destroyed.
    await fleet.advance(1100);
    expect(activeKid(), 'the pending key took over').toBe(rotated.kid);
    expect(keyOf(first)?.hasPrivateKey, 'P5: retired, although the KEK is down').toBe(false);
    expect(kek.calls, 'P10: nobody even asked').toEqual(before);

    // A wiped store is healed.
    fleet.store.wipe();
    await fleet.advance(100);
    expect((await fleet.store.load()).stored?.document, 'P8: put back').toContain(rotated.kid);

    // Revocation, of the very key that signs: the new one is sealed under the present data-encryption key.
    await fleet.pauseLoad();
    const revoked = await fleet.first.rotator.revoke(rotated.kid, { reason: 'test' });
    await refreshAll();
    expect(revoked.committed, 'P9: what must not wait does not').toBe(true);
    for (const { keyRing } of fleet.instances) {
      expect(keyRing.verificationKey(rotated.kid), 'P9: everywhere').toBe('revoked');
      expect(keyRing.signingKey().kid, 'and replaced').toBe(revoked.activeKid);
    }
    fleet.forgetTokens();
    fleet.startLoad();

    // A rotation falls due (2000 s after the key took over): postponed, reported, and the present key signs on.
    const errors: string[] = [];
    for (const { keyRing } of fleet.instances) {
      keyRing.events.on('rotation_error', ({ code }) => errors.push(code));
    }
    await fleet.advance(2200);
    expect(await fleet.first.rotator.checkAndRotateKeys(), 'says why').toMatchObject({
      outcome: 'postponed',
      error: { code: 'kek_unavailable' },
    });
    expect(new Set(errors), 'reported by every attempt').toEqual(new Set(['kek_unavailable']));
    expect(activeKid(), 'late is better than never').toBe(revoked.activeKid);

    // A cold start: one clear error, nothing made.
    const written = fleet.store.written.length;
    const error = await fleet.startOne([kek]).catch((thrown: unknown) => thrown);
    expect(JwtAuthorityError.is(error) && error.code, 'one clear error').toBe('kek_unavailable');
    expect(error instanceof Error && error.message, 'that names the KEK').toContain(kek.id);
    expect(fleet.store.written.length, 'P7: no key is made in place of what cannot be read now').toBe(
      written,
    );
    await using waiting = await fleet.startOne([kek], { retryStart: true });
    expect(waiting.keyRing.health(), 'or it waits, if the caller says so').toMatchObject({
      status: 'unusable',
      code: 'kek_unavailable',
    });

    // And back.
    const { rotated: rotations } = fleet.figures;
    await end();
    await fleet.advance(150);
    expect(fleet.figures.rotated, 'caught up, once').toBe(rotations + 1);
    expect(waiting.keyRing.signingKey().kid, 'the one that waited signs with the same key').toBe(activeKid());
    await fleet.advance(300);
  } finally {
    await end();
    await fleet.close();
  }
  expect(fleet.lost, 'P7: no token was refused in all that time').toEqual([]);
  return fleet.figures;
}
