import { hash } from 'node:crypto';
import { checkNamespace, misuse } from '@jwt-authority/core';

/** What the keys and the channel of one namespace are called. All keys share a hash tag, so one Cluster node has them. */
export interface RedisNames {
  readonly namespace: string;
  /** The hash that holds the key set: `namespace`, `revision`, `etag`, `updatedAt` (epoch ms), `document`. */
  readonly keySet: string;
  /** Where commits are announced. Channels know neither databases nor key prefixes: it has the full name. */
  readonly channel: string;
  /** What ACL rules put before `*` to mean all keys, or channels, of this namespace. */
  readonly base: string;
}

/** @throws {TypeError} if one of them is not usable. */
export function redisNames(prefix: unknown, namespace: unknown): RedisNames {
  const checked = checkNamespace(namespace);
  const base = `{${checkPrefix(prefix)}:${checked}}:`;
  return { namespace: checked, keySet: `${base}keyset`, channel: `${base}changes`, base };
}

/** @throws {TypeError} if keys cannot begin with it. */
export function checkPrefix(prefix: unknown): string {
  // Without colons, no two pairs of prefix and namespace make one name.
  if (typeof prefix !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(prefix)) {
    throw misuse('prefix', 'be 1 to 64 letters, digits or . _ - and begin with a letter or digit', prefix);
  }
  return prefix;
}

/** The key of a one-time value: of fixed length, says nothing of the value, and differs for a number and its text. */
export function replayKey({ base }: RedisNames, value: unknown): string {
  if (typeof value !== 'string' && !(typeof value === 'number' && Number.isFinite(value))) {
    throw misuse('value', 'be a string or a finite number', value);
  }
  // UTF-16: as UTF-8, all lone surrogates are one.
  const digest = hash('sha256', Buffer.from(`${typeof value}:${value}`, 'utf16le'), 'base64url');
  return `${base}replay:${digest}`;
}
