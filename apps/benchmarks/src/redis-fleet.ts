import { setTimeout as sleep } from 'node:timers/promises';
import {
  createJwtAuthority,
  JwksRotator,
  KeyRing,
  localEncrypter,
  type KeySetPolicyOptions,
  type RotatingJwtAuthority,
} from '@jwt-authority/core';
import { ioredisStore } from '@jwt-authority/store-ioredis';
import { Redis } from 'ioredis';

/** What a Redis server was asked for. */
export interface StoreCalls {
  readonly loads: number;
  readonly commitAttempts: number;
  readonly commits: number;
}

const policy: KeySetPolicyOptions = { algorithms: ['ES256'], propagationDelay: 60, maxTokenLifetime: 60 };

/**
 * Lets `instances` key rings, on `clients` connections, all meet one due rotation at the same instant. With `watch`, the winner's commit
 * makes all of them load; without it, they learn of it because they lost, or by their next refresh. The rotation is due `patience` seconds after
 * the first key was made, and commits take at most 2 seconds less.
 */
export async function contend(
  port: number,
  instances: number,
  clients: number,
  watch: boolean,
  patience = 15,
): Promise<{ outcomes: Record<string, number>; calls: StoreCalls; revisions: number; seconds: number }> {
  const connections = Array.from({ length: clients }, () => new Redis(port, '127.0.0.1'));
  const admin = new Redis(port, '127.0.0.1');
  const encrypter = localEncrypter.forTests();
  const namespace = `contention-${watch ? 'watched' : 'unwatched'}`;
  const rings = Array.from({ length: instances }, (_, index) => {
    const client = connections[index % clients];
    if (client === undefined) throw new Error('there is at least one client');
    const {
      namespace: name,
      load,
      compareAndSwap,
      watch: subscribe,
    } = bound(ioredisStore({ client, namespace }));
    const store = { namespace: name, load, compareAndSwap, ...(watch && { watch: subscribe }) };
    return new KeyRing({
      store,
      encrypter,
      policy: { ...policy, rotationInterval: 60 + patience, commitDeadline: patience - 2 },
    });
  });
  const [first] = rings;
  if (first === undefined) throw new Error('there is at least one instance');
  await new JwksRotator({ keyRing: first }).checkAndRotateKeys();
  await Promise.all(rings.map((ring) => ring.ready()));
  const rotators = rings.map((keyRing) => new JwksRotator({ keyRing }));
  while (rotators.some((rotator) => rotator.plan().length === 0)) await sleep(20);

  await admin.config('RESETSTAT');
  const before = first.revision ?? 0;
  const begin = performance.now();
  const results = await Promise.all(rotators.map((rotator) => rotator.checkAndRotateKeys()));
  const seconds = (performance.now() - begin) / 1000;
  // What the watches start is part of what it costs.
  await sleep(2000);
  const calls = await storeCalls(admin);
  await Promise.all(rings.map((ring) => ring.refresh()));
  const revisions = Math.max(...rings.map(({ revision = 0 }) => revision)) - before;
  const outcomes: Record<string, number> = {};
  for (const { outcome } of results) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  await Promise.all(rings.map((ring) => ring.close()));
  for (const client of [...connections, admin]) client.disconnect();
  return { outcomes, calls, revisions, seconds };
}

/**
 * What instances ask of the store when nothing happens, but for tokens that are signed and verified: per instance and refresh interval. The
 * interval is shortened to 1 s; the default is 60 s.
 */
export async function rest(
  port: number,
  instances: number,
  seconds: number,
): Promise<{ perInterval: number; otherCalls: number; tokens: number }> {
  const admin = new Redis(port, '127.0.0.1');
  const client = new Redis(port, '127.0.0.1');
  const encrypter = localEncrypter.forTests();
  const authorities: RotatingJwtAuthority[] = [];
  for (let index = 0; index < instances; index++) {
    const store = ioredisStore({ client, namespace: 'rest' });
    authorities.push(
      await createJwtAuthority({
        store,
        encrypter,
        issuer: 'https://auth.example.com',
        algorithms: ['ES256'],
        refreshInterval: 1,
      }),
    );
  }
  await admin.config('RESETSTAT');
  const begin = performance.now();
  let tokens = 0;
  while (performance.now() - begin < seconds * 1000) {
    for (const authority of authorities) {
      const { token } = await authority.sign({ sub: 'user-1' });
      await authority.verify(token);
      tokens++;
    }
    await sleep(20);
  }
  const measured = (performance.now() - begin) / 1000;
  const { loads, commitAttempts } = await storeCalls(admin);
  await Promise.all(authorities.map((authority) => authority.close()));
  for (const one of [admin, client]) one.disconnect();
  return { perInterval: loads / instances / measured, otherCalls: commitAttempts, tokens };
}

/** By what the scripts call: each load is one HGETALL, each attempt to commit one HMGET, each commit one HSET. */
async function storeCalls(admin: Redis): Promise<StoreCalls> {
  const statistics = await admin.info('commandstats');
  const count = (command: string): number =>
    Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(statistics)?.[1] ?? 0);
  return { loads: count('hgetall'), commitAttempts: count('hmget'), commits: count('hset') };
}

function bound(store: ReturnType<typeof ioredisStore>): ReturnType<typeof ioredisStore> {
  return {
    namespace: store.namespace,
    load: () => store.load(),
    compareAndSwap: (...args) => store.compareAndSwap(...args),
    watch: (onChange) => store.watch(onChange),
  };
}
