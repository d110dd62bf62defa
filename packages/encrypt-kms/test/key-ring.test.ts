import { KMSClient } from '@aws-sdk/client-kms';
import {
  createJwtAuthority,
  JwksRotator,
  JwtAuthority,
  KeyRing,
  type KeySetStore,
} from '@jwt-authority/core';
import { type FakeClock, fakeClock } from '@jwt-authority/core/testing';
import { memoryStore } from '@jwt-authority/store-memory';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type KmsEncrypter, kmsEncrypter } from '../src/index.ts';
import { failure, region } from './account.ts';
import { LoopbackKms } from './loopback-kms.ts';

const policy = {
  algorithms: ['ES256'],
  propagationDelay: 1000,
  rotationInterval: 3000,
  maxTokenLifetime: 300,
} as const;

let kms: LoopbackKms;
let clock: FakeClock;
let store: KeySetStore;
/** Of the encrypters, in seconds: plenty on a busy machine. */
let timeout: number;
let closing: (() => Promise<void> | void)[];
beforeEach(async () => {
  kms = await LoopbackKms.start();
  clock = fakeClock();
  store = memoryStore({ clock, namespace: 'prod' });
  closing = [];
  timeout = 10;
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close();
  await kms.stop();
  if (clock.timers !== 0) throw new Error(`${clock.timers} timers are left`);
});

function encrypter(): KmsEncrypter {
  // The tries of the SDK have tests of their own.
  const client = new KMSClient({
    endpoint: kms.endpoint,
    region,
    credentials: { accessKeyId: 'AKIDKEYRING', secretAccessKey: 'key-ring' },
    maxAttempts: 1,
  });
  closing.push(() => client.destroy());
  return kmsEncrypter({ client, keyId: 'alias/jwt', timeout });
}

interface Report {
  readonly name: string;
  readonly payload: object;
}

/** From parts, so that it goes on asking if the start fails. */
function start({ rotates = true } = {}): {
  keyRing: KeyRing;
  authority: JwtAuthority;
  rotator: JwksRotator;
  reports: Report[];
} {
  const reports: Report[] = [];
  const record = (payload: object, message: string): void => {
    reports.push({ name: message.replace('jwt-authority: ', ''), payload });
  };
  const logger = { debug: record, info: record, warn: record, error: record };
  const keyRing = new KeyRing({ store, encrypter: encrypter(), clock, policy, logger });
  closing.push(async () => keyRing.close());
  const rotator = new JwksRotator({ keyRing });
  if (rotates) rotator.start();
  return { keyRing, authority: new JwtAuthority({ keyRing }), rotator, reports };
}

async function running(): Promise<ReturnType<typeof start>> {
  const instance = start();
  await instance.rotator.checkAndRotateKeys();
  kms.calls.length = 0;
  return instance;
}

const outages: [what: string, begin: (kms: LoopbackKms) => void, code?: string, patience?: number][] = [
  ['KMS throttles', (one) => one.failWith('ThrottlingException')],
  ['KMS has an internal error', (one) => one.failWith('KMSInternalException', 500)],
  ['KMS hangs', (one) => (one.fault = () => 'hang'), 'kek_unavailable', 0.5],
  ['KMS resets connections', (one) => (one.fault = () => 'reset')],
  ['the key is disabled', (one) => one.failWith('DisabledException')],
  ['the key is to be deleted', (one) => one.failWith('KMSInvalidStateException')],
  ['the permission is taken away', (one) => one.failWith('AccessDeniedException')],
  ['the credentials have expired', (one) => one.failWith('ExpiredTokenException')],
  ['the alias is gone', (one) => one.failWith('NotFoundException'), 'kek_not_configured'],
];

