import type { KeySetStore } from '@jwt-authority/core';
import { bind, type ContractCase } from './cases.ts';
import { commitCases } from './key-set-store-commits.ts';
import { contentCases, failureCases, namespaceCases } from './key-set-store-contents.ts';
import { type KeySetStoreCaseOptions, StoreSession } from './key-set-store-session.ts';
import { watchCases } from './key-set-store-watch.ts';

/**
 * The contract of `KeySetStore`.
 *
 * @param open Makes a client for a namespace, each time a new one, with a connection of its own where stores have some. Two
 *   clients of one namespace must share their data. Cases pass namespaces of their own, so nothing need be emptied.
 */
export function keySetStoreCases(
  open: (namespace: string) => KeySetStore | Promise<KeySetStore>,
  options: KeySetStoreCaseOptions = {},
): ContractCase[] {
  const definitions = [
    ...contentCases(options),
    ...namespaceCases,
    ...commitCases,
    ...watchCases(options),
    ...failureCases(options),
  ];
  return bind(definitions, options, () => new StoreSession(open, options));
}
