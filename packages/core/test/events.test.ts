import diagnostics from 'node:diagnostics_channel';
import { inspect } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { generateKeyPair, type KeyPair } from '../src/algorithms.ts';
import { JwtAuthorityError } from '../src/errors.ts';
import type { KeyRingEventMap, Logger } from '../src/events.ts';
import { failsBefore } from './support/faulty-store.ts';
import { codeOf, World } from './support/world.ts';

const eventNames = [
  'refreshed',
  'published',
  'rotated',
  'activated',
  'retired',
  'pruned',
  'revoked',
  'healed',
  'tampered',
  'import_ignored',
  'fresh',
  'stale',
  'unusable',
  'clock_skew',
  'store_error',
  'encrypter_error',
  'rotation_error',
] as const satisfies readonly (keyof KeyRingEventMap)[];

describe('events', () => {
  it('reach listeners, the logger and the diagnostics channel with one payload, which is frozen', async () => {
    const world = new World('events');
    const instance = world.instance();
    const heard: unknown[] = [];
    const channelled: unknown[] = [];
    const listen = (message: unknown): void => void channelled.push(message);
    instance.keyRing.events.on('rotated', (payload) => void heard.push(payload));
    diagnostics.subscribe('jwt-authority:rotated', listen);
    try {
      await instance.rotator.checkAndRotateKeys();
    } finally {
      diagnostics.unsubscribe('jwt-authority:rotated', listen);
    }
    const [logged] = instance.events('rotated');
    expect(logged).toEqual({
      namespace: 'events',
      at: world.clock.now(),
      kid: instance.activeKid,
      alg: 'ES256',
      revision: 1,
      activatesAt: instance.keySet.keys[0]?.activatesAt,
    });
    expect(heard, 'to the listener').toEqual([logged]);
    expect(channelled, 'and for those who observe the whole process').toContain(logged);
    expect(Object.isFrozen(logged), 'one listener must not change what the next one sees').toBe(true);
  });

  it('a listener, a logger or a subscriber that throws or rejects disturbs nothing, and is warned of', async () => {
    const world = new World();
    const secret = 'redis://user:password@host';
    const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const fails = (): never => {
      throw new Error(secret);
    };
    const logger: Logger = { debug: fails, info: fails, warn: fails, error: fails };
    const instance = world.instance({ logger });
    const calls: string[] = [];
    instance.keyRing.events.on('activated', fails);
    // Deliberately async, as users write them.
    instance.keyRing.events.on('activated', () => Promise.reject(new Error(secret)) as unknown as void);
    instance.keyRing.events.once('activated', () => void calls.push('once'));

    expect((await instance.rotator.checkAndRotateKeys()).outcome).toBe('rotated');
    await instance.rotator.rotateNow({ emergency: true });
    await new Promise((resolve) => setImmediate(resolve));

    expect(calls, 'the listeners behind the one that throws are called; once is once').toEqual(['once']);
    expect(warnings.mock.calls.length, 'not swallowed').toBeGreaterThan(2);
    expect(
      JSON.stringify(warnings.mock.calls),
      'nor is what a client put into its message shown',
    ).not.toContain(secret);
    warnings.mockRestore();
  });

  it('each level of the logger is used for what it is for', async () => {
    const world = new World();
    const levels = new Map<string, string>();
    const at = (level: string) => (_: object, message: string) =>
      void levels.set(message.replace('jwt-authority: ', ''), level);
    const { rotator, keyRing } = world.instance({
      logger: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    });
    await rotator.checkAndRotateKeys();
    await rotator.revoke(keyRing.signingKey().kid, { reason: 'leaked' });
    world.shared.wipe();
    await keyRing.refresh();
    await world.shared.alter((stored) => ({ ...stored, document: 'x' }));
    await keyRing.refresh();
    expect(Object.fromEntries(levels)).toMatchObject({
      refreshed: 'debug',
      rotated: 'info',
      activated: 'info',
      revoked: 'warn',
      healed: 'warn',
      tampered: 'error',
    });
  });
});

