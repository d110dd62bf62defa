import type { ReplayStore } from '@jwt-authority/core';
import { checkFails, checkMisuse, type Definition } from './cases.ts';
import {
  checkIs,
  checkOneClaim,
  denied,
  replayed,
  type ReplaySession,
  type ReplayStoreCaseOptions,
} from './replay-store-session.ts';

export const useCases: readonly Definition<ReplaySession>[] = [
  {
    name: 'a value is claimed once',
    run: async (session) => {
      const store = await session.open();
      const other = await session.open();
      checkIs(await store.claim('value', 60), true, `The first claim of a value must be true. ${denied}`);
      checkIs(
        await store.claim('value', 60),
        false,
        `The second claim of a value must be false. ${replayed}`,
      );
      checkIs(
        await other.claim('value', 60),
        false,
        `Another client's claim of a claimed value must be false. ${replayed}`,
      );
    },
  },
  {
    name: 'of fifty claims at once, one is true',
    run: async (session) => {
      const clients = [await session.open(), await session.open(), await session.open()];
      for (const value of ['first', 'second', 'third']) await checkOneClaim(clients, value);
    },
  },
  {
    name: 'has knows what was added or claimed, in every client',
    run: async (session) => {
      const store = await session.open();
      const other = await session.open();
      checkIs(await store.has('value'), false, `has of an unknown value must be false. ${denied}`);
      checkIs(await store.claim('value', 60), true, `Asking for a value must not claim it. ${denied}`);
      await store.add('added', 60);
      for (const value of ['value', 'added']) {
        checkIs(
          await store.has(value),
          true,
          `has must be true after it was ${value === 'added' ? value : 'claimed'}. ${replayed}`,
        );
        checkIs(await other.has(value), true, `has must be true in another client. ${replayed}`);
      }
    },
  },
  {
    name: 'an added value cannot be claimed',
    run: async (session) => {
      const store = await session.open();
      await store.add('value', 60);
      checkIs(await store.claim('value', 60), false, `claim after add must be false. ${replayed}`);
    },
  },
  {
    name: 'a deleted value can be claimed again, no other',
    run: async (session) => {
      const store = await session.open();
      await store.delete('never seen');
      await store.claim('value', 60);
      await store.claim('value-2', 60);
      await store.delete('value');
      checkIs(await store.has('value'), false, `has must be false after delete. ${denied}`);
      checkIs(
        await store.claim('value', 60),
        true,
        'claim must be true after delete: that is what delete is for',
      );
      checkIs(await store.claim('value-2', 60), false, `delete removed another value as well. ${replayed}`);
    },
  },
  {
    name: 'stores of different names do not touch',
    run: async (session) => {
      const store = await session.open();
      const other = await session.open(`${session.name}-other`);
      await store.claim('value', 60);
      checkIs(
        await other.claim('value', 60),
        true,
        `A value claimed in another store was refused. ${denied}`,
      );
      await other.delete('value');
      checkIs(await store.has('value'), true, `Deleting a value removed it from another store. ${replayed}`);
    },
  },
];

export function valueCases({ numbers = false }: ReplayStoreCaseOptions): Definition<ReplaySession>[] {
  return [
    {
      name: 'values that are alike are not the same',
      run: async (session) => {
        const store = await session.open();
        const values = [
          'a',
          'A',
          'a:',
          'a:b',
          'a:b:c',
          ':a',
          'a b',
          'a\0',
          'a\0b',
          'a\n',
          'a\r\nDEL a',
          'a*',
          '*',
          '{a}',
          '../a',
          'a/b',
          'a%00',
        ]
          .concat([
            'é',
            'e\u0301',
            '漢字',
            '😀',
            '__proto__',
            'constructor',
            'toString',
            '0',
            '00',
            '1',
            '1.0',
            '-1',
            'null',
            'undefined',
            'true',
          ])
          .concat([`${'x'.repeat(4096)}1`, `${'x'.repeat(4096)}2`]);
        for (const value of values) {
          const shown = JSON.stringify(value).slice(0, 40);
          checkIs(
            await store.has(value),
            false,
            `has(${shown}) must be false before its first use: it is taken for another value. ${denied}`,
          );
          checkIs(
            await store.claim(value, 60),
            true,
            `The first claim of ${shown} must be true: it is taken for another value. ${denied}`,
          );
        }
        for (const value of values) {
          checkIs(
            await store.claim(value, 60),
            false,
            `The second claim of ${JSON.stringify(value).slice(0, 40)} must be false. ${replayed}`,
          );
        }
      },
    },
    {
      name: 'a number is not its text',
      applies: numbers,
      run: async (session) => {
        // The option says that this store takes them.
        const store = (await session.open()) as unknown as ReplayStore<string | number>;
        checkIs(await store.claim(1, 60), true, 'A number was refused');
        checkIs(await store.claim('1', 60), true, `'1' was refused after 1. ${denied}`);
        checkIs(await store.claim(1.5, 60), true, `1.5 was refused after 1. ${denied}`);
        await store.delete('1');
        checkIs(await store.claim(1, 60), false, `Deleting '1' deleted 1. ${replayed}`);
      },
    },
    {
      name: 'what is no value is refused with a TypeError',
      run: async (session) => {
        const store = await session.open();
        const why = 'A token without an id would count as every other token without one';
        const values: Record<string, unknown> = {
          undefined,
          null: null,
          NaN,
          object: {},
          array: ['a'],
          true: true,
        };
        for (const [shown, value] of Object.entries(values)) {
          // Wrong on purpose.
          const wrong = value as string;
          await checkMisuse(() => store.claim(wrong, 60), `claim(${shown}, 60)`, why, session.patience);
          await checkMisuse(() => store.add(wrong, 60), `add(${shown}, 60)`, why, session.patience);
          await checkMisuse(() => store.has(wrong), `has(${shown})`, why, session.patience);
        }
      },
    },
  ];
}

export function failureCases({ closeClient, freezing }: ReplayStoreCaseOptions): Definition<ReplaySession>[] {
  const why = 'If nobody can say whether a token was used before, it must be refused with a clear error';
  const checkAllFail = async (store: ReplayStore, when: string, patience: number): Promise<void> => {
    const calls = {
      claim: store.claim('new', 60),
      add: store.add('new', 60),
      has: store.has('new'),
      delete: store.delete('new'),
    };
    await Promise.all(
      Object.entries(calls).map(([name, call]) =>
        checkFails(call, ['replay_store_unavailable'], `${name} ${when}`, why, patience),
      ),
    );
  };
  return [
    {
      name: 'a closed client is a clear error',
      applies: closeClient !== undefined,
      run: async (session) => {
        const store = await session.open();
        await store.claim('value', 60);
        await closeClient?.(store);
        await checkAllFail(store, 'with a closed client', session.patience);
      },
    },
    {
      name: 'a frozen service is an error in time',
      applies: freezing !== undefined,
      run: async (session) => {
        if (freezing === undefined) return;
        const store = await session.open();
        await store.claim('value', 60);
        await freezing.freeze();
        try {
          await checkAllFail(store, 'on a frozen service', freezing.deadline);
        } finally {
          await freezing.thaw();
        }
      },
    },
  ];
}
