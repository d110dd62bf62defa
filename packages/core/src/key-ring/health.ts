import type { AnyJwtAuthorityError, JwtAuthorityErrorCode } from '../errors.ts';
import type { KeyRingEvents } from '../events.ts';
import type { Moment } from './services.ts';

/** How an instance is doing. */
export interface Health {
  /**
   * `fresh`: signs, verifies, publishes. `stale`: the last successful refresh is older than the stale bound: verifies what
   * it knows, refuses to sign and to publish. `unusable`: nothing can be signed, for the reason in `code`.
   */
  readonly status: 'fresh' | 'stale' | 'unusable';
  /** Since when, epoch milliseconds. */
  readonly since: number;
  /** Of the last failure that is not over; `undefined` if all is well. */
  readonly code: JwtAuthorityErrorCode | undefined;
  /** Why, for people. */
  readonly reason: string | undefined;
  readonly revision: number | undefined;
  /** When the last successful refresh began, epoch milliseconds. */
  readonly lastRefreshAt: number | undefined;
}

/** Says how an instance is doing, and reports when that changes. */
export class HealthTracker {
  readonly #events: KeyRingEvents;
  readonly #now: () => number;
  #status: Health['status'] = 'unusable';
  #since: number;

  constructor(events: KeyRingEvents, now: () => number) {
    this.#events = events;
    this.#now = now;
    this.#since = now();
  }

  /** `failure`: why nothing can be signed now, if so. */
  update(
    failure: AnyJwtAuthorityError | undefined,
    confirmed: Moment | undefined,
  ): Pick<Health, 'status' | 'since'> {
    const status = failure === undefined ? 'fresh' : failure.code === 'stale' ? 'stale' : 'unusable';
    if (status !== this.#status) {
      this.#status = status;
      this.#since = this.#now();
      if (failure === undefined) this.#events.report('fresh', {});
      else if (status === 'stale') this.#events.report('stale', { lastRefreshAt: confirmed?.wall });
      else this.#events.report('unusable', { code: failure.code });
    }
    return { status, since: this.#since };
  }
}
