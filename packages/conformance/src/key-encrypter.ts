import type { KeyEncrypter } from '@jwt-authority/core';
import { bind, type ContractCase } from './cases.ts';
import { bindingCases } from './key-encrypter-binding.ts';
import { EncrypterSession, type KeyEncrypterCaseOptions } from './key-encrypter-session.ts';
import { otherCases, roundTripCases } from './key-encrypter-uses.ts';

/**
 * The contract of `KeyEncrypter`.
 *
 * @param open Makes an encrypter, each time of the same KEK.
 */
export function keyEncrypterCases(
  open: () => KeyEncrypter | Promise<KeyEncrypter>,
  options: KeyEncrypterCaseOptions = {},
): ContractCase[] {
  const definitions = [...roundTripCases, ...bindingCases(options), ...otherCases(options)];
  return bind(definitions, options, () => new EncrypterSession(open, options));
}
