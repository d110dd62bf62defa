import type { KeySetStore, StoredKeySet } from '@jwt-authority/core';
import { check, type Definition } from './cases.ts';
import { checkStored, keySet, type StoreSession } from './key-set-store-session.ts';

const lastWriterWins =
  'The last writer wins: two instances that rotate at once undo one another, and tokens are lost';

/** Compare-and-swap: who may write, and what is answered. */
export const commitCases: readonly Definition<StoreSession>[] = [
  {
    name: 'compareAndSwap with nothing expected is refused on an existing key set',
    run: async (session) => {
      const { store, first } = await session.openWritten();
      check(!(await session.write(store, keySet(1))), `Answered true. ${lastWriterWins}`);
      await checkStored(store, first, `Answered false, and wrote all the same. ${lastWriterWins}`);
    },
  },
  {
    name: 'compareAndSwap with something expected is refused on an empty namespace',
    run: async (session) => {
      const store = await session.open();
      check(
        !(await session.write(store, keySet(2), keySet(1))),
        'Answered true. A store that lost its data must be noticed, not written over',
      );
      await checkStored(store, undefined, 'Answered false, and wrote all the same');
    },
  },
  {
    name: 'compareAndSwap with another revision is refused',
    run: async (session) => {
      const { store, first } = await session.openWritten();
      const second = keySet(2);
      check(
        await session.write(store, second, first),
        'A commit with what is stored as expected was refused: nothing can ever rotate',
      );
      for (const revision of [1, 3]) {
        const expected = { ...second, revision };
        check(
          !(await session.write(store, keySet(3), expected)),
          `Revision 2 is stored and ${revision} expected: answered true. ${lastWriterWins}`,
        );
      }
      await checkStored(store, second, `Answered false, and wrote all the same. ${lastWriterWins}`);
    },
  },
  {
    name: 'compareAndSwap with the same revision and another etag is refused',
    run: async (session) => {
      const { store, first } = await session.openWritten();
      const fork = { ...first, etag: keySet(1).etag };
      const why =
        'After a failover, two documents may carry one revision. Comparing revisions alone overwrites the one nobody has seen';
      check(!(await session.write(store, keySet(2), fork)), `Answered true. ${why}`);
      await checkStored(store, first, `Answered false, and wrote all the same. ${why}`);
    },
  },
  {
    name: 'the same commit repeated is true again',
    run: async (session) => {
      const { store, first } = await session.openWritten();
      const again = await session.open();
      const why =
        'When the reply of a commit is lost, it is repeated. "Lost the race" would be untrue: the key that was made is in use';
      check(await session.write(again, first), `Repeating the first commit answered false. ${why}`);
      const second = keySet(2);
      check(
        await session.write(store, second, first),
        'A commit with what is stored as expected was refused',
      );
      check(await session.write(again, second, first), `Repeating a later commit answered false. ${why}`);
      await checkStored(store, second, 'The repeated commit altered the key set');
    },
  },
  {
    name: 'a commit that overtakes its own repetition is true twice',
    run: async (session) => {
      const { store, first } = await session.openWritten();
      const again = await session.open();
      const second = keySet(2);
      const answers = await Promise.all(
        [store, again, store].map((client) => session.write(client, second, first)),
      );
      check(
        !answers.includes(false),
        'The same commit sent at once answered false to one: it takes its own success for a lost race',
      );
      await checkStored(store, second, 'The key set is not the one committed');
    },
  },
  {
    name: 'a repeated commit does not undo a later one',
    run: async (session) => {
      const { store, first } = await session.openWritten();
      const [second, third] = [keySet(2), keySet(3)];
      await session.write(store, second, first);
      await session.write(store, third, second);
      const why =
        'Clients execute abandoned commands late: a later commit, a revocation perhaps, would be undone';
      check(
        !(await session.write(store, second, first)),
        `Another commit has followed: answered true. ${why}`,
      );
      await checkStored(store, third, why);
    },
  },
  {
    name: 'a write after its notAfter is refused',
    run: async (session) => {
      const store = await session.open();
      const past = (await session.now(store)) - 60_000;
      const why =
        'A write that was given up and is executed late publishes a key whose moment to sign was planned for long ago';
      const first = keySet(1);
      check(
        !(await store.compareAndSwap(first, undefined, past)),
        `The first key set, 60 s late: answered true. ${why}`,
      );
      await checkStored(store, undefined, `Answered false, and wrote all the same. ${why}`);
      check(await session.write(store, first), 'The same key set in time was refused');
      check(
        !(await store.compareAndSwap(keySet(2), first, past)),
        `A later commit, 60 s late: answered true. ${why}`,
      );
      await checkStored(store, first, `Answered false, and wrote all the same. ${why}`);
    },
  },
  {
    name: 'a repeated commit is true even after its notAfter',
    run: async (session) => {
      const { store, first } = await session.openWritten();
      const past = (await session.now(store)) - 60_000;
      check(
        await store.compareAndSwap(first, undefined, past),
        'Answered false for what is stored: the look at the etag must come before the look at the clock. The write did happen',
      );
    },
  },
  {
    name: 'of two clients that commit at once, one wins',
    run: (session) => race(session, 2, 10),
  },
  {
    name: 'of fifty commits at once, one wins',
    run: (session) => race(session, 50, 2),
  },
  {
    name: 'of ten clients that make the first key set at once, one wins',
    run: async (session) => {
      const stores = await openSeveral(session, 10);
      await checkOneWinner(session, stores, undefined);
    },
  },
  {
    name: 'writers that try until they succeed lose nothing of one another',
    run: async (session) => {
      const stores = await openSeveral(session, 5);
      const perWriter = 6;
      await Promise.all(
        stores.map(async (store, writer) => {
          for (let turn = 0; turn < perWriter; turn += 1) await append(session, store, `${writer}.${turn}`);
        }),
      );
      const { stored } = await stores[0].load();
      const entries = (stored?.document ?? '').split(' ');
      const lost = stores.flatMap((_store, writer) =>
        Array.from({ length: perWriter }, (_, turn) => `${writer}.${turn}`).filter(
          (entry) => !entries.includes(entry),
        ),
      );
      check(
        lost.length === 0,
        `${lost.length} of ${5 * perWriter} commits that answered true are not in the result. ${lastWriterWins}`,
      );
      check(
        stored?.revision === 5 * perWriter && entries.length === 5 * perWriter,
        `After ${5 * perWriter} commits the revision is ${stored?.revision}, with ${entries.length} entries: one of them was applied twice or never`,
      );
    },
  },
];

