import { isAlgorithm, isPublicJwk, type Algorithm, type PublicJwk } from '../algorithms.ts';
import { maxKidLength } from '../compact.ts';
import { encodeFields } from '../encoding.ts';
import { parseJsonObject } from '../json.ts';

/** One key of a key set. All times are epoch milliseconds, all durations milliseconds. */
export interface KeyRecord {
  /** RFC 7638 SHA-256 thumbprint of the public JWK; an imported key keeps its own. */
  readonly kid: string;
  readonly alg: Algorithm;
  readonly publicJwk: PublicJwk;
  /** The longest time from now to `exp` promised for tokens of this key. */
  readonly tokenLifetime: number;
  readonly createdAt: number;
  readonly activatesAt: number;
  /** Stops signing. Comes with `expiresAt`. */
  readonly deactivatesAt?: number;
  /** Stops verifying and leaves the JWKS. */
  readonly expiresAt?: number;
  readonly revokedAt?: number;
  readonly revocationReason?: string;
  /** Whether the sealed part of the document holds its private half. */
  readonly hasPrivateKey: boolean;
}

/** The public content of a key set (RFC 7517, 5, with what rotation needs besides). Pure data; never changed in place. */
export interface KeySet {
  readonly format: 1;
  /** When this history began: a key created after it that nobody knows has been pruned, not added. */
  readonly origin: number;
  /** Propagation delay and stale bound of whoever published last. */
  readonly propagationDelay: number;
  readonly staleBound: number;
  /** The longest full life of a key seen so far; bounds how long an instance may have slept for its view to count. */
  readonly horizon: number;
  /** After a roll back: no new key is published earlier. */
  readonly publishNotBefore?: number;
  readonly keys: readonly KeyRecord[];
  /** Keys that were pruned, and when: kept for twice the horizon, so that an old copy cannot bring them back. */
  readonly departed: readonly DepartedKey[];
}

export interface DepartedKey {
  readonly kid: string;
  readonly time: number;
}

/** The private halves, AES-256-GCM under a data-encryption key that a KEK wraps. */
export interface SealedPrivateKeys {
  /** The wrapped data-encryption key, as the key encrypter gave it. */
  readonly dataKey: string;
  /** 96 bits, base64url. */
  readonly nonce: string;
  /** Ciphertext and 128-bit tag, base64url. */
  readonly ciphertext: string;
}

/** What a document text parses to: a key set and its sealed private halves. */
export interface KeySetDocument {
  readonly keySet: KeySet;
  readonly sealed: SealedPrivateKeys;
}

/** The one canonical text of a document. */
export function serializeDocument({ keySet, sealed }: KeySetDocument): string {
  return JSON.stringify({
    format: keySet.format,
    origin: keySet.origin,
    propagationDelay: keySet.propagationDelay,
    staleBound: keySet.staleBound,
    horizon: keySet.horizon,
    publishNotBefore: keySet.publishNotBefore,
    keys: keySet.keys.map((key) => ({
      kid: key.kid,
      alg: key.alg,
      publicJwk: sortMembers(key.publicJwk),
      tokenLifetime: key.tokenLifetime,
      createdAt: key.createdAt,
      activatesAt: key.activatesAt,
      deactivatesAt: key.deactivatesAt,
      expiresAt: key.expiresAt,
      revokedAt: key.revokedAt,
      revocationReason: key.revocationReason,
      hasPrivateKey: key.hasPrivateKey,
    })),
    departed: keySet.departed.map(({ kid, time }) => ({ kid, time })),
    sealed: { dataKey: sealed.dataKey, nonce: sealed.nonce, ciphertext: sealed.ciphertext },
  });
}

