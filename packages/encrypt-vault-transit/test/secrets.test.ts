import { inspect } from 'node:util';
import { JwtAuthorityError } from '@jwt-authority/core';
import nodeVault from 'node-vault';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { vaultTransitEncrypter } from '../src/index.ts';
import {
  type Answer,
  dataKey,
  html,
  hurriedClock,
  LoopbackVault,
  opened,
  refused,
} from './loopback-vault.ts';

// node-vault reads it when it is loaded.
vi.hoisted(() => {
  process.env['DEBUG'] = 'node-vault';
});

const token = 'hvs.a-token-that-nobody-may-see';
const context = { namespace: 'shop', other: 'bound, not shown' };
const data = Buffer.alloc(60, 7).toString('base64');
const wrapped = `vault:transit/jwt:associated_data:v1:${data}`;
const secrets = {
  token,
  'the key in base64': dataKey.toString('base64'),
  'the key in hex': dataKey.toString('hex'),
  'the key as text': dataKey.toString(),
  'the key as numbers': [...dataKey].join(', '),
  'the key as JSON numbers': [...dataKey].join(','),
  ciphertext: data,
  context: Buffer.from(JSON.stringify(context)).toString('base64').slice(40, 60),
  'a member of the context': context.other,
};

/** The names of the secrets that show anywhere in a value. */
function shown(...values: readonly unknown[]): string[] {
  const views = values.flatMap((value) => [
    String(value),
    inspect(value, {
      depth: Infinity,
      showHidden: true,
      getters: true,
      maxStringLength: null,
      maxArrayLength: null,
    }),
    JSON.stringify(value) ?? '',
    ...everythingIn(value),
  ]);
  return Object.entries(secrets)
    .filter(([, secret]) => views.some((view) => view.includes(secret)))
    .map(([name]) => name);
}

/** All texts that hang on a value, hidden ones and what `toJSON` gives included. */
function everythingIn(value: unknown, seen = new Set<unknown>()): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null || seen.has(value)) return [];
  seen.add(value);
  const own = Reflect.ownKeys(value).map((key): unknown => Reflect.get(value, key));
  const json: unknown =
    'toJSON' in value && typeof value.toJSON === 'function'
      ? Reflect.apply(value.toJSON, value, [])
      : undefined;
  return [...own, json, Object.getPrototypeOf(value)].flatMap((member) => everythingIn(member, seen));
}

describe('neither token nor plaintext shows', () => {
  let vault: LoopbackVault;
  const output: string[] = [];
  beforeAll(async () => {
    vault = await LoopbackVault.start();
    for (const stream of [process.stderr, process.stdout]) {
      vi.spyOn(stream, 'write').mockImplementation((chunk) => {
        output.push(String(chunk));
        return true;
      });
    }
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await vault.stop();
  });
  const client = (): ReturnType<typeof nodeVault> => nodeVault({ endpoint: vault.address, token });

  const echo = (status: number): Answer =>
    refused(status, `${token} ${dataKey.toString('base64')} ${data} ${context.other}`);
  const faults: Record<string, Answer> = {
    reset: 'reset',
    hang: 'hang',
    'hang in the body': 'hang in the body',
    'HTML with 200': { status: 200, body: html + Object.values(secrets).join(' ') },
    'an answer of another kind': { status: 200, body: { data: { other: Object.values(secrets) } } },
    ...Object.fromEntries(
      [400, 403, 404, 412, 429, 500, 503].map((status) => [`${status} that repeats it all`, echo(status)]),
    ),
    'a key too long': {
      status: 200,
      body: { data: { plaintext: Buffer.concat([dataKey, dataKey]).toString('base64') } },
    },
  };

  it.each(Object.entries(faults))('in what is thrown: %s', async (_what, answer) => {
    const onAuthError = async (): Promise<void> => {
      throw new Error(Object.values(secrets).join(' '));
    };
    for (const hook of [undefined, onAuthError]) {
      const encrypter = vaultTransitEncrypter({
        client: client(),
        key: 'jwt',
        timeout: typeof answer === 'string' ? 1 : 10,
        clock: hurriedClock,
        onAuthError: hook,
      });
      vault.scriptAfterCheck(answer);
      const wrapping = await encrypter.encrypt(dataKey, context).catch((error: unknown) => error);
      // The four of the check, and then the key itself.
      expect(vault.requests.length).toBeGreaterThan(4);
      vault.script(answer);
      const unwrapping = await encrypter.decrypt(wrapped, context).catch((error: unknown) => error);
      for (const error of [wrapping, unwrapping]) {
        expect(error).toBeInstanceOf(JwtAuthorityError);
        expect(error).not.toHaveProperty('cause');
      }
      expect(shown(wrapping, unwrapping, encrypter)).toEqual([]);
    }
  });

  it('in what node-vault prints with DEBUG=node-vault', async () => {
    output.length = 0;
    const encrypter = vaultTransitEncrypter({ client: client(), key: 'jwt' });
    vault.script(opened);
    await encrypter.decrypt(wrapped, context);
    await encrypter.encrypt(dataKey, context).catch(() => {});
    const printed = output.join('');
    // It does print what it sends.
    expect(printed).toContain('write');
    expect(printed).toContain('transit/decrypt/jwt');
    expect(shown(printed)).toEqual([]);
  });

  it('(node-vault itself shows both: these tests see it)', async () => {
    output.length = 0;
    vault.script('reset');
    const raw: unknown = await client()
      .write('transit/encrypt/jwt', { plaintext: dataKey.toString('base64') })
      .catch((error: unknown) => error);
    expect(shown(inspect(raw, { depth: 4 }))).toEqual(expect.arrayContaining(['token', 'the key in base64']));
    expect(shown(output.join(''))).toContain('the key in base64');
  });
});
