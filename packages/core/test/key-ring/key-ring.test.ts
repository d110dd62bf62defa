import { describe, expect, it } from 'vitest';
import { JwtAuthority } from '../../src/authority.ts';
import { createJwtAuthority } from '../../src/create.ts';
import { KeyRing } from '../../src/key-ring/key-ring.ts';
import type { KeyRingOptions } from '../../src/key-ring/options.ts';
import { localEncrypter } from '../../src/local-encrypter.ts';
import type { LoadResult } from '../../src/ports.ts';
import { fakeClock } from '../../src/testing.ts';
import { memoryStore } from '../../../store-memory/src/index.ts';
import { failsBefore, hangs } from '../support/faulty-store.ts';
import { codeOf, codeOfCall, errorOf, timing, World } from '../support/world.ts';

describe('P10: the steady state costs nothing', () => {
  it('P10: one small read per refresh interval and instance, no write, no KEK call; each rotation one KEK call per instance', async () => {
    const world = new World();
    const instances = await world.startMany(3);
    for (const { rotator } of instances) rotator.start();
    const loads = () => instances.map(({ store }) => store.calls.load);
    const before = loads();
    const { encrypt, decrypt } = world.encrypter.calls;
    const refresh = timing.refreshInterval / 1000;

    // Minute by minute: a fake clock that moves further does not stop at each idle refresh.
    for (let minute = 0; minute < 30; minute++) await world.clock.advance(refresh);

    for (const [index, count] of loads().entries()) {
      const reads = count - (before[index] ?? 0);
      expect(reads, 'at least one per interval, or the stale bound would be at risk').toBeGreaterThanOrEqual(
        30,
      );
      expect(reads, 'jitter makes the interval shorter by up to a quarter, no more').toBeLessThanOrEqual(41);
    }
    expect(world.shared.history.length, 'nothing is due: nothing is written').toBe(1);
    expect(world.encrypter.calls, 'nor is the KEK needed').toEqual({ encrypt, decrypt });

    for (let minute = 0; minute < 30; minute++) await world.clock.advance(refresh);
    expect(world.count('rotated'), 'one rotation').toBe(2);
    expect(world.encrypter.calls, 'one wrap by whoever rotated, one unwrap by each other instance').toEqual({
      encrypt: encrypt + 1,
      decrypt: decrypt + 2,
    });
  });

  it('P10: a flood of tokens with made-up kids costs one read per quarter of the refresh interval', async () => {
    const world = new World();
    const { keyRing, store } = await world.start();
    await world.clock.advance(20);
    const before = store.calls.load;
    const ask = async (from: number) =>
      Promise.all(
        Array.from({ length: 500 }, async (_, i) => codeOf(keyRing.findVerificationKey(`kid-${from + i}`))),
      );

    expect(new Set(await ask(0)), 'all are told the same').toEqual(new Set(['unknown_kid']));
    expect(new Set(await ask(500))).toEqual(new Set(['unknown_kid']));
    expect(store.calls.load - before, 'a thousand tokens, one look').toBe(1);
    await world.clock.advance(timing.refreshInterval / 4000);
    await ask(1000);
    await ask(0);
    expect(store.calls.load - before, 'after the cool-down another one').toBe(2);
  });

  it('P10: a kid that the store does not have is not asked for again soon, and its memory is bounded', async () => {
    const world = new World();
    const { keyRing, store } = await world.start();
    const cool = timing.refreshInterval / 4000;
    await world.clock.advance(cool);
    await codeOf(keyRing.findVerificationKey('stranger'));
    await world.clock.advance(cool);
    const before = store.calls.load;
    expect(await codeOf(keyRing.findVerificationKey('stranger'))).toBe('unknown_kid');
    expect(store.calls.load - before, 'it was asked for a moment ago').toBe(0);
  });

  it('P1: a token of a key that this instance has not seen yet is found in the store', async () => {
    const world = new World();
    const [first, second] = await world.startMany(2);
    await world.clock.advance(20);
    await first.rotator.rotateNow({ emergency: true });
    const token = await first.sign();
    expect(second !== undefined && (await codeOf(second.authority.verify(token)))).toBe('done');
  });
});

