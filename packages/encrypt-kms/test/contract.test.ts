import { keyEncrypterCases, registerCases } from '@jwt-authority/conformance';
import type { KeyEncrypter } from '@jwt-authority/core';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { kmsMissing } from '../../../test/support/kms-server.ts';
import { kmsEncrypter } from '../src/index.ts';
import { Account } from './account.ts';

describe.skipIf(kmsMissing !== '')(`the contract on a real KMS${kmsMissing}`, () => {
  let account: Account;
  let key: string;
  let otherKey: string;
  let multiRegionKey: string;
  beforeAll(async () => {
    account = await Account.start();
    [key, otherKey, multiRegionKey] = await Promise.all([
      account.createKey(),
      account.createKey(),
      account.createKey({ MultiRegion: true }),
    ]);
    await account.createAlias('alias/jwt', key);
    await account.createAlias('alias/other', otherKey);
  });
  afterAll(async () => account.stop());

  const encrypter = (keyId: string): KeyEncrypter =>
    kmsEncrypter({ client: account.client(), keyId, timeout: 1 });
  const cases: Record<string, { open: () => KeyEncrypter; openOther: () => KeyEncrypter }> = {
    'a key by its ARN': { open: () => encrypter(key), openOther: () => encrypter(otherKey) },
    'a key by its id': { open: () => encrypter(idOf(key)), openOther: () => encrypter(idOf(otherKey)) },
    'an alias': { open: () => encrypter('alias/jwt'), openOther: () => encrypter('alias/other') },
    'an alias by its ARN': {
      open: () => encrypter(aliasArn('alias/jwt')),
      openOther: () => encrypter(aliasArn('alias/other')),
    },
    'a multi-region key': { open: () => encrypter(multiRegionKey), openOther: () => encrypter(key) },
  };
  const idOf = (arn: string): string => arn.slice(arn.lastIndexOf('/') + 1);
  const aliasArn = (alias: string): string => `${key.slice(0, key.indexOf(':key/'))}:${alias}`;

  describe.each(Object.entries(cases))('%s', (_what, { open, openOther }) => {
    const outage = {
      begin: async (): Promise<void> => account.server.freeze(),
      end: async (): Promise<void> => account.server.thaw(),
      deadline: 4000,
    };
    registerCases(it, keyEncrypterCases(open, { openOther, outage, patience: 10_000 }));
  });
});
