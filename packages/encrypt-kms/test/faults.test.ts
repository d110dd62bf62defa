import { KMSClient } from '@aws-sdk/client-kms';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { kmsEncrypter } from '../src/index.ts';
import { failure, region, someKey, unwrap, wrap } from './account.ts';
import { arnOf, type Fault, keyId, LoopbackKms, multiRegionKeyId, otherKeyId } from './loopback-kms.ts';

const key = arnOf(keyId);
const credentials = { accessKeyId: 'AKIDLOOPBACK', secretAccessKey: 'loopback' };
let kms: LoopbackKms;
const clients: KMSClient[] = [];
beforeAll(async () => {
  kms = await LoopbackKms.start();
});
afterEach(() => {
  kms.heal();
  vi.unstubAllEnvs();
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await kms.stop();
});

/** As the SDK makes it, with its retries, and no time-outs of its own. */
function plainClient(config: ConstructorParameters<typeof KMSClient>[0] = {}): KMSClient {
  const client = new KMSClient({ endpoint: kms.endpoint, region, credentials, ...config });
  clients.push(client);
  return client;
}

const encrypter = (timeout = 20): ReturnType<typeof kmsEncrypter> =>
  kmsEncrypter({ client: plainClient(), keyId: key, timeout });

// Name, HTTP status, our code, how often the SDK asks, what the message says besides.
const answers: [name: string, status: number, code: string, tries: number, says: RegExp][] = [
  ['ThrottlingException', 400, 'kek_unavailable', 3, /busy/],
  ['LimitExceededException', 400, 'kek_unavailable', 3, /busy/],
  ['KMSInternalException', 500, 'kek_unavailable', 3, /HTTP 500/],
  ['DependencyTimeoutException', 503, 'kek_unavailable', 3, /HTTP 503/],
  ['KeyUnavailableException', 500, 'kek_unavailable', 3, /cannot be reached/],
  ['AccessDeniedException', 400, 'kek_unavailable', 1, /allow kms:/],
  ['UnrecognizedClientException', 400, 'kek_unavailable', 1, /credentials/],
  ['InvalidClientTokenId', 403, 'kek_unavailable', 1, /credentials/],
  ['InvalidSignatureException', 400, 'kek_unavailable', 1, /credentials/],
  ['ExpiredTokenException', 400, 'kek_unavailable', 1, /credentials/],
  ['MissingAuthenticationTokenException', 400, 'kek_unavailable', 1, /credentials/],
  ['OptInRequired', 403, 'kek_unavailable', 1, /credentials/],
  ['DisabledException', 400, 'kek_unavailable', 1, /enable the key/],
  ['KMSInvalidStateException', 400, 'kek_unavailable', 1, /cancel its deletion/],
  ['NotFoundException', 400, 'kek_not_configured', 1, /no such key/],
  ['InvalidArnException', 400, 'kek_not_configured', 1, /named correctly/],
  ['InvalidKeyUsageException', 400, 'kek_not_configured', 1, /SYMMETRIC_DEFAULT/],
  ['UnsupportedOperationException', 400, 'kek_not_configured', 1, /SYMMETRIC_DEFAULT/],
  ['ValidationException', 400, 'kek_not_configured', 1, /named correctly/],
  ['InvalidCiphertextException', 400, 'decryption_failed', 1, /altered/],
  ['IncorrectKeyException', 400, 'decryption_failed', 1, /another key/],
  ['SomethingNewException', 400, 'kek_unavailable', 1, /SomethingNewException/],
];

