import { inspect } from 'node:util';
import { JwtAuthorityError } from '@jwt-authority/core';
import type { KeyEncrypter } from '@jwt-authority/core';
import { check, checkFails, type Definition, failureOf } from './cases.ts';
import {
  context,
  type EncrypterSession,
  type KeyEncrypterCaseOptions,
  newDataKey,
  refusals,
  same,
} from './key-encrypter-session.ts';

export const roundTripCases: readonly Definition<EncrypterSession>[] = [
  {
    name: 'a data-encryption key comes back, at every encrypter of the KEK',
    run: async (session) => {
      const [one, two] = [await session.open(), await session.open()];
      const keys = [
        newDataKey(),
        new Uint8Array(32),
        new Uint8Array(32).fill(255),
        Uint8Array.from({ length: 32 }, (_, index) => index),
      ];
      for (const dataKey of keys) {
        const encrypted = await one.encrypt(dataKey.slice(), context);
        check(typeof encrypted === 'string' && encrypted !== '', 'encrypt must resolve to a text');
        await checkDecrypts(
          one,
          encrypted,
          dataKey,
          'The private keys of the key set could never be opened again',
        );
        await checkDecrypts(
          two,
          encrypted,
          dataKey,
          'Another instance with the same KEK could not open the key set',
        );
      }
    },
  },
  {
    name: 'the fields of a context have no order',
    run: async (session) => {
      const { encrypter, dataKey, encrypted } = await session.openWrapped();
      const reversed = Object.fromEntries(Object.entries(context).toReversed());
      const result = await encrypter.decrypt(encrypted, reversed).catch(() => undefined);
      check(
        result !== undefined && same(result, dataKey),
        'The same context in another order fails to decrypt: it is one set of fields',
      );
    },
  },
  {
    name: 'two encryptions of a key differ',
    run: async (session) => {
      const { encrypter, dataKey, encrypted } = await session.openWrapped();
      const again = await encrypter.encrypt(dataKey.slice(), context);
      check(
        again !== encrypted,
        'Encrypting twice gave the same text: the nonce is used again, and tells which keys are equal',
      );
    },
  },
  {
    name: 'many at once do not mix',
    run: async (session) => {
      const encrypter = await session.open();
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          const own = { ...context, index: String(index) };
          const dataKey = newDataKey();
          const encrypted = await encrypter.encrypt(dataKey.slice(), own);
          const result = await encrypter.decrypt(encrypted, own).catch(() => undefined);
          check(
            result !== undefined && same(result, dataKey),
            'Of 20 keys encrypted at once, one came back as another or not at all',
          );
        }),
      );
    },
  },
  {
    name: 'the caller may zero what it gave and what it got',
    run: async (session) => {
      const encrypter = await session.open();
      const dataKey = newDataKey();
      const given = dataKey.slice();
      const encrypting = encrypter.encrypt(given, context);
      const encrypted = await encrypting;
      check(same(given, dataKey), 'encrypt altered the key given to it. Its caller still seals with it');
      given.fill(0);
      const one = await encrypter.decrypt(encrypted, context);
      check(same(one, dataKey), 'encrypt kept a reference to the key given to it, which its caller zeroes');
      one.fill(0);
      const two = await encrypter.decrypt(encrypted, context);
      check(
        same(two, dataKey),
        'decrypt gave out a key that it keeps: once the caller zeroes it, the next decryption gives zeros',
      );
    },
  },
];

