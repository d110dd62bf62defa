/** Decides where one cryptographic operation runs: on this thread at once, or in the thread pool. */
export interface CryptoExecutor {
  /**
   * Runs exactly one of the two forms of an operation and passes on its result or failure unchanged. What runs inline
   * throws synchronously.
   *
   * `cost` is an estimate in milliseconds of what the inline form takes.
   */
  run<T>(cost: number, inline: () => T, pooled: () => Promise<T>): T | Promise<T>;
}

/** How long one turn of the event loop may be held up by inline operations, in milliseconds. */
const budget = 1;

/**
 * Runs inline while the pool has nothing of ours to do and this turn of the event loop has budget left, else in the
 * pool. No turn is held up longer than the budget plus one operation (whose estimate was too low).
 *
 * The way through the thread pool costs 40–60 µs, three times an ES256 signature; inline uses one core only and stalls
 * the loop when many requests come at once. So a request that comes alone is answered at the speed of the bare
 * synchronous call, and a burst uses all cores.
 */
export function adaptiveExecutor(): CryptoExecutor {
  let pending = 0;
  let spent = 0;
  const startNewTurn = (): void => {
    spent = 0;
  };
  return {
    run(cost, inline, pooled) {
      if (pending === 0 && spent + cost <= budget) {
        // Without unref, the budget of a last signature would keep the process alive.
        if (spent === 0) setImmediate(startNewTurn).unref();
        const start = performance.now();
        try {
          return inline();
        } finally {
          // Measured, because estimates are off by a factor on another machine. Never 0: that means a turn without any.
          spent += Math.max(performance.now() - start, 0.001);
        }
      }
      const result = pooled();
      pending++;
      return result.finally(() => {
        pending--;
      });
    },
  };
}

/** Always inline: the order of events is then the same in every run, as a simulation needs it. */
export const inlineExecutor: CryptoExecutor = { run: (_cost, inline) => inline() };
