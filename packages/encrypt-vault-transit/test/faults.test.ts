import { JwtAuthorityError } from '@jwt-authority/core';
import nodeVault from 'node-vault';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type VaultTransitEncrypter,
  vaultTransitEncrypter,
  type VaultTransitEncrypterOptions,
} from '../src/index.ts';
import {
  type Answer,
  dataKey,
  html,
  hurriedClock,
  LoopbackVault,
  opened,
  refused,
} from './loopback-vault.ts';

const context = { namespace: 'shop' };
const wrapped = `vault:transit/jwt:associated_data:v1:${Buffer.alloc(60).toString('base64')}`;

let vault: LoopbackVault;
beforeEach(async () => {
  vault = await LoopbackVault.start();
});
afterEach(async () => vault.stop());

function open(options: Partial<VaultTransitEncrypterOptions> = {}): VaultTransitEncrypter {
  const client = nodeVault({ endpoint: vault.address, token: 'old-token' });
  return vaultTransitEncrypter({ client, key: 'jwt', clock: hurriedClock, ...options });
}

async function failureOf(work: Promise<unknown>): Promise<JwtAuthorityError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof JwtAuthorityError) return error;
  throw new Error('it did not fail as it should', { cause: error });
}

function expectFailure(error: JwtAuthorityError, code: string, text: string): void {
  expect(error).toMatchObject({ code });
  expect(error.message).toContain(text);
}

describe('what may pass is tried again, up to four times in all', () => {
  const passing: Record<string, Answer> = {
    'a lagging standby (412)': refused(412, 'required index state not present'),
    'a quota (429)': refused(429, 'request path "transit/decrypt/jwt": rate limit quota exceeded'),
    'an internal error (500)': refused(500, 'internal error'),
    'a gateway (502, HTML)': { status: 502, body: html },
    'sealed (503)': refused(503, 'Vault is sealed'),
    'a gateway time-out (504, no body)': { status: 504 },
    'a reset connection': 'reset',
  };
  describe.each(Object.entries(passing))('%s', (_what, answer) => {
    it('once', async () => {
      vault.script(answer, opened);
      expect(await open().decrypt(wrapped, context)).toEqual(dataKey);
      expect(vault.requests).toHaveLength(2);
    });

    it('always', async () => {
      vault.script(answer);
      expect(await failureOf(open().decrypt(wrapped, context))).toMatchObject({
        code: 'kek_unavailable',
        retryable: true,
      });
      expect(vault.requests).toHaveLength(4);
    });
  });

  it('not beyond the deadline', async () => {
    vault.script(refused(503, 'Vault is sealed'));
    const error = await failureOf(open({ timeout: 0.8, clock: undefined }).decrypt(wrapped, context));
    expect(error.code).toBe('kek_unavailable');
    // The pause before a fourth would end too late.
    expect(vault.requests.length).toBeLessThan(4);
  });
});

describe('what will not pass is asked once', () => {
  const unavailable: Record<string, Answer> = {
    '200 with HTML': { status: 200, body: html },
    '204': { status: 204 },
    '200 without data': { status: 200, body: { data: null } },
    '200 with another member': { status: 200, body: { data: { ciphertext: 'vault:v1:AAAA' } } },
    'a plaintext that is not base64': { status: 200, body: { data: { plaintext: 'AAA?' } } },
    'a plaintext of 31 bytes': {
      status: 200,
      body: { data: { plaintext: Buffer.alloc(31).toString('base64') } },
    },
    'no permission, or no valid token': refused(403, 'permission denied'),
    'a bad request of a kind that we do not know': refused(400, 'something new'),
    '400 with HTML': { status: 400, body: html },
    '404 with HTML': { status: 404, body: html },
    'a version below min_decryption_version': refused(
      400,
      'ciphertext or signature version is disallowed by policy (too old)',
    ),
  };
  const notConfigured: Record<string, Answer> = {
    'no transit engine there': refused(
      404,
      'no handler for route "transit/decrypt/jwt". route entry not found.',
    ),
    'no such key': refused(400, 'encryption key not found'),
    'a derived key': refused(
      400,
      "missing 'context' for key derivation; the key was created using a derived key",
    ),
    'a key for signatures': refused(400, 'key type ed25519 does not support decryption'),
  };
  const failed: Record<string, Answer> = {
    'an altered text': refused(400, 'cipher: message authentication failed'),
    'a version that does not exist': refused(400, 'invalid ciphertext: version is too new'),
  };
  it.each([
    ...Object.entries(unavailable).map(([what, answer]) => [what, 'kek_unavailable', answer] as const),
    ...Object.entries(notConfigured).map(([what, answer]) => [what, 'kek_not_configured', answer] as const),
    ...Object.entries(failed).map(([what, answer]) => [what, 'decryption_failed', answer] as const),
  ])('%s: %s', async (_what, code, answer) => {
    vault.script(answer);
    expect(await failureOf(open().decrypt(wrapped, context))).toMatchObject({ code });
    expect(vault.requests).toHaveLength(1);
  });

  it.each(['', 'vault:v1:', 'vault:v0:AAAA', 'vault:v1:AAA?', 'vault:v1:AAB=', html])(
    'a ciphertext %j is not stored',
    async (ciphertext) => {
      vault.scriptAfterCheck({ status: 200, body: { data: { ciphertext } } });
      expect(await failureOf(open().encrypt(dataKey, context))).toMatchObject({ code: 'kek_unavailable' });
      expect(vault.requests).toHaveLength(5);
    },
  );
});

