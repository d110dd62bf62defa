import { afterEach } from 'vitest';
import { JwtAuthority } from '../../src/authority.ts';
import type { Clock } from '../../src/clock.ts';
import { type AnyJwtAuthorityError, JwtAuthorityError } from '../../src/errors.ts';
import type { KeyRingEventMap, KeyRingEventName, Logger } from '../../src/events.ts';
import type { KeyRecord, KeySet } from '../../src/key-set/document.ts';
import { type KeySetPolicy, type KeySetPolicyOptions, resolvePolicy } from '../../src/key-set/policy.ts';
import { KeyRing } from '../../src/key-ring/key-ring.ts';
import type { KeyRingOptions } from '../../src/key-ring/options.ts';
import { localEncrypter } from '../../src/local-encrypter.ts';
import type { KeyEncrypter } from '../../src/ports.ts';
import { JwksRotator } from '../../src/rotator.ts';
import { fakeClock, type FakeClock } from '../../src/testing.ts';
import { FaultyStore, SharedStore } from './faulty-store.ts';

/** Short enough to be read in seconds: stale bound 250 s, refresh 60 s, caches 125 + 125 s, tolerance 30 s, deadline 10 s. */
const settings: KeySetPolicyOptions = {
  algorithms: ['ES256'],
  propagationDelay: 1000,
  rotationInterval: 3000,
  maxTokenLifetime: 300,
};

/** The same in milliseconds. */
export const timing: KeySetPolicy = resolvePolicy(settings);

/** A KEK that counts its calls and may be down. */
export class CountingEncrypter implements KeyEncrypter {
  readonly calls = { encrypt: 0, decrypt: 0 };
  isDown = false;
  readonly #real: KeyEncrypter;

  constructor(real: KeyEncrypter = localEncrypter.forTests()) {
    this.#real = real;
  }

  get id(): string {
    return this.#real.id;
  }

  canDecrypt(encrypted: string): boolean {
    return this.#real.canDecrypt(encrypted);
  }

  async encrypt(dataKey: Uint8Array, context: Readonly<Record<string, string>>): Promise<string> {
    this.calls.encrypt++;
    if (this.isDown) throw new Error('KMS is down');
    return this.#real.encrypt(dataKey, context);
  }

  async decrypt(encrypted: string, context: Readonly<Record<string, string>>): Promise<Uint8Array> {
    this.calls.decrypt++;
    if (this.isDown) throw new Error('KMS is down');
    return this.#real.decrypt(encrypted, context);
  }
}

/** A clock of an instance that differs from the world's, by what `skew` says at the moment. */
export class SkewedClock implements Clock {
  skew: number;
  readonly #base: Clock;
  readonly setTimer: Clock['setTimer'];

  constructor(base: Clock, skew: number) {
    this.#base = base;
    this.skew = skew;
    this.setTimer = base.setTimer.bind(base);
  }

  now(): number {
    return this.#base.now() + this.skew;
  }

  monotonic(): number {
    return this.#base.monotonic();
  }
}

export interface StartOptions extends Partial<Omit<KeyRingOptions, 'store' | 'policy'>> {
  readonly policy?: KeySetPolicyOptions;
  readonly watches?: boolean;
  readonly hasClock?: boolean;
}

type Payload<Name extends KeyRingEventName> = KeyRingEventMap[Name][0];

/** One instance of the service: a key ring, an authority and a rotator that is not started, with its own way to the store. */
export class Instance {
  readonly store: FaultyStore;
  readonly keyRing: KeyRing;
  readonly authority: JwtAuthority;
  readonly rotator: JwksRotator;
  readonly reported: { readonly name: string; readonly payload: object }[] = [];

