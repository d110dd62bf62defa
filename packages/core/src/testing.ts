import type { Clock } from './clock.ts';
import { milliseconds, type Duration } from './options.ts';

/** A clock that stands still until it is told. */
export interface FakeClock extends Clock {
  /**
   * Moves on by a duration, in seconds or like `'91d'`. Timers that fall due on the way run in their order, each awaited,
   * with the clock at their moment. Timers that repeat and find nothing to do most of the time (refreshes) do not make it
   * stop: those that are overdue run at the next stop, and at the end, as after a machine's sleep. A callback that takes
   * more than three seconds of real time is no longer waited for.
   */
  advance(duration: Duration): Promise<void>;
  /** Steps the wall clock, forward or back (milliseconds), as NTP or an operator would; timers and `monotonic()` do not notice. */
  step(ms: number): void;
  /** How many timers are set: 0 after everything was closed. */
  readonly timers: number;
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly idle: boolean;
  readonly callback: () => void | Promise<void>;
}

/** A callback that waits for a later timer (the deadline of a store that hangs) would never end if time waited for it. */
const stuckAfter = 3000;

async function settledOrStuck(work: void | Promise<void>): Promise<void> {
  let realTimer: NodeJS.Timeout | undefined;
  const stuck = new Promise<void>((resolve) => {
    realTimer = setTimeout(resolve, stuckAfter);
  });
  await Promise.race([work, stuck]);
  clearTimeout(realTimer);
}

/** A {@link FakeClock} that starts at `start` (epoch milliseconds, default 2026-01-01T00:00:00Z). */
export function fakeClock(start: number = Date.UTC(2026, 0, 1)): FakeClock {
  let elapsed = 0;
  let wall = start;
  let order = 0;
  const timers = new Set<Timer>();
  const inOrder = (): Timer[] => [...timers].toSorted((a, b) => a.at - b.at || a.order - b.order);
  const moveTo = (time: number): void => {
    wall += Math.max(0, time - elapsed);
    elapsed = Math.max(elapsed, time);
  };
  /** Runs everything overdue, idle timers included, in order. */
  const runOverdue = async (): Promise<void> => {
    for (;;) {
      // What callbacks and calls have left under way may still set timers.
      await new Promise((resolve) => setImmediate(resolve));
      const [next] = inOrder();
      if (next === undefined || next.at > elapsed) return;
      timers.delete(next);
      await settledOrStuck(next.callback());
    }
  };
  return {
    now: () => wall,
    monotonic: () => elapsed,
    setTimer(callback, delay, { idle = false } = {}) {
      const timer = { at: elapsed + Math.max(0, delay), order: order++, idle, callback };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    async advance(duration) {
      const end = elapsed + milliseconds(duration, 'duration');
      for (;;) {
        await runOverdue();
        const next = inOrder().find(({ idle }) => !idle);
        if (next === undefined || next.at > end) break;
        moveTo(next.at);
      }
      moveTo(end);
      await runOverdue();
    },
    step(ms) {
      wall += ms;
    },
    get timers() {
      return timers.size;
    },
  };
}
