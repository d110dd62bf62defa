import { inspect } from 'node:util';
import { KMSClient } from '@aws-sdk/client-kms';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type KmsEncrypter, kmsEncrypter } from '../src/index.ts';
import { context, failure, region, someKey, unwrap, wrap } from './account.ts';
import { arnOf, type Fault, keyId, LoopbackKms } from './loopback-kms.ts';

const credentials = {
  accessKeyId: 'AKIALEAKTEST',
  secretAccessKey: 'secret-access-key-of-the-test',
  sessionToken: 'session-token-of-the-test',
};
let kms: LoopbackKms;
const clients: KMSClient[] = [];
beforeAll(async () => {
  kms = await LoopbackKms.start();
});
afterEach(() => kms.heal());
afterAll(async () => {
  for (const client of clients) client.destroy();
  await kms.stop();
});

function open(config: ConstructorParameters<typeof KMSClient>[0] = {}): {
  client: KMSClient;
  encrypter: KmsEncrypter;
} {
  const client = new KMSClient({
    endpoint: kms.endpoint,
    region,
    // The SDK writes into the object it is given.
    credentials: { ...credentials },
    maxAttempts: 1,
    ...config,
  });
  clients.push(client);
  return { client, encrypter: kmsEncrypter({ client, keyId: arnOf(keyId), timeout: 1 }) };
}

/** All forms in which somebody might read these bytes. */
function formsOf(bytes: Uint8Array): string[] {
  const buffer = Buffer.from(bytes);
  const texts = (['hex', 'base64', 'base64url', 'latin1'] as const).map((encoding) =>
    buffer.toString(encoding).replaceAll('=', ''),
  );
  return [
    ...texts,
    buffer.toString('hex').replaceAll(/..(?!$)/g, '$& '),
    [...bytes].join(', '),
    [...bytes].join(','),
  ];
}

/** Everything that can be got out of a value: by inspection, as JSON, and by walking it with all that is hidden. */
function everythingIn(value: unknown): string {
  const seen = new Set<unknown>();
  const texts: string[] = [];
  const walk = (one: unknown): void => {
    if ((typeof one !== 'object' && typeof one !== 'function') || one === null) {
      texts.push(String(one));
      return;
    }
    if (seen.has(one) || one === Object.prototype || one === Error.prototype || one === Function.prototype)
      return;
    seen.add(one);
    if (one instanceof Uint8Array) texts.push(...formsOf(one));
    for (const key of Reflect.ownKeys(one)) {
      texts.push(String(key));
      const descriptor = Reflect.getOwnPropertyDescriptor(one, key);
      if (descriptor !== undefined && 'value' in descriptor) walk(descriptor.value);
    }
    if (one instanceof Error) walk(Object.getPrototypeOf(one));
  };
  walk(value);
  texts.push(inspect(value, { depth: Infinity, showHidden: true, getters: true, maxArrayLength: null }));
  texts.push(JSON.stringify(value) ?? '', String(value));
  if (value instanceof Error) texts.push(value.stack ?? '');
  return texts.join('\n');
}

