import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { JwtAuthorityError } from '@jwt-authority/core';
import nodeVault from 'node-vault';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/redis-server.ts';
import { ownVaultMissing, startVault, type VaultServer } from '../../../test/support/vault-server.ts';
import {
  type VaultTransitEncrypter,
  vaultTransitEncrypter,
  type VaultTransitEncrypterOptions,
} from '../src/index.ts';

const context = { namespace: 'shop', purpose: 'key-set' };
const dataKey = Buffer.from('a data-encryption key, 32 bytes.');

describe.skipIf(ownVaultMissing !== '')(`a real Vault${ownVaultMissing}`, () => {
  let vault: VaultServer;
  let count = 0;
  /** A new one for each test. */
  let key: string;
  beforeAll(async () => {
    vault = await startVault();
    await vault.mountTransit();
    await vault.request('POST', 'sys/auth/approle', { type: 'approle' });
  });
  afterAll(async () => vault.stop());
  beforeEach(async () => {
    key = `jwt-${(count += 1)}`;
    await vault.createKey(key);
  });

  const clientOf = (token: string, server = vault): ReturnType<typeof nodeVault> =>
    nodeVault({ endpoint: server.address, token });
  const open = (options: Partial<VaultTransitEncrypterOptions> = {}): VaultTransitEncrypter =>
    vaultTransitEncrypter({ client: clientOf(vault.token), key, ...options });
  const keyNames = async (): Promise<unknown> =>
    (await vault.request('GET', 'transit/keys?list=true')).data?.['keys'];

  describe('policies', () => {
    const policyOf = (...actions: readonly string[]): string =>
      actions.map((action) => `path "transit/${action}/${key}" { capabilities = ["update"] }\n`).join('');

    it('that of the README is enough, and lets nothing else through', async () => {
      const token = await vault.tokenFor('readme', policyOfReadme().replaceAll('/jwt"', `/${key}"`));
      const client = clientOf(token);
      const encrypter = open({ client });
      await encrypter.check();
      const encrypted = await encrypter.encrypt(dataKey, context);
      expect(await encrypter.decrypt(encrypted, context)).toEqual(dataKey);
      await vault.rotateKey(key);
      expect(encrypter.keyVersionOf(await encrypter.rewrap(encrypted, context))).toBe(2);
      for (const path of [`transit/keys/${key}/rotate`, 'transit/encrypt/other', `transit/export/${key}`])
        await expect(client.write(path, {})).rejects.toThrow('permission denied');
    });

    it.each([
      ['decrypt', ['encrypt', 'rewrap']],
      ['encrypt', ['decrypt', 'rewrap']],
    ])('without "update" on %s: kek_unavailable, which names the path', async (missing, allowed) => {
      const encrypter = open({
        client: clientOf(await vault.tokenFor(`no-${missing}`, policyOf(...allowed))),
      });
      for (const work of [() => encrypter.check(), () => encrypter.encrypt(dataKey, context)]) {
        const error = await failureOf(work());
        expect(error.code).toBe('kek_unavailable');
        expect(error.message).toContain(`HTTP 403`);
        expect(error.message).toContain(`"update" on "transit/${missing}/${key}"`);
      }
    });

    it('a misspelt key is not created, even by the root', async () => {
      const before = await keyNames();
      const encrypter = open({ key: 'misspelt' });
      for (const work of [() => encrypter.check(), () => encrypter.encrypt(dataKey, context)])
        expect((await failureOf(work())).code).toBe('kek_not_configured');
      expect(await keyNames()).toEqual(before);
    });

    it('a misspelt key is not created where the engine forbids it', async () => {
      await vault.mountTransit('strict');
      await vault.request('POST', 'strict/config/keys', { disable_upsert: true });
      expect((await failureOf(open({ mount: 'strict', key: 'misspelt' }).check())).code).toBe(
        'kek_not_configured',
      );
    });
  });

  describe('tokens', () => {
    it('one that has expired: kek_unavailable; after a login by onAuthError all goes on', async () => {
      const { client, login } = await appRole('1s');
      await login();
      const encrypter = open({ client });
      const encrypted = await encrypter.encrypt(dataKey, context);
      const failed = async (): Promise<boolean> =>
        encrypter.decrypt(encrypted, context).then(
          () => false,
          (error: unknown) => JwtAuthorityError.is(error) && error.code === 'kek_unavailable',
        );
      await eventually('the token has expired', failed);

      const expired = client.token;
      const healing = open({ client, onAuthError: login });
      expect(await healing.decrypt(encrypted, context)).toEqual(dataKey);
      expect(client.token).not.toBe(expired);
    });

    it('one that is renewed lives on', async () => {
      const { client, login } = await appRole('2s');
      await login();
      const first = client.token;
      const encrypter = open({ client });
      const encrypted = await encrypter.encrypt(dataKey, context);
      const end = performance.now() + 2500;
      await eventually('the first TTL is over', async () => {
        await client.tokenRenewSelf({});
        expect(await encrypter.decrypt(encrypted, context)).toEqual(dataKey);
        return performance.now() > end;
      });
      expect(client.token).toBe(first);
    });

    it('one that is revoked while many work: one login, none fails', async () => {
      const { client, login } = await appRole('1m');
      await login();
      let logins = 0;
      const encrypter = open({
        client,
        onAuthError: async () => {
          logins += 1;
          await login();
        },
      });
      const encrypted = await encrypter.encrypt(dataKey, context);
      await vault.request('POST', 'auth/token/revoke', { token: client.token });
      const work = Array.from({ length: 20 }, async () => encrypter.decrypt(encrypted, context));
      expect(await Promise.all(work)).toHaveLength(20);
      expect(logins).toBe(1);
    });

    it('a login that is refused: kek_unavailable', async () => {
      const client = clientOf('expired');
      const onAuthError = async (): Promise<void> => {
        await client.approleLogin({ role_id: 'nobody', secret_id: 'a-secret-id' });
      };
      const error = await failureOf(open({ client, onAuthError }).check());
      expect(error.code).toBe('kek_unavailable');
      expect(error.message).toContain('"onAuthError" failed');
      expect(error.message).not.toContain('a-secret-id');
    });

    /** A role with the policy of the README, and a client that logs in by it. */
    async function appRole(
      ttl: string,
    ): Promise<{ client: ReturnType<typeof nodeVault>; login: () => Promise<void> }> {
      const policy = `policy-${key}`;
      const rules = `${policyOfReadme().replaceAll('/jwt"', `/${key}"`)}\npath "auth/token/renew-self" { capabilities = ["update"] }`;
      await vault.request('POST', `sys/policies/acl/${policy}`, { policy: rules });
      const role = `auth/approle/role/${policy}`;
      await vault.request('POST', role, { token_policies: [policy], token_ttl: ttl });
      const roleId = await vault.request('GET', `${role}/role-id`);
      const secretId = await vault.request('POST', `${role}/secret-id`);
      const client = nodeVault({ endpoint: vault.address });
      const login = async (): Promise<void> => {
        await client.approleLogin({
          role_id: roleId.data?.['role_id'],
          secret_id: secretId.data?.['secret_id'],
        });
      };
      return { client, login };
    }
  });

  describe('keys', () => {
    it('one that is rotated in the middle: old texts open, new ones say that they are newer', async () => {
      const encrypter = open();
      const old = await encrypter.encrypt(dataKey, context);
      await vault.rotateKey(key);
      const present = await encrypter.encrypt(dataKey, context);
      expect([old, present].map((text) => encrypter.keyVersionOf(text))).toEqual([1, 2]);
      expect(await encrypter.check()).toEqual({ keyVersion: 2 });
      for (const text of [old, present]) expect(await encrypter.decrypt(text, context)).toEqual(dataKey);
    });

    it.each(['associated_data', 'context', 'none'] as const)(
      'min_decryption_version raised: kek_unavailable until it is lowered; rewrapped texts open (%s)',
      async (binding) => {
        const derived = `${key}-${binding}`;
        await vault.createKey(derived, { derived: binding === 'context' });
        const encrypter = open({ key: derived, binding });
        const old = await encrypter.encrypt(dataKey, context);
        await vault.rotateKey(derived);
        const rewrapped = await encrypter.rewrap(old, context);
        await vault.configureKey(derived, { min_decryption_version: 2 });
        const error = await failureOf(encrypter.decrypt(old, context));
        expect(error.code).toBe('kek_unavailable');
        expect(error.message).toContain('min_decryption_version');
        expect(encrypter.keyVersionOf(rewrapped)).toBe(2);
        expect(await encrypter.decrypt(rewrapped, context)).toEqual(dataKey);
        expect(await encrypter.check(), 'the check wants no version 1').toEqual({ keyVersion: 2 });
        expect(await open({ key: derived, binding }).encrypt(dataKey, context)).toContain(':v2:');

        await vault.configureKey(derived, { min_decryption_version: 1 });
        expect(await encrypter.decrypt(old, context)).toEqual(dataKey);
      },
    );

    it('one that is deleted: kek_not_configured, and it is not created again', async () => {
      const encrypter = open();
      const encrypted = await encrypter.encrypt(dataKey, context);
      await vault.configureKey(key, { deletion_allowed: true });
      await vault.deleteKey(key);
      expect((await failureOf(encrypter.decrypt(encrypted, context))).code).toBe('kek_not_configured');
    });

    it('one that is not derived binds no context: the check says so', async () => {
      const error = await failureOf(open({ binding: 'context' }).encrypt(dataKey, context));
      expect(error.code).toBe('kek_not_configured');
      expect(error.message).toContain('the key is not derived');
    });

    it('one that is derived: the check names the binding to be set', async () => {
      await vault.createKey(`${key}-derived`, { derived: true });
      const error = await failureOf(open({ key: `${key}-derived` }).encrypt(dataKey, context));
      expect(error.code).toBe('kek_not_configured');
      expect(error.message).toContain("binding: 'context'");
    });

    it.each(['rsa-2048', 'ed25519', 'ecdsa-p256', 'hmac'])(
      'of the type %s: kek_not_configured',
      async (type) => {
        const settings = type === 'hmac' ? { type, key_size: 32 } : { type };
        await vault.createKey(`${key}-${type}`, settings);
        for (const binding of ['associated_data', 'context'] as const) {
          const error = await failureOf(open({ key: `${key}-${type}`, binding }).encrypt(dataKey, context));
          expect(error).toMatchObject({ code: 'kek_not_configured' });
        }
      },
    );

    it.each(['aes128-gcm96', 'aes256-gcm96', 'chacha20-poly1305'])('of the type %s: works', async (type) => {
      await vault.createKey(`${key}-${type}`, { type });
      const encrypter = open({ key: `${key}-${type}` });
      await encrypter.check();
      expect(await encrypter.decrypt(await encrypter.encrypt(dataKey, context), context)).toEqual(dataKey);
    });
  });

  describe('places', () => {
    it('no engine at the mount: kek_not_configured', async () => {
      const error = await failureOf(open({ mount: 'no/where' }).check());
      expect(error.code).toBe('kek_not_configured');
      expect(error.message).toContain('there is no transit engine');
    });

    it('an engine of another kind: no key is wrapped there', async () => {
      await vault.request('POST', 'sys/mounts/kv', { type: 'kv' });
      const error = await failureOf(open({ mount: 'kv' }).check());
      // It keeps whatever is sent: the first thing sent is no key.
      expect(error.code).toBe('kek_unavailable');
      expect(error.message).toContain('not one of Vault transit');
    });

    it('a namespace that does not exist: kek_not_configured', async () => {
      // As a part of the path: without Enterprise, Vault ignores the header.
      const client = nodeVault({ endpoint: vault.address, token: vault.token, pathPrefix: '/no/where' });
      expect((await failureOf(open({ client }).check())).code).toBe('kek_not_configured');
    });

    it('an engine that moved opens what it wrapped, under its former id', async () => {
      await vault.mountTransit('former');
      await vault.createKey('jwt', {}, 'former');
      const encrypted = await open({ mount: 'former', key: 'jwt' }).encrypt(dataKey, context);
      await vault.request('POST', 'sys/remount', { from: 'former', to: 'moved' });
      const moved = open({ mount: 'moved', key: 'jwt', id: 'former/jwt' });
      await eventually('it has moved', async () => {
        return moved.check().then(
          () => true,
          () => false,
        );
      });
      expect(moved.canDecrypt(encrypted)).toBe(true);
      expect(await moved.decrypt(encrypted, context)).toEqual(dataKey);
    });
  });

  describe('outages', () => {
    it('sealed in the middle: kek_unavailable; unsealed, all goes on', async () => {
      const encrypter = open();
      const encrypted = await encrypter.encrypt(dataKey, context);
      await vault.seal();
      try {
        for (const work of [
          () => encrypter.decrypt(encrypted, context),
          () => encrypter.encrypt(dataKey, context),
        ]) {
          const error = await failureOf(work());
          expect(error).toMatchObject({ code: 'kek_unavailable', retryable: true });
          expect(error.message).toContain('sealed');
        }
      } finally {
        await vault.unseal();
      }
      expect(await encrypter.decrypt(encrypted, context)).toEqual(dataKey);
    });

    it('unsealed within the deadline: the request succeeds', async () => {
      const encrypter = open();
      const encrypted = await encrypter.encrypt(dataKey, context);
      await vault.seal();
      const decrypting = encrypter.decrypt(encrypted, context);
      await vault.unseal();
      expect(await decrypting).toEqual(dataKey);
    });

    it('killed and started again: kek_unavailable meanwhile', async () => {
      const encrypter = open();
      const encrypted = await encrypter.encrypt(dataKey, context);
      await vault.kill();
      const refused = await failureOf(encrypter.decrypt(encrypted, context));
      await vault.restartSealed();
      const sealed = await failureOf(encrypter.decrypt(encrypted, context));
      await vault.unseal();
      expect([refused.code, sealed.code]).toEqual(['kek_unavailable', 'kek_unavailable']);
      expect(await encrypter.decrypt(encrypted, context)).toEqual(dataKey);
    });
  });
});

