import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { JwtAuthorityError } from '@jwt-authority/core';
import type { KeySetStore, StoredKeySet } from '@jwt-authority/core';
import { check, checkFails, type Definition } from './cases.ts';
import {
  checkStored,
  keySet,
  type KeySetStoreCaseOptions,
  type StoreSession,
} from './key-set-store-session.ts';

export function contentCases(options: KeySetStoreCaseOptions): Definition<StoreSession>[] {
  return [
    {
      name: 'a store knows its namespace',
      run: async (session) => {
        const store = await session.open();
        check(
          store.namespace === session.namespace,
          'store.namespace is not the namespace it was opened for. It is bound into what protects the keys: nothing would open elsewhere',
        );
      },
    },
    {
      name: 'what was never written is absent',
      run: async (session) => {
        const store = await session.open();
        await checkStored(
          store,
          undefined,
          'An authority would take it for a damaged key set, and never make a first one',
        );
      },
    },
    {
      name: 'an empty document is not an absent one',
      run: async (session) => {
        const store = await session.open();
        const empty = keySet(1, '');
        check(
          await session.write(store, empty),
          'A key set with an empty document was refused; documents are opaque to a store',
        );
        await checkStored(
          store,
          empty,
          'Absent means: make new keys. That must never be concluded from something that is there',
        );
      },
    },
    {
      name: 'another client reads exactly what was written',
      run: async (session) => {
        const writer = await session.open();
        const reader = await session.open();
        const documents = {
          JSON: '{"a":[1,2,{"b":null}],"c":"\\u0000\\"\\\\"}',
          'NUL and control characters': '\0a\0\u0001\u001f\u007f\0',
          'line ends': 'a\nb\r\nc\rd\u2028e\n',
          'blanks around': '  \t a \t  ',
          'a byte order mark': '\uFEFFa',
          Unicode: 'é e\u0301 ß 漢字 😀 \u{10FFFF} \uFFFD',
          escapes: '%00 \\x00 &amp; ${a} {{b}} %s :a: *',
          '30 KB': randomBytes(15_360).toString('hex'),
        };
        let previous: StoredKeySet | undefined;
        for (const [kind, document] of Object.entries(documents)) {
          const next = keySet((previous?.revision ?? 0) + 1, document);
          check(
            await session.write(writer, next, previous),
            `A document with ${kind} was refused; documents are opaque to a store`,
          );
          await checkStored(
            reader,
            next,
            `The document had ${kind}. One altered character, and no instance accepts the key set`,
          );
          previous = next;
        }
      },
    },
    {
      name: 'lone surrogates are refused or come back exactly',
      run: async (session) => {
        const store = await session.open();
        const next = keySet(1, 'a\uD800b\uDC00');
        const written = await session.write(store, next).catch((error: unknown) => {
          if (error instanceof TypeError || JwtAuthorityError.is(error)) return false;
          throw error;
        });
        await checkStored(
          store,
          written ? next : undefined,
          'A lone surrogate became another character, unnoticed',
        );
      },
    },
    {
      name: 'revisions may jump, up to the largest safe integer',
      run: async (session) => {
        const { store, first } = await session.openWritten();
        let previous = first;
        for (const revision of [1000, 2 ** 31, Number.MAX_SAFE_INTEGER]) {
          const next = keySet(revision);
          check(
            await session.write(store, next, previous),
            `Revision ${revision} after ${previous.revision} was refused. Healing skips revisions`,
          );
          await checkStored(store, next, `Revision ${revision} must come back exactly`);
          previous = next;
        }
      },
    },
    {
      name: 'a store keeps copies and gives out copies',
      run: async (session) => {
        const store = await session.open();
        const given = { ...keySet(1) };
        const original = { ...given };
        check(await session.write(store, given), 'The first key set was refused');
        given.document = 'altered by the writer';
        given.revision = 99;
        await checkStored(
          store,
          original,
          'The store kept a reference to the object given to it: whoever alters that alters the key set',
        );
        const { stored } = await store.load();
        // Readonly for the type only; a frozen object may stay as it is.
        if (stored !== undefined) Reflect.set(stored, 'document', 'altered by a reader');
        await checkStored(
          store,
          original,
          'The store gave out a reference: one reader alters what all others read',
        );
      },
    },
    {
      name:
        options.storeTime === true ? 'load gives the time of the store' : 'load gives no time, as declared',
      run: async (session) => {
        const store = await session.open();
        const { storeTime: before } = await store.load();
        if (options.storeTime !== true) {
          check(
            before === undefined,
            'load gives storeTime: declare { storeTime: true }, so that it is tested',
          );
          return;
        }
        await session.write(store, keySet(1));
        const { storeTime: after } = await store.load();
        for (const [time, when] of [
          [before, 'nothing is stored'],
          [after, 'something is stored'],
        ] as const) {
          check(
            typeof time === 'number' &&
              Number.isFinite(time) &&
              time > 1_500_000_000_000 &&
              time < 100_000_000_000_000,
            `storeTime must be epoch milliseconds when ${when}: by it, writes that come too late are refused`,
          );
        }
        check(
          (before ?? 0) <= (after ?? 0),
          'storeTime went back between two loads. A deadline counted from it could come before now',
        );
      },
    },
  ];
}