export function otherCases({
  openOther,
  outage,
  close,
}: KeyEncrypterCaseOptions): Definition<EncrypterSession>[] {
  return [
    {
      name: 'it has a label',
      run: async (session) => {
        const { id } = await session.open();
        check(
          typeof id === 'string' && /^[\x21-\x7e]{1,512}$/.test(id),
          'id must be a label of 1 to 512 visible ASCII characters: it stands in status and messages',
        );
        check(
          (await session.open()).id === id,
          'id must be the same at every encrypter of the KEK: instances could not be compared',
        );
      },
    },
    {
      name: 'plaintext and context stand in no text, error or inspection',
      run: async (session) => {
        const { encrypter, dataKey, encrypted } = await session.openWrapped();
        const bytes = Buffer.from(dataKey);
        const plain = [
          ...(['hex', 'base64', 'base64url', 'latin1'] as const).map((encoding) =>
            bytes.toString(encoding).replaceAll('=', ''),
          ),
          [...bytes].join(','),
          [...bytes].join(', '),
        ];
        const reveals = (text: string): boolean => plain.some((form) => text.includes(form));
        const decoded = Buffer.from(encrypted.slice(encrypted.lastIndexOf(':') + 1), 'base64');
        check(
          !reveals(encrypted) && !decoded.includes(bytes),
          'The wrapped text contains the data-encryption key in clear: whoever reads the store has the private keys',
        );
        check(
          !encrypted.includes(context['other field']),
          'The wrapped text contains the context: it is to be bound, not stored',
        );
        const wrong = await failureOf(
          encrypter.decrypt(encrypted, {}),
          session.patience,
          'decrypt with no context: no answer',
        );
        const shownError = inspect(wrong, { depth: 9, showHidden: true });
        check(
          !reveals(shownError),
          'An error of decrypt contains the data-encryption key: it would stand in logs',
        );
        check(
          !shownError.includes(encrypted),
          'An error of decrypt contains the wrapped text. Messages name the KEK, nothing else',
        );
        check(
          !JwtAuthorityError.is(wrong) || !('cause' in wrong),
          "An error of decrypt has a cause: clients' errors carry requests with all that is in them",
        );
        await encrypter.decrypt(encrypted, context);
        const shown =
          inspect(encrypter, { depth: 9, showHidden: true, maxArrayLength: null }) +
          (JSON.stringify(encrypter) ?? '');
        check(
          !reveals(shown),
          'An inspection of the encrypter shows the data-encryption key: it would stand in logs',
        );
      },
    },
    {
      name: 'another KEK does not open it',
      applies: openOther !== undefined,
      run: async (session) => {
        const { encrypter, encrypted } = await session.openWrapped();
        const other = await openOther?.();
        if (other === undefined) return;
        try {
          check(other.id !== encrypter.id, 'Two KEKs have the same id: messages cannot tell them apart');
          check(
            !other.canDecrypt(encrypted),
            'canDecrypt must be false for the text of another KEK: after a change of KEK, the wrong one is asked',
          );
          const why = 'A KEK that was taken out of use must not open anything';
          await checkFails(
            other.decrypt(encrypted, context),
            refusals,
            'decrypt with another KEK',
            why,
            session.patience,
          );
        } finally {
          await close?.(other);
        }
      },
    },
    {
      name: 'an outage is an error in time that says try again',
      applies: outage !== undefined,
      run: async (session) => {
        if (outage === undefined) return;
        const { encrypter, dataKey, encrypted } = await session.openWrapped();
        await outage.begin();
        try {
          const why = 'A key set that cannot be opened now is kept. One that can never be opened is replaced';
          await Promise.all([
            checkFails(
              encrypter.decrypt(encrypted, context),
              ['kek_unavailable'],
              'decrypt during an outage',
              why,
              outage.deadline,
            ),
            checkFails(
              encrypter.encrypt(dataKey.slice(), context),
              ['kek_unavailable'],
              'encrypt during an outage',
              why,
              outage.deadline,
            ),
          ]);
        } finally {
          await outage.end();
        }
        await checkDecrypts(encrypter, encrypted, dataKey, 'It must recover by itself after an outage');
      },
    },
  ];
}

async function checkDecrypts(
  encrypter: KeyEncrypter,
  encrypted: string,
  dataKey: Uint8Array,
  why: string,
): Promise<void> {
  const result = await encrypter.decrypt(encrypted, context).catch(() => undefined);
  check(result !== undefined, `decrypt of what was encrypted, with the same context, failed. ${why}`);
  check(
    result instanceof Uint8Array && same(result, dataKey),
    `decrypt gave another key than was encrypted. ${why}`,
  );
}
