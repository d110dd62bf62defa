import {
  createJwtAuthority,
  type KeyEncrypter,
  type KeySetStore,
  type RotatingJwtAuthority,
} from '@jwt-authority/core';
import { fakeClock } from '@jwt-authority/core/testing';
import { memoryStore } from '@jwt-authority/store-memory';

export interface KekCalls {
  readonly instances: number;
  readonly hours: number;
  readonly rotations: number;
  /** For the first key set, and for the instances that started after the first one. */
  readonly atStart: number;
  /** From then on, while nothing was due, and while rotations were. */
  readonly steady: number;
  readonly rotating: number;
  readonly perInstanceHour: number;
  readonly perInstanceAndRotation: number;
}

/** How often a fleet calls the KEK in a year with the default settings, signing and verifying every day. Time is virtual. */
export async function countCalls(encrypter: KeyEncrypter, instances = 3): Promise<KekCalls> {
  const clock = fakeClock();
  const memory = memoryStore({ clock });
  // It does not push: a reading that began by itself would be under way, in real time, while the clock is turned past its deadline.
  const store: KeySetStore = {
    namespace: memory.namespace,
    load: async () => memory.load(),
    compareAndSwap: async (...args) => memory.compareAndSwap(...args),
  };
  let calls = 0;
  let rotations = 0;
  const counted: KeyEncrypter = {
    id: encrypter.id,
    canDecrypt: (encrypted) => encrypter.canDecrypt(encrypted),
    encrypt: async (...args) => (calls++, encrypter.encrypt(...args)),
    decrypt: async (...args) => (calls++, encrypter.decrypt(...args)),
  };
  const fleet: RotatingJwtAuthority[] = [];
  for (let i = 0; i < instances; i++) {
    const authority = await createJwtAuthority({ store, encrypter: counted, clock, algorithms: ['ES256'] });
    authority.keyRing.events.on('rotated', () => rotations++);
    fleet.push(authority);
  }
  const atStart = calls;
  let [steady, rotating] = [0, 0];
  const days = 365;
  for (let day = 0; day < days; day++) {
    const before = { calls, rotations };
    await clock.advance('1d');
    for (const { keyRing } of fleet) await keyRing.refresh();
    for (const signer of fleet) {
      const { token } = await signer.sign({ sub: 'somebody' });
      for (const verifier of fleet) await verifier.verify(token);
    }
    if (rotations === before.rotations) steady += calls - before.calls;
    else rotating += calls - before.calls;
  }
  await Promise.all(fleet.map(async (authority) => authority.close()));
  return {
    instances,
    hours: days * 24,
    rotations,
    atStart,
    steady,
    rotating,
    perInstanceHour: (steady + rotating) / instances / (days * 24),
    perInstanceAndRotation: rotating / instances / rotations,
  };
}

/** Milliseconds. */
export interface Times {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export function timesOf(samples: readonly number[]): Times {
  const sorted = samples.toSorted((one, other) => one - other);
  const at = (part: number): number =>
    Math.round((sorted[Math.floor((sorted.length - 1) * part)] ?? 0) * 100) / 100;
  return { min: at(0), median: at(0.5), max: at(1) };
}