export const namespaceCases: readonly Definition<StoreSession>[] = [
  {
    name: 'namespaces do not touch one another',
    run: async (session) => {
      const base = session.namespace;
      const longest = `${base}:A-Z.a_z-0:9`.padEnd(128, 'x');
      const names = [
        base,
        `${base}:a`,
        `${base}.a`,
        `${base}-a`,
        `${base}_a`,
        `${base}:a:b`,
        `${base}a`,
        `${base}:`,
        `${base}..`,
        longest,
        // Differs in its last character only: no part of a name may be cut off.
        `${longest.slice(0, -1)}y`,
      ];
      const written: { name: string; store: KeySetStore; own: StoredKeySet }[] = [];
      for (const name of names) {
        const store = await session.open(name);
        await checkStored(
          store,
          undefined,
          `Nothing was written to "${name}" yet, only to names like it: their keys are mixed`,
        );
        const own = keySet(written.length + 1, name);
        check(await session.write(store, own), `The legal namespace "${name}" cannot be written to`);
        written.push({ name, store, own });
      }
      for (const { name, store, own } of written) {
        await checkStored(
          store,
          own,
          `"${name}" was overwritten by another namespace: one tenant's keys replace another's`,
        );
      }
    },
  },
  {
    name: 'names of object members are ordinary namespaces',
    run: async (session) => {
      for (const name of ['constructor', 'toString', 'hasOwnProperty', 'valueOf']) {
        const store = await session.open(name);
        const { stored } = await store.load();
        const next = keySet(1);
        check(await session.write(store, next, stored), `The namespace "${name}" cannot be written to`);
        await checkStored(store, next, `"${name}" collides with a member of every object`);
      }
    },
  },
  {
    name: 'namespaces that differ in case are kept apart or refused',
    run: async (session) => {
      const lower = await session.open(`${session.namespace}-case`);
      const own = keySet(1);
      await session.write(lower, own);
      try {
        const upper = await session.open(`${session.namespace}-CASE`);
        await checkStored(upper, undefined, 'A namespace reads the keys of another one that differs in case');
        await session.write(upper, keySet(1));
      } catch (error) {
        if (!JwtAuthorityError.is(error)) throw error;
      }
      await checkStored(lower, own, 'A namespace was overwritten by another one that differs in case');
    },
  },
  {
    name: 'hostile namespaces are refused with a TypeError or kept apart',
    run: async (session) => {
      const { store: innocent, first } = await session.openWritten();
      const base = session.namespace;
      const names = [
        '',
        '.',
        '..',
        '*',
        '{}',
        ':',
        '-',
        '__proto__',
        `../${base}`,
        `./${base}`,
        `x/../${base}`,
        `/${base}`,
        `${base}/`,
      ]
        .concat([
          `${base}*`,
          `{${base}}`,
          `${base} `,
          ` ${base}`,
          `${base}\0`,
          `${base}\n`,
          `${base}\r\nDEL x`,
          `${base}é`,
          `${base}\uD800`,
        ])
        .concat([`\\${base}`, `%2e%2e`, `${base}?`, `${base}#a`, `[${base}]`, 'x'.repeat(5000)]);
      const accepted: { name: string; store: KeySetStore; own: StoredKeySet }[] = [];
      for (const name of names) {
        const shown = JSON.stringify(name).slice(0, 60);
        try {
          const store = await session.open(name);
          const { stored } = await store.load();
          const own = keySet((stored?.revision ?? 0) + 1, `hostile ${name}`);
          check(
            await session.write(store, own, stored),
            `The namespace ${shown} was accepted, and cannot be written to: refuse it with a TypeError`,
          );
          accepted.push({ name: shown, store, own });
        } catch (error) {
          check(
            error instanceof TypeError,
            `The namespace ${shown} must be refused with a TypeError (checkNamespace of core does it) or work: a caller must learn that the name is wrong`,
          );
        }
      }
      await checkStored(innocent, first, 'A hostile namespace wrote into another one');
      for (const { name, store, own } of accepted)
        await checkStored(store, own, `The namespace ${name} is mixed with another`);
    },
  },
];

