import { randomBytes, randomUUID } from 'node:crypto';
import type { KeySetStore, ReplayStore, StoredKeySet } from '@jwt-authority/core';
import { compareLatency, compareThroughput, type Comparison } from './side-by-side.ts';

/** The bare calls of one client library, with the same data as ours. */
export interface RawCalls {
  /** HMGET of the fields of a key set. */
  readonly read: (key: string) => Promise<unknown>;
  /** The same in a script. */
  readonly readByScript: (key: string) => Promise<unknown>;
  /** EVAL of a script that does nothing but HSET these fields. */
  readonly write: (key: string, fields: Readonly<Record<string, string>>) => Promise<unknown>;
  /** SET NX PX. */
  readonly claim: (key: string, milliseconds: number) => Promise<unknown>;
}

export const writeScript = "return redis.call('HSET', KEYS[1], unpack(ARGV))";
export const readScript = "return redis.call('HMGET', KEYS[1], unpack(ARGV))";
export const fieldNames = ['namespace', 'revision', 'etag', 'updatedAt', 'document'] as const;

/** `load` beside HMGET, plain and in a script, `compareAndSwap` beside EVAL, for a document of this many bytes. */
export async function measureKeySets(
  store: KeySetStore,
  raw: RawCalls,
  size: number,
  calls: number,
): Promise<{ load: Comparison; loadByScript: Comparison; compareAndSwap: Comparison }> {
  const document = randomBytes(size / 2).toString('hex');
  const keySet = (revision: number): StoredKeySet => ({
    revision,
    etag: randomUUID(),
    updatedAt: Date.now(),
    document,
  });
  let stored = keySet(1);
  await store.compareAndSwap(stored, undefined, Infinity);
  const key = `{raw:${store.namespace}}:keyset`;
  const rawFields = (): Record<string, string> => ({
    namespace: store.namespace,
    revision: String(stored.revision),
    etag: randomUUID(),
    updatedAt: String(Date.now()),
    document,
  });
  await raw.write(key, rawFields());

  const load = await compareLatency(
    calls,
    () => raw.read(key),
    () => store.load(),
  );
  const loadByScript = await compareLatency(
    calls,
    () => raw.readByScript(key),
    () => store.load(),
  );
  const compareAndSwap = await compareLatency(
    calls,
    () => raw.write(key, rawFields()),
    async () => {
      const next = keySet(stored.revision + 1);
      if (!(await store.compareAndSwap(next, stored, Date.now() + 60_000)))
        throw new Error('lost without a race');
      stored = next;
    },
  );
  return { load, loadByScript, compareAndSwap };
}

/** `claim` of new values beside SET NX PX of new keys, per second. */
export async function measureClaims(
  store: ReplayStore,
  raw: RawCalls,
  calls: number,
): ReturnType<typeof compareThroughput> {
  const run = randomUUID();
  return compareThroughput(
    calls,
    50,
    (index) => raw.claim(`{raw}:${run}:${index}`, 60_000),
    async (index) => {
      if (!(await store.claim(`${run}:${index}`, 60))) throw new Error('a new value was refused');
    },
  );
}