describe('what KMS answers, through the retries of the SDK', () => {
  it.concurrent.each(answers)(
    '%s (HTTP %i) is %s after %i tries',
    async (name, status, code, tries, says) => {
      const own = await LoopbackKms.start();
      const client = plainClient({ endpoint: own.endpoint });
      const one = kmsEncrypter({ client, keyId: key, timeout: 30 });
      const encrypted = await wrap(one);
      own.failWith(name, status);
      for (const [operation, work] of [
        ['wrap', () => wrap(one)],
        ['unwrap', () => unwrap(one, encrypted)],
      ] as const) {
        own.calls.length = 0;
        const error = await failure(work());
        expect(error.code, `what callers act on when it fails to ${operation}`).toBe(code);
        expect(error.retryable, 'whether waiting may mend it').toBe(code === 'kek_unavailable');
        expect(own.calls.length, 'retries are the SDK’s, and nobody adds any').toBe(tries);
        expect(error.message, 'it names the KEK').toContain(`"kms:${key}" could not ${operation} a`);
        expect(error.message, 'it says what AWS calls it').toContain(name);
        expect(error.message, 'it says what to do').toMatch(says);
        expect(error.message, "AWS's own message may hold anything").not.toContain('must not be passed on');
      }
      await own.stop();
    },
  );

  it('one throttled try is made up for by the SDK', async () => {
    let first = true;
    kms.fault = () => {
      if (!first) return undefined;
      first = false;
      return { status: 400, body: '{"__type":"ThrottlingException"}' };
    };
    const encrypted = await wrap(encrypter());
    expect(kms.calls.length, 'one try more').toBe(2);
    expect(await unwrap(encrypter(), encrypted), 'nobody noticed').toEqual(someKey());
  });

  const html = '<html><body>Bad Gateway of proxy.internal</body></html>';
  const nonsense: [what: string, fault: Fault, tries: number][] = [
    ['an HTML page with HTTP 502', { status: 502, type: 'text/html', body: html }, 3],
    ['an HTML page with HTTP 403', { status: 403, type: 'text/html', body: html }, 1],
    ['an HTML page with HTTP 200', { status: 200, type: 'text/html', body: html }, 1],
    ['XML with HTTP 403', { status: 403, type: 'text/xml', body: '<ErrorResponse/>' }, 1],
    ['no body', { status: 200, body: '' }, 1],
    ['an empty object', { status: 200, body: '{}' }, 1],
    ['half an answer', { status: 200, body: '{"KeyId":"arn:aws' }, 1],
  ];
  it.each(nonsense)('%s in place of an answer', async (_what, fault, tries) => {
    const one = encrypter();
    const encrypted = await wrap(one);
    kms.calls.length = 0;
    kms.fault = () => fault;
    const error = await failure(wrap(one));
    expect(error.code, 'whatever stands between is down').toBe('kek_unavailable');
    expect(kms.calls.length, 'the tries of the SDK').toBe(tries);
    expect(error.message, 'pages of proxies do not belong in logs').not.toMatch(/proxy\.internal|html>/);
    expect(
      (await failure(unwrap(one, encrypted))).code,
      'no verdict on the text: it must not be taken for altered',
    ).toBe('kek_unavailable');
  });
});

describe('answers that are not for what was asked', () => {
  const changes: [what: string, keyId: string | undefined, code: string][] = [
    ['another key id', arnOf(otherKeyId), 'decryption_failed'],
    ['another account', key.replace('111122223333', '444455556666'), 'decryption_failed'],
    ['another region', arnOf(keyId, 'us-east-1'), 'decryption_failed'],
    ['an alias for a key id', 'alias/jwt', 'kek_unavailable'],
    ['no key id', undefined, 'kek_unavailable'],
  ];
  it.each(changes)('%s', async (_what, KeyId, code) => {
    const one = encrypter();
    const encrypted = await wrap(one);
    kms.change = (answer) => ({ ...answer, KeyId });
    expect((await failure(unwrap(one, encrypted))).code, 'not the key that was to open it').toBe(code);
    expect((await failure(wrap(one))).code, 'not the key that is to wrap').toBe('kek_unavailable');
  });

  it.each([0, 16, 31, 33, 64])('a key of %i bytes', async (length) => {
    const one = encrypter();
    const encrypted = await wrap(one);
    kms.change = (answer) => ({ ...answer, Plaintext: Buffer.alloc(length, 7).toString('base64') });
    expect((await failure(unwrap(one, encrypted))).code, 'a key is 32 bytes').toBe('decryption_failed');
  });
});

