import { KMSClient } from '@aws-sdk/client-kms';
import { localEncrypter } from '@jwt-authority/core';
import { describe, expect, it } from 'vitest';
import { kmsEncrypter } from '../src/index.ts';
import { failure } from './account.ts';
import { arnOf, keyId } from './loopback-kms.ts';

const client = new KMSClient({ region: 'eu-central-1' });
const key = arnOf(keyId);
// From JavaScript, anything may come.
const make = (options: object): unknown => kmsEncrypter(options as Parameters<typeof kmsEncrypter>[0]);

describe('P11: wrong settings fail at construction', () => {
  it.each<[what: string, options: object, message: RegExp]>([
    ['no options', [], /kmsEncrypter/],
    ['a misspelt option', { client, keyID: key }, /"keyID" is not an option of kmsEncrypter/],
    ['no key', { client }, /"keyId" must be a key of AWS KMS.*got undefined/],
    ['no name of a key', { client, keyId: 'arn:aws:s3:::bucket' }, /"keyId" must be .*alias\/jwt/],
    ['an alias without its prefix', { client, keyId: 'my_alias' }, /"keyId" must be/],
    ['an ARN of something else', { client, keyId: key.replace(':kms:', ':s3:') }, /"keyId" must be/],
    ['no client', { client: {}, keyId: key }, /"client" must be an object with send\(\)/],
    ['client and region', { client, region: 'eu-central-1', keyId: key }, /either "client" or "region"/],
    ['client and credentials', { client, credentials: {}, keyId: key }, /either "client" or "region"/],
    ['no region', { region: 'https://x', keyId: key }, /"region" must be the name of a region/],
    [
      'another region than the key',
      { region: 'us-east-1', keyId: key },
      /"region" must be that of the ARN.*eu-central-1/,
    ],
    ['a timeout of 0', { client, keyId: key, timeout: 0 }, /"timeout" must be 0.1 to 60 seconds/],
    ['a timeout of an hour', { client, keyId: key, timeout: '1h' }, /"timeout" must be 0.1 to 60 seconds/],
    ['no clock', { client, keyId: key, clock: {} }, /"clock" must be/],
  ])('P11: %s', (_what, options, message) => {
    expect(() => make(options)).toThrow(TypeError);
    expect(() => make(options)).toThrow(message);
  });

  it('P11: what is no key may be a secret in the wrong place: it is not repeated', () => {
    expect(() => make({ client, keyId: 'hunter2!hunter2!' })).toThrow(/a string of 16 characters/);
  });

  it.each([
    'alias/jwt',
    'alias/team/jwt_2',
    key,
    keyId,
    'mrk-11112222333344445555666677778888',
    'arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/jwt',
    'arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-11112222333344445555666677778888',
  ])('takes %s', (name) => {
    expect(kmsEncrypter({ client, keyId: name }).id, 'its label').toBe(`kms:${name}`);
  });
});

describe('wrong use', () => {
  const encrypter = kmsEncrypter({ client, keyId: key });
  it.each<[what: string, call: () => Promise<unknown>, message: RegExp]>([
    ['a key too short', async () => encrypter.encrypt(new Uint8Array(31), {}), /"dataKey" must be 32 bytes/],
    [
      'a text for a key',
      async () => encrypter.encrypt('x'.repeat(32) as never, {}),
      /"dataKey" must be 32 bytes/,
    ],
    [
      'no context',
      async () => encrypter.encrypt(new Uint8Array(32), undefined as never),
      /"context" must be/,
    ],
    [
      'a context of numbers',
      async () => encrypter.encrypt(new Uint8Array(32), { a: 1 } as never),
      /"context" must be/,
    ],
    ['a context with a hole', async () => encrypter.check({ a: undefined } as never), /"context" must be/],
    ['no text', async () => encrypter.decrypt(undefined as never, {}), /"encrypted" must be a text/],
  ])('%s', async (_what, call, message) => {
    await expect(call()).rejects.toThrow(TypeError);
    await expect(call()).rejects.toThrow(message);
  });

  it('a text of another kind is refused without a call', async () => {
    const local = await localEncrypter.forTests().encrypt(new Uint8Array(32), {});
    expect(encrypter.canDecrypt(local)).toBe(false);
    expect((await failure(encrypter.decrypt(local, {}))).code).toBe('decryption_failed');
  });
});
