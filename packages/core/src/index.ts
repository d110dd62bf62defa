export { checkAlgorithm, type Algorithm, type KeyPair, type PublicJwk } from './algorithms.ts';
export { JwtAuthority, type JwtAuthorityOptions, type VerifiedToken } from './authority.ts';
export type { ClaimsSchema } from './claims-schema.ts';
export type { SignOptions } from './claims-to-sign.ts';
export type { JwtClaims } from './claims.ts';
export { systemClock, withDeadline, type Clock } from './clock.ts';
export type { TokenHeader } from './compact.ts';
export { createJwtAuthority, RotatingJwtAuthority, type CreateJwtAuthorityOptions } from './create.ts';
export {
  describeError,
  JwtAuthorityError,
  type AnyJwtAuthorityError,
  type JwtAuthorityErrorCode,
  type MalformedReason,
} from './errors.ts';
export { KeyRingEvents, type KeyRingEventMap, type KeyRingEventName, type Logger } from './events.ts';
export { adaptiveExecutor, inlineExecutor, type CryptoExecutor } from './executor.ts';
export type { Explanation, KeyStatus } from './explain.ts';
export {
  jwksHandler,
  jwksResponse,
  type JwksHandlerOptions,
  type JwksSource,
  type PublishedJwk,
} from './jwks.ts';
export type { Health } from './key-ring/health.ts';
export { KeyRing, type Publication } from './key-ring/key-ring.ts';
export type { KeyRingOptions } from './key-ring/options.ts';
export type { RandomBytes } from './key-ring/sealing.ts';
export type { KekUse } from './key-ring/services.ts';
export type {
  RewrapOptions,
  RewrapResult,
  RollBackResult,
  RotateNowResult,
  Transition,
} from './key-ring/transitions.ts';
export type { SigningKey, VerificationKey } from './key-ring/view.ts';
export type { ImportRole, NewKey } from './key-set/changes.ts';
export type { DepartedKey, KeyRecord, KeySet } from './key-set/document.ts';
export type { Step, UpcomingEvent } from './key-set/plan.ts';
export type { KeySetPolicy, KeySetPolicyOptions } from './key-set/policy.ts';
export type { KeyState } from './key-set/states.ts';
export { keyFromEnv, keyFromFile } from './key-sources.ts';
export { localEncrypter, type LocalEncrypterOptions } from './local-encrypter.ts';
export {
  checkInteger,
  checkMethods,
  checkNamespace,
  checkOptions,
  checkText,
  milliseconds,
  misuse,
  type Duration,
} from './options.ts';
export { AuthorityPool, createAuthorityPool, type AuthorityPoolOptions } from './pool.ts';
export type { KeyEncrypter, KeySetStore, LoadResult, ReplayStore, StoredKeySet } from './ports.ts';
export {
  JwksRotator,
  type CheckResult,
  type ImportKeyOptions,
  type JwksRotatorOptions,
  type RevocationResult,
} from './rotator.ts';
export { decryptText, encryptText } from './text-encryption.ts';
export type { VerifyOptions } from './verify-options.ts';