describe('watching the store', () => {
  it('P9: another instance’s commit is known at once; close() ends the watch', async () => {
    const world = new World();
    const [first, second] = await world.startMany(2, { watches: true });
    expect(second?.store.watchers, 'one watch per instance').toBe(1);
    const token = await first.sign();

    await first.rotator.revoke(first.activeKid, { reason: 'leaked' });
    await world.clock.advance(0);

    expect(second && (await codeOf(second.authority.verify(token))), 'without any refresh falling due').toBe(
      'key_revoked',
    );
    await second?.keyRing.close();
    expect(second?.store.watchers, 'a watch left behind is a leak').toBe(0);
  });

  it('a watch that cannot be had is tried again with the next refresh, and costs nothing but promptness', async () => {
    const world = new World();
    const { store, keyRing, ...instance } = world.instance({ watches: true });
    const { watch } = store;
    store.watch = async () => {
      throw new Error('no permission to subscribe');
    };
    await keyRing.ready();
    await world.clock.advance(0);
    expect(instance.reported.map(({ name }) => name)).toContain('store_error');
    if (watch !== undefined) store.watch = watch;
    await keyRing.refresh();
    await world.clock.advance(0);
    expect(store.watchers).toBe(1);
  });

  it('a watch that does not stop in order is reported by close(), not thrown', async () => {
    const world = new World();
    const { store, keyRing, ...instance } = world.instance({ watches: true });
    store.watch = async () => async () => {
      throw new Error('connection is closed');
    };
    await keyRing.ready();
    await keyRing.close();
    expect(instance.reported.at(-1)?.name).toBe('store_error');
  });

  it('a watch that starts only after its deadline is stopped again', async () => {
    const world = new World();
    const { store, keyRing } = world.instance({ watches: true });
    let started = (): void => {};
    let stopped = 0;
    store.watch = async () =>
      new Promise((resolve) => {
        started = () => resolve(async () => void stopped++);
      });
    await keyRing.ready();
    await world.clock.advance(timing.commitDeadline / 1000 + 1);
    started();
    await world.clock.advance(0);
    expect(stopped, 'nobody else would ever stop it').toBe(1);
  });
});

