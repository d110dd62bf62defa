import type { Algorithm } from '../algorithms.ts';
import type { Clock } from '../clock.ts';
import type { KeyRingEvents } from '../events.ts';
import type { KeySetView } from './view.ts';

/** Reports the keys that take over. Activation needs no commit: it is read off the document when its time has come. */
export class Activations {
  readonly #clock: Clock;
  readonly #events: KeyRingEvents;
  readonly #activeKids = new Map<Algorithm, string>();
  #cancelTimer = (): void => {};

  constructor(clock: Clock, events: KeyRingEvents) {
    this.#clock = clock;
    this.#events = events;
  }

  /** Reports what took over since the last look, and looks again when the next key does. */
  look(view: KeySetView): void {
    this.stop();
    const now = this.#clock.now();
    for (const alg of view.algorithms) {
      const kid = view.signingKey(alg, now)?.kid;
      const previousKid = this.#activeKids.get(alg);
      if (kid === undefined || kid === previousKid) continue;
      this.#activeKids.set(alg, kid);
      this.#events.report('activated', { kid, alg, previousKid, revision: view.stored.revision });
    }
    const { until } = view.unchangedAround(now);
    if (until < Infinity) this.#cancelTimer = this.#clock.setTimer(() => this.look(view), until - now);
  }

  stop(): void {
    this.#cancelTimer();
  }
}
