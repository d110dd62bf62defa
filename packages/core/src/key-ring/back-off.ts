/**
 * How long to wait after this many failures in a row, in milliseconds: from an eighth of the refresh interval, doubling, up
 * to the interval, which is the longest time between two attempts.
 */
export function backOff(refreshInterval: number, failures: number): number {
  return Math.min(refreshInterval, (refreshInterval / 16) * 2 ** failures);
}
