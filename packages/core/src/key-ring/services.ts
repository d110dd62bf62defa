import { withDeadline, type Clock } from '../clock.ts';
import { describeError, JwtAuthorityError } from '../errors.ts';
import { failureOf, type KeyRingEvents } from '../events.ts';
import type { KeyEncrypter, KeySetStore, LoadResult, StoredKeySet } from '../ports.ts';
import { createDataKey, makerOf, openDataKey, type DataKey, type RandomBytes } from './sealing.ts';

/** A moment by both clocks. The monotonic one does not step; the wall clock goes on while the machine sleeps. */
export interface Moment {
  readonly wall: number;
  readonly monotonic: number;
}

export function moment(clock: Clock): Moment {
  return { wall: clock.now(), monotonic: clock.monotonic() };
}

/** Milliseconds since `then`: the longer of what the two clocks say. */
export function elapsed(clock: Clock, then: Moment): number {
  return Math.max(clock.now() - then.wall, clock.monotonic() - then.monotonic);
}

/** What a load found, and when it was asked. */
export interface Loaded {
  readonly stored: StoredKeySet | undefined;
  /** When the load began: what it found was true at that time or later. */
  readonly began: Moment;
  /** When it ended. */
  readonly ended: Moment;
  readonly storeTime: number | undefined;
  /** This machine's clock minus the store's, as far as the round trip allows to tell; 0 where the store has none. */
  readonly clockDifference: number;
}

/** The store with a deadline on every call, checked answers, and failures that say nothing secret. */
export class StoreService {
  readonly #store: KeySetStore;
  readonly #clock: Clock;
  readonly #deadline: number;
  readonly #events: KeyRingEvents;

  constructor(store: KeySetStore, clock: Clock, deadline: number, events: KeyRingEvents) {
    this.#store = store;
    this.#clock = clock;
    this.#deadline = deadline;
    this.#events = events;
  }

