/** Where time and timers come from. One per authority; tests and simulations pass their own. */
export interface Clock {
  /** Wall clock, epoch milliseconds. May step in both directions. */
  now(): number;
  /** Milliseconds since some fixed moment; never steps back. May stand still while the machine sleeps. */
  monotonic(): number;
  /**
   * Calls back once, after `delay` milliseconds at the earliest, unless the returned function is called before.
   * The timer must not keep the process alive. The callback never rejects.
   *
   * `idle` marks a timer that repeats and finds nothing to do most of the time: a fake clock that is moved by weeks need
   * not stop at each of them.
   */
  setTimer(
    callback: () => void | Promise<void>,
    delay: number,
    options?: { readonly idle?: boolean },
  ): () => void;
}

// setTimeout takes at most 2^31 - 1 ms (24.8 days) and runs at once beyond that.
const longestTimeout = 2_147_483_647;

/** The clock of this machine: `Date.now()`, `performance.now()` and timers that do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer(callback, delay) {
    let timer: NodeJS.Timeout | undefined;
    const arm = (left: number): void => {
      timer = setTimeout(
        () => (left > longestTimeout ? arm(left - longestTimeout) : void callback()),
        Math.min(left, longestTimeout),
      );
      timer.unref();
    };
    arm(Math.max(0, delay));
    return () => clearTimeout(timer);
  },
};

/**
 * The result of `work`, or the error made by `onTimeout` after `deadline` milliseconds. The work itself goes on: its late
 * result or failure is dropped.
 */
export async function withDeadline<T>(
  clock: Clock,
  deadline: number,
  work: Promise<T>,
  onTimeout: () => Error,
): Promise<T> {
  let cancel = (): void => {};
  const timeout = new Promise<never>((_resolve, reject) => {
    cancel = clock.setTimer(() => reject(onTimeout()), deadline);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    cancel();
  }
}
