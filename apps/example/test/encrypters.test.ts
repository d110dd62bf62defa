import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { kmsMissing, startKms } from '../../../test/support/kms-server.ts';
import { startVault, ownVaultMissing } from '../../../test/support/vault-server.ts';
import { start } from '../src/start.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'example-encrypters-'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

/** Runs the server once for each value of ENCRYPTER on one folder of keys; the key set must move along. */
async function moveThrough(
  encrypters: readonly string[],
  variables: Record<string, string>,
): Promise<string[]> {
  const sealers: string[] = [];
  const kids = new Set<string | undefined>();
  const JWT_AUTHORITY_KEY = randomBytes(32).toString('base64');
  for (const ENCRYPTER of encrypters) {
    const server = await start({
      PORT: '0',
      ISSUER: 'https://auth.example.test',
      KEYS_FOLDER: folder,
      ALGORITHMS: 'ES256',
      JWT_AUTHORITY_KEY,
      ENCRYPTER,
      ...variables,
    });
    await server.rotator.rewrap();
    const { active, sealedUnder = '' } = server.rotator.explain();
    kids.add(active[0]?.kid);
    sealers.push(sealedUnder.replace(/:.*/, ''));
    await server.close();
  }
  expect(kids.size, 'the key that signs stays').toBe(1);
  return sealers;
}

describe('ENCRYPTER', () => {
  it.skipIf(kmsMissing !== '')(`=kms, from local and back${kmsMissing}`, async () => {
    const kms = await startKms();
    try {
      const { accessKeyId, secretAccessKey } = kms.credentials;
      // What the SDK finds by itself.
      vi.stubEnv('AWS_ENDPOINT_URL_KMS', kms.endpoint);
      vi.stubEnv('AWS_REGION', 'eu-central-1');
      vi.stubEnv('AWS_ACCESS_KEY_ID', accessKeyId);
      vi.stubEnv('AWS_SECRET_ACCESS_KEY', secretAccessKey);
      const client = new KMSClient({});
      const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
      const AliasName = 'alias/jwt-authority';
      await client.send(new CreateAliasCommand({ AliasName, TargetKeyId: KeyMetadata?.KeyId }));
      const steps = ['local', 'kms, local', 'kms', 'local, kms', 'local'];
      expect(await moveThrough(steps, { KMS_KEY_ID: AliasName })).toEqual([
        'local',
        'kms',
        'kms',
        'local',
        'local',
      ]);
    } finally {
      await kms.stop();
    }
  });

  it.skipIf(ownVaultMissing !== '')(`=vault, from local and back${ownVaultMissing}`, async () => {
    const vault = await startVault();
    try {
      await vault.mountTransit();
      await vault.createKey('jwt-authority');
      const steps = ['local', 'vault,local', 'vault', 'local,vault', 'local'];
      const variables = { VAULT_ADDR: vault.address, VAULT_TOKEN: vault.token };
      expect(await moveThrough(steps, variables)).toEqual(['local', 'vault', 'vault', 'local', 'local']);
    } finally {
      await vault.stop();
    }
  });

  it.each([
    ['kms', '"KMS_KEY_ID" must be set for this "ENCRYPTER"'],
    ['vault', '"VAULT_ADDR" must be set for this "ENCRYPTER"'],
    ['local,floppy', '"ENCRYPTER" must be one of local, kms, vault, got "floppy"'],
  ])('P11: =%s without what it needs is refused by the name of the variable', async (ENCRYPTER, message) => {
    const env = { PORT: '0', ISSUER: 'https://auth.example.test', STORE: 'memory', ENCRYPTER };
    const key = { JWT_AUTHORITY_KEY: randomBytes(32).toString('base64') };
    await expect(start({ ...env, ...key })).rejects.toThrow(message);
  });
});
