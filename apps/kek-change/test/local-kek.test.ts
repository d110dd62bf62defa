import { randomBytes } from 'node:crypto';
import { localEncrypter } from '@jwt-authority/core';
import { describe, expect, it } from 'vitest';
import { proveChange } from './prove-change.ts';
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
