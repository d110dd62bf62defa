import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, type TestContext } from 'vitest';
import { createJwtAuthority, type KeySetStore, localEncrypter } from '../../packages/core/src/index.ts';
import { bundleFleet, type Fleet, type FleetFigures, type FleetProgram } from './fleet.ts';
import { fleetPolicy } from './fleet-worker.ts';
import { redisMissing } from './redis-binary.ts';
import { listenWithTls, migrate, shiftedTime } from './redis-faults.ts';
import { eventually, RedisServer } from './redis-server.ts';
import type { OpenedStore, OpenStore, RedisTarget } from './redis-target.ts';
import { startCluster, startSentinel } from './redis-topologies.ts';
import { startProxy } from './tcp-proxy.ts';

/** An adapter to be tried. */
export interface FailureSubject {
  /** Goes into the title. */
  readonly name: string;
  /** A module that calls `runFleetWorker(open)`. */
  readonly worker: string;
  readonly open: OpenStore;
}

const keySetOf = (namespace: string): string => `{jwt-authority:${namespace}}:keyset`;
const keySet = keySetOf('fleet');
type Address = RedisTarget['addresses'][number];
const at = (...addresses: readonly Address[]): RedisTarget => ({
  on: 'standalone',
  addresses: addresses.map(({ host, port }) => ({ host, port })),
});

/**
 * What becomes of tokens when Redis fails: a signer and two verifiers, each a process with a rotator of its own, work
 * through each failure of a real server. One line per case says how many tokens were signed, verified and lost.
 */
