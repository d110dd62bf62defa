// What the Redis stores cost beside the bare calls under them, and what a fleet asks of Redis. `pnpm bench:redis`; `--quick` for a look.
import { ioredisReplayStore, ioredisStore } from '@jwt-authority/store-ioredis';
import { redisOmReplayStore, redisOmStore } from '@jwt-authority/store-redis-om';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import {
  fieldNames,
  measureClaims,
  measureKeySets,
  readScript,
  writeScript,
  type RawCalls,
} from './redis-calls.ts';
import { contend, rest } from './redis-fleet.ts';
import { startRedis } from './redis-process.ts';
import type { Comparison } from './side-by-side.ts';

const quick = process.argv.includes('--quick');
const calls = quick ? 500 : 4000;
const claims = quick ? 2000 : 20_000;
const redis = await startRedis();

const ioredis = new Redis(redis.port, '127.0.0.1');
const nodeRedis = createClient({ socket: { host: '127.0.0.1', port: redis.port } });
await nodeRedis.connect();

const libraries: Record<
  string,
  {
    keySets: Parameters<typeof measureKeySets>[0];
    replay: Parameters<typeof measureClaims>[0];
    raw: RawCalls;
  }
> = {
  'ioredis 6': {
    keySets: ioredisStore({ client: ioredis, namespace: 'ioredis' }),
    replay: ioredisReplayStore({ client: ioredis }),
    raw: {
      read: (key) => ioredis.hmget(key, ...fieldNames),
      readByScript: (key) => ioredis.eval(readScript, 1, key, ...fieldNames),
      write: (key, fields) => ioredis.eval(writeScript, 1, key, ...Object.entries(fields).flat()),
      claim: (key, milliseconds) => ioredis.set(key, '1', 'PX', milliseconds, 'NX'),
    },
  },
  'redis 6, redis-om': {
    keySets: redisOmStore({ client: nodeRedis, namespace: 'redis-om' }),
    replay: redisOmReplayStore({ client: nodeRedis }),
    raw: {
      read: (key) => nodeRedis.hmGet(key, [...fieldNames]),
      readByScript: (key) => nodeRedis.eval(readScript, { keys: [key], arguments: [...fieldNames] }),
      write: (key, fields) =>
        nodeRedis.eval(writeScript, { keys: [key], arguments: Object.entries(fields).flat() }),
      claim: (key, milliseconds) =>
        nodeRedis.set(key, '1', { expiration: { type: 'PX', value: milliseconds }, condition: 'NX' }),
    },
  },
};

const microseconds = (milliseconds: number): string => `${Math.round(milliseconds * 1000)} µs`;
const row = (what: string, bare: string, { raw, ours }: Comparison): void =>
  console.log(
    `${what.padEnd(44)} ${bare} ${microseconds(raw.median)} (p99 ${microseconds(raw.p99)}), ours ${microseconds(ours.median)} ` +
      `(p99 ${microseconds(ours.p99)}): ratio ${(ours.median / raw.median).toFixed(2)}`,
  );

console.log(`Latency, one call at a time, ${calls} of each in turns, medians; target: at most 1.3`);
for (const [name, { keySets, raw }] of Object.entries(libraries)) {
  for (const size of [4096, 30_720]) {
    // A key set of its own for each size.
    const { load, loadByScript, compareAndSwap } = await measureKeySets(keySets, raw, size, calls);
    row(`${name}, load, ${size / 1024} KB`, 'HMGET', load);
    row(`${name}, load, ${size / 1024} KB`, 'EVAL of HMGET', loadByScript);
    row(`${name}, compareAndSwap, ${size / 1024} KB`, 'EVAL of HSET', compareAndSwap);
    await ioredis.flushall();
  }
}

console.log(
  `\nClaims per second, 50 in flight, ${claims} of each in turns; target: at least 0.8 of SET NX PX`,
);
for (const [name, { replay, raw }] of Object.entries(libraries)) {
  const { raw: bare, ours } = await measureClaims(replay, raw, claims);
  console.log(
    `${name.padEnd(44)} SET ${Math.round(bare.rate)}/s, claim ${Math.round(ours.rate)}/s: ratio ${(ours.rate / bare.rate).toFixed(2)}; ` +
      `CPU of the client ${bare.cpu.toFixed(1)} and ${ours.cpu.toFixed(1)} µs: ratio ${(bare.cpu / ours.cpu).toFixed(2)}`,
  );
}
ioredis.disconnect();
nodeRedis.destroy();

const instances = quick ? 100 : 1000;
console.log(`\n${instances} instances, 50 clients, one due rotation, all at once`);
for (const watch of [false, true]) {
  const { outcomes, calls: made, revisions, seconds } = await contend(redis.port, instances, 50, watch);
  console.log(
    `${(watch ? 'with watch' : 'without watch').padEnd(16)} revisions ${revisions}, ${JSON.stringify(outcomes)}, loads ${made.loads}, ` +
      `attempts to commit ${made.commitAttempts}, commits ${made.commits}, ${seconds.toFixed(2)} s`,
  );
}

const [fleet, duration] = quick ? [10, 5] : [50, 30];
const { perInterval, otherCalls, tokens } = await rest(redis.port, fleet, duration);
console.log(
  `\nSteady state, ${fleet} instances for ${duration} s, ${tokens} tokens signed and verified meanwhile: ${perInterval.toFixed(2)} loads per ` +
    `instance and refresh interval, so ${Math.round(perInterval * 60)} per hour at the default of 60 s; other calls: ${otherCalls}`,
);
await redis.stop();
