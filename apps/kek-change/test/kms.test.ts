import { randomBytes } from 'node:crypto';
import { JwtAuthorityError, localEncrypter } from '@jwt-authority/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kmsMissing } from '../../../test/support/kms-server.ts';
import { Fleet } from '../src/fleet.ts';
import { WatchedKek } from '../src/watched-kek.ts';
import { openKms, type Kms } from './kms.ts';
import { proveChange } from './prove-change.ts';
import { proveOutage } from './prove-outage.ts';

describe.skipIf(kmsMissing !== '')(`AWS KMS${kmsMissing}`, () => {
  let kms: Kms;
  beforeAll(async () => {
    kms = await openKms();
  });
  afterAll(async () => kms.stop());

  it('P1: from a local KEK to KMS, to another key of KMS, and back', async () => {
    const local = (): WatchedKek => new WatchedKek(localEncrypter({ key: randomBytes(32) }));
    const [one, two] = [await kms.makeKey(), await kms.makeKey()];
    const figures = await proveChange([
      { kek: local() },
      { kek: kms.open(one), destroy: async () => kms.scheduleDeletion(one) },
      { kek: kms.open(two), destroy: async () => kms.scheduleDeletion(two) },
      { kek: local() },
    ]);
    expect(figures.rotated, 'it rotated in between').toBe(3);
  }, 60_000);

  const outages = [
    ['cannot be reached', async () => kms.proxy.set('refuse'), async () => kms.proxy.set('pass')],
    ['hangs', async () => kms.proxy.set('hang'), async () => kms.proxy.set('pass')],
    ['has the key disabled', async (key: string) => kms.disable(key), async (key: string) => kms.enable(key)],
  ] as const;
  it.each(outages)(
    'P7: KMS %s: nothing stops but publications and cold starts',
    async (_what, begin, end) => {
      const key = await kms.makeKey();
      const figures = await proveOutage({
        kek: kms.open(key),
        begin: async () => begin(key),
        end: async () => end(key),
      });
      expect(figures.verified, 'and there were tokens').toBeGreaterThan(1000);
    },
    60_000,
  );

  it('a wrong KEK at start: says which the key set wants and which were given, and makes nothing', async () => {
    const fleet = new Fleet();
    const [right, wrong] = [await kms.makeKey(), await kms.makeKey()];
    await fleet.deploy([kms.open(right)], 1);
    await fleet.close();
    const given = [
      kms.open(wrong),
      new WatchedKek(localEncrypter({ key: randomBytes(32), id: '2026' })),
    ] as const;
    for (const retryStart of [false, true]) {
      const error = await fleet.startOne(given, { retryStart }).catch((thrown: unknown) => thrown);
      expect(JwtAuthorityError.is(error) && error.code, 'waiting does not mend it').toBe(
        'kek_not_configured',
      );
      expect(error instanceof Error && error.message, 'one clear error').toContain(
        `is sealed by "kms:${right}", but the encrypters given are "kms:${wrong}", "local:2026"`,
      );
    }
    expect(fleet.store.written.length, 'P7: no key is made over one that cannot be read').toBe(1);
  });
});
