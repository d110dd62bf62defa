import { afterEach, expect, it, vi } from 'vitest';
import { systemClock } from '../src/clock.ts';

const day = 86_400_000;

afterEach(() => {
  vi.useRealTimers();
});

it('the system clock takes waits longer than setTimeout does, and does not call back early', async () => {
  vi.useFakeTimers();
  const calls: number[] = [];
  systemClock.setTimer(() => void calls.push(1), 90 * day);

  await vi.advanceTimersByTimeAsync(89 * day);
  expect(calls, 'setTimeout alone would have run at once: it takes 24.8 days at most').toEqual([]);
  await vi.advanceTimersByTimeAsync(2 * day);
  expect(calls, 'once, when it is due').toEqual([1]);
});

it('a timer that was cancelled does not call back, also late in a long wait', async () => {
  vi.useFakeTimers();
  const calls: number[] = [];
  const cancel = systemClock.setTimer(() => void calls.push(1), 90 * day);
  await vi.advanceTimersByTimeAsync(60 * day);
  cancel();
  await vi.advanceTimersByTimeAsync(60 * day);
  expect(calls).toEqual([]);
});

it('a negative wait is none; the monotonic reading never steps back', async () => {
  await new Promise<void>((resolve) => {
    systemClock.setTimer(resolve, -5);
  });
  const before = systemClock.monotonic();
  expect(systemClock.monotonic()).toBeGreaterThanOrEqual(before);
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1000);
});
