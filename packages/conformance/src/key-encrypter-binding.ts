import { randomBytes } from 'node:crypto';
import { check, checkFails, type Definition } from './cases.ts';
import {
  context,
  type EncrypterSession,
  type KeyEncrypterCaseOptions,
  refusals,
  same,
} from './key-encrypter-session.ts';

const notBound = 'The context is not bound: a key set copied from one namespace to another would open there';
const unauthenticated =
  'The text is not authenticated: whoever can write the store chooses the data-encryption key';
export function bindingCases({
  samples = 40,
  foreignTexts = [],
}: KeyEncrypterCaseOptions): Definition<EncrypterSession>[] {
  return [
    {
      name: 'another context fails',
      run: async (session) => {
        const { encrypter, encrypted } = await session.openWrapped();
        const { namespace, purpose, 'other field': other } = context;
        // Two fields that look like one, however an encrypter joins them.
        const merged = Object.fromEntries(
          ['=,', '=&', ':,', ':;', '= '].map(([is = '', and = '']) => [
            `a field within another (${is}${and})`,
            { namespace: `${namespace}${and}other field${is}${other}`, purpose },
          ]),
        );
        const contexts: Record<string, Record<string, string>> = {
          'another value': { ...context, namespace: 'other' },
          'a longer value': { ...context, namespace: `${namespace}x` },
          'an empty value': { ...context, namespace: '' },
          'another case': { ...context, namespace: namespace.toUpperCase() },
          'a field missing': { namespace, purpose },
          'another field missing': { purpose, 'other field': other },
          'a field too many': { ...context, extra: 'x' },
          'an empty field too many': { ...context, extra: '' },
          'swapped values': { ...context, namespace: purpose, purpose: namespace },
          'a name that took over a part of its value': {
            namespacec: 'ontract',
            purpose,
            'other field': other,
          },
          ...merged,
          'no fields': {},
        };
        for (const [what, wrong] of Object.entries(contexts)) {
          await checkFails(
            encrypter.decrypt(encrypted, wrong),
            ['decryption_failed'],
            `decrypt with ${what}`,
            notBound,
            session.patience,
          );
        }
      },
    },
    {
      name: 'an altered text fails',
      run: async (session) => {
        const { encrypter, dataKey, encrypted } = await session.openWrapped();
        for (const position of sample(encrypted.length, samples)) {
          const altered = replaceAt(encrypted, position, encrypted[position] === 'A' ? 'Q' : 'A');
          const what = `decrypt of a text altered at ${position} of ${encrypted.length}`;
          const result = await encrypter.decrypt(altered, context).catch(() => undefined);
          check(
            result === undefined || same(result, dataKey),
            `${what}: gave another key. ${unauthenticated}`,
          );
          // The last characters of a base64 text hold bits that mean nothing, and not every service minds them.
          if (result !== undefined && position >= encrypted.length - 3) continue;
          await checkFails(
            encrypter.decrypt(altered, context),
            refusals,
            what,
            unauthenticated,
            session.patience,
          );
        }
      },
    },
    {
      name: 'a text cut short or prolonged fails',
      run: async (session) => {
        const { encrypter, encrypted } = await session.openWrapped();
        const wrong = sample(encrypted.length, samples).map((length) => encrypted.slice(0, length));
        wrong.push(`${encrypted}AAAA`, `${encrypted}${encrypted}`, `AAAA${encrypted}`, encrypted.slice(1));
        for (const text of wrong) {
          const what = `decrypt of a text of ${encrypted.length} characters made ${text.length}`;
          await checkFails(
            encrypter.decrypt(text, context),
            refusals,
            what,
            unauthenticated,
            session.patience,
          );
        }
      },
    },
    {
      name: 'canDecrypt knows its own texts, and foreign ones fail',
      run: async (session) => {
        const { encrypter, encrypted } = await session.openWrapped();
        const again = await session.open();
        for (const one of [encrypter, again]) {
          check(
            one.canDecrypt(encrypted),
            "canDecrypt must be true for the KEK's own text: the key ring would not ask the right encrypter",
          );
        }
        const texts = [
          '',
          ' ',
          'A',
          'null',
          '{}',
          'local',
          'local::',
          'vault:v1:',
          'kms:',
          '\0',
          'x'.repeat(100_000),
          randomBytes(96).toString('base64'),
        ];
        for (const text of [...texts, ...foreignTexts]) {
          const shown = JSON.stringify(text).slice(0, 20);
          check(
            !encrypter.canDecrypt(text),
            `canDecrypt must be false for the foreign text ${shown}: the right encrypter is not asked then`,
          );
          await checkFails(
            encrypter.decrypt(text, context),
            refusals,
            `decrypt of the foreign text ${shown}`,
            'Whoever operates it must read that the KEK is the wrong one, not a raw error',
            session.patience,
          );
        }
      },
    },
  ];
}

/** Up to `count` of the numbers below `length`, evenly spread, the last ones always. */
function sample(length: number, count: number): number[] {
  const step = Math.max(1, Math.floor(length / count));
  return Array.from({ length }, (_, index) => index).filter(
    (index) => index % step === 0 || index >= length - 4,
  );
}

function replaceAt(text: string, position: number, character: string): string {
  return text.slice(0, position) + character + text.slice(position + 1);
}