describe('P5: what an instance says of itself', () => {
  it('P5: no event, error, log, inspection or JSON of anything public has a private key, a token or a data key', async () => {
    const world = new World();
    const pairs: KeyPair[] = [];
    const dataKeys: string[] = [];
    const randomBytes = (size: number): Buffer => {
      const bytes = Buffer.alloc(size);
      globalThis.crypto.getRandomValues(bytes);
      if (size === 32) dataKeys.push(bytes.toString('base64'));
      return bytes;
    };
    const instance = world.instance({
      watches: true,
      randomBytes,
      generateKeyPair: async (alg, options) => {
        const pair = await generateKeyPair(alg, options);
        pairs.push(pair);
        return pair;
      },
    });
    const { rotator, authority, keyRing, store } = instance;
    const said: unknown[] = [];
    for (const name of eventNames) keyRing.events.on(name, (payload: object) => void said.push(payload));
    const tokens: string[] = [];
    const note = async (work: Promise<unknown>): Promise<void> => {
      said.push(await work.catch((error: unknown) => error));
    };

    // Through everything that can be said: rotation, revocation, outage, tampering, healing, staleness, end.
    await note(rotator.checkAndRotateKeys());
    tokens.push(await instance.sign());
    await note(rotator.rotateNow());
    await world.clock.advance('40m');
    await note(rotator.checkAndRotateKeys());
    tokens.push(await instance.sign());
    await note(rotator.revoke(instance.activeKid, { reason: 'leaked' }));
    await note(authority.verify(tokens[1] ?? ''));
    await note(authority.verify(`${tokens[0]}x`));
    await world.shared.alter((stored) => ({
      ...stored,
      document: stored.document.replace('ES256', 'ES384'),
    }));
    await note(keyRing.refresh());
    world.shared.wipe();
    await note(keyRing.refresh());
    world.encrypter.isDown = true;
    await note(rotator.rewrap());
    store.always = failsBefore;
    await note(keyRing.refresh());
    await world.clock.advance('10m');
    await note(authority.sign({}));
    said.push(rotator.explain(), keyRing.health(), keyRing.publication.bind(keyRing));
    said.push(keyRing, authority, rotator, store, world.encrypter, keyRing.keySet);
    await keyRing.close();
    await note(keyRing.refresh());

    const names = new Set(instance.reported.map(({ name }) => name));
    for (const name of [
      'rotated',
      'retired',
      'revoked',
      'tampered',
      'healed',
      'stale',
      'store_error',
      'encrypter_error',
    ]) {
      expect(names, 'the scan means something only if it saw everything').toContain(name);
    }
    const text = said
      .flatMap((thing) => [
        inspect(thing, { depth: 12, showHidden: true, maxArrayLength: null, maxStringLength: null }),
        safeJson(thing),
        thing instanceof Error ? `${thing.stack} ${inspect(thing.cause)}` : '',
      ])
      .concat(inspect(instance.reported, { depth: 12, maxStringLength: null }))
      .join('\n');
    const secrets = [
      ...tokens.flatMap((token) => token.split('.').slice(1)),
      ...dataKeys.flatMap((key) => [key, Buffer.from(key, 'base64').toString('hex')]),
      ...pairs.flatMap(({ privateKey }) => {
        const { d = '' } = privateKey.export({ format: 'jwk' });
        return [
          d,
          Buffer.from(d, 'base64url').toString('hex'),
          Buffer.from(d, 'base64url').toString('base64'),
        ];
      }),
    ];
    expect(pairs.length, 'two rotations and a replacement').toBeGreaterThan(2);
    expect(dataKeys.length, 'each sealed under data keys').toBeGreaterThan(2);
    for (const secret of secrets) {
      expect(secret.length, 'an empty text would be found everywhere').toBeGreaterThan(20);
      expect(text.includes(secret), 'a secret was found in what the instance says of itself').toBe(false);
    }
    const planted = `${text}${secrets[3]}`;
    expect(
      secrets.some((secret) => planted.includes(secret)),
      'a planted leak is found',
    ).toBe(true);
  });

  it('P5: an error has no cause, and what a client threw is told by its name and code only', async () => {
    const world = new World();
    const { keyRing, store } = await world.start();
    store.always = async () => {
      throw Object.assign(new Error('connect redis://user:password@host'), { code: 'ECONNREFUSED' });
    };
    const error = await keyRing.refresh().catch((reason: unknown) => reason);
    expect(JwtAuthorityError.is(error) && error.code).toBe('store_unavailable');
    expect(inspect(error, { showHidden: true, depth: 9 })).not.toMatch(/password|redis:/);
    expect(JwtAuthorityError.is(error) && error.message).toBe('the store failed on load: Error ECONNREFUSED');
    store.always = async () => {
      // Deliberately no error.
      throw 'redis://user:password@host' as unknown as Error;
    };
    expect(await codeOf(keyRing.refresh())).toBe('store_unavailable');
    expect(keyRing.health().reason).toBe('the store failed on load: a thrown string');
  });
});

/** What JSON.stringify gives, `''` where it cannot. */
function safeJson(value: unknown): string {
  const seen = new Set<unknown>();
  return (
    JSON.stringify(value, (_, member: unknown) => {
      if (typeof member === 'object' && member !== null) {
        if (seen.has(member)) return undefined;
        seen.add(member);
      }
      return typeof member === 'bigint' ? String(member) : member;
    }) ?? ''
  );
}
