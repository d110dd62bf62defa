import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kmsMissing } from '../../../test/support/kms-server.ts';
import { kmsEncrypter, type KmsEncrypter } from '../src/index.ts';
import { Account, failure, someKey, unwrap, wrap } from './account.ts';

interface Policy {
  readonly Statement: readonly { readonly Action: readonly string[] }[];
}

/** The first policy of the README, for this key. */
function documentedPolicy(key: string): Policy {
  const readme = readFileSync(join(import.meta.dirname, '../README.md'), 'utf8');
  const [, json = ''] = /```json\n([^`]*"kms:Encrypt"[^`]*)```/.exec(readme) ?? [];
  return JSON.parse(json.replaceAll(/arn:aws:kms:[^"]*/g, key)) as Policy;
}

function without(policy: Policy, action: string): object {
  const Statement = policy.Statement.map((statement) => ({
    ...statement,
    Action: statement.Action.filter((one) => one !== action),
  }));
  return { ...policy, Statement };
}

describe.skipIf(kmsMissing !== '')(`who may do what, by a real IAM${kmsMissing}`, () => {
  let account: Account;
  let key: string;
  let otherKey: string;
  let encrypted: string;
  beforeAll(async () => {
    account = await Account.start();
    key = await account.createKey();
    otherKey = await account.createKey();
    await account.createAlias('alias/jwt', key);
    encrypted = await wrap(kmsEncrypter({ client: account.kms, keyId: key }));
  });
  afterAll(async () => account.stop());

  async function as(policy: object, keyId: string): Promise<KmsEncrypter> {
    const credentials = await account.createUser(policy);
    return kmsEncrypter({ client: account.client({ credentials }), keyId });
  }

  it('needs the documented policy, and nothing else', async () => {
    const policy = documentedPolicy(key);
    expect(policy.Statement.flatMap(({ Action }) => Action).toSorted(), 'no more than needed').toEqual([
      'kms:Decrypt',
      'kms:Encrypt',
    ]);
    for (const keyId of [key, 'alias/jwt']) {
      const user = await as(policy, keyId);
      expect(await user.check(), 'a check at start').toEqual({ keyArn: key });
      expect(await unwrap(user, await wrap(user)), 'wrap and unwrap').toEqual(someKey());
    }
  });

  it('is for this key only', async () => {
    const user = await as(documentedPolicy(key), otherKey);
    expect(await failure(wrap(user)), 'another key').toMatchObject({ code: 'kek_unavailable' });
  });

  it('without kms:Encrypt, nothing is wrapped; what exists opens', async () => {
    const user = await as(without(documentedPolicy(key), 'kms:Encrypt'), key);
    const error = await failure(wrap(user));
    expect(error, 'once it is allowed, it works').toMatchObject({ code: 'kek_unavailable', retryable: true });
    expect(error.message, 'what to do').toMatch(/AccessDeniedException.*allow kms:Encrypt/);
    expect(await unwrap(user, encrypted), 'instances that only start need kms:Decrypt').toEqual(someKey());
    expect((await failure(user.check())).message, 'the check finds it').toContain('kms:Encrypt');
  });

  it('without kms:Decrypt, nothing opens', async () => {
    const user = await as(without(documentedPolicy(key), 'kms:Decrypt'), key);
    expect(user.canDecrypt(await wrap(user)), 'it wraps').toBe(true);
    const error = await failure(unwrap(user, encrypted));
    expect(error, 'never taken for altered').toMatchObject({ code: 'kek_unavailable', retryable: true });
    expect(error.message, 'what to do').toMatch(/AccessDeniedException.*allow kms:Decrypt/);
    expect((await failure(user.check())).message, 'the check finds it').toContain('kms:Decrypt');
  });

  it('a permission that comes late is enough, without a restart', async () => {
    const credentials = await account.createUser(documentedPolicy(otherKey));
    const user = kmsEncrypter({ client: account.client({ credentials }), keyId: key });
    await failure(unwrap(user, encrypted));
    await account.setPolicy(account.lastUser, documentedPolicy(key));
    expect(await unwrap(user, encrypted), 'the next call').toEqual(someKey());
  });

  it.each([
    ['a wrong secret', 'SignatureDoesNotMatch'],
    ['unknown credentials', 'InvalidClientTokenId'],
    ['expired credentials', 'ExpiredToken'],
  ] as const)('%s', async (what, name) => {
    const { accessKeyId } = await account.createUser(documentedPolicy(key));
    const credentials = {
      'a wrong secret': { accessKeyId, secretAccessKey: 'wrong' },
      'unknown credentials': { accessKeyId: 'AKIAUNKNOWN', secretAccessKey: 'unknown' },
      'expired credentials': account.server.expiredCredentials,
    }[what];
    const user = kmsEncrypter({ client: account.client({ credentials }), keyId: key });
    for (const work of [async () => wrap(user), async () => unwrap(user, encrypted)]) {
      const error = await failure(work());
      expect(error, 'they may be renewed').toMatchObject({ code: 'kek_unavailable', retryable: true });
      expect(error.message, 'what AWS calls it, and what it means').toMatch(
        new RegExp(`${name}.*does not accept the credentials`),
      );
      expect(error.message, 'whose they are is nobody’s business').not.toContain(credentials.accessKeyId);
    }
  });

  it('credentials that are renewed are enough, without a restart', async () => {
    const { expiredCredentials, credentials } = account.server;
    let current: typeof credentials = expiredCredentials;
    const client = account.client({
      // An expiration in the past: asked again for each call.
      credentials: async () => ({ ...current, expiration: new Date(0) }),
    });
    const user = kmsEncrypter({ client, keyId: key });
    await failure(unwrap(user, encrypted));
    current = credentials;
    expect(await unwrap(user, encrypted), 'the next call').toEqual(someKey());
  });
});