describe('a key ring', () => {
  it('does nothing before it is asked, and says so', async () => {
    const world = new World();
    const { keyRing, store, authority } = world.instance();
    expect(store.calls.load).toBe(0);
    expect(keyRing.health()).toMatchObject({
      status: 'unusable',
      code: 'not_initialised',
      revision: undefined,
    });
    expect(await codeOfCall(() => keyRing.publication())).toBe('not_initialised');
    expect(keyRing.age).toBe(Infinity);
    expect(await authority.getCurrentKid(), 'asking for the kid makes no key').toBe(undefined);
    expect(await world.shared.current()).toBe(undefined);
  });

  it('after close() everything says closed, and no timer is left', async () => {
    const world = new World();
    const instance = await world.start();
    await using keyRing = instance.keyRing;
    const token = await instance.sign();
    await keyRing.close();
    await keyRing.close();
    expect(world.clock.timers).toBe(0);
    for (const work of [
      instance.sign(),
      keyRing.ready(),
      keyRing.refresh(),
      instance.authority.verify(token),
    ]) {
      expect(await codeOf(work)).toBe('closed');
    }
    expect(keyRing.health()).toMatchObject({ status: 'unusable', code: 'closed' });
  });

  it('rewrap is one commit, which says from what to what, and is safe to repeat', async () => {
    const world = new World();
    const [old, next] = [localEncrypter.forTests(), localEncrypter.forTests()];
    await world.start({ encrypter: old });
    const instance = await world.start({ encrypter: [next, old] });
    expect(await instance.rotator.rewrap()).toEqual({
      committed: true,
      from: old.id,
      to: next.id,
      kids: [instance.activeKid],
    });
    expect(world.shared.history.length).toBe(2);
    expect((await instance.rotator.rewrap()).from).toBe(next.id);
    expect(world.shared.history.length, 'nothing was left to do').toBe(2);
    const without = await world.start({ encrypter: next });
    expect(without.activeKid, 'the old KEK is not needed any more').toBe(instance.activeKid);
    expect(await codeOf(world.instance({ encrypter: old }).keyRing.ready())).toBe('kek_not_configured');
  });

  it.each([
    ['nothing', undefined],
    ['a text', 'x'],
    ['no revision', { etag: 'e', updatedAt: 1, document: '{}' }],
    ['revision 0', { revision: 0, etag: 'e', updatedAt: 1, document: '{}' }],
    ['an empty etag', { revision: 1, etag: '', updatedAt: 1, document: '{}' }],
    ['no time', { revision: 1, etag: 'e', updatedAt: Number.NaN, document: '{}' }],
    ['a document that is no text', { revision: 1, etag: 'e', updatedAt: 1, document: {} }],
  ])('a store that answers %s is refused, not believed', async (_, stored) => {
    const world = new World();
    const { keyRing, store } = world.instance();
    // Deliberately wrong, as a faulty adapter answers.
    store.load = async () => ({ stored }) as unknown as LoadResult;
    expect(await codeOf(keyRing.ready())).toBe(stored === undefined ? 'done' : 'store_unreadable');
  });

  it('a store that answers nothing at all is an error of ours', async () => {
    const { keyRing, store } = new World().instance();
    // Deliberately wrong, as a faulty adapter answers.
    store.load = async () => undefined as unknown as LoadResult;
    expect(await codeOf(keyRing.ready())).toBe('store_unreadable');
  });

  it('a store that hangs on start is given up after its deadline', async () => {
    const world = new World();
    const { keyRing, store } = world.instance();
    store.always = hangs;
    const ready = codeOf(keyRing.ready());
    await world.clock.advance(timing.commitDeadline / 1000);
    expect(await ready).toBe('store_unavailable');
  });
});

describe('P7: the clock', () => {
  it('P7: stepping back does not make an instance fresh for longer', async () => {
    const world = new World();
    const { store, ...instance } = await world.start();
    store.always = failsBefore;
    await world.clock.advance(timing.staleBound / 1000 + 1);
    world.clock.step(-3_600_000);
    expect(await codeOf(instance.authority.sign({})), 'the monotonic clock counts').toBe('stale');
  });

  it('P7: sleep counts, though the monotonic clock stood still', async () => {
    const world = new World();
    const { store, ...instance } = await world.start();
    store.always = failsBefore;
    world.clock.step(timing.staleBound + 1000);
    expect(await codeOf(instance.authority.sign({}))).toBe('stale');
  });

  it('a step forward and back again leaves the key set as it was', async () => {
    const world = new World();
    const { rotator, keyRing, activeKid } = await world.start({ hasClock: false });
    rotator.start();
    world.clock.step(-600_000);
    await world.clock.advance('2m');
    world.clock.step(600_000);
    await world.clock.advance('2m');
    expect(keyRing.signingKey().kid).toBe(activeKid);
    expect(world.count('rotated')).toBe(1);
  });
});

