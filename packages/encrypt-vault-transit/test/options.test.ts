import { describe, expect, it } from 'vitest';
import { vaultTransitEncrypter, type VaultTransitEncrypterOptions } from '../src/index.ts';

const client = {
  write: (): Promise<never> => Promise.reject(new Error('nothing is asked in these tests')),
};
const context = { namespace: 'shop' };

describe('wrong options are a TypeError that names the option', () => {
  const wrong: readonly (readonly [option: string, value: unknown])[] = [
    ['client', undefined],
    ['client', {}],
    ['client', 'https://vault.example.com'],
    ...[
      '',
      '.',
      '..',
      '../../sys/seal',
      'a/b',
      'a%2Fb',
      'a b',
      'a?b',
      'a#b',
      'a\\b',
      '-a',
      'a.',
      'ä',
      'a\n',
      7,
    ].map((value) => ['key', value] as const),
    ['key', undefined],
    ['key', 'a'.repeat(257)],
    ...[
      '',
      '/',
      '/transit',
      'transit/',
      'a//b',
      '..',
      'a/../b',
      'a/./b',
      'a/...',
      'a b',
      'a?b',
      'a%2e',
      'ä',
      7,
    ].map((value) => ['mount', value] as const),
    ['binding', 'aad'],
    ...['', 'a:b', 'a b', '/a', 'a'.repeat(257), 7].map((value) => ['id', value] as const),
    ...[0, 0.05, 61, -1, '2m', 'soon', Number.NaN].map((value) => ['timeout', value] as const),
    ['onAuthError', 'login'],
    ['clock', {}],
  ];
  it.each(wrong)('%s: %j', (option, value) => {
    // As from JavaScript.
    const options = { client, key: 'jwt', [option]: value } as unknown as VaultTransitEncrypterOptions;
    expect(() => vaultTransitEncrypter(options)).toThrow(TypeError);
    expect(() => vaultTransitEncrypter(options)).toThrow(`"${option}"`);
  });

  it('one that is misspelt', () => {
    const options = { client, key: 'jwt', mounts: 'transit' };
    expect(() => vaultTransitEncrypter(options)).toThrow('"mounts" is not an option');
  });
});

describe('wrong arguments are a TypeError', () => {
  const encrypter = vaultTransitEncrypter({ client, key: 'jwt' });
  // As from JavaScript.
  const any = (value: unknown): never => value as never;

  it.each([[new Uint8Array(31)], [new Uint8Array(33)], ['a'.repeat(32)], [undefined]])(
    'dataKey %#',
    async (dataKey) => {
      await expect(encrypter.encrypt(any(dataKey), context)).rejects.toThrow(TypeError);
    },
  );

  it.each([[undefined], [null], [[]], [{ a: 1 }], ['a']])('context %#', async (value) => {
    await expect(encrypter.encrypt(new Uint8Array(32), any(value))).rejects.toThrow(TypeError);
    await expect(encrypter.decrypt('vault:', any(value))).rejects.toThrow(TypeError);
    await expect(encrypter.rewrap('vault:', any(value))).rejects.toThrow(TypeError);
  });

  it('encrypted', async () => {
    await expect(encrypter.decrypt(any(7), context)).rejects.toThrow(TypeError);
  });
});

describe('whose text it is', () => {
  const open = (
    options: Partial<VaultTransitEncrypterOptions> = {},
  ): ReturnType<typeof vaultTransitEncrypter> => vaultTransitEncrypter({ client, key: 'jwt', ...options });
  const text = `vault:transit/jwt:associated_data:v12:${Buffer.alloc(60).toString('base64')}`;

  it('the version of the key is read off it', () => {
    expect(open().keyVersionOf(text)).toBe(12);
    for (const other of [
      '',
      'vault:transit/jwt:associated_data:',
      text.replace('v12', 'v0'),
      `${text}=`,
      `${text} `,
    ])
      expect(open().keyVersionOf(other)).toBeUndefined();
  });

  it('another key, mount, binding or id is another encrypter', () => {
    const others = [
      { key: 'jwt2' },
      { mount: 'other' },
      { binding: 'context' },
      { binding: 'none' },
      { id: 'eu' },
    ] as const;
    expect(open().canDecrypt(text)).toBe(true);
    expect(open({ mount: 'moved', id: 'transit/jwt' }).canDecrypt(text)).toBe(true);
    for (const options of others) {
      expect(open(options).canDecrypt(text)).toBe(false);
      expect(open(options).keyVersionOf(text)).toBeUndefined();
    }
  });

  it('Vault is not asked for what is not of this key', async () => {
    for (const options of [{ key: 'jwt2' }, { binding: 'none' }] as const)
      await expect(open(options).decrypt(text, context)).rejects.toMatchObject({ code: 'decryption_failed' });
  });
});
