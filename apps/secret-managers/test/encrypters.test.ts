import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { keyEncrypterCases, registerCases } from '@jwt-authority/conformance';
import {
  createJwtAuthority,
  JwtAuthorityError,
  localEncrypter,
  type KeyEncrypter,
} from '@jwt-authority/core';
import { memoryStore } from '@jwt-authority/store-memory';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { akeylessEncrypter } from '../src/akeyless.ts';
import { infisicalEncrypter } from '../src/infisical.ts';
import { akeyless, infisical, startLoopbackKms, type LoopbackKms } from './loopback-kms.ts';

const timeout = 500;

interface Kind {
  readonly name: string;
  readonly shape: typeof infisical;
  make(address: string, key: string, token?: string): KeyEncrypter;
}

const kinds: readonly Kind[] = [
  {
    name: 'Infisical KMS',
    shape: infisical,
    make: (address, keyId, token = 'the-token') =>
      infisicalEncrypter({ address, keyId, accessToken: () => token, timeout }),
  },
  {
    name: 'Akeyless',
    shape: akeyless,
    make: (address, key, token = 'the-token') =>
      akeylessEncrypter({ address, keyName: `/jwt/${key}`, token: async () => token, timeout }),
  },
];

describe.each(kinds)('$name, on a loopback server with its documented wire shape', ({ shape, make }) => {
  let kms: LoopbackKms;
  beforeAll(async () => {
    kms = await startLoopbackKms(shape);
  });
  afterAll(async () => kms.close());

  registerCases(
    it,
    keyEncrypterCases(() => make(kms.address, 'kek'), {
      openOther: () => make(kms.address, 'other'),
      foreignTexts: ['infisical:keks:v1:AAAA.AAAA', 'akeyless:/jwt/keks:v1:AAAA.AAAA'],
      outage: {
        begin: async () => void (kms.trouble = 'hang'),
        end: async () => void (kms.trouble = undefined),
        deadline: 4000,
      },
    }),
  );

  it.each(['reset', 'html', 'redirect', 400, 401, 403, 404, 429, 500, 503] as const)(
    'an answer that is none (%s) is kek_unavailable, in our words only',
    async (trouble) => {
      const encrypter = make(kms.address, 'kek');
      const encrypted = await encrypter.encrypt(new Uint8Array(32).fill(7), {});
      kms.trouble = trouble;
      const error = await encrypter.decrypt(encrypted, {}).catch((thrown: unknown) => thrown);
      kms.trouble = undefined;
      expect(
        JwtAuthorityError.is(error) && error.code,
        'what could mean "altered" would let an old key set take the place of an authentic one',
      ).toBe('kek_unavailable');
      const shown = inspect(error, { depth: 9, showHidden: true });
      expect(shown, 'neither the token nor what the service says may be seen').not.toContain('the-token');
    },
  );

  it('P6: a text forged with a checksum of its own opens nothing', async () => {
    const encrypter = make(kms.address, 'kek');
    const encrypted = await make(kms.address, 'other').encrypt(new Uint8Array(32).fill(8), {});
    const text = encrypted.slice(0, encrypted.lastIndexOf('.')).replace('other', 'kek');
    const forged = `${text}.${createHash('sha256').update(text).digest('base64url')}`;
    const error = await encrypter.decrypt(forged, {}).catch((thrown: unknown) => thrown);
    expect(
      JwtAuthorityError.is(error) && error.code,
      'the service says no, as it does when it is down: nothing is opened, and nothing is replaced',
    ).toBe('kek_unavailable');
  });

  it('P1: a key set moves from a local KEK to it and back, and no token is lost', async () => {
    const store = memoryStore();
    const local = localEncrypter.forTests();
    const remote = make(kms.address, 'kek');
    const tokens: string[] = [];
    for (const encrypter of [[local], [remote, local], [remote], [local, remote], [local]] as const) {
      await using authority = await createJwtAuthority({
        store,
        encrypter: [...encrypter],
        algorithms: ['ES256'],
      });
      tokens.push((await authority.sign({ sub: 'somebody' })).token);
      if (encrypter.length === 2) await authority.rotator.rewrap();
      for (const token of tokens) {
        expect((await authority.verify(token)).sub, 'signed before the change').toBe('somebody');
      }
    }
  });
});

describe('wrong options name themselves', () => {
  it.each([
    [
      'keyId',
      () => infisicalEncrypter({ address: 'http://127.0.0.1', keyId: '../x', accessToken: () => '' }),
    ],
    ['keyName', () => akeylessEncrypter({ address: 'http://127.0.0.1', keyName: 'a b', token: () => '' })],
  ])('%s', (name, call) => {
    expect(call, 'a TypeError at construction').toThrow(new RegExp(`^"${name}" must `));
  });
});