function sortMembers(jwk: PublicJwk): Record<string, unknown> {
  return Object.fromEntries(Object.entries(jwk).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** The same text for the same public key, in whatever order its members stand. */
export function canonicalJwk(jwk: PublicJwk): string {
  return JSON.stringify(sortMembers(jwk));
}

/** `unsupported`: made by a version that knows more. `rejected`: no document of ours. */
export type ParsedDocument =
  | { readonly kind: 'document'; readonly document: KeySetDocument }
  | { readonly kind: 'unsupported'; readonly problem: string }
  | { readonly kind: 'rejected'; readonly problem: string };

const maxDocumentLength = 1_000_000;

/**
 * Reads a document text. Refuses what it does not know: another format, an unknown member, a value out of its range, and
 * any text that is not the canonical one of its content, so that every byte is covered by the associated data.
 */
export function parseDocument(text: string): ParsedDocument {
  if (text.length > maxDocumentLength)
    return { kind: 'rejected', problem: `it is longer than ${maxDocumentLength} characters` };
  const parsed = parseJsonObject(Buffer.from(text, 'utf8'));
  if ('problem' in parsed) return { kind: 'rejected', problem: 'it is not a JSON object' };
  const { value } = parsed;
  if (typeof value['format'] === 'number' && value['format'] !== 1) {
    return { kind: 'unsupported', problem: 'its format is not 1, the only one this version knows' };
  }
  const keys = value['keys'];
  if (
    value['format'] === 1 &&
    Array.isArray(keys) &&
    keys.some((key) => isObject(key) && isUnknownAlgorithm(key['alg']))
  ) {
    return { kind: 'unsupported', problem: 'it has a key of an algorithm that this version does not know' };
  }
  const problem = problemOf(value);
  if (problem !== undefined) return { kind: 'rejected', problem };
  // Every member was checked above.
  const { sealed, ...keySet } = value as unknown as KeySet & { sealed: SealedPrivateKeys };
  const document = { keySet, sealed };
  if (serializeDocument(document) !== text)
    return { kind: 'rejected', problem: 'it is not in canonical form' };
  return { kind: 'document', document };
}

// A lone surrogate has no UTF-8 form: two texts would have the same associated data.
const loneSurrogate = /\p{Surrogate}/u;

type Check = (value: unknown) => boolean;
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isUnknownAlgorithm: Check = (value) =>
  typeof value === 'string' && /^[A-Za-z0-9-]{1,40}$/.test(value) && !isAlgorithm(value);
const isTime: Check = (value) =>
  Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= 8.64e15;
const isText =
  (maxLength: number): Check =>
  (value) =>
    typeof value === 'string' && value.length > 0 && value.length <= maxLength && !loneSurrogate.test(value);
const isBase64url: Check = (value) => typeof value === 'string' && /^[A-Za-z0-9_-]+$/.test(value);
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const isList =
  (check: Check, maxLength: number): Check =>
  (value) =>
    Array.isArray(value) && value.length <= maxLength && value.every((entry) => check(entry));
const hasMembers =
  (members: Readonly<Record<string, Check>>): Check =>
  (value) =>
    memberProblem(value, members) === undefined;

function memberProblem(value: unknown, members: Readonly<Record<string, Check>>): string | undefined {
  if (!isObject(value)) return 'it is not an object';
  const unknown = Object.keys(value).some((name) => !Object.hasOwn(members, name));
  if (unknown) return 'it has a member that format 1 does not have';
  const wrong = Object.entries(members).find(([name, check]) => !check(value[name]));
  return wrong === undefined ? undefined : `its "${wrong[0]}" is missing or not what format 1 has there`;
}

/** Longest reason of a revocation. */
export const maxReasonLength = 500;

const isKey: Check = (value) =>
  hasMembers({
    kid: isText(maxKidLength),
    alg: isAlgorithm,
    publicJwk: isObject,
    tokenLifetime: isTime,
    createdAt: isTime,
    activatesAt: isTime,
    deactivatesAt: optional(isTime),
    expiresAt: optional(isTime),
    revokedAt: optional(isTime),
    revocationReason: optional(isText(maxReasonLength)),
    hasPrivateKey: (flag) => typeof flag === 'boolean',
  })(value) &&
  isObject(value) &&
  isAlgorithm(value['alg']) &&
  isPublicJwk(value['publicJwk'], value['alg']);

const documentMembers: Readonly<Record<string, Check>> = {
  format: (value) => value === 1,
  origin: isTime,
  propagationDelay: isTime,
  staleBound: isTime,
  horizon: isTime,
  publishNotBefore: optional(isTime),
  keys: isList(isKey, 256),
  departed: isList(hasMembers({ kid: isText(maxKidLength), time: isTime }), 10_000),
  sealed: hasMembers({ dataKey: isText(20_000), nonce: isBase64url, ciphertext: isBase64url }),
};

function problemOf(value: Record<string, unknown>): string | undefined {
  return memberProblem(value, documentMembers);
}

/** Where a document belongs: bound into its associated data together with its content. */
export interface DocumentIdentity {
  readonly namespace: string;
  readonly revision: number;
  readonly etag: string;
}

/**
 * The associated data of the sealed private halves (NIST SP 800-38D): identity and every public field, length-prefixed,
 * so that nothing of the document can be altered, moved to another namespace or revision, or re-divided.
 */
export function associatedData(keySet: KeySet, dataKey: string, identity: DocumentIdentity): Buffer {
  return encodeFields([
    'jwt-authority key set',
    keySet.format,
    identity.namespace,
    identity.revision,
    identity.etag,
    keySet.origin,
    keySet.propagationDelay,
    keySet.staleBound,
    keySet.horizon,
    keySet.publishNotBefore,
    keySet.keys.length,
    ...keySet.keys.flatMap((key) => {
      const members = Object.entries(sortMembers(key.publicJwk));
      return [
        key.kid,
        key.alg,
        members.length,
        ...members.flatMap(([name, value]) => [name, String(value)]),
        key.tokenLifetime,
        key.createdAt,
        key.activatesAt,
        key.deactivatesAt,
        key.expiresAt,
        key.revokedAt,
        key.revocationReason,
        key.hasPrivateKey ? 1 : 0,
      ];
    }),
    keySet.departed.length,
    ...keySet.departed.flatMap(({ kid, time }) => [kid, time]),
    dataKey,
  ]);
}