async function openSeveral(session: StoreSession, count: number): Promise<[KeySetStore, ...KeySetStore[]]> {
  const others: KeySetStore[] = [];
  for (let index = 1; index < count; index += 1) others.push(await session.open());
  return [await session.open(), ...others];
}

async function race(session: StoreSession, contenders: number, rounds: number): Promise<void> {
  const clients = await openSeveral(session, Math.min(contenders, 5));
  let current = keySet(1);
  check(await session.write(clients[0], current), 'The first key set was refused');
  const stores = Array.from(
    { length: contenders },
    (_, index) => clients[index % clients.length] ?? clients[0],
  );
  for (let round = 0; round < rounds; round += 1) current = await checkOneWinner(session, stores, current);
}

/** Lets all stores commit at once, and answers with what the one winner committed. */
async function checkOneWinner(
  session: StoreSession,
  stores: readonly KeySetStore[],
  current: StoredKeySet | undefined,
): Promise<StoredKeySet> {
  const [observer] = stores;
  check(observer !== undefined, 'A race needs stores');
  const notAfter = (await session.now(observer)) + 60_000;
  const commits = stores.map((store) => ({ store, next: keySet((current?.revision ?? 0) + 1) }));
  const answers = await Promise.all(
    commits.map(({ store, next }) => store.compareAndSwap(next, current, notAfter)),
  );
  const winners = commits.filter((_commit, index) => answers[index] === true).map(({ next }) => next);
  const [winner] = winners;
  check(
    winner !== undefined && winners.length === 1,
    `${winners.length} of ${stores.length} commits at once answered true, must be one. A due rotation must happen once, however many try`,
  );
  await checkStored(observer, winner, 'It is not the one commit that answered true');
  return winner;
}

async function append(session: StoreSession, store: KeySetStore, entry: string): Promise<void> {
  for (let attempt = 0; attempt < 1000; attempt += 1) {
    const { stored } = await store.load();
    const document = stored === undefined ? entry : `${stored.document} ${entry}`;
    if (await session.write(store, keySet((stored?.revision ?? 0) + 1, document), stored)) return;
  }
  check(false, 'A writer lost 1000 races in a row: nobody seems to win them');
}
