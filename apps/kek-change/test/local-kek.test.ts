import { randomBytes } from 'node:crypto';
import { localEncrypter } from '@jwt-authority/core';
import { describe, expect, it } from 'vitest';
import { proveChange } from './prove-change.ts';
import { proveOutage } from './prove-outage.ts';
import { WatchedKek } from '../src/watched-kek.ts';

const local = (id: string): WatchedKek => new WatchedKek(localEncrypter({ key: randomBytes(32), id }));

describe('from one local KEK to another', () => {
  it('P1: two changes in a row lose no token, and what is left needs the last KEK alone', async () => {
    const figures = await proveChange([
      { kek: local('2025') },
      { kek: local('2026') },
      {
        kek: new WatchedKek(
          localEncrypter({ password: 'correct horse battery', salt: randomBytes(16), cost: 2 ** 14 }),
        ),
      },
    ]);
    expect(figures.rotated, 'it rotated in between').toBe(2);
  });
});

it('P7: an outage of the KEK stops nothing but publications and cold starts', async () => {
  const real = localEncrypter.forTests();
  let isDown = false;
  const reach = async <T>(call: () => Promise<T>): Promise<T> => {
    if (isDown) throw new Error('down');
    return call();
  };
  const kek = new WatchedKek({
    id: real.id,
    canDecrypt: (encrypted) => real.canDecrypt(encrypted),
    encrypt: async (...args) => reach(async () => real.encrypt(...args)),
    decrypt: async (...args) => reach(async () => real.decrypt(...args)),
  });
  const figures = await proveOutage({
    kek,
    begin: async () => void (isDown = true),
    end: async () => void (isDown = false),
  });
  expect(figures.verified, 'and there were tokens').toBeGreaterThan(1000);
});
