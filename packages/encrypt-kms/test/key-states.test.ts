import {
  CancelKeyDeletionCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  ReplicateKeyCommand,
  RotateKeyOnDemandCommand,
  ScheduleKeyDeletionCommand,
  UpdateAliasCommand,
} from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kmsMissing } from '../../../test/support/kms-server.ts';
import { kmsEncrypter, type KmsEncrypter } from '../src/index.ts';
import { Account, failure, someKey, unwrap, wrap } from './account.ts';

describe.skipIf(kmsMissing !== '')(`the life of a key on a real KMS${kmsMissing}`, () => {
  let account: Account;
  beforeAll(async () => {
    account = await Account.start();
  });
  afterAll(async () => account.stop());

  const encrypter = (keyId: string, region?: string): KmsEncrypter =>
    kmsEncrypter({ client: account.client(region === undefined ? {} : { region }), keyId });
  async function expectUnusable(one: KmsEncrypter, encrypted: string, name: string): Promise<void> {
    for (const work of [async () => wrap(one), async () => unwrap(one, encrypted)]) {
      const error = await failure(work());
      expect(error, 'an operator can undo it: never taken for altered').toMatchObject({
        code: 'kek_unavailable',
        retryable: true,
      });
      expect(error.message, 'what to do').toMatch(new RegExp(`${name}.*enable the key, or cancel`));
    }
  }

  it('disabled, and enabled again', async () => {
    const key = await account.createKey();
    const one = encrypter(key);
    const encrypted = await wrap(one);
    await account.kms.send(new DisableKeyCommand({ KeyId: key }));
    await expectUnusable(one, encrypted, 'DisabledException');
    await account.kms.send(new EnableKeyCommand({ KeyId: key }));
    expect(await unwrap(one, encrypted), 'as before').toEqual(someKey());
    expect(await unwrap(one, await wrap(one)), 'as before').toEqual(someKey());
  });

  it('pending deletion, and the deletion cancelled', async () => {
    const key = await account.createKey();
    const one = encrypter(key);
    const encrypted = await wrap(one);
    await account.kms.send(new ScheduleKeyDeletionCommand({ KeyId: key, PendingWindowInDays: 7 }));
    await expectUnusable(one, encrypted, 'KMSInvalidStateException');
    await account.kms.send(new CancelKeyDeletionCommand({ KeyId: key }));
    // A key comes back disabled.
    await expectUnusable(one, encrypted, 'DisabledException');
    await account.kms.send(new EnableKeyCommand({ KeyId: key }));
    expect(await unwrap(one, encrypted), 'as before').toEqual(someKey());
  });

  it('an alias moved to another key: the old texts open, new ones are of the new key', async () => {
    const [first, second] = [await account.createKey(), await account.createKey()];
    await account.createAlias('alias/moving', first);
    const one = encrypter('alias/moving');
    const before = await wrap(one);
    await account.kms.send(new UpdateAliasCommand({ AliasName: 'alias/moving', TargetKeyId: second }));

    expect(await unwrap(one, before), 'it asks for the key, not for the alias').toEqual(someKey());
    const cold = encrypter('alias/moving');
    expect(cold.canDecrypt(before), 'as does one that starts later').toBe(true);
    expect(await unwrap(cold, before)).toEqual(someKey());

    const after = await wrap(one);
    expect(before, 'rewrap() sees by the text that there is something to do').toContain(first);
    expect(after, 'the new key wraps').toContain(second);
    await account.kms.send(new DisableKeyCommand({ KeyId: first }));
    expect(await unwrap(cold, after), 'the old key is not needed for it').toEqual(someKey());
  });

  it('a key rotated on demand: nothing to do', async () => {
    const key = await account.createKey();
    const one = encrypter(key);
    const before = await wrap(one);
    await account.kms.send(new RotateKeyOnDemandCommand({ KeyId: key }));
    const after = await wrap(one);
    expect(await unwrap(one, before), 'KMS keeps the old material').toEqual(someKey());
    expect(await unwrap(one, after)).toEqual(someKey());
    expect(after.slice(0, after.lastIndexOf(':')), 'the same key by name').toBe(
      before.slice(0, before.lastIndexOf(':')),
    );
  });

  it('a multi-region key: wrapped by the replica, opened by the primary', async () => {
    const primary = await account.createKey({ MultiRegion: true });
    await account.kms.send(new ReplicateKeyCommand({ KeyId: primary, ReplicaRegion: 'eu-west-1' }));
    const replica = encrypter(primary.replace('eu-central-1', 'eu-west-1'), 'eu-west-1');
    const encrypted = await wrap(replica);
    expect(encrypted, 'the replica did it').toContain(':eu-west-1:');
    const one = encrypter(primary);
    expect(one.canDecrypt(encrypted), 'replicas are one key').toBe(true);
    expect(await unwrap(one, encrypted)).toEqual(someKey());
    // The other way round, this server answers IncorrectKeyException, which AWS does not: see faults.test.ts.
  });

  it('a key that does not exist, an alias that does not, one for signing', async () => {
    const key = await account.createKey();
    const signing = await account.createKey({ KeyUsage: 'SIGN_VERIFY', KeySpec: 'RSA_2048' });
    for (const keyId of [
      key.replace(/[^/]+$/, '00000000-0000-4000-8000-000000000000'),
      'alias/none',
      signing,
    ]) {
      const error = await failure(wrap(encrypter(keyId)));
      expect(error, 'waiting does not mend it').toMatchObject({
        code: 'kek_not_configured',
        retryable: false,
      });
      expect(error.message, 'which one').toContain(keyId);
    }
  });

  it('check() says which key an alias stands for', async () => {
    const key = await account.createKey();
    await account.createAlias('alias/checked', key);
    expect(await encrypter('alias/checked').check()).toEqual({ keyArn: key });
    expect(await encrypter('alias/checked').check({ namespace: 'prod' })).toEqual({ keyArn: key });
  });
});
