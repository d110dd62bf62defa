import { vaultTransitEncrypter } from '@jwt-authority/encrypt-vault-transit';
import nodeVault from 'node-vault';
import type { Vault } from '../../../test/support/vault-server.ts';
import { WatchedKek } from '../src/watched-kek.ts';

/** An encrypter with a client of its own, by node-vault. */
export function openVaultKek(vault: Vault, key: string): WatchedKek {
  const client = nodeVault({ endpoint: vault.address, token: vault.token, debug: () => {} });
  return new WatchedKek(vaultTransitEncrypter({ client, key, timeout: 1 }));
}

/** For good. */
export async function destroyKey(vault: Vault, key: string): Promise<void> {
  await vault.configureKey(key, { deletion_allowed: true });
  await vault.deleteKey(key);
}
