import {
  createJwtAuthority,
  inlineExecutor,
  type Clock,
  type KeySetPolicyOptions,
  type StoredKeySet,
} from '@jwt-authority/core';
import { memoryStore } from '@jwt-authority/store-memory';
import type { SimulatedKek } from './kek.ts';
import { makeKey } from './key-pool.ts';
import type { Random } from './random.ts';
import { start } from './timeline.ts';

/** An authentic document of another namespace, under the same KEK: somebody may put it in place of ours. */
export async function makeForeign(
  kek: SimulatedKek,
  policy: KeySetPolicyOptions,
  random: Random,
): Promise<StoredKeySet | undefined> {
  const clock: Clock = { now: () => start, monotonic: () => 0, setTimer: () => () => {} };
  const store = memoryStore({ namespace: 'other', clock });
  let made = 0;
  const authority = await createJwtAuthority({
    ...policy,
    store,
    encrypter: kek.encrypter({ call: async (work) => work(), mood: () => 'well' }),
    clock,
    executor: inlineExecutor,
    randomBytes: (size) => random.bytes(size),
    generateKeyPair: async (alg) => makeKey(alg, 3990 + made++, 'f').pair,
  });
  await authority.close();
  return (await store.load()).stored;
}
