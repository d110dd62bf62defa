import type { ReplayStore } from '@jwt-authority/core';
import { bind, type ContractCase } from './cases.ts';
import { failureCases, useCases, valueCases } from './replay-store-uses.ts';
import { type ReplayStoreCaseOptions, ReplaySession } from './replay-store-session.ts';
import { timeCases } from './replay-store-times.ts';

/**
 * The contract of `ReplayStore`.
 *
 * @param open Makes a client of the store with this name (letters, digits, `-`), each time a new one where stores have
 *   clients. Two of one name must share their data, two of different names must not.
 */
export function replayStoreCases(
  open: (name: string) => ReplayStore | Promise<ReplayStore>,
  options: ReplayStoreCaseOptions = {},
): ContractCase[] {
  const definitions = [...useCases, ...valueCases(options), ...timeCases(options), ...failureCases(options)];
  return bind(definitions, options, () => new ReplaySession(open, options));
}
