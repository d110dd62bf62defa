import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keySetStoreCases, registerCases } from '@jwt-authority/conformance';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { fileStore } from '../src/index.ts';

describe('the contract of KeySetStore', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'store-file-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  registerCases(
    it,
    keySetStoreCases((namespace) => fileStore({ folder, namespace, pollInterval: 60 }), { watch: true }),
  );
});
