import { randomUUID } from 'node:crypto';
import { keyEncrypterCases, registerCases } from '@jwt-authority/conformance';
import nodeVault from 'node-vault';
import { afterAll, beforeAll, describe, it } from 'vitest';
import {
  openVault,
  ownVaultMissing,
  startVault,
  type Vault,
  type VaultServer,
  vaultMissing,
} from '../../../test/support/vault-server.ts';
import { type VaultTransitEncrypter, vaultTransitEncrypter } from '../src/index.ts';

describe.skipIf(vaultMissing !== '')(`the contract on a real Vault${vaultMissing}`, () => {
  const mount = `contract/${randomUUID()}`;
  let vault: Vault;
  beforeAll(async () => {
    vault = await openVault();
    await vault.mountTransit(mount);
    for (const key of ['jwt', 'other']) {
      await vault.createKey(key, {}, mount);
      await vault.createKey(`derived-${key}`, { derived: true }, mount);
    }
  });
  afterAll(async () => {
    await vault.request('DELETE', `sys/mounts/${mount}`);
    await vault.stop();
  });

  const open = (key: string, binding: 'associated_data' | 'context'): VaultTransitEncrypter =>
    vaultTransitEncrypter({
      client: nodeVault({ endpoint: vault.address, token: vault.token }),
      mount,
      key,
      binding,
    });

  describe('associated data', () => {
    registerCases(
      it,
      keyEncrypterCases(() => open('jwt', 'associated_data'), {
        openOther: () => open('other', 'associated_data'),
      }),
    );
  });

  describe('the context of a derived key', () => {
    registerCases(
      it,
      keyEncrypterCases(() => open('derived-jwt', 'context'), {
        openOther: () => open('derived-other', 'context'),
      }),
    );
  });
});

describe.skipIf(ownVaultMissing !== '')(`the contract while Vault stands still${ownVaultMissing}`, () => {
  let vault: VaultServer;
  beforeAll(async () => {
    vault = await startVault();
    await vault.mountTransit();
    await vault.createKey('jwt');
  });
  afterAll(async () => vault.stop());

  const open = (): VaultTransitEncrypter =>
    vaultTransitEncrypter({
      client: nodeVault({ endpoint: vault.address, token: vault.token }),
      key: 'jwt',
      timeout: 1,
    });
  const outage = {
    begin: async (): Promise<void> => vault.freeze(),
    end: async (): Promise<void> => vault.thaw(),
    deadline: 4000,
  };
  registerCases(it, keyEncrypterCases(open, { outage, patience: 10_000 }));
});
