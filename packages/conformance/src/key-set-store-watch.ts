import type { KeySetStore } from '@jwt-authority/core';
import { check, type Definition, until } from './cases.ts';
import { keySet, type KeySetStoreCaseOptions, type StoreSession } from './key-set-store-session.ts';

/** Notifications. They begin on a namespace that holds something: a store may find an empty one harder to watch. */
export function watchCases({ watch: applies = false }: KeySetStoreCaseOptions): Definition<StoreSession>[] {
  return [
    {
      name: 'there is no watch, as declared',
      applies: !applies,
      run: async (session) => {
        const store = await session.open();
        check(
          store.watch === undefined,
          'The store has watch: declare { watch: true }, so that it is tested',
        );
      },
    },
    {
      name: "watch tells of another client's commit",
      applies,
      run: async (session) => {
        const { store, first } = await session.openWritten();
        const other = await session.open();
        const [second, third] = [keySet(2), keySet(3)];
        const watcher = await startWatch(store);
        try {
          await session.write(other, second, first);
          await watcher.called(session, 'A revocation would not reach this instance at once');
          const before = watcher.count();
          await session.write(other, third, second);
          await watcher.called(session, 'It told of the first commit only', before);
        } finally {
          await watcher.stop();
        }
      },
    },
    {
      name: 'each watch of a store is told, and stops by itself',
      applies,
      run: async (session) => {
        const { store, first } = await session.openWritten();
        const other = await session.open();
        const one = await startWatch(store);
        const two = await startWatch(store);
        try {
          await one.stop();
          await session.write(other, keySet(2), first);
          await two.called(session, 'Stopping one watch stopped another one of the same store');
          check(
            one.count() === 0,
            'A stopped watch was called: whoever stopped it has been closed meanwhile',
          );
        } finally {
          await two.stop();
        }
      },
    },
    {
      name: 'watch can be stopped twice, and started anew',
      applies,
      run: async (session) => {
        const { store, first } = await session.openWritten();
        const other = await session.open();
        const earlier = await startWatch(store);
        await earlier.stop();
        await earlier.stop();
        const watcher = await startWatch(store);
        try {
          await session.write(other, keySet(2), first);
          await watcher.called(
            session,
            'A watch that was started after another one had been stopped is never told',
          );
        } finally {
          await watcher.stop();
        }
      },
    },
    {
      name: 'watch leaves nothing behind',
      applies,
      run: async (session) => {
        const { store } = await session.openWritten();
        const warnings: string[] = [];
        const onWarning = (warning: Error): void => void warnings.push(warning.name);
        process.on('warning', onWarning);
        try {
          await (await startWatch(store)).stop();
          const before = process.getActiveResourcesInfo().length;
          const watchers = [];
          for (let index = 0; index < 20; index += 1) watchers.push(await startWatch(store));
          for (const watcher of watchers) await watcher.stop();
          await until(
            () => process.getActiveResourcesInfo().length < before + 15,
            session.patience,
            'After 20 watches were stopped, their timers or connections are still there: the process cannot end',
          );
          // Warnings are emitted on a later tick.
          await new Promise((resolve) => setImmediate(resolve));
        } finally {
          process.off('warning', onWarning);
        }
        check(
          !warnings.includes('MaxListenersExceededWarning'),
          '20 watches of one store add as many listeners to one emitter: share one, and remove it with the last watch',
        );
      },
    },
  ];
}

interface Watcher {
  count(): number;
  called(session: StoreSession, why: string, before?: number): Promise<void>;
  stop(): Promise<void>;
}

async function startWatch(store: KeySetStore): Promise<Watcher> {
  let count = 0;
  const stop = await store.watch?.(() => {
    count += 1;
  });
  check(
    typeof stop === 'function',
    'watch must resolve to the function that stops it: nobody could close the store otherwise',
  );
  return {
    count: () => count,
    called: (session, why, before = 0) =>
      until(
        () => count > before,
        session.patience,
        `watch was not called within ${session.patience} ms after another client's commit. ${why}`,
      ),
    stop,
  };
}
