import { createSecretKey, randomBytes, scryptSync } from 'node:crypto';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openBytes } from '../src/aead.ts';
import { encodeFields } from '../src/encoding.ts';
import { localEncrypter } from '../src/local-encrypter.ts';
import { alterationsOf } from './alterations.ts';
import { failure, outcome } from './outcome.ts';

const key = Buffer.from('9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', 'hex');
const dataKey = Uint8Array.from({ length: 32 }, (_, index) => 255 - index);
const context = { namespace: 'prod', purpose: 'key set' };
const password = 'correct horse battery';
const salt = '0123456789abcdef';
// The least that is allowed: 60 ms per derivation.
const cost = 2 ** 14;
const anyContext = fc.dictionary(fc.string(), fc.string());

describe('localEncrypter with a key', () => {
  it('opens what it wrapped, in the same context', async () => {
    const encrypter = localEncrypter({ key });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 32, maxLength: 32 }), anyContext, async (bytes, bound) => {
        const encrypted = await encrypter.encrypt(bytes, bound);
        expect(encrypter.canDecrypt(encrypted), 'it recognises what it wrapped').toBe(true);
        expect([...(await encrypter.decrypt(encrypted, bound))], 'the same data key').toEqual([...bytes]);
      }),
    );
  });

  it('refuses another context, also one that looks alike when joined', async () => {
    const encrypter = localEncrypter({ key });
    const encrypted = await encrypter.encrypt(dataKey, context);
    const turned = { purpose: 'key set', namespace: 'prod' };
    expect([...(await encrypter.decrypt(encrypted, turned))], 'the order does not matter').toEqual([
      ...dataKey,
    ]);
    const others: Record<string, string>[] = [
      {},
      { namespace: 'prod' },
      { ...context, more: '' },
      { ...context, namespace: 'test' },
      { ...context, namespace: 'Prod' },
      { namespace: 'key set', purpose: 'prod' },
      { namespaceprod: 'purpose', 'key set': '' },
    ];
    for (const other of others) {
      expect(await outcome(encrypter.decrypt(encrypted, other)), `context ${JSON.stringify(other)}`).toBe(
        'decryption_failed',
      );
    }
  });

  it('P6: refuses any alteration of the wrapped text, its header included', async () => {
    const encrypter = localEncrypter({ key, id: '2026' });
    const encrypted = await encrypter.encrypt(dataKey, context);
    for (const altered of alterationsOf(encrypted, 'AB9:=\n')) {
      expect(await outcome(encrypter.decrypt(altered, context)), `altered to ${altered}`).toBe(
        'decryption_failed',
      );
    }
  });

  it('refuses any short tag, also the 4 bytes that plain Node 20 takes', async () => {
    const encrypter = localEncrypter({ key });
    const encrypted = await encrypter.encrypt(dataKey, context);
    const header = encrypted.slice(0, encrypted.lastIndexOf(':') + 1);
    const data = Buffer.from(encrypted.slice(header.length), 'base64url');
    for (let length = 0; length < data.length; length++) {
      const cut = header + data.subarray(0, length).toString('base64url');
      expect(await outcome(encrypter.decrypt(cut, context)), `${length} bytes`).toBe('decryption_failed');
    }
  });

  it('authenticates the header: the same key under another id cannot take the text over', async () => {
    const encrypted = await localEncrypter({ key, id: 'old' }).encrypt(dataKey, context);
    const renamed = encrypted.replace('local:old:', 'local:new:');
    const encrypter = localEncrypter({ key, id: 'new' });
    expect(encrypter.canDecrypt(renamed), 'it looks like its own').toBe(true);
    expect(
      await outcome(encrypter.decrypt(renamed, context)),
      'the id is part of what was authenticated',
    ).toBe('decryption_failed');
  });

  it('refuses another key of the same id', async () => {
    const encrypted = await localEncrypter({ key, id: '2026' }).encrypt(dataKey, context);
    expect(
      await outcome(localEncrypter({ key: randomBytes(32), id: '2026' }).decrypt(encrypted, context)),
      'another key',
    ).toBe('decryption_failed');
  });

  it('recognises exactly its own kind and id', async () => {
    const encrypter = localEncrypter({ key, id: '2026' });
    const encrypted = await encrypter.encrypt(dataKey, context);
    expect(encrypter.canDecrypt(encrypted), 'its own').toBe(true);
    const others = ['2025', '202', '20266', '2026.', '2026-v1'].map((id) => localEncrypter({ key, id }));
    for (const other of [
      ...others,
      localEncrypter({ key }),
      localEncrypter({ password, salt, cost, id: '2026' }),
    ]) {
      expect(other.canDecrypt(encrypted), `${other.id} did not wrap it`).toBe(false);
      expect(await outcome(other.decrypt(encrypted, context)), `${other.id} did not wrap it`).toBe(
        'decryption_failed',
      );
      expect(encrypter.canDecrypt(await other.encrypt(dataKey, context)), `${other.id} wrapped it`).toBe(
        false,
      );
    }
    const foreign = [
      '',
      'local:2026',
      'LOCAL:2026:v1:',
      ' local:2026:v1:',
      'kms:2026:v1:',
      'local:2026:v2:AA',
    ];
    for (const text of foreign) {
      expect(encrypter.canDecrypt(text), `${JSON.stringify(text)} is not its own`).toBe(false);
    }
    // From JavaScript, anything may come.
    expect(encrypter.canDecrypt(undefined as unknown as string), 'no text at all').toBe(false);
  });

  it('P5: never wraps with the same nonce, and shows nothing of the data key', async () => {
    const encrypter = localEncrypter({ key });
    const all = await Promise.all(Array.from({ length: 1000 }, () => encrypter.encrypt(dataKey, context)));
    const data = all.map((encrypted) =>
      Buffer.from(encrypted.slice(encrypted.lastIndexOf(':') + 1), 'base64url'),
    );
    expect(new Set(data.map((bytes) => bytes.toString('hex', 0, 12))).size, 'nonces must differ').toBe(
      all.length,
    );
    expect(data[0]?.length, 'nonce, ciphertext and a full tag').toBe(12 + 32 + 16);
  });

  it('gives the data key as a copy, and leaves what it is given alone', async () => {
    const mine = Uint8Array.from(key);
    const given = Uint8Array.from(dataKey);
    const encrypter = localEncrypter({ key: mine });
    expect([...mine], "the caller's key").toEqual([...key]);
    mine.fill(0);
    const encrypted = await encrypter.encrypt(given, context);
    expect([...given], "the caller's data key").toEqual([...dataKey]);
    (await encrypter.decrypt(encrypted, context)).fill(0);
    expect([...(await encrypter.decrypt(encrypted, context))], 'zeroing one copy leaves the next').toEqual([
      ...dataKey,
    ]);
    expect([...(await localEncrypter({ key }).decrypt(encrypted, context))], 'the key was copied').toEqual([
      ...dataKey,
    ]);
  });

  it('labels a key by its id, or by a fingerprint that is the same in every process', () => {
    expect(localEncrypter({ key, id: '2026' }).id, 'the id given').toBe('local:2026');
    expect(localEncrypter({ key }).id, 'stored texts name it').toBe('local:d696230c');
    expect(localEncrypter({ key: key.toString('base64') }).id, 'whatever the spelling').toBe(
      'local:d696230c',
    );
    expect(localEncrypter({ key: randomBytes(32) }).id, 'another key').not.toBe('local:d696230c');
  });

  it('opens what version 1 wrapped, and binds header and context', async () => {
    const stored =
      'local:2026:v1:e9XjQ6WWq8NKh6plbOgIvxefPbRl6pH6jWPlM7ZcR8TZQhNWMKJYh8aIdIu9v491rxAbLuHSK5OmzJrr';
    expect([...(await localEncrypter({ key, id: '2026' }).decrypt(stored, { namespace: 'prod' }))]).toEqual([
      ...dataKey,
    ]);
    const data = Buffer.from(stored.slice(stored.lastIndexOf(':') + 1), 'base64url');
    const associatedData = encodeFields([
      'jwt-authority/local-encrypter/wrap',
      'local:2026:v1:',
      1,
      'namespace',
      'prod',
    ]);
    const opened = openBytes(createSecretKey(key), data.subarray(12), associatedData, data.subarray(0, 12));
    expect(opened, 'label, header, count, members').toEqual(Buffer.from(dataKey));
  });
});

