import { checkMisuse, type Definition } from './cases.ts';
import {
  checkIs,
  checkOneClaim,
  replayed,
  type ReplaySession,
  type ReplayStoreCaseOptions,
} from './replay-store-session.ts';

export function timeCases({ advance }: ReplayStoreCaseOptions): Definition<ReplaySession>[] {
  // A clock that is moved is exact. In real time, calls take time themselves, and stores may round up a little.
  const slack = advance === undefined ? 400 : 1;
  return [
    {
      name: 'a value is remembered for its time, and forgotten after it',
      run: async (session) => {
        const store = await session.open();
        await store.claim('claimed', 2);
        await store.add('added', 2);
        await session.pass(2000 - slack);
        checkIs(
          await store.has('added'),
          true,
          `An added value was forgotten before its 2 s were over. ${replayed}`,
        );
        checkIs(
          await store.claim('claimed', 2),
          false,
          `A claimed value was forgotten before its 2 s were over. ${replayed}`,
        );
        await session.pass(2 * slack);
        checkIs(
          await store.has('added'),
          false,
          'An added value was not forgotten after its 2 s: the store grows for ever',
        );
        checkIs(
          await store.claim('claimed', 2),
          true,
          'A claimed value cannot be claimed after its 2 s: the store grows for ever',
        );
        checkIs(
          await store.claim('claimed', 2),
          false,
          `A value claimed a second time, after its time, was forgotten at once. ${replayed}`,
        );
      },
    },
    {
      name: 'of fifty claims at once of a value whose time is over, one is true',
      run: async (session) => {
        const clients = [await session.open(), await session.open()];
        await clients[0]?.claim('value', 1);
        await session.pass(1000 + slack);
        await checkOneClaim(clients, 'value');
      },
    },
    {
      name: 'add replaces an earlier time, a refused claim does not',
      run: async (session) => {
        const store = await session.open();
        await store.add('longer', 1);
        await store.add('longer', 60);
        await store.add('shorter', 60);
        await store.add('shorter', 1);
        await store.claim('refused', 1);
        await store.claim('refused', 60);
        await session.pass(1000 + slack);
        checkIs(await store.has('longer'), true, `add did not prolong a value's time. ${replayed}`);
        checkIs(await store.has('shorter'), false, "add did not shorten a value's time: it must replace it");
        checkIs(
          await store.has('refused'),
          false,
          "A refused claim prolonged the value's time: whoever repeats it blocks the value for ever",
        );
      },
    },
    {
      name: 'fractions of a second are kept',
      run: async (session) => {
        const store = await session.open();
        await store.claim('fraction', 1.5);
        await store.claim('tiny', 0.0001);
        await session.pass(1500 - slack);
        checkIs(
          await store.has('fraction'),
          true,
          `A value was forgotten before its 1.5 s were over. ${replayed}`,
        );
        await session.pass(2 * slack);
        checkIs(
          await store.has('fraction'),
          false,
          'A value was not forgotten after its 1.5 s: fractions are rounded up',
        );
        checkIs(
          await store.has('tiny'),
          false,
          'A value was not forgotten after its tenth of a millisecond: a time was rounded to none, which may mean for ever',
        );
      },
    },
    {
      name: 'long times are kept',
      run: async (session) => {
        const store = await session.open();
        const times = {
          '30 days (timers end at 24.8)': 2_592_000,
          '100 years': 3_155_760_000,
          '1000 years': 31_557_600_000,
        };
        for (const [name, seconds] of Object.entries(times)) await store.claim(name, seconds);
        await session.pass(50);
        for (const name of Object.keys(times))
          checkIs(
            await store.has(name),
            true,
            `A value was forgotten long before ${name} were over. ${replayed}`,
          );
      },
    },
    {
      name: 'a time that is no number above 0 is refused with a TypeError, and forgets nothing',
      run: async (session) => {
        const store = await session.open();
        await store.claim('claimed', 60);
        for (const seconds of [0, -0, -1, -Infinity, Infinity, NaN, 1e300, '60', undefined, null]) {
          // Wrong on purpose.
          const wrong = seconds as unknown as number;
          const why = 'Neither true nor false is an answer to it: the value cannot be remembered';
          await checkMisuse(
            () => store.claim('new', wrong),
            `claim with a time of ${String(seconds)}`,
            why,
            session.patience,
          );
          await checkMisuse(
            () => store.claim('claimed', wrong),
            `claim of a claimed value with a time of ${String(seconds)}`,
            why,
            session.patience,
          );
          await checkMisuse(
            () => store.add('claimed', wrong),
            `add with a time of ${String(seconds)}`,
            'To forget a value, there is delete',
            session.patience,
          );
          checkIs(
            await store.has('claimed'),
            true,
            `A time of ${String(seconds)} made the store forget a value. ${replayed}`,
          );
          checkIs(
            await store.has('new'),
            false,
            `A time of ${String(seconds)} was refused, and the value remembered`,
          );
        }
      },
    },
  ];
}
