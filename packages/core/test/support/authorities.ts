import { generateKeyPair, signBytes, type Algorithm, type KeyPair } from '../../src/algorithms.ts';
import { inlineExecutor } from '../../src/executor.ts';
import {
  createJwtAuthority,
  JwtAuthorityError,
  localEncrypter,
  type CreateJwtAuthorityOptions,
  type KeySetStore,
  type RotatingJwtAuthority,
} from '../../src/index.ts';
import { fakeClock, type FakeClock } from '../../src/testing.ts';
import { memoryStore } from '../../../store-memory/src/index.ts';

/** A memory store that counts its calls and can be made to fail or to hang. It does not push. */
export interface ObservedStore extends KeySetStore {
  calls: number;
  state: 'up' | 'down' | 'hanging';
}

export function observedStore(store: KeySetStore): ObservedStore {
  const reach = async <T>(call: () => Promise<T>): Promise<T> => {
    observed.calls++;
    if (observed.state === 'hanging') return new Promise(() => {});
    if (observed.state === 'down') {
      throw new JwtAuthorityError('store_unavailable', 'the store was switched off');
    }
    return call();
  };
  const observed: ObservedStore = {
    namespace: store.namespace,
    calls: 0,
    state: 'up',
    load: async () => reach(async () => store.load()),
    compareAndSwap: async (next, expected, notAfter) =>
      reach(async () => store.compareAndSwap(next, expected, notAfter)),
  };
  return observed;
}

export interface Setting {
  readonly authority: RotatingJwtAuthority;
  readonly clock: FakeClock;
  readonly store: ObservedStore;
  /** Every key pair that was made, in order. */
  readonly pairs: KeyPair[];
}

/** An authority on virtual time whose private keys the test knows. ES256 unless told otherwise. */
export async function setUp(options: Partial<CreateJwtAuthorityOptions> = {}): Promise<Setting> {
  const clock = fakeClock();
  const store = observedStore(memoryStore({ clock }));
  const pairs: KeyPair[] = [];
  const authority = await createJwtAuthority({
    store,
    encrypter: localEncrypter.forTests(),
    clock,
    algorithms: ['ES256'],
    generateKeyPair: async (alg, keyOptions) => {
      const pair = await generateKeyPair(alg, keyOptions);
      pairs.push(pair);
      return pair;
    },
    ...options,
  });
  return { authority, clock, store, pairs };
}

let rsaPair: Promise<KeyPair> | undefined;

/** A `generateKeyPair` that makes one RSA key in all, since that takes long, and others as asked. One authority, one RSA key. */
export async function quickKeyPair(alg: Algorithm): Promise<KeyPair> {
  if (!/^[RP]S/.test(alg)) return generateKeyPair(alg);
  rsaPair ??= generateKeyPair('RS256');
  return { ...(await rsaPair), alg };
}

export function encode(content: string | Uint8Array | object): string {
  const isJson = typeof content === 'object' && !(content instanceof Uint8Array);
  return Buffer.from(isJson ? JSON.stringify(content) : content).toString('base64url');
}

/** The signature of these two parts as they stand, whatever they are. `alg`: the way to sign, not what a header says. */
export async function signParts(
  { privateKey, alg }: Pick<KeyPair, 'privateKey' | 'alg'>,
  header: string,
  payload: string,
): Promise<string> {
  const signature = await signBytes(alg, privateKey, Buffer.from(`${header}.${payload}`), inlineExecutor);
  return `${header}.${payload}.${signature.toString('base64url')}`;
}

/** A token of this key with any header and claims. */
export async function forge(
  pair: Pick<KeyPair, 'privateKey' | 'alg' | 'kid'>,
  claims: string | Uint8Array | object,
  header: string | Uint8Array | object = { alg: pair.alg, typ: 'JWT', kid: pair.kid },
): Promise<string> {
  return signParts(pair, encode(header), encode(claims));
}

export function decodePart(token: string, index: 0 | 1): unknown {
  return JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString());
}

/** What a promise rejects with; it must. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error('expected a rejection, but it was fulfilled');
}

/** The code that a promise rejects with, `TypeError`, or `accepted`; with `malformed` its reason too. */
export async function verdict(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'accepted';
  } catch (error) {
    if (JwtAuthorityError.is(error))
      return error.code === 'malformed' ? `malformed: ${error.reason}` : error.code;
    if (error instanceof TypeError) return 'TypeError';
    throw error;
  }
}
