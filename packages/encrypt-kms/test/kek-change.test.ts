import { DisableKeyCommand, EnableKeyCommand, UpdateAliasCommand } from '@aws-sdk/client-kms';
import {
  createJwtAuthority,
  localEncrypter,
  type KeyEncrypter,
  type RotatingJwtAuthority,
} from '@jwt-authority/core';
import { memoryStore } from '@jwt-authority/store-memory';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kmsMissing } from '../../../test/support/kms-server.ts';
import { kmsEncrypter } from '../src/index.ts';
import { Account, failure } from './account.ts';

describe.skipIf(kmsMissing !== '')(`a key set under a real KMS${kmsMissing}`, () => {
  let account: Account;
  beforeAll(async () => {
    account = await Account.start();
  });
  afterAll(async () => account.stop());

  const store = memoryStore({ namespace: 'prod' });
  const start = async (...encrypter: [KeyEncrypter, ...KeyEncrypter[]]): Promise<RotatingJwtAuthority> =>
    createJwtAuthority({ store, encrypter, algorithms: ['ES256'], issuer: 'https://auth.example.com' });

  it('goes from a local KEK to KMS, to another key behind the alias, to another KEK, and loses no token', async () => {
    const [first, second] = [await account.createKey(), await account.createKey()];
    await account.createAlias('alias/jwt', first);
    const kms = kmsEncrypter({ client: account.kms, keyId: 'alias/jwt' });
    const [before, after] = [localEncrypter.forTests(), localEncrypter.forTests()];
    const tokens: string[] = [];
    const works = async (authority: RotatingJwtAuthority): Promise<void> => {
      tokens.push((await authority.sign({ sub: 'somebody' })).token);
      for (const token of tokens) expect((await authority.verify(token)).sub, 'all so far').toBe('somebody');
    };

    await using local = await start(before);
    await works(local);

    await using both = await start(kms, before);
    await both.rotator.rewrap();
    await works(both);
    await using onKms = await start(kms);
    expect(onKms.keyRing.sealedBy, 'the local KEK is not needed any more').toBe('kms:alias/jwt');
    await works(onKms);

    await account.kms.send(new UpdateAliasCommand({ AliasName: 'alias/jwt', TargetKeyId: second }));
    await using moved = await start(kmsEncrypter({ client: account.kms, keyId: 'alias/jwt' }));
    await works(moved);
    await moved.rotator.rewrap();
    await account.kms.send(new DisableKeyCommand({ KeyId: first }));
    await using onSecond = await start(kmsEncrypter({ client: account.kms, keyId: 'alias/jwt' }));
    await works(onSecond);

    await using leaving = await start(after, kms);
    await leaving.rotator.rewrap();
    await account.kms.send(new DisableKeyCommand({ KeyId: second }));
    await using left = await start(after);
    await works(left);
    await works(local);
  });

  it('P7: says which KEK is missing or disabled at start, and starts when it is there', async () => {
    const key = await account.createKey();
    const own = memoryStore({ namespace: 'disabled' });
    const make = async (encrypter: KeyEncrypter): Promise<RotatingJwtAuthority> =>
      createJwtAuthority({ store: own, encrypter, algorithms: ['ES256'] });
    const kms = kmsEncrypter({ client: account.kms, keyId: key });
    await using running = await make(kms);
    const { kid } = await running.sign({});

    const missing = await failure(make(localEncrypter.forTests()));
    expect(missing.code, 'a setting').toBe('kek_not_configured');
    expect(missing.message, 'the KEK that the key set wants').toContain(`sealed by "kms:${key}"`);

    await account.kms.send(new DisableKeyCommand({ KeyId: key }));
    const disabled = await failure(make(kms));
    expect(disabled.code, 'a state that ends').toBe('kek_unavailable');
    expect(disabled.message, 'what to do').toMatch(/DisabledException.*enable the key/);
    expect((await running.sign({})).kid, 'who runs goes on').toBe(kid);
    expect(
      (await running.rotator.revoke(kid, { reason: 'stolen' })).committed,
      'an active key needs a new one',
    ).toBe(true);

    await account.kms.send(new EnableKeyCommand({ KeyId: key }));
    await using started = await make(kms);
    expect((await started.sign({})).kid, 'the key that replaced the revoked one').toBe(
      (await running.sign({})).kid,
    );
  });
});