  /** @throws `JwtAuthorityError` with code `store_unavailable` or `store_unreadable`. */
  async load(): Promise<Loaded> {
    const began = moment(this.#clock);
    const answer: unknown = await this.#call('load', async () => this.#store.load());
    const ended = moment(this.#clock);
    if (!isLoadResult(answer)) {
      throw this.#report(
        new JwtAuthorityError(
          'store_unreadable',
          'the store gave something that is no stored key set (revision, etag, updatedAt, document)',
        ),
      );
    }
    const { stored, storeTime } = answer;
    const halfRoundTrip = (ended.monotonic - began.monotonic) / 2;
    const difference = storeTime === undefined ? 0 : began.wall + halfRoundTrip - storeTime;
    const clockDifference = Math.sign(difference) * Math.max(0, Math.abs(difference) - halfRoundTrip);
    return { stored, began, ended, storeTime, clockDifference };
  }

  /** @throws `JwtAuthorityError` with code `store_unavailable`; whether the write happened is then open. */
  async compareAndSwap(
    next: StoredKeySet,
    expected: StoredKeySet | undefined,
    notAfter: number,
  ): Promise<boolean> {
    const token = expected === undefined ? undefined : { revision: expected.revision, etag: expected.etag };
    return this.#call('compareAndSwap', async () => this.#store.compareAndSwap(next, token, notAfter));
  }

  /** Starts watching, where the store can; `undefined` if that failed, which is reported and costs only promptness. */
  async watch(onChange: () => void): Promise<(() => Promise<void>) | undefined> {
    const none = async (): Promise<void> => {};
    if (this.#store.watch === undefined) return none;
    const starting = (async () => (await this.#store.watch?.(onChange)) ?? none)();
    try {
      return await this.#call('watch', async () => starting);
    } catch {
      // One that starts after all must not go on for ever.
      starting.then(async (stop) => stop()).catch(() => {});
      return undefined;
    }
  }

  async #call<T>(method: string, work: () => Promise<T>): Promise<T> {
    const late = (): Error =>
      new JwtAuthorityError(
        'store_unavailable',
        `the store did not answer ${method} within ${this.#deadline} ms`,
      );
    try {
      return await withDeadline(this.#clock, this.#deadline, work(), late);
    } catch (error) {
      if (JwtAuthorityError.is(error)) throw this.#report(error);
      throw this.#report(
        new JwtAuthorityError('store_unavailable', `the store failed on ${method}: ${describeError(error)}`),
      );
    }
  }

  #report<E>(error: E): E {
    this.#events.report('store_error', failureOf(error));
    return error;
  }
}

function isLoadResult(value: unknown): value is LoadResult {
  if (typeof value !== 'object' || value === null) return false;
  // Each member is checked here.
  const { stored, storeTime } = value as LoadResult;
  return (
    (stored === undefined || isStored(stored)) && (storeTime === undefined || Number.isFinite(storeTime))
  );
}

function isStored(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  // Each member is checked here.
  const { revision, etag, updatedAt, document } = value as StoredKeySet;
  return (
    Number.isSafeInteger(revision) &&
    revision >= 1 &&
    typeof etag === 'string' &&
    etag !== '' &&
    Number.isFinite(updatedAt) &&
    typeof document === 'string'
  );
}

/** An encrypter that was given, and what the key set needs it for now. One that neither seals nor opens can be taken out. */
export interface KekUse {
  /** Its label. */
  readonly id: string;
  /** It is the first: publications and `rewrap()` seal with it. */
  readonly seals: boolean;
  /** The key set is sealed by it: whoever starts needs it. */
  readonly opens: boolean;
}

/** The encrypters, of which the first seals and any opens, with a deadline on every call. */
export class KekService {
  readonly #encrypters: readonly [KeyEncrypter, ...KeyEncrypter[]];
  readonly #namespace: string;
  readonly #clock: Clock;
  readonly #deadline: number;
  readonly #events: KeyRingEvents;
  readonly #randomBytes: RandomBytes;

  constructor(
    encrypters: readonly [KeyEncrypter, ...KeyEncrypter[]],
    context: {
      namespace: string;
      clock: Clock;
      deadline: number;
      events: KeyRingEvents;
      randomBytes: RandomBytes;
    },
  ) {
    this.#encrypters = encrypters;
    this.#namespace = context.namespace;
    this.#clock = context.clock;
    this.#deadline = context.deadline;
    this.#events = context.events;
    this.#randomBytes = context.randomBytes;
  }

  /** The label of the encrypter that made this wrapped text, if it is among those given. */
  labelOf(wrapped: string): string | undefined {
    return this.#encrypters.find((encrypter) => encrypter.canDecrypt(wrapped))?.id;
  }

  /** The label of the encrypter that seals. */
  get primary(): string {
    return this.#encrypters[0].id;
  }

  /** What each encrypter is for, as long as the key set is sealed under this wrapped text. */
  uses(wrapped: string | undefined): readonly KekUse[] {
    const opener = this.#encrypters.find(
      (encrypter) => wrapped !== undefined && encrypter.canDecrypt(wrapped),
    );
    return this.#encrypters.map((encrypter, index) => ({
      id: encrypter.id,
      seals: index === 0,
      opens: encrypter === opener,
    }));
  }

  /** @throws `JwtAuthorityError` with code `kek_unavailable`. */
  async create(): Promise<DataKey> {
    const [primary] = this.#encrypters;
    return this.#call(primary, 'wrap', async () =>
      createDataKey(primary, this.#namespace, this.#randomBytes),
    );
  }

  /** @throws `JwtAuthorityError` with code `kek_not_configured`, `kek_unavailable` or `decryption_failed`. */
  async open(wrapped: string, revision: number): Promise<DataKey> {
    const encrypter = this.#encrypters.find((candidate) => candidate.canDecrypt(wrapped));
    if (encrypter === undefined) {
      const given = this.#encrypters.map(({ id }) => `"${id}"`).join(', ');
      throw new JwtAuthorityError(
        'kek_not_configured',
        `the key set of namespace "${this.#namespace}" (revision ${revision}) is sealed by "${sealerOf(wrapped)}", but the encrypters given are ${given}. ` +
          'Add it to "encrypter" as a previous one.',
      );
    }
    return this.#call(encrypter, 'unwrap', async () => openDataKey(encrypter, this.#namespace, wrapped));
  }

  async #call<T>(encrypter: KeyEncrypter, what: string, work: () => Promise<T>): Promise<T> {
    const late = (): Error =>
      new JwtAuthorityError(
        'kek_unavailable',
        `"${encrypter.id}" did not ${what} a data-encryption key within ${this.#deadline} ms`,
      );
    try {
      return await withDeadline(this.#clock, this.#deadline, work(), late);
    } catch (error) {
      const failure = JwtAuthorityError.is(error)
        ? error
        : new JwtAuthorityError(
            'kek_unavailable',
            `"${encrypter.id}" could not ${what} a data-encryption key: ${describeError(error)}`,
          );
      this.#events.report('encrypter_error', { encrypter: encrypter.id, ...failureOf(failure) });
      throw failure;
    }
  }
}

/** What a wrapped text says of its maker: what stands before its format version or its data, if that reads like a label. */
function sealerOf(wrapped: string): string {
  const label = makerOf(wrapped).replace(/:v\d.*$/, '');
  return /^[\w:./@-]{1,200}$/.test(label) ? label : 'an encrypter that is not known here';
}