describe('no answer', () => {
  it.each(['wrap', 'unwrap'] as const)(
    '%s: a service that hangs, with a client without time-outs',
    async (what) => {
      const one = encrypter(0.3);
      const encrypted = await wrap(one);
      kms.calls.length = 0;
      kms.fault = () => 'hang';
      const began = performance.now();
      const error = await failure(what === 'wrap' ? wrap(one) : unwrap(one, encrypted));
      expect(error, 'try again').toMatchObject({ code: 'kek_unavailable', retryable: true });
      expect(error.message, 'the deadline of the call').toContain('no answer within 300 ms');
      expect(performance.now() - began, 'in time').toBeLessThan(5000);
      expect(kms.calls.length, 'one call, given up').toBe(1);
    },
  );

  it('a service that hangs, with a client made here: tried again within the deadline', async () => {
    vi.stubEnv('AWS_ENDPOINT_URL_KMS', kms.endpoint);
    kms.fault = () => 'hang';
    const one = kmsEncrypter({ keyId: key, credentials, timeout: 2 });
    const error = await failure(wrap(one));
    expect(error.code).toBe('kek_unavailable');
    expect(kms.calls.length, 'the first try must not take all of the time').toBeGreaterThan(1);
  });

  it('a try that hangs is made up for, with a client made here', async () => {
    vi.stubEnv('AWS_ENDPOINT_URL_KMS', kms.endpoint);
    let first = true;
    kms.fault = () => {
      if (!first) return undefined;
      first = false;
      return 'hang';
    };
    const one = kmsEncrypter({ keyId: key, credentials, timeout: 5 });
    expect(await unwrap(one, await wrap(one)), 'nobody noticed').toEqual(someKey());
  });

  it('retries that would take longer than the deadline are given up', async () => {
    const one = encrypter(0.2);
    kms.failWith('ThrottlingException');
    expect((await failure(wrap(one))).message, 'the deadline is for all tries').toContain(
      'no answer within 200 ms',
    );
  });

  it('a connection that is reset', async () => {
    kms.fault = () => 'reset';
    const error = await failure(wrap(encrypter()));
    expect(error.code).toBe('kek_unavailable');
    expect(error.message, 'what the system says').toContain('ECONNRESET');
    expect(kms.calls.length, 'the SDK tries again').toBe(3);
  });

  it('a port that nobody listens on', async () => {
    const gone = await LoopbackKms.start();
    await gone.stop();
    const one = kmsEncrypter({ client: plainClient({ endpoint: gone.endpoint }), keyId: key, timeout: 20 });
    const error = await failure(wrap(one));
    expect(error.code).toBe('kek_unavailable');
    expect(error.message, 'what the system says').toContain('ECONNREFUSED');
  });

  it('credentials that never come', async () => {
    const client = plainClient({ credentials: () => new Promise(() => {}) });
    const error = await failure(wrap(kmsEncrypter({ client, keyId: key, timeout: 0.2 })));
    expect(error.code, 'the deadline holds for what comes before the call, too').toBe('kek_unavailable');
  });
});

describe('nothing to go by', () => {
  const bare = (): void => {
    for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_PROFILE', 'AWS_ACCESS_KEY_ID'])
      vi.stubEnv(name, undefined);
    vi.stubEnv('AWS_CONFIG_FILE', '/dev/null');
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/dev/null');
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    vi.stubEnv('AWS_ENDPOINT_URL_KMS', kms.endpoint);
  };

  it('no region', async () => {
    bare();
    const error = await failure(wrap(kmsEncrypter({ keyId: 'alias/jwt', credentials })));
    expect(error, 'a setting is missing').toMatchObject({ code: 'kek_not_configured', retryable: false });
    expect(error.message, 'which one').toContain('AWS_REGION');
  });

  it('no region, but an ARN that has one', async () => {
    bare();
    const one = kmsEncrypter({ keyId: key, credentials });
    expect(await unwrap(one, await wrap(one)), 'the region of the ARN').toEqual(someKey());
  });

  it('no credentials', async () => {
    bare();
    const error = await failure(wrap(kmsEncrypter({ keyId: key })));
    expect(error, 'they may come').toMatchObject({ code: 'kek_unavailable', retryable: true });
    expect(error.message, 'what is missing').toMatch(/CredentialsProviderError.*credentials/);
    expect(kms.calls.length, 'nothing to call with').toBe(0);
  });
});

