import { keyFromEnv, localEncrypter, type KeyEncrypter, type KeySetStore } from '@jwt-authority/core';
import { fileStore } from '@jwt-authority/store-file';
import { UsageError } from './failures.ts';
import { isMade, type EncrypterSettings, type Settings, type StoreSettings } from './settings.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** A finding about the settings of the server, as the Redis packages give them. */
interface StoreFinding {
  readonly level: string;
  readonly message: string;
}

/** A store, and what to do with the connection that was made for it. */
export interface OpenStore {
  readonly store: KeySetStore;
  close(): Promise<void>;
  /** What can be asked of the server. */
  check?(): Promise<readonly StoreFinding[]>;
}

const nothingToClose = async (): Promise<void> => {};

const stores: Readonly<
  Record<string, (settings: StoreSettings, namespace: string, env: Environment) => Promise<OpenStore>>
> = {
  async file({ folder = './keys' }, namespace) {
    return { store: fileStore({ folder, namespace }), close: nothingToClose };
  },
  async ioredis(settings, namespace, env) {
    const url = redisUrl(settings, env);
    const { Redis } = await load(async () => import('ioredis'), 'ioredis');
    const { ioredisStore, checkRedis } = await load(
      async () => import('@jwt-authority/store-ioredis'),
      '@jwt-authority/store-ioredis ioredis',
    );
    const client = new Redis(url, { maxRetriesPerRequest: 1, connectTimeout: 5000 });
    // What it says may name the URL; the calls fail with a message of ours.
    client.on('error', () => {});
    const place = { namespace, ...(settings.prefix !== undefined && { prefix: settings.prefix }) };
    return {
      store: ioredisStore({ client, ...place }),
      close: async () => client.disconnect(),
      check: async () => checkRedis(client, place),
    };
  },
  async 'redis-om'(settings, namespace, env) {
    const url = redisUrl(settings, env);
    const { createClient } = await load(async () => import('redis'), 'redis redis-om');
    const { redisOmStore, checkRedis } = await load(
      async () => import('@jwt-authority/store-redis-om'),
      '@jwt-authority/store-redis-om redis redis-om',
    );
    const client = createClient({ url, socket: { connectTimeout: 5000 } });
    client.on('error', () => {});
    // Calls wait for the connection, each with its own deadline.
    client.connect().catch(() => {});
    const place = { namespace, ...(settings.prefix !== undefined && { prefix: settings.prefix }) };
    return {
      store: redisOmStore({ client, ...place }),
      close: async () => client.destroy(),
      check: async () => checkRedis(client, place),
    };
  },
};

function redisUrl({ url }: StoreSettings, env: Environment): string {
  const text = url ?? env['REDIS_URL'];
  if (!text)
    throw new UsageError('set the environment variable REDIS_URL, for instance redis://localhost:6379');
  if (!URL.canParse(text) || !['redis:', 'rediss:'].includes(new URL(text).protocol)) {
    throw new UsageError('REDIS_URL must be a redis: or rediss: URL');
  }
  return text;
}

const encrypters: Readonly<
  Record<string, (settings: EncrypterSettings, env: Environment) => Promise<KeyEncrypter>>
> = {
  async local({ keyEnv = 'JWT_AUTHORITY_KEY', id }, env) {
    return localEncrypter({ key: keyFromEnv(keyEnv, { env }), ...(id !== undefined && { id }) });
  },
  /** Region, credentials and endpoint are what the SDK finds in the environment, if the settings do not say. */
  async kms({ keyId, region }, env) {
    if (!keyId) throw new UsageError('the encrypter "kms" takes --kms-key: an id, ARN or alias');
    const { kmsEncrypter } = await load(
      async () => import('@jwt-authority/encrypt-kms'),
      '@jwt-authority/encrypt-kms @aws-sdk/client-kms',
    );
    const where = region ?? env['AWS_REGION'];
    return kmsEncrypter({ keyId, ...(where !== undefined && { region: where }) });
  },
  async vault({ key, mount = 'transit', id }, env) {
    const { VAULT_ADDR: endpoint, VAULT_TOKEN: token } = env;
    if (!key) throw new UsageError('the encrypter "vault" takes --vault-key: the name of a transit key');
    if (!endpoint || !token) throw new UsageError('set the environment variables VAULT_ADDR and VAULT_TOKEN');
    const { default: vault } = await load(async () => import('node-vault'), 'node-vault');
    const { vaultTransitEncrypter } = await load(
      async () => import('@jwt-authority/encrypt-vault-transit'),
      '@jwt-authority/encrypt-vault-transit node-vault',
    );
    // It would print what it sends.
    const client = vault({ endpoint, token, debug: () => {} });
    return vaultTransitEncrypter({ client, key, mount, ...(id !== undefined && { id }) });
  },
};

/** @throws {UsageError} */
export async function openStore({ store, namespace }: Settings, env: Environment): Promise<OpenStore> {
  if (isMade(store)) return { store, close: nothingToClose };
  return choose(stores, store.kind, 'store')(store, namespace, env);
}

/** @throws {UsageError} */
export async function openEncrypters(
  settings: Settings,
  env: Environment,
): Promise<[KeyEncrypter, ...KeyEncrypter[]]> {
  const [first, ...others] = await Promise.all(
    settings.encrypters.map(async (entry) =>
      isMade(entry) ? entry : choose(encrypters, entry.kind, 'encrypter')(entry, env),
    ),
  );
  if (first === undefined) throw new UsageError('"encrypter" must name at least one');
  return [first, ...others];
}

function choose<Value>(choices: Readonly<Record<string, Value>>, kind: string, what: string): Value {
  const choice = Object.hasOwn(choices, kind) ? choices[kind] : undefined;
  if (choice === undefined) {
    throw new UsageError(`there is no ${what} "${kind}"; there are: ${Object.keys(choices).join(', ')}`);
  }
  return choice;
}

/** Adapters are loaded only when named, and installed only by those who use them. */
async function load<Module>(importIt: () => Promise<Module>, packages: string): Promise<Module> {
  try {
    return await importIt();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') {
      throw new UsageError(`this takes packages that are not installed. Run: npm install ${packages}`);
    }
    throw error;
  }
}