describe('a deadline always', () => {
  it.each(['hang', 'hang in the body'] as const)('%s', async (answer) => {
    vault.script(answer);
    const error = await failureOf(open({ timeout: 0.5 }).decrypt(wrapped, context));
    expectFailure(error, 'kek_unavailable', '500 ms');
    expect(vault.requests.length).toBeLessThan(2);
  });

  it('a client that knows no time-out', async () => {
    const client = { write: (): Promise<never> => new Promise(() => {}) };
    const error = await failureOf(open({ client, timeout: 0.1 }).decrypt(wrapped, context));
    expect(error.code).toBe('kek_unavailable');
  });

  it('a login that does not come back', async () => {
    vault.script(refused(403, 'permission denied'));
    const onAuthError = (): Promise<never> => new Promise(() => {});
    const error = await failureOf(open({ onAuthError, timeout: 0.2 }).decrypt(wrapped, context));
    expect(error).toMatchObject({ code: 'kek_unavailable' });
  });

  it('nobody listens', async () => {
    expect.hasAssertions();
    const other = await LoopbackVault.start();
    const client = nodeVault({ endpoint: other.address, token: 'token' });
    await other.stop();
    const error = await failureOf(open({ client }).decrypt(wrapped, context));
    expectFailure(error, 'kek_unavailable', 'ECONNREFUSED');
  });
});

describe('onAuthError', () => {
  const byToken = (): void => {
    vault.answer = ({ token }) => (token === 'new-token' ? opened : refused(403, 'permission denied'));
  };

  it('logs in again, and the request is tried once more', async () => {
    byToken();
    const client = nodeVault({ endpoint: vault.address, token: 'old-token' });
    const onAuthError = (): void => {
      client.token = 'new-token';
    };
    expect(await open({ client, onAuthError }).decrypt(wrapped, context)).toEqual(dataKey);
    expect(vault.requests.map(({ token }) => token)).toEqual(['old-token', 'new-token']);
  });

  it('is called once for many requests', async () => {
    byToken();
    const client = nodeVault({ endpoint: vault.address, token: 'old-token' });
    let logins = 0;
    const onAuthError = async (): Promise<void> => {
      logins += 1;
      await new Promise((resolve) => setImmediate(resolve));
      client.token = 'new-token';
    };
    const encrypter = open({ client, onAuthError });
    const work = Array.from({ length: 20 }, async () => encrypter.decrypt(wrapped, context));
    expect(await Promise.all(work)).toHaveLength(20);
    expect(logins).toBe(1);
  });

  it('is not called in circles', async () => {
    vault.script(refused(403, 'permission denied'));
    let logins = 0;
    const onAuthError = (): void => void (logins += 1);
    const error = await failureOf(open({ onAuthError }).decrypt(wrapped, context));
    expectFailure(error, 'kek_unavailable', 'HTTP 403');
    expect([logins, vault.requests.length]).toEqual([1, 2]);
  });

  it('may fail, and is called again for the next request', async () => {
    byToken();
    const client = nodeVault({ endpoint: vault.address, token: 'old-token' });
    let logins = 0;
    const onAuthError = async (): Promise<void> => {
      logins += 1;
      if (logins === 1) throw new Error('secret-id old-secret refused');
      client.token = 'new-token';
    };
    const encrypter = open({ client, onAuthError });
    const error = await failureOf(encrypter.decrypt(wrapped, context));
    expectFailure(error, 'kek_unavailable', '"onAuthError" failed');
    expect(error.message).not.toContain('old-secret');
    expect(await encrypter.decrypt(wrapped, context)).toEqual(dataKey);
  });
});

describe('the check before the first encryption', () => {
  /** Binds nothing, as Vault before 1.13 with associated data. */
  const oldVault: LoopbackVault['answer'] = ({ body: { plaintext, ciphertext } }) => {
    if (ciphertext === undefined)
      return { status: 200, body: { data: { ciphertext: `vault:v1:${plaintext}` } } };
    return { status: 200, body: { data: { plaintext: ciphertext.slice('vault:v1:'.length) } } };
  };

  it('finds a server that does not bind, and wraps nothing there', async () => {
    vault.answer = oldVault;
    const error = await failureOf(open().encrypt(dataKey, context));
    expectFailure(error, 'kek_not_configured', 'it opens with any context');
    const sent = vault.requests.map(({ body }) => body['plaintext']);
    expect(sent).not.toContain(dataKey.toString('base64'));
  });

  it('lets it pass where nothing is to be bound', async () => {
    vault.answer = oldVault;
    const encrypter = open({ binding: 'none' });
    const encrypted = await encrypter.encrypt(dataKey, context);
    expect(await encrypter.decrypt(encrypted, {})).toEqual(dataKey);
  });

  it('finds that the key is missing before Vault creates it', async () => {
    vault.script(refused(400, 'encryption key not found'));
    expect(await failureOf(open().encrypt(dataKey, context))).toMatchObject({ code: 'kek_not_configured' });
    expect(vault.requests.map(({ path }) => path)).toEqual(['/v1/transit/decrypt/jwt']);
  });

  it('is made again after it failed', async () => {
    const encrypter = open();
    vault.script(refused(400, 'encryption key not found'));
    await failureOf(encrypter.encrypt(dataKey, context));
    await failureOf(encrypter.encrypt(dataKey, context));
    expect(vault.requests).toHaveLength(2);
  });
});
