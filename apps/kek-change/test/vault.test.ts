import { randomBytes } from 'node:crypto';
import { JwtAuthorityError, localEncrypter } from '@jwt-authority/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownVaultMissing, startVault, type VaultServer } from '../../../test/support/vault-server.ts';
import { Fleet, leaked } from '../src/fleet.ts';
import { WatchedKek } from '../src/watched-kek.ts';
import { proveOutage } from './prove-outage.ts';
import { openVaultKek } from './vault.ts';

describe.skipIf(ownVaultMissing !== '')(`Vault${ownVaultMissing}`, () => {
  let vault: VaultServer;
  beforeAll(async () => {
    vault = await startVault();
    await vault.mountTransit();
  }, 60_000);
  afterAll(async () => vault.stop());

  it('P1: from one version of the key to the next, until the first one is gone', async () => {
    await vault.createKey('versions');
    const kek = openVaultKek(vault, 'versions');
    const fleet = new Fleet();
    const sealedUnder = (): string | undefined => fleet.first.rotator.explain().sealedUnder;
    try {
      await fleet.deploy([kek]);
      fleet.startLoad();
      await fleet.advance(200);
      const kid = fleet.first.keyRing.signingKey().kid;
      expect((await fleet.first.rotator.rewrap()).committed, 'nothing to do yet').toBe(false);
      expect(sealedUnder(), 'says which version').toBe('vault:transit/versions:associated_data:v1');

      await vault.rotateKey('versions');
      await fleet.restart([kek]);
      expect(sealedUnder(), 'the first version opens as before').toMatch(/:v1$/);
      const results = await Promise.all(fleet.instances.map(async ({ rotator }) => rotator.rewrap()));
      expect(results.filter(({ committed }) => committed).length, 'one commit, whoever calls it').toBe(1);
      for (const { keyRing } of fleet.instances) await keyRing.refresh();
      expect(sealedUnder(), 'says that the first version is needed no more').toMatch(/:v2$/);

      // Not only disallowed: its key material is deleted.
      await vault.configureKey('versions', { min_decryption_version: 2, min_encryption_version: 2 });
      await vault.request('POST', 'transit/keys/versions/trim', { min_available_version: 2 });
      await fleet.restart([kek]);
      expect(fleet.first.keyRing.signingKey().kid, 'after a restart').toBe(kid);
      await fleet.advance(3500);
      expect(fleet.first.keyRing.signingKey().kid, 'and it goes on rotating').not.toBe(kid);
    } finally {
      await fleet.close();
    }
    expect(fleet.lost, 'P1: no token was refused').toEqual([]);
    expect(leaked(fleet.store, fleet.privateKeys, kek.dataKeys), 'P5: no plaintext key in any document').toBe(
      0,
    );
  }, 60_000);

  it('P7: min_decryption_version raised too early: who runs goes on, who starts is told, and a rewrap or lowering it mends it', async () => {
    await vault.createKey('raised');
    const kek = openVaultKek(vault, 'raised');
    const fleet = new Fleet();
    try {
      await fleet.deploy([kek], 1);
      fleet.startLoad();
      await vault.rotateKey('raised');
      await vault.configureKey('raised', { min_decryption_version: 2 });
      await fleet.advance(100);
      const error = await fleet.startOne([kek]).catch((thrown: unknown) => thrown);
      expect(JwtAuthorityError.is(error) && error.code, 'an operator can mend it').toBe('kek_unavailable');
      expect(fleet.store.written.length, 'no key is made over it').toBe(1);
      expect((await fleet.first.rotator.rewrap()).committed, 'who runs can still seal it anew').toBe(true);
      await (await fleet.startOne([kek])).close();
    } finally {
      await fleet.close();
    }
    expect(fleet.lost, 'P7: nothing stopped').toEqual([]);
  }, 60_000);

  const outages = [
    ['is sealed', async () => vault.seal(), async () => vault.unseal()],
    ['is killed', async () => vault.kill(), async () => vault.restart()],
    ['hangs', async () => vault.freeze(), async () => vault.thaw()],
  ] as const;
  it.each(outages)(
    'P7: Vault %s: nothing stops but publications and cold starts',
    async (what, begin, end) => {
      const key = `outage-${what.replaceAll(' ', '-')}`;
      await vault.createKey(key);
      let isDown = false;
      const figures = await proveOutage({
        kek: openVaultKek(vault, key),
        async begin() {
          isDown = true;
          await begin();
        },
        async end() {
          if (isDown) await end();
          isDown = false;
        },
      });
      expect(figures.verified, 'and there were tokens').toBeGreaterThan(1000);
    },
    120_000,
  );

  it('a wrong KEK at start: says which the key set wants and which were given, and makes nothing', async () => {
    await vault.createKey('right');
    await vault.createKey('wrong');
    const fleet = new Fleet();
    await fleet.deploy([openVaultKek(vault, 'right')], 1);
    await fleet.close();
    const local = new WatchedKek(localEncrypter({ key: randomBytes(32), id: '2026' }));
    const error = await fleet
      .startOne([openVaultKek(vault, 'wrong'), local])
      .catch((thrown: unknown) => thrown);
    expect(JwtAuthorityError.is(error) && error.code, 'waiting does not mend it').toBe('kek_not_configured');
    expect(error instanceof Error && error.message, 'one clear error').toMatch(
      /is sealed by "vault:transit\/right.*", but the encrypters given are "vault:transit\/wrong", "local:2026"/,
    );
    expect(fleet.store.written.length, 'P7: no key is made over one that cannot be read').toBe(1);
  });
});
