import { randomBytes } from 'node:crypto';
import { checkNamespace, keyFromEnv, localEncrypter, milliseconds } from '@jwt-authority/core';
import type {
  Algorithm,
  Duration,
  KeyEncrypter,
  KeySetPolicyOptions,
  KeySetStore,
} from '@jwt-authority/core';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Configuration {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly issuer: string;
  readonly client: { readonly id: string; readonly secret: string; readonly isGenerated: boolean };
  readonly store: KeySetStore;
  /** What its operator should know about where it keeps the keys, as far as that can be reached. */
  readonly warnings: () => Promise<readonly string[]>;
  /** The first seals, any opens. */
  readonly encrypter: readonly [KeyEncrypter, ...KeyEncrypter[]];
  readonly policy: KeySetPolicyOptions;
  /** Closes the client under the store. */
  readonly close: () => void;
}

interface OpenStore {
  readonly store: KeySetStore;
  readonly check?: () => Promise<readonly { readonly message: string }[]>;
  readonly close?: () => unknown;
}

/** A new store is one more entry, and one more dependency of this app. It is loaded only if it is named. */
const stores: Readonly<Record<string, (env: Environment) => Promise<OpenStore>>> = {
  async memory() {
    const { memoryStore } = await import('@jwt-authority/store-memory');
    return { store: memoryStore() };
  },
  async file(env) {
    const { fileStore } = await import('@jwt-authority/store-file');
    return { store: fileStore({ folder: env['KEYS_FOLDER'] || './keys' }) };
  },
  async ioredis(env) {
    const { checkRedis, ioredisStore } = await import('@jwt-authority/store-ioredis');
    const { Redis } = await import('ioredis');
    const client = new Redis(readRedisUrl(env)).on('error', ignored);
    const namespace = readNamespace(env);
    const store = ioredisStore({ client, namespace });
    return { store, check: () => checkRedis(client, { namespace }), close: () => client.disconnect() };
  },
  async 'redis-om'(env) {
    const { checkRedis, redisOmStore } = await import('@jwt-authority/store-redis-om');
    const { createClient } = await import('redis');
    const client = createClient({ url: readRedisUrl(env) }).on('error', ignored);
    const namespace = readNamespace(env);
    const store = redisOmStore({ client, namespace });
    // It goes on trying by itself; meanwhile, the store's calls fail in time.
    client.connect().catch(ignored);
    return { store, check: () => checkRedis(client, { namespace }), close: () => client.destroy() };
  },
};

/** The store meets the same failures, and reports them. */
const ignored = (): void => undefined;

/** As with the stores. */
const encrypters: Readonly<Record<string, (env: Environment) => Promise<KeyEncrypter>>> = {
  async local(env) {
    return localEncrypter({ key: keyFromEnv('JWT_AUTHORITY_KEY', { env }) });
  },
  /** Region, credentials and endpoint are what the SDK finds: AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL_KMS and the like. */
  async kms(env) {
    const { kmsEncrypter } = await import('@jwt-authority/encrypt-kms');
    return kmsEncrypter({ keyId: required(env, 'KMS_KEY_ID') });
  },
  /** A token that ends must be renewed; README of encrypt-vault-transit has it. */
  async vault(env) {
    const { vaultTransitEncrypter } = await import('@jwt-authority/encrypt-vault-transit');
    const { default: vault } = await import('node-vault');
    const client = vault({
      endpoint: required(env, 'VAULT_ADDR'),
      token: required(env, 'VAULT_TOKEN'),
      // It would print what it sends.
      debug: () => {},
    });
    const key = env['VAULT_TRANSIT_KEY'] || 'jwt-authority';
    return vaultTransitEncrypter({ client, key, mount: env['VAULT_TRANSIT_MOUNT'] || 'transit' });
  },
};

const durations = {
  ROTATION_INTERVAL: 'rotationInterval',
  PROPAGATION_DELAY: 'propagationDelay',
  MAX_TOKEN_LIFETIME: 'maxTokenLifetime',
  STALE_BOUND: 'staleBound',
  REFRESH_INTERVAL: 'refreshInterval',
  JWKS_MAX_AGE: 'jwksMaxAge',
  STALE_IF_ERROR: 'staleIfError',
  CLOCK_TOLERANCE: 'clockTolerance',
  COMMIT_DEADLINE: 'commitDeadline',
} as const;

/**
 * What the environment says, checked. Variables that are empty count as not set.
 *
 * @throws {TypeError} that names the variable.
 */
