/**
 * One cold start as a process of its own: prints the milliseconds from the start of the process to the first signature
 * (`authority`), or to the answer of the one call that it cannot do without, by the service's own client (`bare`).
 */
import { createJwtAuthority, keyFromEnv, localEncrypter, type KeyEncrypter } from '@jwt-authority/core';
import { fileStore } from '@jwt-authority/store-file';

const [backend = '', what = '', folder = ''] = process.argv.slice(2);
const { KMS_KEY_ID: keyId = '', BARE_CIPHERTEXT: ciphertext = '' } = process.env;

interface Way {
  readonly open: () => Promise<KeyEncrypter>;
  readonly bare: () => Promise<unknown>;
}

/** Clients are configured by the environment: AWS_…, VAULT_…. */
const ways: Readonly<Record<string, Way>> = {
  local: {
    open: async () => localEncrypter({ key: keyFromEnv('JWT_AUTHORITY_KEY') }),
    bare: async () => undefined,
  },
  KMS: {
    async open() {
      const { KMSClient } = await import('@aws-sdk/client-kms');
      const { kmsEncrypter } = await import('@jwt-authority/encrypt-kms');
      return kmsEncrypter({ client: new KMSClient({}), keyId });
    },
    async bare() {
      const { DecryptCommand, KMSClient } = await import('@aws-sdk/client-kms');
      const CiphertextBlob = Buffer.from(ciphertext, 'base64');
      return new KMSClient({}).send(new DecryptCommand({ KeyId: keyId, CiphertextBlob }));
    },
  },
  Vault: {
    async open() {
      const { default: nodeVault } = await import('node-vault');
      const { vaultTransitEncrypter } = await import('@jwt-authority/encrypt-vault-transit');
      return vaultTransitEncrypter({ client: nodeVault({ debug: () => {} }), key: 'jwt' });
    },
    async bare() {
      const { default: nodeVault } = await import('node-vault');
      return nodeVault({ debug: () => {} }).write('transit/decrypt/jwt', { ciphertext }) as Promise<unknown>;
    },
  },
};

const way = ways[backend];
if (way === undefined) throw new TypeError('the first argument must be local, KMS or Vault');
if (what === 'bare') {
  await way.bare();
  console.log(performance.now());
} else {
  const store = fileStore({ folder });
  const authority = await createJwtAuthority({ store, encrypter: await way.open(), algorithms: ['ES256'] });
  await authority.sign({ sub: 'somebody' });
  console.log(performance.now());
  await authority.close();
}