  constructor(world: World, options: StartOptions) {
    const { policy, watches = false, hasClock = true, ...rest } = options;
    this.store = new FaultyStore(world.shared, { watches, hasClock });
    const record = (payload: object, message: string): void => {
      this.reported.push({ name: message.replace('jwt-authority: ', ''), payload });
    };
    const logger: Logger = { debug: record, info: record, warn: record, error: record };
    this.keyRing = new KeyRing({
      store: this.store,
      encrypter: world.encrypter,
      clock: world.clock,
      logger,
      policy: { ...settings, ...policy },
      ...rest,
    });
    this.authority = new JwtAuthority({ keyRing: this.keyRing });
    this.rotator = new JwksRotator({ keyRing: this.keyRing });
  }

  /** The payloads of the events of this name so far. */
  events<Name extends KeyRingEventName>(name: Name): readonly Payload<Name>[] {
    // Reported under this name, so of its type.
    return this.reported
      .filter((event) => event.name === name)
      .map(({ payload }) => payload as Payload<Name>);
  }

  forgetEvents(): void {
    this.reported.length = 0;
  }

  get keySet(): KeySet {
    const { keySet } = this.keyRing;
    if (keySet === undefined) throw new Error('this instance holds no key set');
    return keySet;
  }

  key(kid: string): KeyRecord | undefined {
    return this.keySet.keys.find((key) => key.kid === kid);
  }

  /** The `kid` it signs with now. */
  get activeKid(): string {
    return this.keyRing.signingKey().kid;
  }

  get pendingKid(): string {
    const pending = this.keySet.keys.find(
      (key) => key.hasPrivateKey && key.activatesAt > this.keyRing.clock.now(),
    );
    if (pending === undefined) throw new Error('no key is pending');
    return pending.kid;
  }

  async sign(): Promise<string> {
    return (await this.authority.sign({ sub: 'somebody' })).token;
  }
}

/** A store, a KEK and a clock that instances share. Closes them after the test. */
export class World {
  readonly clock: FakeClock = fakeClock();
  readonly shared: SharedStore;
  readonly encrypter: CountingEncrypter = new CountingEncrypter();
  readonly instances: Instance[] = [];

  constructor(namespace = 'default') {
    this.shared = new SharedStore(this.clock, namespace);
    worlds.push(this);
  }

  /** An instance that has not loaded anything yet. */
  instance(options: StartOptions = {}): Instance {
    const instance = new Instance(this, options);
    this.instances.push(instance);
    return instance;
  }

  /** An instance that is ready, on a key set that exists. */
  async start(options: StartOptions = {}): Promise<Instance> {
    const instance = this.instance(options);
    await instance.rotator.checkAndRotateKeys();
    await instance.keyRing.ready();
    return instance;
  }

  async startMany(count: number, options: StartOptions = {}): Promise<readonly [Instance, ...Instance[]]> {
    const first = await this.start(options);
    const others: Instance[] = [];
    while (others.length < count - 1) others.push(await this.start(options));
    return [first, ...others];
  }

  /** How many events of this name the whole fleet reported. */
  count(name: KeyRingEventName): number {
    return this.instances.reduce((sum, instance) => sum + instance.events(name).length, 0);
  }

  /** Every instance reads the store, in its order. */
  async refreshAll(): Promise<void> {
    for (const { keyRing } of this.instances) await keyRing.refresh();
  }

  async close(): Promise<void> {
    for (const { rotator, keyRing } of this.instances) {
      rotator.stop();
      await keyRing.close();
    }
  }
}

const worlds: World[] = [];

afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close();
});

/** The error of ours that it ends in. Anything else is thrown on. */
export async function errorOf(work: Promise<unknown>): Promise<AnyJwtAuthorityError | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (JwtAuthorityError.is(error)) return error;
    throw error;
  }
}

/** The code of the error that it ends in, `'done'` if it succeeds. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  return (await errorOf(work))?.code ?? 'done';
}

/** The same of something synchronous. */
export async function codeOfCall(call: () => unknown): Promise<string> {
  return codeOf((async () => call())());
}