describe('localEncrypter.forTests', () => {
  it('has another random key each time', async () => {
    const [one, two] = [localEncrypter.forTests(), localEncrypter.forTests()];
    const encrypted = await one.encrypt(dataKey, context);
    expect([...(await one.decrypt(encrypted, context))], 'it works').toEqual([...dataKey]);
    expect(one.id, 'told apart by their ids').not.toBe(two.id);
    expect(two.canDecrypt(encrypted), 'another key').toBe(false);
    expect(await outcome(two.decrypt(encrypted, context)), 'another key').toBe('decryption_failed');
  });
});

describe('misuse of localEncrypter', () => {
  const half = key.subarray(0, 16);
  const misuses: [what: string, options: unknown, message: string][] = [
    ['nothing', undefined, '"localEncrypter" must be given an options object, got undefined'],
    [
      'the key itself',
      key.toString('base64'),
      '"localEncrypter" must be given an options object, got a string of 44 characters',
    ],
    [
      'no options',
      {},
      '"key" must be 32 bytes, or a text of them in base64, base64url or hex, got undefined. Make one with:',
    ],
    ['a key that is undefined', { key: undefined }, '"key" must be 32 bytes, or a text of them'],
    [
      'a short key',
      { key: key.subarray(0, 24).toString('base64') },
      '"key" must be 32 bytes, got 24 (a base64 text of 32 characters). Make one with: openssl rand -base64 32',
    ],
    [
      'a repeated key',
      { key: Buffer.concat([half, half]) },
      '"key" must be 32 random bytes, got ones that repeat',
    ],
    [
      'a misspelt option',
      { keys: key },
      '"keys" is not an option of localEncrypter. It takes: key, password, salt, cost, id',
    ],
    [
      'both',
      { key, password, salt },
      'localEncrypter takes either "key" or "password" with "salt" and "cost", not both',
    ],
    ['a key and a cost', { key, cost }, 'localEncrypter takes either "key" or "password"'],
    [
      'no salt',
      { password },
      '"salt" must be 16 to 64 bytes (make one with: openssl rand -base64 16), got undefined',
    ],
    ['a short salt', { password, salt: 'short' }, '"salt" must be 16 to 64 bytes'],
    [
      'a long salt',
      { password, salt: new Uint8Array(65) },
      '"salt" must be 16 to 64 bytes (make one with: openssl rand -base64 16), got 65 bytes',
    ],
    [
      'no password',
      { salt },
      '"password" must be a text of at least 12 characters, 4 of them different, without white space at its ends, got undefined',
    ],
    [
      'a short password',
      { password: '12345678901', salt },
      '"password" must be a text of at least 12 characters',
    ],
    [
      'a newline behind it',
      { password: `${password}\n`, salt },
      '"password" must be a text of at least 12 characters',
    ],
    [
      'a repeated password',
      { password: 'aaaaaaaaaaaaaaaa', salt },
      '"password" must be a text of at least 12 characters',
    ],
    ['password as bytes', { password: key, salt }, '"password" must be a text of at least 12 characters'],
    [
      'a low cost',
      { password, salt, cost: 2 ** 13 },
      '"cost" must be a whole number from 16384 to 1048576, got the number 8192',
    ],
    ['a high cost', { password, salt, cost: 2 ** 21 }, '"cost" must be a whole number from 16384 to 1048576'],
    [
      'an odd cost',
      { password, salt, cost: 100_000 },
      '"cost" must be a power of two, got the number 100000',
    ],
    [
      'a cost as text',
      { password, salt, cost: '16384' },
      '"cost" must be a whole number from 16384 to 1048576',
    ],
    ...['', 'local:2026', 'a b', 'a\n', '.a', 'é', 'a'.repeat(65), 5, null].map(
      (id): [string, unknown, string] => [
        `id ${JSON.stringify(id)}`,
        { key, id },
        '"id" must be 1 to 64 letters, digits or . _ - and begin with',
      ],
    ),
  ];
  it.each(misuses)('refuses %s', (_what, options, message) => {
    // From JavaScript, anything may come.
    const action = (): unknown => localEncrypter(options as { key: string });
    expect(action, 'a TypeError that names the option and the rule').toThrow(TypeError);
    expect(action, 'a TypeError that names the option and the rule').toThrow(message);
  });

  it('takes undefined for an option that is left out', () => {
    const options = { key, id: undefined, password: undefined, salt: undefined, cost: undefined };
    // exactOptionalPropertyTypes forbids it; callers without that flag write it.
    expect(localEncrypter(options as unknown as { key: Buffer }).id).toBe(localEncrypter({ key }).id);
  });

  it.each([
    ['a data key of 31 bytes', new Uint8Array(31), context, '"dataKey" must be 32 bytes, got 31 bytes'],
    [
      'a data key as text',
      'a'.repeat(32),
      context,
      '"dataKey" must be 32 bytes, got a string of 32 characters',
    ],
    ['no context', dataKey, undefined, '"context" must be an object whose values are texts, got undefined'],
    [
      'a number in the context',
      dataKey,
      { revision: 5 },
      '"context" must be an object whose values are texts (all of them)',
    ],
  ])('refuses to wrap with %s', async (_what, bytes, bound, message) => {
    // From JavaScript, anything may come.
    const wrapping = localEncrypter({ key }).encrypt(bytes as Uint8Array, bound as Record<string, string>);
    await expect(wrapping, 'misuse is no decryption failure').rejects.toThrow(
      new TypeError(message + afterRule(message)),
    );
  });

  it('refuses to open what is no text', async () => {
    // From JavaScript, anything may come.
    const opening = localEncrypter({ key }).decrypt(undefined as unknown as string, context);
    await expect(opening).rejects.toThrow(new TypeError('"encrypted" must be a text, got undefined'));
  });
});