describe.skipIf(ownVaultMissing !== '')(`a real Vault with TLS of its own CA${ownVaultMissing}`, () => {
  let vault: VaultServer;
  beforeAll(async () => {
    vault = await startVault({ tls: true });
    await vault.mountTransit();
    await vault.createKey('jwt');
  });
  afterAll(async () => vault.stop());

  it('works with the CA', async () => {
    const requestOptions = { ca: vault.ca ?? '' };
    const client = nodeVault({ endpoint: vault.address, token: vault.token, requestOptions });
    expect(await vaultTransitEncrypter({ client, key: 'jwt' }).check()).toEqual({ keyVersion: 1 });
  });

  it('without it: kek_unavailable, which says why', async () => {
    const client = nodeVault({ endpoint: vault.address, token: vault.token });
    const error = await failureOf(vaultTransitEncrypter({ client, key: 'jwt' }).check());
    expect(error.code).toBe('kek_unavailable');
    expect(error.message).toContain("the server's certificate is not trusted");
  });

  it('without TLS: kek_unavailable', async () => {
    const endpoint = vault.address.replace('https:', 'http:');
    const client = nodeVault({ endpoint, token: vault.token });
    expect((await failureOf(vaultTransitEncrypter({ client, key: 'jwt' }).check())).code).toBe(
      'kek_unavailable',
    );
  });
});

function policyOfReadme(): string {
  const readme = readFileSync(join(import.meta.dirname, '../README.md'), 'utf8');
  const policy = /```hcl\n([^`]*)```/.exec(readme)?.[1];
  if (policy === undefined) throw new Error('the README has no policy');
  return policy;
}

async function failureOf(work: Promise<unknown>): Promise<JwtAuthorityError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof JwtAuthorityError) return error;
  throw new Error('it did not fail as it should', { cause: error });
}
