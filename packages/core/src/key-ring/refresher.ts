import type { Clock } from '../clock.ts';
import { JwtAuthorityError, type AnyJwtAuthorityError } from '../errors.ts';
import { failureOf, type KeyRingEvents } from '../events.ts';
import { backOff } from './back-off.ts';
import type { KeySetKeeper } from './keeper.ts';
import type { StoreService } from './services.ts';

/** What a refresher works with, and whom it tells. */
export interface RefresherParts {
  readonly keeper: KeySetKeeper;
  readonly store: StoreService;
  readonly clock: Clock;
  readonly events: KeyRingEvents;
  /** Milliseconds. */
  readonly refreshInterval: number;
  /** From 0 (inclusive) to 1 (exclusive), for jitter. */
  readonly random: () => number;
  readonly onBegin: () => void;
  /** After each read, however it ended. */
  readonly onEnd: () => void;
  /** What else to do while the store can be reached; part of the read. */
  readonly whenReached: () => Promise<void>;
}

/** Keeps a key set fresh: reads the store at intervals, when it pushes, and on demand; one read at a time. */
export class Refresher {
  readonly #parts: RefresherParts;
  #refreshing: Promise<void> | undefined;
  #watching: Promise<(() => Promise<void>) | undefined> | undefined;
  #cancelTimer = (): void => {};
  #failures = 0;
  #failure: AnyJwtAuthorityError | undefined;
  #stopped = false;

  constructor(parts: RefresherParts) {
    this.#parts = parts;
  }

  /** Why the last read failed, if it did. */
  get failure(): AnyJwtAuthorityError | undefined {
    return this.#failure;
  }

  get isRefreshing(): boolean {
    return this.#refreshing !== undefined;
  }

  /** Reads the store now. Concurrent calls share one read. */
  async refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refresh(): Promise<void> {
    const { keeper, onBegin, onEnd, whenReached } = this.#parts;
    onBegin();
    try {
      await keeper.refresh();
      this.#failures = 0;
      this.#failure = undefined;
      this.#watch();
    } catch (error) {
      this.#failures++;
      if (JwtAuthorityError.is(error)) this.#failure = error;
      throw error;
    } finally {
      onEnd();
      this.#schedule();
    }
    await whenReached();
  }

  async #refreshInBackground(): Promise<void> {
    if (this.#stopped) return;
    // Reported by the services already; the next attempt is scheduled.
    await this.refresh().catch(() => {});
  }

  #watch(): void {
    if (this.#stopped || this.#watching !== undefined) return;
    const { store } = this.#parts;
    const started = store.watch(() => void this.#refreshInBackground());
    this.#watching = started.then((stop) => {
      // It failed: the next refresh tries again.
      if (stop === undefined) this.#watching = undefined;
      return stop;
    });
  }

  #schedule(): void {
    this.#cancelTimer();
    if (this.#stopped) return;
    const { clock, refreshInterval, random } = this.#parts;
    const longest = this.#failures === 0 ? refreshInterval : backOff(refreshInterval, this.#failures);
    const delay = longest * (0.75 + random() / 4);
    this.#cancelTimer = clock.setTimer(async () => this.#refreshInBackground(), delay, { idle: true });
  }

  /** Ends timer and watch. A read under way ends by itself. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer();
    try {
      await (
        await this.#watching
      )?.();
    } catch (error) {
      this.#parts.events.report('store_error', failureOf(error));
    }
  }
}