describe.each(outages)('P7: %s', (_what, begin, code = 'kek_unavailable', patience = 10) => {
  beforeEach(() => {
    timeout = patience;
  });

  it('P7: in service, nothing stops, and revoking works', async () => {
    const { authority, rotator, keyRing, reports } = await running();
    const { token, kid } = await authority.sign({ sub: 'a' });
    await rotator.rotateNow();
    begin(kms);
    kms.calls.length = 0;

    await clock.advance(200);
    expect((await authority.verify(token)).sub, 'verifying').toBe('a');
    expect((await authority.sign({ sub: 'b' })).kid, 'signing').toBe(kid);
    expect(keyRing.publication().keys.length, 'publishing').toBe(2);
    expect(kms.calls.length, 'P10: nobody asked KMS').toBe(0);
    expect(
      reports.filter(({ name }) => name === 'encrypter_error'),
      'nor missed it',
    ).toEqual([]);
    const { committed, activeKid } = await rotator.revoke(kid, { reason: 'stolen' });
    expect(committed, 'the store has it').toBe(true);
    expect(activeKid, 'the pending key takes over').not.toBe(kid);
    expect((await failure(authority.verify(token))).code, 'revoked').toBe('key_revoked');
    expect((await authority.sign({ sub: 'c' })).kid, 'signing goes on with the next key').toBe(activeKid);
    expect(
      kms.calls.map(({ operation }) => operation),
      'asked once for a fresh data-encryption key, and done without',
    ).toEqual(['Encrypt']);
  });

  it('P7: at a rotation, the new key waits, which is reported, and is caught up', async () => {
    const { authority, keyRing, reports } = await running();
    const { kid } = await authority.sign({ sub: 'a' });
    begin(kms);
    await clock.advance('40m');

    expect((await authority.sign({ sub: 'b' })).kid, 'late rotation is better than none').toBe(kid);
    expect(keyRing.publication().keys.length, 'no key that nobody could seal').toBe(1);
    expect(reports.find(({ name }) => name === 'encrypter_error')?.payload, 'with its label').toMatchObject({
      encrypter: 'kms:alias/jwt',
      code,
    });
    expect(
      reports.some(({ name }) => name === 'rotation_error'),
      'an alert to set',
    ).toBe(true);

    kms.heal();
    await clock.advance('10m');
    expect(keyRing.publication().keys.length, 'the next key is published, by itself').toBe(2);
    expect(kms.calls.length, 'P10: one call').toBe(1);
    await clock.advance(1100);
    expect((await authority.sign({ sub: 'c' })).kid, 'and signs').not.toBe(kid);
  });

  it('P7: at start, it is one clear error, and starting again works', async () => {
    const { keyRing } = await running();
    begin(kms);
    const make = async (): ReturnType<typeof createJwtAuthority> =>
      createJwtAuthority({ store, encrypter: encrypter(), clock, ...policy });
    const error = await failure(make());
    expect(error.code, 'what to act on').toBe(code);
    expect(error.message, 'which KEK').toContain('"kms:alias/jwt" could not');
    const before = await store.load();

    kms.heal();
    timeout = 10;
    const authority = await make();
    closing.push(async () => authority.close());
    expect((await store.load()).stored?.etag, 'nothing was written over what could not be read').toBe(
      before.stored?.etag,
    );
    expect(authority.keyRing.signingKey().kid, 'the same key').toBe(keyRing.signingKey().kid);
  });

  it('P7: at start from parts, it asks on and recovers by itself', async () => {
    const first = await running();
    begin(kms);
    const cold = start();
    await clock.advance(5);
    expect((await failure(cold.authority.sign({ sub: 'a' }))).code, 'not yet').toBe(code);
    expect(cold.keyRing.health(), 'a health endpoint says why').toMatchObject({ status: 'unusable', code });
    kms.heal();
    await clock.advance('5m');
    expect(cold.keyRing.signingKey().kid, 'the key of the others').toBe(first.keyRing.signingKey().kid);
  });
});

it('P10: one call per rotation and instance, none in the steady state', async () => {
  const one = await running();
  // It does not rotate, and no time passes while its call is under way: a read that begins meanwhile makes a call of its own.
  const two = start({ rotates: false });
  await two.keyRing.ready();
  kms.calls.length = 0;
  await clock.advance('30m');
  expect(kms.calls.length, 'steady').toBe(0);
  while (one.keyRing.publication().keys.length === 1) await clock.advance(1);
  await vi.waitFor(
    () => expect(two.keyRing.publication().keys.length, 'the store tells the other one').toBe(2),
    { timeout: 10_000 },
  );
  expect(
    kms.calls.map(({ operation }) => operation).toSorted(),
    'the one that rotates wraps, the other one unwraps',
  ).toEqual(['Decrypt', 'Encrypt']);
});

it('the context binds namespace and purpose, for policies and CloudTrail', async () => {
  await start().rotator.checkAndRotateKeys();
  expect(kms.calls.at(-1)?.body['EncryptionContext']).toEqual({
    namespace: 'prod',
    purpose: 'jwt-authority/key-set',
  });
});