describe('P5: nothing secret in what is thrown', () => {
  const faults: Record<string, Fault> = {
    throttling: { status: 400, body: '{"__type":"ThrottlingException"}' },
    'a refusal that repeats the request': {
      status: 400,
      body: JSON.stringify({
        __type: 'AccessDeniedException',
        message: `${credentials.accessKeyId} ${credentials.sessionToken} ${Buffer.from(someKey()).toString('base64')}`,
        Plaintext: Buffer.from(someKey()).toString('base64'),
      }),
    },
    'a name that is none': {
      status: 400,
      body: JSON.stringify({ __type: `x ${credentials.secretAccessKey}` }),
    },
    'an answer cut short': {
      status: 200,
      body: `{"Plaintext":"${Buffer.from(someKey()).toString('base64')}","KeyId":`,
    },
    'an answer for another key': {
      status: 200,
      body: JSON.stringify({
        KeyId: arnOf('00000000-0000-4000-8000-000000000000'),
        Plaintext: Buffer.from(someKey()).toString('base64'),
        CiphertextBlob: Buffer.from('ciphertext').toString('base64'),
      }),
    },
    'a page that repeats the request': {
      status: 502,
      type: 'text/html',
      body: `<html>${credentials.secretAccessKey}</html>`,
    },
    reset: 'reset',
    hang: 'hang',
  };

  it.each(Object.entries(faults))('P5: %s', async (_what, fault) => {
    const { encrypter } = open();
    const encrypted = await wrap(encrypter);
    const ciphertext = Buffer.from(encrypted.slice(encrypted.lastIndexOf(':') + 1), 'base64url');
    kms.fault = () => fault;
    const secrets = [
      ...formsOf(someKey()),
      ...formsOf(ciphertext),
      ...Object.values(credentials),
      kms.endpoint.slice('http://'.length),
      encrypted,
      context.namespace,
    ];
    for (const work of [
      async () => wrap(encrypter),
      async () => unwrap(encrypter, encrypted),
      async () => encrypter.check(),
    ]) {
      const error = await failure(work());
      const all = everythingIn(error);
      for (const secret of secrets) expect(all, 'what is thrown gets into logs').not.toContain(secret);
      expect('cause' in error, "the SDK's errors carry requests and answers").toBe(false);
    }
  });

  it('P5: nor in the encrypter itself', async () => {
    const { encrypter } = open();
    await unwrap(encrypter, await wrap(encrypter));
    const all = everythingIn(encrypter);
    for (const secret of [...formsOf(someKey()), ...Object.values(credentials)])
      expect(all, 'an object that is logged').not.toContain(secret);
  });

  it('P5: a text for a key is not repeated when it is refused', async () => {
    const { encrypter } = open();
    const encrypted = await wrap(encrypter);
    for (const text of [
      `${encrypted}A`,
      encrypted.replace(keyId, keyId.replace('1', '2')),
      'nothing of this kind',
    ]) {
      const all = everythingIn(await failure(unwrap(encrypter, text)));
      expect(all).not.toContain(text);
      expect(all).not.toContain(encrypted.slice(-60, -4));
    }
  });
});

describe('P5: the key in memory', () => {
  it("P5: decrypt gives a copy of its own, and zeroes the SDK's bytes", async () => {
    const { client, encrypter } = open();
    let given: Uint8Array | undefined;
    client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        if ('Plaintext' in result.output) given = result.output.Plaintext;
        return result;
      },
      { step: 'initialize' },
    );
    const dataKey = await unwrap(encrypter, await wrap(encrypter));
    expect(dataKey, 'the key').toEqual(someKey());
    expect(given, 'the bytes that others read and write too').toEqual(new Uint8Array(32));
    expect(dataKey.buffer.byteLength, 'no part of a larger buffer').toBe(32);
  });

  it('P5: an answer for another key is zeroed as well', async () => {
    const { client, encrypter } = open();
    const encrypted = await wrap(encrypter);
    let given: Uint8Array | undefined;
    client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        if ('Plaintext' in result.output) given = result.output.Plaintext;
        return result;
      },
      { step: 'initialize' },
    );
    kms.change = (answer) => ({ ...answer, KeyId: arnOf('00000000-0000-4000-8000-000000000000') });
    await failure(unwrap(encrypter, encrypted));
    expect(given).toEqual(new Uint8Array(32));
  });

  it('P5: a logger given to the client sees no key in clear', async () => {
    const logged: unknown[] = [];
    const log = (...entries: unknown[]): void => void logged.push(...entries);
    const { encrypter } = open({ logger: { trace: log, debug: log, info: log, warn: log, error: log } });
    await unwrap(encrypter, await wrap(encrypter));
    expect(logged.length, 'the SDK logs').toBeGreaterThan(0);
    const all = everythingIn(logged);
    for (const form of formsOf(someKey())) expect(all, 'logs of the SDK').not.toContain(form);
  });
});