/** The one message above that is given without its end. */
function afterRule(message: string): string {
  return message.endsWith('(all of them)') ? ', got the number 5' : '';
}

describe('P5: what an encrypter shows', () => {
  it('shows its id and nothing secret, by any way to print it', async () => {
    const keyed = localEncrypter({ key, id: '2026' });
    const byPassword = localEncrypter({ password, salt, cost, id: 'mine' });
    const printed: string[] = [];
    for (const encrypter of [keyed, byPassword]) {
      const encrypted = await encrypter.encrypt(dataKey, context);
      await encrypter.decrypt(encrypted, context);
      const error = await failure(encrypter.decrypt(encrypted, { namespace: 'tenant 4711' }));
      expect(error?.code, 'another context').toBe('decryption_failed');
      const payload = encrypted.slice(encrypted.lastIndexOf(':') + 1);
      const everything = { depth: Infinity, showHidden: true, getters: true } as const;
      const own = Reflect.ownKeys(encrypter).map((name) => inspect(Reflect.get(encrypter, name), everything));
      const prints = [inspect(encrypter, everything), JSON.stringify(encrypter), ...own];
      printed.push(...prints, inspect(error, everything), JSON.stringify(error), String(error?.stack));
      expect(printed.join(), 'no ciphertext in errors').not.toContain(payload);
      expect(JSON.parse(JSON.stringify(encrypter)), 'its id only').toEqual({ id: encrypter.id });
      expect(Reflect.ownKeys(encrypter), 'its id only').toEqual(['id']);
    }
    const derived = scryptSync(password, salt, 32, { N: cost, r: 8, p: 1 });
    const secrets = [key, Buffer.from(dataKey), derived, Buffer.from(password)].flatMap((bytes) => [
      ...(['hex', 'base64', 'base64url', 'latin1'] as const).map((encoding) => bytes.toString(encoding)),
      [...bytes.subarray(0, 8)].join(', '),
      bytes.toString('hex', 0, 8).replace(/..(?=.)/g, '$& '),
    ]);
    for (const secret of [...secrets, 'tenant 4711']) {
      expect(printed.join('\n'), 'a secret in what is printed').not.toContain(secret);
    }
    expect(inspect(keyed), 'as a developer sees it').toBe("LocalEncrypter { id: 'local:2026' }");
  });
});
