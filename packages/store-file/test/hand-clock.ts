import type { Clock } from '@jwt-authority/core';

export interface HandClock extends Clock {
  /** Called whenever the time is asked for, which commits do right before the link. */
  onNow: () => void;
  time: number;
  /** The timers that wait, with what was asked for. */
  readonly timers: {
    readonly delay: number;
    readonly idle: boolean;
    readonly fire: () => void | Promise<void>;
  }[];
}

export function handClock(): HandClock {
  const timers: HandClock['timers'] = [];
  return {
    time: 1_790_000_000_000,
    timers,
    onNow: () => undefined,
    now() {
      this.onNow();
      return this.time;
    },
    monotonic: () => 0,
    setTimer(callback, delay, { idle = false } = {}) {
      const timer = {
        delay,
        idle,
        fire: () => {
          timers.splice(timers.indexOf(timer), 1);
          return callback();
        },
      };
      timers.push(timer);
      return () => {
        if (timers.includes(timer)) timers.splice(timers.indexOf(timer), 1);
      };
    },
  };
}
