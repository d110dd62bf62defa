import { randomBytes } from 'node:crypto';
import { CreateKeyCommand, DecryptCommand, EncryptCommand, KMSClient } from '@aws-sdk/client-kms';
import { localEncrypter } from '@jwt-authority/core';
import { kmsEncrypter } from '@jwt-authority/encrypt-kms';
import { vaultTransitEncrypter } from '@jwt-authority/encrypt-vault-transit';
import nodeVault from 'node-vault';
import { afterAll, describe, expect, it } from 'vitest';
import { kmsMissing, startKms } from '../../../test/support/kms-server.ts';
import { ownVaultMissing, startVault } from '../../../test/support/vault-server.ts';
import { countCalls, timeColdStarts, type Backend } from '../src/kek.ts';

// KEK_BENCHMARK_RUNS=50 npx vitest run --project benchmarks test/kek: prints what it measured.
const runs = Number(process.env['KEK_BENCHMARK_RUNS'] ?? 0);
const services: { readonly stop: () => Promise<void> }[] = [];
afterAll(async () => {
  for (const { stop } of services) await stop();
});

function local(): Backend {
  const key = randomBytes(32);
  return { name: 'local', open: () => localEncrypter({ key }) };
}

async function kms(): Promise<Backend> {
  const server = await startKms();
  services.push(server);
  const { endpoint, credentials } = server;
  const client = (): KMSClient => new KMSClient({ endpoint, credentials, region: 'eu-central-1' });
  const { KeyMetadata } = await client().send(new CreateKeyCommand({}));
  const keyId = KeyMetadata?.Arn ?? '';
  const bound = { KeyId: keyId, EncryptionContext: { namespace: 'default' } };
  const { CiphertextBlob } = await client().send(
    new EncryptCommand({ ...bound, Plaintext: randomBytes(32) }),
  );
  return {
    name: 'KMS',
    open: () => kmsEncrypter({ client: client(), keyId }),
    bareCall: async () => client().send(new DecryptCommand({ ...bound, CiphertextBlob })),
  };
}

async function vault(): Promise<Backend> {
  const server = await startVault();
  services.push(server);
  await server.mountTransit();
  await server.createKey('jwt');
  const client = (): ReturnType<typeof nodeVault> =>
    nodeVault({ endpoint: server.address, token: server.token, debug: () => {} });
  const associated_data = Buffer.from('default').toString('base64');
  const plaintext = randomBytes(32).toString('base64');
  const { data } = await server.request('POST', 'transit/encrypt/jwt', { plaintext, associated_data });
  const body = { ciphertext: data?.['ciphertext'], associated_data };
  return {
    name: 'Vault',
    open: () => vaultTransitEncrypter({ client: client(), key: 'jwt' }),
    bareCall: async () => client().write('transit/decrypt/jwt', body) as Promise<unknown>,
  };
}

describe.each([
  ['local', local, ''],
  ['KMS', kms, kmsMissing],
  ['Vault', vault, ownVaultMissing],
] as const)('%s', (_name, make, missing) => {
  it.skipIf(missing !== '')(
    `P10: no KEK call in the steady state, one per instance and rotation${missing}`,
    async () => {
      const calls = await countCalls((await make()).open());
      expect(calls, 'a year of three instances').toMatchObject({
        rotations: 4,
        atStart: 3,
        steady: 0,
        perInstanceAndRotation: 1,
      });
      if (runs > 0) console.log(JSON.stringify(calls));
    },
    60_000,
  );

  it.skipIf(missing !== '')(
    `a cold start is timed to its first signature${missing}`,
    async () => {
      const [result] = await timeColdStarts([await make()], Math.max(runs, 2));
      expect(result?.toFirstSignature.min, 'it starts and signs').toBeGreaterThan(0);
      if (runs > 0) console.log(JSON.stringify(result));
    },
    60_000,
  );
});