export function failureCases({
  closeClient,
  freezing,
  storeTime,
}: KeySetStoreCaseOptions): Definition<StoreSession>[] {
  return [
    {
      name: 'a closed client is a clear error',
      applies: closeClient !== undefined,
      run: async (session) => {
        const { store, first } = await session.openWritten();
        const other = await session.open();
        await closeClient?.(store);
        const why =
          'Its caller must see a store that does not answer, not a raw error of the client and not an empty store';
        await checkFails(
          store.load(),
          ['store_unavailable', 'closed'],
          'load with a closed client',
          why,
          session.patience,
        );
        const late = store.compareAndSwap(keySet(2), first, Number.MAX_SAFE_INTEGER);
        await checkFails(
          late,
          ['store_unavailable', 'closed'],
          'compareAndSwap with a closed client',
          why,
          session.patience,
        );
        await checkStored(other, first, 'A closed client wrote');
      },
    },
    {
      name: 'a frozen service is an error in time, and no write happens after its notAfter',
      applies: freezing !== undefined,
      run: async (session) => {
        if (freezing === undefined) return;
        const { store, first } = await session.openWritten();
        const notAfter = (await session.now(store)) + 200;
        const why = 'Clients wait for ever for a service that hangs: the store needs a deadline of its own';
        await freezing.freeze();
        try {
          const calls = [
            checkFails(
              store.load(),
              ['store_unavailable'],
              'load on a frozen service',
              why,
              freezing.deadline,
            ),
            checkFails(
              store.compareAndSwap(keySet(2), first, notAfter),
              ['store_unavailable'],
              'compareAndSwap on a frozen service',
              why,
              freezing.deadline,
            ),
          ];
          await Promise.all([...calls, sleep(400)]);
        } finally {
          await freezing.thaw();
        }
        const end = performance.now() + session.patience;
        for (;;) {
          const error = await store.load().then(
            () => undefined,
            (reason: unknown) => reason,
          );
          if (error === undefined) break;
          check(
            performance.now() < end,
            `The store still fails ${session.patience} ms after its service went on: it must recover by itself`,
          );
          await sleep(50);
        }
        // Time for the client to execute what it kept for later.
        await sleep(300);
        if (storeTime === true)
          await checkStored(store, first, 'A write that was given up was executed after its notAfter');
      },
    },
  ];
}
