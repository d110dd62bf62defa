import { randomBytes } from 'node:crypto';
import { localEncrypter } from '@jwt-authority/core';
import { expect, it } from 'vitest';
import { kmsMissing } from '../../../test/support/kms-server.ts';
import { ownVaultMissing, startVault } from '../../../test/support/vault-server.ts';
import { WatchedKek } from '../src/watched-kek.ts';
import { openKms } from './kms.ts';
import { proveChange } from './prove-change.ts';
import { destroyKey, openVaultKek } from './vault.ts';

const isMissing = kmsMissing !== '' || ownVaultMissing !== '';

it.skipIf(isMissing)(
  `P1: local → KMS → Vault → local, each destroyed once it is not needed${kmsMissing}${ownVaultMissing}`,
  async () => {
    const local = (): WatchedKek => new WatchedKek(localEncrypter({ key: randomBytes(32) }));
    const [kms, vault] = await Promise.all([openKms(), startVault()]);
    try {
      await vault.mountTransit();
      await vault.createKey('jwt');
      const keyArn = await kms.makeKey();
      const figures = await proveChange([
        { kek: local() },
        { kek: kms.open(keyArn), destroy: async () => kms.scheduleDeletion(keyArn) },
        { kek: openVaultKek(vault, 'jwt'), destroy: async () => destroyKey(vault, 'jwt') },
        { kek: local() },
      ]);
      expect(figures.rotated, 'it rotated in between').toBe(3);
    } finally {
      await kms.stop();
      await vault.stop();
    }
  },
  120_000,
);
