export {
  type CaseOptions,
  ContractError,
  type ContractCase,
  registerCases,
  type SkippedCase,
  type TestFunction,
} from './cases.ts';
export { keyEncrypterCases } from './key-encrypter.ts';
export type { KeyEncrypterCaseOptions } from './key-encrypter-session.ts';
export { keySetStoreCases } from './key-set-store.ts';
export type { KeySetStoreCaseOptions } from './key-set-store-session.ts';
export { replayStoreCases } from './replay-store.ts';
export type { ReplayStoreCaseOptions } from './replay-store-session.ts';
