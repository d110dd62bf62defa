import type { Clock } from '../clock.ts';
import { elapsed, moment, type Moment } from './services.ts';

// One flood of made-up kids must not fill the memory.
const maxRemembered = 1000;

/** When a `kid` that is not known here is worth a look at the store: seldom, however many of them come. */
export class UnknownKids {
  readonly #clock: Clock;
  readonly #coolDown: number;
  readonly #memory: number;
  readonly #askedAt = new Map<string, number>();
  #lastAttempt: Moment | undefined;

  constructor(clock: Clock, refreshInterval: number) {
    this.#clock = clock;
    this.#coolDown = refreshInterval / 4;
    this.#memory = refreshInterval;
  }

  /** A read of the store begins. */
  attempted(): void {
    this.#lastAttempt = moment(this.#clock);
  }

  get cooledDown(): boolean {
    return this.#lastAttempt === undefined || elapsed(this.#clock, this.#lastAttempt) >= this.#coolDown;
  }

  mayAsk(kid: string): boolean {
    return this.cooledDown && !this.isKnownAsUnknown(kid);
  }

  /** Whether the store was asked lately and did not have it. */
  isKnownAsUnknown(kid: string): boolean {
    const asked = this.#askedAt.get(kid);
    return asked !== undefined && this.#clock.monotonic() - asked < this.#memory;
  }

  /** The store was asked and does not have it. */
  remember(kid: string): void {
    const [oldest] = this.#askedAt.keys();
    if (this.#askedAt.size >= maxRemembered && oldest !== undefined) this.#askedAt.delete(oldest);
    this.#askedAt.set(kid, this.#clock.monotonic());
  }

  /** Another document is held: all bets are off. */
  clear(): void {
    this.#askedAt.clear();
  }
}
