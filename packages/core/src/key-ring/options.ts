import { randomBytes as systemRandomBytes } from 'node:crypto';
import { generateKeyPair, type Algorithm, type KeyPair } from '../algorithms.ts';
import { systemClock, type Clock } from '../clock.ts';
import type { Logger } from '../events.ts';
import { adaptiveExecutor, type CryptoExecutor } from '../executor.ts';
import { resolvePolicy, type KeySetPolicy, type KeySetPolicyOptions } from '../key-set/policy.ts';
import { checkMethods, checkNamespace, checkOptions, checkText, misuse } from '../options.ts';
import type { KeyEncrypter, KeySetStore } from '../ports.ts';
import type { RandomBytes } from './sealing.ts';

export interface KeyRingOptions {
  /** Where the key set lives. The store names its namespace. */
  readonly store: KeySetStore;
  /** The KEK; or several, of which the first seals and any opens. */
  readonly encrypter: KeyEncrypter | readonly [KeyEncrypter, ...KeyEncrypter[]];
  readonly policy?: KeySetPolicyOptions | undefined;
  /** Default: {@link systemClock}. */
  readonly clock?: Clock | undefined;
  /** `console`, a pino logger or the like. Default: none. */
  readonly logger?: Logger | undefined;
  /** Where signing and verifying run. Default: {@link adaptiveExecutor}. */
  readonly executor?: CryptoExecutor | undefined;
  /** Source of data-encryption keys, nonces, etags and jitter. Default: `node:crypto`. For simulations. */
  readonly randomBytes?: RandomBytes | undefined;
  /** Source of key pairs. Default: `node:crypto`. For simulations. */
  readonly generateKeyPair?:
    | ((alg: Algorithm, options: { readonly modulusLength: number }) => Promise<KeyPair>)
    | undefined;
}

/** The names of {@link KeyRingOptions}, without `policy`. */
export const keyRingOptionNames = [
  'store',
  'encrypter',
  'clock',
  'logger',
  'executor',
  'randomBytes',
  'generateKeyPair',
] as const;

type Encrypters = readonly [KeyEncrypter, ...KeyEncrypter[]];

interface ResolvedOptions {
  readonly store: KeySetStore;
  readonly encrypters: Encrypters;
  readonly policy: KeySetPolicy;
  readonly clock: Clock;
  readonly logger: Logger | undefined;
  readonly executor: CryptoExecutor;
  readonly randomBytes: RandomBytes;
  readonly makeKeyPair: NonNullable<KeyRingOptions['generateKeyPair']>;
}

/** Checks every option and fills in the defaults. @throws {TypeError} */
export function resolveOptions(options: KeyRingOptions): ResolvedOptions {
  checkOptions(options, 'KeyRing', [...keyRingOptionNames, 'policy']);
  const {
    store,
    encrypter,
    policy,
    clock = systemClock,
    logger,
    executor = adaptiveExecutor(),
    randomBytes = systemRandomBytes,
  } = options;
  checkMethods(store, 'store', ['load', 'compareAndSwap']);
  checkNamespace(store.namespace, 'store.namespace');
  const encrypters = checkEncrypters(encrypter);
  checkMethods(clock, 'clock', ['now', 'monotonic', 'setTimer']);
  if (logger !== undefined) checkMethods(logger, 'logger', ['debug', 'info', 'warn', 'error']);
  checkMethods(executor, 'executor', ['run']);
  const makeKeyPair = options.generateKeyPair ?? generateKeyPair;
  for (const [name, value] of Object.entries({ randomBytes, generateKeyPair: makeKeyPair })) {
    if (typeof value !== 'function') throw misuse(name, 'be a function', value);
  }
  return {
    store,
    encrypters,
    policy: resolvePolicy(policy),
    clock,
    logger,
    executor,
    randomBytes,
    makeKeyPair,
  };
}

function checkEncrypters(value: unknown): Encrypters {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  list.forEach((encrypter, index) => {
    const name = Array.isArray(value) ? `encrypter[${index}]` : 'encrypter';
    checkMethods(encrypter, name, ['canDecrypt', 'encrypt', 'decrypt']);
    checkText(Reflect.get(Object(encrypter), 'id'), `${name}.id`);
  });
  // Every entry was checked above.
  const [primary, ...previous] = list as readonly KeyEncrypter[];
  if (primary === undefined) throw misuse('encrypter', 'name at least one encrypter', value);
  return [primary, ...previous];
}
