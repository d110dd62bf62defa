/** Two ways to do the same, measured in turns, so that what else the machine does hits both. */
export interface Comparison {
  /** The bare call; milliseconds of one, median and 99th percentile. */
  readonly raw: Figures;
  readonly ours: Figures;
}

interface Figures {
  readonly median: number;
  readonly p99: number;
}

/** One call at a time. The first tenth warms up and does not count. */
export async function compareLatency(
  calls: number,
  raw: () => Promise<unknown>,
  ours: () => Promise<unknown>,
): Promise<Comparison> {
  const block = 50;
  const blocks = Math.ceil(calls / block);
  const warmUp = Math.ceil(blocks / 10);
  const times: Record<'raw' | 'ours', number[]> = { raw: [], ours: [] };
  for (let index = 0; index < warmUp + blocks; index++) {
    const order = index % 2 === 0 ? (['raw', 'ours'] as const) : (['ours', 'raw'] as const);
    for (const which of order) {
      const measured = await timesOf(block, which === 'raw' ? raw : ours);
      if (index >= warmUp) times[which].push(...measured);
    }
  }
  return { raw: figures(times.raw), ours: figures(times.ours) };
}

async function timesOf(calls: number, call: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < calls; index++) {
    const begin = performance.now();
    await call();
    times.push(performance.now() - begin);
  }
  return times;
}

function figures(times: readonly number[]): Figures {
  const sorted = times.toSorted((one, other) => one - other);
  const at = (part: number): number => sorted[Math.floor(part * (sorted.length - 1))] ?? NaN;
  return { median: at(0.5), p99: at(0.99) };
}

/** Calls per second, and microseconds of this process's CPU per call, which other processes disturb less. */
interface Throughput {
  readonly rate: number;
  readonly cpu: number;
}

/** With `inFlight` calls at once, in turns; the medians of the turns. */
export async function compareThroughput(
  calls: number,
  inFlight: number,
  raw: (index: number) => Promise<unknown>,
  ours: (index: number) => Promise<unknown>,
): Promise<{ raw: Throughput; ours: Throughput }> {
  const rounds = 9;
  const rates: Record<'raw' | 'ours', number[]> = { raw: [], ours: [] };
  const costs: Record<'raw' | 'ours', number[]> = { raw: [], ours: [] };
  for (let round = 0; round < rounds; round++) {
    for (const which of ['raw', 'ours'] as const) {
      const call = which === 'raw' ? raw : ours;
      let next = round * calls;
      const end = next + calls;
      const before = process.cpuUsage();
      const begin = performance.now();
      await Promise.all(
        Array.from({ length: inFlight }, async () => {
          while (next < end) await call(next++);
        }),
      );
      // The first round warms up.
      if (round === 0) continue;
      rates[which].push((calls / (performance.now() - begin)) * 1000);
      const { user, system } = process.cpuUsage(before);
      costs[which].push((user + system) / calls);
    }
  }
  const medians = (which: 'raw' | 'ours'): Throughput => ({
    rate: figures(rates[which]).median,
    cpu: figures(costs[which]).median,
  });
  return { raw: medians('raw'), ours: medians('ours') };
}
