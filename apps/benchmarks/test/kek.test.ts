import { localEncrypter } from '@jwt-authority/core';
import { expect, it } from 'vitest';
import { countCalls, timeColdStarts } from '../src/kek.ts';

it('P10: no KEK call in the steady state, one per instance and rotation', async () => {
  const calls = await countCalls(localEncrypter.forTests());
  expect(calls, 'a year of three instances').toMatchObject({
    rotations: 4,
    atStart: 3,
    steady: 0,
    perInstanceAndRotation: 1,
  });
});

it('a cold start is timed to its first signature', async () => {
  const key = crypto.getRandomValues(new Uint8Array(32));
  const results = await timeColdStarts([{ name: 'local', open: () => localEncrypter({ key }) }], 20);
  expect(results, 'one row').toMatchObject([{ name: 'local', runs: 20, bareCall: undefined }]);
});
