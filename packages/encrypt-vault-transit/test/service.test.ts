import { createJwtAuthority, type RotatingJwtAuthority } from '@jwt-authority/core';
import { fakeClock } from '@jwt-authority/core/testing';
import { memoryStore } from '@jwt-authority/store-memory';
import nodeVault from 'node-vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownVaultMissing, startVault, type VaultServer } from '../../../test/support/vault-server.ts';
import { vaultTransitEncrypter } from '../src/index.ts';

describe.skipIf(ownVaultMissing !== '')(`an authority under a key of Vault${ownVaultMissing}`, () => {
  let vault: VaultServer;
  beforeAll(async () => {
    vault = await startVault();
    await vault.mountTransit();
    await vault.createKey('jwt');
  });
  afterAll(async () => vault.stop());

  function world(): {
    clock: ReturnType<typeof fakeClock>;
    store: ReturnType<typeof memoryStore>;
    start: () => Promise<RotatingJwtAuthority>;
  } {
    const clock = fakeClock(Date.now());
    const store = memoryStore({ clock });
    const start = async (): Promise<RotatingJwtAuthority> => {
      const client = nodeVault({ endpoint: vault.address, token: vault.token, debug: () => {} });
      // By the time of this machine: Vault lives in it.
      const encrypter = vaultTransitEncrypter({ client, key: 'jwt', timeout: 1 });
      return createJwtAuthority({ store, encrypter, clock });
    };
    return { clock, store, start };
  }

  const outages = [
    ['sealed', async () => vault.seal(), async () => vault.unseal()],
    ['down', async () => vault.kill(), async () => vault.restart()],
  ] as const;
  describe.each(outages)('Vault %s', (_what, begin, end) => {
    it('P7: at the first start: one clear error, and nothing is made', async () => {
      const { store, start } = world();
      await begin();
      try {
        await expect(start()).rejects.toMatchObject({ code: 'kek_unavailable' });
        expect(await store.load()).not.toHaveProperty('stored');
      } finally {
        await end();
      }
      await (await start()).close();
    });

    it('P7: at a later start: nothing is made over the keys that cannot be read now', async () => {
      const { store, start } = world();
      const first = await start();
      const { token } = await first.sign({ sub: 'alice' });
      await first.close();
      const { stored } = await store.load();
      await begin();
      try {
        await expect(start()).rejects.toMatchObject({ code: 'kek_unavailable' });
        expect((await store.load()).stored).toEqual(stored);
      } finally {
        await end();
      }
      const second = await start();
      expect(await second.verify(token)).toMatchObject({ sub: 'alice' });
      await second.close();
    });

    it('P7: in service and at a rotation: signing, verifying and revoking go on, the rotation is made up for', async () => {
      const { clock, start } = world();
      const authority = await start();
      authority.rotator.stop();
      const { token, kid } = await authority.sign({ sub: 'alice' });
      await begin();
      try {
        expect(await authority.verify(token)).toMatchObject({ sub: 'alice' });
        expect(await authority.rotator.revoke(kid, { reason: 'test' })).toMatchObject({ committed: true });
        await expect(authority.verify(token)).rejects.toMatchObject({ code: 'key_revoked' });
        const { token: next } = await authority.sign({ sub: 'bob' });
        expect(await authority.verify(next)).toMatchObject({ sub: 'bob' });

        await clock.advance('91d');
        expect(await authority.rotator.checkAndRotateKeys()).toMatchObject({
          outcome: 'postponed',
          error: { code: 'kek_unavailable' },
        });
        await authority.sign({ sub: 'carol' });
      } finally {
        await end();
      }
      expect(await authority.rotator.checkAndRotateKeys()).toMatchObject({ outcome: 'rotated' });
      await authority.close();
    });
  });

  it('P10: one request of Vault per instance and rotation', async () => {
    const { clock, store } = world();
    const real = vault.client();
    let requests = 0;
    const client: typeof real = {
      ...real,
      write: async (...args) => {
        requests += 1;
        return real.write(...args);
      },
    };
    const encrypter = vaultTransitEncrypter({ client, key: 'jwt' });
    const authority = await createJwtAuthority({ store, encrypter, clock });
    authority.rotator.stop();
    requests = 0;
    const { token } = await authority.sign({ sub: 'alice' });
    await authority.verify(token);
    expect(requests).toBe(0);
    await clock.advance('91d');
    expect(await authority.rotator.checkAndRotateKeys()).toMatchObject({ outcome: 'rotated' });
    expect(requests).toBe(1);
    await authority.close();
  });
});
