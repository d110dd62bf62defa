import { describe, expect, it } from 'vitest';
import { adaptiveExecutor, inlineExecutor, type CryptoExecutor } from '../src/executor.ts';

/** Holds the thread up, as a signature does. */
function work(ms: number): void {
  const start = performance.now();
  while (performance.now() - start < ms);
}

const nextTurn = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** An executor and a count of where it ran things. Pooled operations wait for `finishPool`. */
function counting(executor: CryptoExecutor): {
  readonly inline: number;
  readonly pooled: number;
  run: (cost: number, actual?: number) => unknown;
  finishPool: () => Promise<void>;
} {
  let inline = 0;
  let pooled = 0;
  const waiting: { promise: Promise<unknown>; finish: () => void }[] = [];
  return {
    get inline() {
      return inline;
    },
    get pooled() {
      return pooled;
    },
    run: (cost, actual = 0) =>
      executor.run<unknown>(
        cost,
        () => {
          inline++;
          work(actual);
        },
        async () => {
          pooled++;
          let finish = (): void => {};
          const promise = new Promise<void>((resolve) => {
            finish = resolve;
          });
          waiting.push({ promise, finish });
          return promise;
        },
      ),
    async finishPool() {
      for (const { finish } of waiting) finish();
      await nextTurn();
    },
  };
}

describe('adaptiveExecutor', () => {
  it('runs an operation that comes alone inline, and gives its result synchronously', () => {
    const result = adaptiveExecutor().run(
      0.2,
      () => 'inline',
      async () => Promise.resolve('pooled'),
    );
    expect(result, 'the hop through the thread pool costs more than the operation').toBe('inline');
  });

  it('holds no turn up for longer than the budget plus one operation, also when estimates are far too low', async () => {
    const counts = counting(adaptiveExecutor());
    // Estimated 10 µs, in truth 0.6 ms: two of them use up the budget of 1 ms.
    for (let i = 0; i < 20; i++) counts.run(0.01, 0.6);
    expect(
      counts.inline,
      'something must run inline, or every single request pays for the pool',
    ).toBeGreaterThan(0);
    expect(
      counts.inline,
      'a third one would begin after more than 1 ms of work in this turn',
    ).toBeLessThanOrEqual(2);
    expect(counts.inline + counts.pooled, 'each operation runs exactly once').toBe(20);
    await counts.finishPool();
  });

  it('sends what alone would exceed the budget to the pool at once', async () => {
    const counts = counting(adaptiveExecutor());
    counts.run(5);
    expect(counts.pooled, 'RSA 4096 takes 5 ms to sign: no turn may wait for that').toBe(1);
    await counts.finishPool();
  });

  it('gives every turn of the loop a new budget', async () => {
    const counts = counting(adaptiveExecutor());
    for (let turn = 1; turn <= 5; turn++) {
      counts.run(0.9, 0.9);
      expect(counts.inline, `one operation per turn fits the budget; turn ${turn}`).toBe(turn);
      await nextTurn();
    }
    expect(counts.pooled, 'nothing had to go to the pool').toBe(0);
  });

  it('stays with the pool as long as it is busy, and comes back inline after that', async () => {
    const counts = counting(adaptiveExecutor());
    counts.run(5);
    await nextTurn();
    counts.run(0.01);
    expect(counts.pooled, 'a burst is under way: the pool keeps all cores busy').toBe(2);
    await counts.finishPool();
    counts.run(0.01);
    expect(counts.inline, 'the burst is over').toBe(1);
  });

  it('passes failures on unchanged and counts them as done', async () => {
    const executor = adaptiveExecutor();
    const failure = new Error('no');
    const fail = (): never => {
      throw failure;
    };
    expect(
      () => executor.run(0.1, fail, async () => Promise.resolve()),
      'an inline failure is thrown',
    ).toThrow(failure);
    const pooled = executor.run(5, fail, async () => Promise.reject(failure));
    await expect(pooled, 'a pooled failure rejects').rejects.toBe(failure);
    expect(() => executor.run(5, fail, fail), 'the pool did not even take it').toThrow(failure);
    await nextTurn();
    const result = executor.run(
      0.1,
      () => 'inline',
      async () => Promise.resolve('pooled'),
    );
    expect(result, 'a failed operation must not count as pending for ever').toBe('inline');
  });

  it('does not keep a process alive', () => {
    const immediates = (): number =>
      process.getActiveResourcesInfo().filter((kind) => kind === 'Immediate').length;
    const before = immediates();
    const control = setImmediate(() => {});
    expect(immediates(), 'this test must see what would keep the process alive').toBe(before + 1);
    clearImmediate(control);
    void adaptiveExecutor().run(0.1, Object, async () => Promise.resolve());
    expect(immediates(), 'the timer that resets the budget must be unref-ed').toBe(before);
  });
});

describe('inlineExecutor', () => {
  it('runs everything inline, however much it costs', () => {
    const counts = counting(inlineExecutor);
    for (let i = 0; i < 10; i++) counts.run(1000);
    expect(counts.inline, 'a simulation needs the same order of events in every run').toBe(10);
    expect(counts.pooled, 'and no threads').toBe(0);
  });
});