describe('which key opens', () => {
  it('an alias is for wrapping: the text says the key, and decrypt asks for that one', async () => {
    const one = kmsEncrypter({ client: plainClient(), keyId: 'alias/jwt' });
    const encrypted = await wrap(one);
    await unwrap(one, encrypted);
    expect(
      kms.calls.map(({ operation, body }) => [operation, body['KeyId']]),
      'no alias on Decrypt: it may have moved',
    ).toEqual([
      ['Encrypt', 'alias/jwt'],
      ['Decrypt', key],
    ]);
    expect(encrypted, 'for whoever reads the store').toMatch(/^kms:alias\/jwt:arn:aws:kms:[^:]+:\d+:key\//);
  });

  it('P6: a bare alias trusts no key of another account, and learns its own by one call', async () => {
    const encrypted = await wrap(kmsEncrypter({ client: plainClient(), keyId: 'alias/jwt' }));
    const cold = kmsEncrypter({ client: plainClient(), keyId: 'alias/jwt' });
    const foreign = encrypted.replace('111122223333', '444455556666');
    kms.calls.length = 0;
    expect(
      (await failure(unwrap(cold, foreign))).code,
      'whoever writes the store could name a key of their own',
    ).toBe('kek_not_configured');
    expect(
      kms.calls.map(({ operation }) => operation),
      'KMS is not asked to open it',
    ).toEqual(['Encrypt']);
    expect(await unwrap(cold, encrypted), 'its own').toEqual(someKey());
    expect(await unwrap(cold, encrypted), 'again').toEqual(someKey());
    expect(kms.calls.length, 'one more call, once').toBe(3);
  });

  it('P6: an alias by its ARN says the account: no call more', async () => {
    const aliasArn = key.replace(`key/${keyId}`, 'alias/jwt');
    kms.aliases.set(aliasArn, keyId);
    const encrypted = await wrap(kmsEncrypter({ client: plainClient(), keyId: 'alias/jwt' }));
    const one = kmsEncrypter({ client: plainClient(), keyId: aliasArn });
    kms.calls.length = 0;
    expect(one.canDecrypt(encrypted), 'the same alias').toBe(true);
    expect(one.canDecrypt(encrypted.replace('111122223333', '444455556666')), 'another account').toBe(false);
    expect(one.canDecrypt(encrypted.replace('eu-central-1', 'us-east-1')), 'another region').toBe(false);
    await unwrap(one, encrypted);
    expect(kms.calls.length, 'P10: one call').toBe(1);
  });

  it('a key by its ARN opens what was wrapped by its alias, not the other way round', async () => {
    const byAlias = kmsEncrypter({ client: plainClient(), keyId: 'alias/jwt' });
    const byArn = encrypter();
    const encrypted = await wrap(byAlias);
    expect(byArn.canDecrypt(encrypted), 'the key is named in the text').toBe(true);
    expect(await unwrap(byArn, encrypted)).toEqual(someKey());
    expect(byAlias.canDecrypt(await wrap(byArn)), 'nobody can tell where an alias points').toBe(false);
  });

  it('a text has one form only', async () => {
    const encrypted = await wrap(encrypter());
    // 100 bytes: the last character has bits that mean nothing.
    const last = encrypted.slice(-1);
    const alike = `${encrypted.slice(0, -1)}${String.fromCodePoint((last.codePointAt(0) ?? 0) + 1)}`;
    expect(encrypter().canDecrypt(alike), 'RFC 4648, 3.5: another text for the same bytes').toBe(false);
    expect((await failure(unwrap(encrypter(), alike))).code).toBe('decryption_failed');
  });

  it('a multi-region key opens in any region, by the replica that is there', async () => {
    const at = (where: string): ReturnType<typeof kmsEncrypter> =>
      kmsEncrypter({ client: plainClient({ region: where }), keyId: arnOf(multiRegionKeyId, where) });
    const [frankfurt, virginia] = [at('eu-central-1'), at('us-east-1')];
    const encrypted = await wrap(frankfurt);
    expect(virginia.canDecrypt(encrypted), 'the same key').toBe(true);
    expect(await unwrap(virginia, encrypted)).toEqual(someKey());
    expect(kms.calls.at(-1)?.body['KeyId'], 'KMS takes the ARN of its own region only').toBe(
      arnOf(multiRegionKeyId, 'us-east-1'),
    );
    expect(frankfurt.canDecrypt(await wrap(virginia)), 'and back').toBe(true);
    expect(
      kmsEncrypter({ client: plainClient(), keyId: arnOf(keyId, 'us-east-1') }).canDecrypt(
        await wrap(encrypter()),
      ),
      'any other key is in one region',
    ).toBe(false);
  });
});