export async function readConfiguration(env: Environment): Promise<Configuration> {
  const port = readPort(env['PORT'] || '3000');
  const issuer = readIssuer(env['ISSUER'], port);
  const name = env['STORE'] || (env['REDIS_URL'] ? 'ioredis' : 'file');
  const encrypter = await readEncrypters(env);
  const policy = readPolicy(env);
  // Last, since it may open a connection.
  const { store, check, close } = await choose('STORE', stores, name)(env);
  return {
    host: env['HOST'] || '127.0.0.1',
    port,
    issuer,
    client: {
      id: env['CLIENT_ID'] || 'demo',
      secret: env['CLIENT_SECRET'] || randomBytes(24).toString('base64url'),
      isGenerated: !env['CLIENT_SECRET'],
    },
    store,
    warnings: async () => ((await check?.().catch(() => [])) ?? []).map(({ message }) => message),
    encrypter,
    policy,
    close: () => void close?.(),
  };
}

/** A message of the library, with the variables in place of the options that they set. */
export function inVariables(message: string): string {
  return Object.entries({ ...durations, ALGORITHMS: 'algorithms', INITIALISE: 'initialise' }).reduce(
    (text, [variable, option]) => text.replaceAll(new RegExp(`\\b${option}\\b`, 'g'), variable),
    message,
  );
}

/** `ENCRYPTER=kms,local` while the KEK moves from the environment to KMS. */
async function readEncrypters(env: Environment): Promise<Configuration['encrypter']> {
  const [first = '', ...others] = (env['ENCRYPTER'] || 'local').split(',').map((name) => name.trim());
  const open = async (name: string): Promise<KeyEncrypter> => choose('ENCRYPTER', encrypters, name)(env);
  return [await open(first), ...(await Promise.all(others.map(open)))];
}

function required(env: Environment, variable: string): string {
  const value = env[variable];
  if (!value) throw new TypeError(`"${variable}" must be set for this "ENCRYPTER"`);
  return value;
}

function choose<Value>(variable: string, choices: Readonly<Record<string, Value>>, name: string): Value {
  const choice = Object.hasOwn(choices, name) ? choices[name] : undefined;
  if (choice === undefined) {
    throw new TypeError(`"${variable}" must be one of ${Object.keys(choices).join(', ')}, got "${name}"`);
  }
  return choice;
}

function readPort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) throw new TypeError('"PORT" must be a number from 0 to 65535');
  return port;
}

function readIssuer(text: string | undefined, port: number): string {
  if (!text && port === 0) throw new TypeError('"ISSUER" must be set where "PORT" is 0, any free one');
  const issuer = text || `http://localhost:${port}`;
  const url = URL.canParse(issuer) ? new URL(issuer) : undefined;
  const isLocal = ['localhost', '127.0.0.1'].includes(url?.hostname ?? '');
  if (url?.origin !== issuer || !(url.protocol === 'https:' || (url.protocol === 'http:' && isLocal))) {
    const rule = 'be an https: URL without a path or a slash at its end; http: only for localhost';
    throw new TypeError(`"ISSUER" must ${rule}`);
  }
  return issuer;
}

function readRedisUrl(env: Environment): string {
  const url = env['REDIS_URL'] || 'redis://127.0.0.1:6379';
  // The URL itself may hold a password.
  if (!URL.canParse(url) || !/^rediss?:$/.test(new URL(url).protocol)) {
    throw new TypeError(
      '"REDIS_URL" must be a URL like redis://user:password@host:6379/0, or rediss: for TLS',
    );
  }
  return url;
}

function readNamespace(env: Environment): string {
  return checkNamespace(env['NAMESPACE'] || 'default', 'NAMESPACE');
}

function readPolicy(env: Environment): KeySetPolicyOptions {
  const given = Object.entries(durations).flatMap(([variable, option]) => {
    const text = env[variable];
    return text ? [[option, readDuration(variable, text)] as const] : [];
  });
  return {
    ...Object.fromEntries(given),
    // The library checks the names, and that this is one of the two words.
    ...(env['ALGORITHMS'] && {
      algorithms: env['ALGORITHMS'].split(',').map((name) => name.trim()) as Algorithm[],
    }),
    ...(env['INITIALISE'] && { initialise: env['INITIALISE'] as 'auto' | 'never' }),
  };
}

function readDuration(variable: string, text: string): Duration {
  const duration = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : text;
  milliseconds(duration, variable);
  return duration;
}