export function testFailures({ name, worker, open }: FailureSubject): void {
  describe.skipIf(redisMissing !== '')(
    `failures of Redis, with ${name}${redisMissing}`,
    { timeout: 60_000 },
    () => {
      let program: FleetProgram;
      beforeAll(async () => {
        program = await bundleFleet(worker);
      }, 60_000);
      afterAll(async () => program?.remove());

      /** Started for one test, stopped after it. */
      async function start(context: TestContext, ...args: string[]): Promise<RedisServer> {
        const server = await RedisServer.start(...args);
        context.onTestFinished(() => server.stop());
        return server;
      }
      async function connect(
        context: TestContext,
        target: RedisTarget,
        namespace = 'fleet',
        timeout = 5,
      ): Promise<OpenedStore> {
        const opened = await open(target, { namespace, timeout });
        context.onTestFinished(() => opened.close());
        return opened;
      }

      /** Every token verified while it lived, every rotation made once, one key set everywhere. */
      async function conclude(
        { task }: TestContext,
        fleet: Fleet,
        revoked: readonly string[] = [],
      ): Promise<FleetFigures> {
        const figures = await fleet.finish();
        const { signed, verified, lost, doubled, revokedKids, refusedToSign, states } = figures;
        process.stdout.write(
          `${name}: ${task.name.replace(/^P[^:]*: /, '')}: tokens signed ${signed}, verified ${verified} times, lost ${lost.length}\n`,
        );
        expect(lost, 'P1: valid tokens that were refused').toEqual([]);
        expect(doubled, 'P2: keys made twice for one rotation').toEqual([]);
        expect(verified, 'the verifiers worked').toBeGreaterThan(signed);
        expect(revoked, 'only revoked keys lose their tokens').toEqual(
          expect.arrayContaining([...revokedKids]),
        );
        // A machine that is held up for a second is as good as an outage; a revoked key stops signing before the next one is stored.
        const allowed = revoked.length > 0 ? ['stale', 'no_active_key'] : ['stale'];
        expect(allowed, 'P7: sign refuses for a stated reason').toEqual(
          expect.arrayContaining(Object.keys(refusedToSign)),
        );
        const published = states.flatMap(({ publishedKids }) => publishedKids);
        expect(
          published.filter((kid) => revoked.includes(kid)),
          'P8, P9: a revoked key is not published again',
        ).toEqual([]);
        return figures;
      }

      /** Revokes the key that signs, and waits until everyone knows. */
      async function revokeActive(fleet: Fleet): Promise<string> {
        const { keys } = await fleet.agrees('a signing key', (state) =>
          state.keys.some(({ signs }) => signs),
        );
        const kid = keys.find(({ signs }) => signs)?.kid ?? '';
        await fleet.call('revoke', kid);
        await fleet.agrees('the revocation', knowsAsRevoked(kid));
        return kid;
      }

      test('P1, P2: replies are lost after the script ran', async (context) => {
        const server = await start(context);
        const proxy = await startProxy(server);
        context.onTestFinished(() => proxy.close());
        const fleet = await program.start(at({ host: server.host, port: proxy.port }));
        await eventually('two commits whose replies are lost', () => {
          proxy.loseReplyTo("'HSET'");
          return proxy.lost >= 2;
        });
        await fleet.rotates();
        const { store } = await connect(context, at({ host: server.host, port: proxy.port }), 'other');
        const lost = proxy.lost;
        proxy.loseReplyTo("'HSET'");
        expect(await store.compareAndSwap(stored(1), undefined, Infinity), 'it was written').toBe(true);
        expect(proxy.lost, 'and the reply did not come').toBeGreaterThan(lost);
        await conclude(context, fleet);
      });

      test('P7: the server is frozen, and thawed', async (context) => {
        const server = await start(context);
        const fleet = await program.start(at(server));
        await fleet.works();
        server.freeze();
        await eventually('a signer that is too stale to sign', async () => {
          const [signer] = await fleet.states();
          return (signer?.refusedToSign['stale'] ?? 0) > 0;
        });
        await fleet.works(10);
        server.thaw();
        await fleet.works();
        await fleet.rotates();
        await conclude(context, fleet);
        expect(fleet.count('healed'), 'nothing was lost that needed healing').toBe(0);
      });

      test('P8, P9: the server is killed and comes back empty', async (context) => {
        const server = await start(context);
        const fleet = await program.start(at(server));
        await fleet.works();
        const revoked = await revokeActive(fleet);
        await server.kill();
        await server.restart();
        await eventually('the key set in the store again', async () => exists(server));
        await fleet.agrees('the revocation', knowsAsRevoked(revoked));
        expect(fleet.count('healed'), 'an instance put it back').toBeGreaterThan(0);
        await fleet.works();
        await conclude(context, fleet, [revoked]);
      });

      test('P8: the server comes back with an old snapshot, from before a revocation', async (context) => {
        const server = await start(context);
        const fleet = await program.start(at(server));
        await fleet.works();
        await server.command('SAVE');
        const revoked = await revokeActive(fleet);
        await fleet.works();
        await server.kill();
        await server.restart();
        await eventually('a heal', () => fleet.count('healed') > 0);
        await fleet.agrees('the revocation', knowsAsRevoked(revoked));
        expect(await server.command('HGET', keySet, 'document'), 'the store has it too').toContain(
          'revokedAt',
        );
        await fleet.works();
        await conclude(context, fleet, [revoked]);
      });

      test('P8: FLUSHALL during service', async (context) => {
        const server = await start(context);
        const fleet = await program.start(at(server));
        await fleet.works();
        const revoked = await revokeActive(fleet);
        await server.command('FLUSHALL');
        await eventually('the key set in the store again', async () => exists(server));
        await fleet.agrees('the revocation', knowsAsRevoked(revoked));
        expect(fleet.count('healed'), 'an instance put it back').toBeGreaterThan(0);
        await fleet.rotates();
        await conclude(context, fleet, [revoked]);
      });

      test('P2, P8: sentinels fail over in the middle of a rotation, to a replica with another history', async (context) => {
        const { data, sentinels, stop } = await startSentinel();
        context.onTestFinished(stop);
        const [primary, replica, other] = data;
        if (primary === undefined || replica === undefined) throw new Error('there are three servers');
        const fleet = await program.start({ ...at(...sentinels), on: 'sentinel' });
        await other?.stop();
        await fleet.agrees('no pending key', ({ keys }) => !keys.some(({ isPending }) => isPending));
        // The replica is cut off: what is written from now on, it does not have. Its side makes a history of its own.
        await replica.command('REPLICAOF', 'NO', 'ONE');
        const { store } = await connect(context, at(replica));
        const encrypter = localEncrypter({ key: fleet.key });
        const side = await createJwtAuthority({ store, encrypter, ...fleetPolicy });
        await side.rotator.rotateNow();
        await fleet.call('rotate');
        const lost = await fleet.agrees('a pending key', ({ keys }) =>
          keys.some(({ isPending }) => isPending),
        );
        await side.close();
        await primary.kill();
        const kids = [lost.keys, side.keyRing.keySet?.keys ?? []].flatMap((keys) =>
          keys.map(({ kid }) => kid),
        );
        await fleet.agrees('the keys of both histories', ({ keys }) =>
          kids.every((kid) => keys.some((key) => key.kid === kid)),
        );
        expect(new Set(kids).size, 'there were two histories').toBeGreaterThan(lost.keys.length);
        await fleet.works();
        await conclude(context, fleet);
      });

      test('P1, P2: slots migrate under load', async (context) => {
        const { servers, stop } = await startCluster();
        context.onTestFinished(stop);
        const target: RedisTarget = { ...at(...servers), on: 'cluster' };
        const fleet = await program.start(target);
        const { store } = await connect(context, target, 'load');
        let committed = 0;
        const end = new AbortController();
        const load = (async () => {
          while (!end.signal.aborted) {
            const { stored: last } = await store.load();
            if (await store.compareAndSwap(stored((last?.revision ?? 0) + 1), last, Infinity)) committed += 1;
          }
        })();
        for (let round = 0; round < 9; round += 1) {
          for (const key of [keySet, keySetOf('load')]) await migrate(servers, key);
          const before = committed;
          await eventually('commits after a migration', () => committed > before + 20);
        }
        end.abort();
        await load;
        expect((await store.load()).stored?.revision, 'no commit is lost, no call failed').toBe(committed);
        await fleet.rotates();
        await conclude(context, fleet);
        const errors = fleet.events.flatMap(({ name: event, message = '' }) =>
          event === 'store_error' ? [message] : [],
        );
        expect(
          errors.filter((message) => !message.includes('not answer')),
          'no errors to callers',
        ).toEqual([]);
      });

      test('P7: the server is full (OOM)', async (context) => {
        const server = await start(context);
        const fleet = await program.start(at(server));
        await server.command('CONFIG', 'SET', 'maxmemory', '1');
        await eventually('a commit that does not fit', () => errorsOf(fleet).includes('(OOM)'));
        await fleet.works();
        await server.command('CONFIG', 'SET', 'maxmemory', '0');
        await fleet.rotates();
        await conclude(context, fleet);
        expect(errorsOf(fleet)).toContain('give it more memory');
      });

      test('P7: permissions are missing, taken away and given back', async (context) => {
        const server = await start(context);
        const grant = (...rules: string[]): Promise<string> =>
          server.command('ACL', 'SETUSER', 'app', ...rules);
        await grant('reset', 'on', '>secret', '+ping', '+info', '+hello', '+subscribe');
        const target = { ...at(server), username: 'app', password: 'secret' };
        const { store, check } = await connect(context, target);
        const problems = async (): Promise<string> =>
          (await check()).flatMap(({ level, message }) => (level === 'error' ? [message] : [])).join('\n');
        expect(await problems(), 'EVAL is missing').toMatch(/"app" lacks a permission \(\+eval\)/);
        const [, line = ''] = /ACL SETUSER app (.*) \(NOPERM\)/.exec(await problems()) ?? [];
        const rules = line.split(' ');
        expect(rules, 'the line has all, TIME included').toEqual(
          expect.arrayContaining(['+eval', '+time', '&{jwt-authority:fleet}:*', '~{jwt-authority:fleet}:*']),
        );

        await grant(...rules.filter((rule) => !rule.startsWith('&')));
        expect(await problems(), 'the channel is missing').toMatch(/may not PUBLISH .*:changes, SUBSCRIBE/);
        await expect(store.watch(() => undefined)).rejects.toThrow(
          /lacks a permission.*&\{jwt-authority:fleet\}:\*/,
        );
        expect(await store.compareAndSwap(stored(1), undefined, Infinity), 'it commits all the same').toBe(
          true,
        );
        await server.command('DEL', keySet);
        await grant(...rules, '-time');
        expect(await problems()).toMatch(/may not TIME: the key set store does not work. .*\+time/);
        await expect(store.load()).rejects.toThrow(/lacks a permission.*\+time/);
        await grant('resetkeys');
        expect(await problems(), 'the keys are missing').toMatch(/\(~\{jwt-authority:fleet\}:\*\)/);
        await grant(...rules);
        expect(await problems(), 'that line suffices').toBe('');

        const fleet = await program.start(target);
        await fleet.works();
        await grant('-eval');
        await eventually('a refusal that names it', () => errorsOf(fleet).includes('(+eval)'));
        await grant('+eval', 'resetchannels');
        await fleet.rotates();
        await conclude(context, fleet);
      });

      test("P6, P7: a stranger's key at our name, and a stranger's document in it", async (context) => {
        const server = await start(context);
        const fleet = await program.start(at(server));
        await fleet.works();
        await server.command('SET', keySet, 'not ours');
        await eventually('a refusal to overwrite it', () =>
          fleet.events.some(({ code }) => code === 'store_unreadable'),
        );
        await fleet.works(10);
        expect(await server.command('GET', keySet), 'it is left alone').toContain('not ours');
        await server.command('DEL', keySet);
        await eventually('the key set in the store again', async () => exists(server));
        await fleet.works();
        await server.command('HSET', keySet, 'document', '{"keys":[]}', 'etag', 'theirs');
        await eventually('its report', () => fleet.count('tampered') > 0);
        await eventually(
          'the key set in its place',
          async () => !(await server.command('HGET', keySet, 'etag')).includes('theirs'),
        );
        await fleet.works();
        await conclude(context, fleet);
      });

      test('P2: abandoned commands are executed after a reconnection, and later than a newer commit', async (context) => {
        const server = await start(context, '--appendonly', 'yes', '--appendfsync', 'always');
        const fleet = await program.start(at(server));
        const names = ['in time', 'late'] as const;
        const [inTime, late] = await Promise.all(
          names.map(async (_, index) => connect(context, at(server), `n${index}`, 0.3)),
        );
        if (inTime === undefined || late === undefined) throw new Error('there are two');
        for (const { store } of [inTime, late]) await store.compareAndSwap(stored(1), undefined, Infinity);
        await server.kill();
        const deadline = Date.now() + 400;
        const abandoned = [
          inTime.store.compareAndSwap(stored(2), stored(1), Infinity),
          late.store.compareAndSwap(stored(2), stored(1), deadline),
        ];
        for (const call of abandoned) await expect(call, 'nobody answers').rejects.toThrow('did not answer');
        await eventually('the end of the time for the write', () => Date.now() > deadline);
        await server.restart();
        const revisionOf = async ({ store }: OpenedStore): Promise<number | undefined> =>
          (await store.load().catch(() => undefined))?.stored?.revision;
        await eventually('the execution of what was abandoned', async () => (await revisionOf(inTime)) === 2);
        await eventually('an answer', async () => (await revisionOf(late)) !== undefined);
        expect(await revisionOf(late), 'the server refuses what comes after its time').toBe(1);

        const proxy = await startProxy(server);
        context.onTestFinished(() => proxy.close());
        const slow = await connect(context, at({ host: server.host, port: proxy.port }), 'n0', 0.3);
        await slow.store.load();
        proxy.hold();
        const overtaken = slow.store.compareAndSwap(stored(3, 'slow'), stored(2), Infinity);
        await expect(overtaken).rejects.toThrow('did not answer');
        expect(await inTime.store.compareAndSwap(stored(3), stored(2), Infinity)).toBe(true);
        proxy.release();
        await eventually('an answer', async () => (await revisionOf(slow)) !== undefined);
        expect((await slow.store.load()).stored?.etag, 'a newer commit stays').toBe('etag-3');
        await fleet.works();
        await conclude(context, fleet);
      });

      // By a proxy that shifts both times of the protocol: libfaketime does not get along with Redis.
      test('P1, P9: the clock of the server is minutes off', async (context) => {
        const server = await start(context);
        let ahead = 0;
        const proxy = await startProxy(
          server,
          shiftedTime(() => ahead),
        );
        context.onTestFinished(() => proxy.close());
        const fleet = await program.start(at({ host: server.host, port: proxy.port }));
        await fleet.rotates();
        ahead = 300;
        await eventually('a report by every instance', () => fleet.count('clock_skew') === 3);
        const rotations = fleet.count('rotated');
        await eventually('the time of the next publication', async () => {
          const states = await fleet.states();
          return states.every(({ isDue }) => isDue);
        });
        await fleet.works(300);
        expect(fleet.count('rotated'), 'no key is published by clocks that disagree').toBe(rotations);
        const revoked = await revokeActive(fleet);
        await fleet.works();
        ahead = 0;
        await fleet.rotates();
        ahead = -300;
        await eventually('a report by every instance', () => fleet.count('clock_skew') === 6);
        await fleet.works();
        await conclude(context, fleet, [revoked]);
        expect(fleet.count('healed'), 'nothing was taken for lost').toBe(0);
      });

      test('P10: RESP3, TLS and a user with a password', async (context) => {
        const server = await start(context);
        const port = await listenWithTls(server, context);
        await server.command('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all');
        const ca = await readFile(join(server.folder, 'certificate.pem'), 'utf8');
        const target = { ...at({ host: server.host, port }), username: 'app', password: 'secret', ca };
        const fleet = await program.start(target);
        expect(await server.command('CLIENT', 'LIST'), 'RESP3').toMatch(/user=app .*resp=3/);
        await fleet.rotates();
        const before = { calls: await evalCalls(server), time: performance.now() };
        await fleet.works(200);
        const calls = (await evalCalls(server)) - before.calls;
        const refreshes = (3 * (performance.now() - before.time)) / 300;
        expect(calls, 'P10: reads at intervals and a few commits, none per token').toBeLessThan(
          refreshes + 30,
        );
        await conclude(context, fleet);
        const { ca: _ca, ...withoutTls } = target;
        const { store } = await connect(context, withoutTls, 'fleet', 0.5);
        await expect(store.load(), 'TLS is asked for').rejects.toMatchObject({ code: 'store_unavailable' });
      });
    },
  );
}

function stored(revision: number, name = 'etag'): Parameters<KeySetStore['compareAndSwap']>[0] {
  return {
    revision,
    etag: `${name}-${revision}`,
    updatedAt: Date.now(),
    document: randomBytes(1000).toString('hex'),
  };
}

function knowsAsRevoked(kid: string) {
  return ({
    keys,
    publishedKids,
  }: {
    keys: readonly { kid: string; isRevoked: boolean }[];
    publishedKids: readonly string[];
  }): boolean => keys.some((key) => key.kid === kid && key.isRevoked) && !publishedKids.includes(kid);
}

async function exists(server: RedisServer): Promise<boolean> {
  return (await server.command('EXISTS', keySet)).startsWith(':1');
}

function errorsOf({ events }: Fleet): string {
  return events.map(({ message = '' }) => message).join('\n');
}

async function evalCalls(server: RedisServer): Promise<number> {
  const stats = await server.command('INFO', 'commandstats');
  return Number(/cmdstat_eval:calls=(\d+)/.exec(stats)?.[1]);
}
