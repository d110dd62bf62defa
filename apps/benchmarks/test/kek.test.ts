import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import { CreateKeyCommand, EncryptCommand, KMSClient } from '@aws-sdk/client-kms';
import { localEncrypter, type KeyEncrypter } from '@jwt-authority/core';
import { kmsEncrypter } from '@jwt-authority/encrypt-kms';
import { vaultTransitEncrypter } from '@jwt-authority/encrypt-vault-transit';
import nodeVault from 'node-vault';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kmsMissing, startKms } from '../../../test/support/kms-server.ts';
import { ownVaultMissing, startVault } from '../../../test/support/vault-server.ts';
import { countCalls, timesOf } from '../src/kek.ts';

// KEK_BENCHMARK_RUNS=30 npx vitest run --project benchmarks test/kek: prints what it measured.
const runs = Number(process.env['KEK_BENCHMARK_RUNS'] ?? 0);
const cache = join(import.meta.dirname, '../node_modules/.cache/kek');
const program = join(cache, 'kek-process.mjs');
const cleanups: (() => Promise<void>)[] = [];

beforeAll(async () => {
  // With the present sources, since Node 20 runs no TypeScript and a build may be stale.
  const bundle = await rolldown({
    input: join(import.meta.dirname, '../src/kek-process.ts'),
    platform: 'node',
    external: (id) => !/^\.|^@jwt-authority\//.test(id) && !isAbsolute(id),
    resolve: { conditionNames: ['@jwt-authority/source', 'node', 'import', 'default'] },
  });
  await bundle.write({ file: program, format: 'esm', codeSplitting: false });
  await bundle.close();
  cleanups.push(async () => rm(cache, { recursive: true, force: true }));
});
afterAll(async () => {
  for (const cleanup of cleanups) await cleanup();
});

/** A KEK for this process, and what makes it one for others. */
interface Backend {
  readonly encrypter: KeyEncrypter;
  readonly env: Readonly<Record<string, string>>;
}

async function local(): Promise<Backend> {
  const key = randomBytes(32);
  return { encrypter: localEncrypter({ key }), env: { JWT_AUTHORITY_KEY: key.toString('base64') } };
}

async function kms(): Promise<Backend> {
  const server = await startKms();
  cleanups.push(async () => server.stop());
  const { endpoint, credentials } = server;
  const region = 'eu-central-1';
  const client = new KMSClient({ endpoint, credentials, region });
  const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
  const keyId = KeyMetadata?.Arn ?? '';
  const { CiphertextBlob = [] } = await client.send(
    new EncryptCommand({ KeyId: keyId, Plaintext: randomBytes(32) }),
  );
  return {
    encrypter: kmsEncrypter({ client, keyId }),
    env: {
      KMS_KEY_ID: keyId,
      BARE_CIPHERTEXT: Buffer.from(CiphertextBlob).toString('base64'),
      AWS_ENDPOINT_URL_KMS: endpoint,
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
  };
}

async function vault(): Promise<Backend> {
  const server = await startVault();
  cleanups.push(async () => server.stop());
  await server.mountTransit();
  await server.createKey('jwt');
  const plaintext = randomBytes(32).toString('base64');
  const { data } = await server.request('POST', 'transit/encrypt/jwt', { plaintext });
  const client = nodeVault({ endpoint: server.address, token: server.token, debug: () => {} });
  return {
    encrypter: vaultTransitEncrypter({ client, key: 'jwt' }),
    env: {
      BARE_CIPHERTEXT: String(data?.['ciphertext']),
      VAULT_ADDR: server.address,
      VAULT_TOKEN: server.token,
    },
  };
}

describe.each([
  ['local', local, ''],
  ['KMS', kms, kmsMissing],
  ['Vault', vault, ownVaultMissing],
] as const)('%s', (name, make, missing) => {
  it.skipIf(missing !== '')(
    `P10: no KEK call in the steady state, one per instance and rotation${missing}`,
    async () => {
      const calls = await countCalls((await make()).encrypter);
      expect(calls, 'a year of three instances').toMatchObject({
        rotations: 4,
        atStart: 3,
        steady: 0,
        perInstanceAndRotation: 1,
      });
      if (runs > 0) console.log(name, JSON.stringify(calls));
    },
    60_000,
  );

  it.skipIf(missing !== '')(
    `a cold start, timed to the first signature, beside the bare call${missing}`,
    async () => {
      const { env } = await make();
      const folder = await mkdtemp(join(tmpdir(), 'benchmark-kek-'));
      cleanups.push(async () => rm(folder, { recursive: true, force: true }));
      const start = async (what: string): Promise<number> => {
        const { PATH } = process.env;
        const { stdout } = await promisify(execFile)(process.execPath, [program, name, what, folder], {
          env: { PATH, AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true', ...env },
        });
        return Number(stdout);
      };
      // The first one makes the key set.
      await start('authority');
      const [toFirstSignature, bareCall] = [new Array<number>(), new Array<number>()];
      for (let run = 0; run < Math.max(runs, 1); run++) {
        toFirstSignature.push(await start('authority'));
        bareCall.push(await start('bare'));
      }
      const result = { toFirstSignature: timesOf(toFirstSignature), bareCall: timesOf(bareCall) };
      expect(result.toFirstSignature.min, 'it starts and signs').toBeGreaterThan(0);
      if (runs > 0) console.log(name, JSON.stringify(result));
    },
    120_000,
  );
});
