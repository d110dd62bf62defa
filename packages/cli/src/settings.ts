import { readFile } from 'node:fs/promises';
import { extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { KeyEncrypter, KeySetPolicyOptions, KeySetStore } from '@jwt-authority/core';
import { UsageError } from './failures.ts';

/** Which store, by name and its own settings. A configuration in JavaScript may give a store that it made itself. */
export interface StoreSettings {
  readonly kind: string;
  /** With `file`. Default `./keys`. */
  readonly folder?: string;
  /** With `ioredis` and `redis-om`. Default: the environment variable `REDIS_URL`. */
  readonly url?: string;
  /** With `ioredis` and `redis-om`. Default `jwt-authority`. */
  readonly prefix?: string;
}

export interface EncrypterSettings {
  readonly kind: string;
  readonly id?: string;
  /** With `local`: the environment variable that holds the key, or with `_FILE` behind it the path to it. Default `JWT_AUTHORITY_KEY`. */
  readonly keyEnv?: string;
  /** With `kms`: id, ARN or alias. */
  readonly keyId?: string;
  readonly region?: string;
  /** With `vault`: name of the transit key, and where the engine is mounted. Address and token: `VAULT_ADDR`, `VAULT_TOKEN`. */
  readonly key?: string;
  readonly mount?: string;
}

/** What a configuration file says. */
export interface Configuration {
  readonly namespace?: string;
  readonly issuer?: string;
  readonly store?: StoreSettings | KeySetStore;
  readonly encrypter?: EncrypterSettings | KeyEncrypter | readonly (EncrypterSettings | KeyEncrypter)[];
  /** That of the service: a rotation made here goes by it. */
  readonly policy?: KeySetPolicyOptions;
  /** Where the service publishes its JWKS, for `doctor`. */
  readonly jwksUrl?: string;
}

/** The flags that every command has. */
export interface CommonFlags {
  readonly config?: string;
  readonly json?: boolean;
  readonly namespace?: string;
  readonly store?: string;
  readonly folder?: string;
  readonly prefix?: string;
  readonly encrypter?: string;
  readonly keyEnv?: string;
  readonly kmsKey?: string;
  readonly vaultKey?: string;
  readonly vaultMount?: string;
}

export interface Settings {
  readonly namespace: string;
  readonly issuer: string | undefined;
  readonly store: StoreSettings | KeySetStore;
  readonly encrypters: readonly (EncrypterSettings | KeyEncrypter)[];
  readonly policy: KeySetPolicyOptions;
  readonly jwksUrl: string | undefined;
}

const configurationFiles: readonly string[] = ['ts', 'mjs', 'json'].map(
  (ending) => `jwt-authority.config.${ending}`,
);

const members = ['namespace', 'issuer', 'store', 'encrypter', 'policy', 'jwksUrl'];

/** Flags before environment before configuration file before defaults. @throws {UsageError} */
export async function readSettings(
  flags: CommonFlags,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Settings> {
  const file = await readConfiguration(flags.config ?? env['JWT_AUTHORITY_CONFIG']);
  const storeKind = flags.store ?? env['JWT_AUTHORITY_STORE'];
  const encrypterKind = flags.encrypter ?? env['JWT_AUTHORITY_ENCRYPTER'];
  const given: readonly (EncrypterSettings | KeyEncrypter)[] =
    file.encrypter === undefined ? [] : [file.encrypter].flat();
  return {
    namespace: flags.namespace ?? env['JWT_AUTHORITY_NAMESPACE'] ?? file.namespace ?? 'default',
    issuer: file.issuer,
    store:
      storeKind === undefined && file.store !== undefined && flags.folder === undefined
        ? file.store
        : defined({
            ...(file.store !== undefined &&
              !isMade(file.store) &&
              file.store.kind === storeKind &&
              file.store),
            kind: storeKind ?? 'file',
            folder: flags.folder ?? env['JWT_AUTHORITY_FOLDER'],
            prefix: flags.prefix,
          }),
    encrypters:
      encrypterKind === undefined && given.length > 0
        ? given
        : [
            defined({
              kind: encrypterKind ?? 'local',
              keyEnv: flags.keyEnv,
              keyId: flags.kmsKey,
              key: flags.vaultKey,
              mount: flags.vaultMount,
            }),
          ],
    policy: file.policy ?? {},
    jwksUrl: file.jwksUrl,
  };
}

/** Whether a configuration in JavaScript made it itself. */
export function isMade<Made extends KeySetStore | KeyEncrypter>(
  value: { kind: string } | Made,
): value is Made {
  return 'load' in value || 'encrypt' in value;
}

function defined<T extends object>(value: T): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  // Object.fromEntries forgets the names it was given.
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [Name in keyof T]: Exclude<T[Name], undefined>;
  };
}

async function readConfiguration(path: string | undefined): Promise<Configuration> {
  for (const candidate of path === undefined ? configurationFiles : [path]) {
    const content = await readOne(resolve(candidate), path !== undefined);
    if (content !== undefined) return checkConfiguration(content, candidate);
  }
  return {};
}

async function readOne(path: string, isRequired: boolean): Promise<unknown> {
  let source: string;
  try {
    source = await readFile(path, 'utf8');
  } catch {
    if (isRequired) throw new UsageError(`the configuration file ${path} cannot be read`);
    return undefined;
  }
  if (extname(path) === '.json') {
    try {
      return JSON.parse(source);
    } catch {
      throw new UsageError(`the configuration file ${path} is not JSON`);
    }
  }
  try {
    const module: unknown = await import(pathToFileURL(path).href);
    return typeof module === 'object' && module !== null ? Reflect.get(module, 'default') : undefined;
  } catch (error) {
    const isUnknown =
      error instanceof Error && 'code' in error && error.code === 'ERR_UNKNOWN_FILE_EXTENSION';
    throw new UsageError(
      isUnknown
        ? `this Node.js cannot run TypeScript: it takes 22.18 or later, or write ${path} as .mjs or .json`
        : `the configuration file ${path} fails (${error instanceof Error ? error.name : typeof error})`,
    );
  }
}

function checkConfiguration(content: unknown, path: string): Configuration {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new UsageError(
      `the configuration file ${path} must hold an object, in JavaScript as its default export`,
    );
  }
  const unknown = Object.keys(content).find((name) => !members.includes(name));
  if (unknown !== undefined) {
    throw new UsageError(`"${unknown}" in ${path} is not known; it takes: ${members.join(', ')}`);
  }
  for (const name of ['store', 'encrypter'] as const) {
    for (const part of [Reflect.get(content, name) ?? []].flat() as unknown[]) {
      const isObject = typeof part === 'object' && part !== null;
      if (!isObject || !('kind' in part || 'load' in part || 'encrypt' in part)) {
        throw new UsageError(`"${name}" in ${path} must be an object with a "kind"`);
      }
    }
  }
  // Checked as far as the commands do not check it themselves.
  return content;
}