describe('P11: wrong settings fail at construction, with the option, its value’s kind and the rule', () => {
  const store = memoryStore();
  const encrypter = localEncrypter.forTests();
  const canDecrypt = (): boolean => true;
  const storeNamed = (namespace: string): object => ({ load() {}, compareAndSwap() {}, namespace });
  const wrong: readonly (readonly [name: string, options: object, message: RegExp])[] = [
    [
      'store',
      { store: undefined },
      /^"store" must be an object with load\(\), compareAndSwap\(\), got undefined$/,
    ],
    ['store', { store: { load() {} } }, /^"store" must be an object with compareAndSwap\(\), got an object$/],
    ['store.namespace', { store: storeNamed('') }, /^"store\.namespace" must/],
    ['store.namespace', { store: storeNamed('a b{c}') }, /^"store\.namespace" must/],
    ['encrypter', { encrypter: undefined }, /^"encrypter" must/],
    ['encrypter', { encrypter: [] }, /^"encrypter" must/],
    ['encrypter[1]', { encrypter: [encrypter, {}] }, /^"encrypter\[1\]" must/],
    [
      'encrypter.id',
      { encrypter: { canDecrypt, encrypt() {}, decrypt() {}, id: 5 } },
      /^"encrypter\.id" must/,
    ],
    ['clock', { clock: Date }, /^"clock" must/],
    ['logger', { logger: { info() {} } }, /^"logger" must/],
    ['executor', { executor: {} }, /^"executor" must/],
    ['randomBytes', { randomBytes: 5 }, /^"randomBytes" must be a function, got the number 5$/],
    ['generateKeyPair', { generateKeyPair: 'RS256' }, /^"generateKeyPair" must be a function, got /],
  ];

  it.each(wrong)('P11: KeyRing: %s', (_, options, message) => {
    // Deliberately wrong, as from JavaScript.
    const all = { store, encrypter, ...options } as unknown as KeyRingOptions;
    expect(() => new KeyRing(all)).toThrow(message);
    expect(() => new KeyRing(all)).toThrow(TypeError);
  });

  it.each(wrong)('P11: createJwtAuthority: %s', async (_, options, message) => {
    // Deliberately wrong, as from JavaScript.
    const all = { store, encrypter, ...options } as unknown as KeyRingOptions;
    await expect(createJwtAuthority(all)).rejects.toThrow(message);
  });

  it.each([
    ['unknown', { rotationIntervall: '90d' }, /"rotationIntervall"/],
    ['issuer', { issuer: '' }, /^"issuer" must/],
    ['audience', { audience: [] }, /^"audience" must/],
    ['audience', { audience: ['a', 5] }, /^"audience.*" must/],
    ['typ', { typ: 'x'.repeat(101) }, /^"typ" must/],
    ['maxTokenLength', { maxTokenLength: 1 }, /^"maxTokenLength" must be a whole number/],
    ['replayStore', { replayStore: {} }, /^"replayStore" must/],
    ['verifyWhenStale', { verifyWhenStale: true }, /^"verifyWhenStale" must be/],
  ])('P11: the authority: %s', async (_, options, message) => {
    // Deliberately wrong, as from JavaScript.
    const all = { store, encrypter, ...options } as unknown as KeyRingOptions;
    await expect(createJwtAuthority(all), 'from the preset').rejects.toThrow(message);
    const keyRing = new KeyRing({ store, encrypter });
    expect(() => new JwtAuthority({ keyRing, ...(options as object) }), 'from parts').toThrow(message);
  });

  it.each([undefined, null, 'x', 5, []])('P11: no options object: %s', async (options) => {
    // Deliberately wrong, as from JavaScript.
    const all = options as unknown as KeyRingOptions;
    expect(() => new KeyRing(all)).toThrow(TypeError);
    await expect(createJwtAuthority(all)).rejects.toThrow(TypeError);
  });

  it('createJwtAuthority leaves nothing running when the first load fails', async () => {
    const clock = fakeClock();
    const down = {
      namespace: 'default',
      load: failsBefore as () => Promise<LoadResult>,
      compareAndSwap: async () => false,
    };
    const error = await errorOf(createJwtAuthority({ store: down, encrypter, clock }));
    expect(error?.code).toBe('store_unavailable');
    expect(clock.timers, 'a start-up that failed must not hold the process').toBe(0);
  });

  it('createJwtAuthority waits for a key set where it may not make one', async () => {
    const world = new World();
    const authority = await createJwtAuthority({
      store: world.shared.real,
      encrypter: world.encrypter,
      clock: world.clock,
      algorithms: ['ES256'],
      initialise: 'never',
    });
    expect(await codeOf(authority.sign({}))).toBe('not_initialised');
    expect(authority.keyRing.health().code).toBe('not_initialised');
    await world.instance().rotator.rotateNow();
    await world.clock.advance('2m');
    expect(await codeOf(authority.sign({})), 'by itself, once somebody has made it').toBe('done');
    await authority.close();
  });
});
