import { misuse } from '@jwt-authority/core';

/** How Vault binds the context of a wrapped key. */
export type Binding = 'associated_data' | 'context' | 'none';

export const bindings: readonly Binding[] = ['associated_data', 'context', 'none'];

/** What a wrapped text holds: one version of the key in Vault, and what that made. */
export interface VaultCiphertext {
  readonly version: number;
  /** Base64, with padding. */
  readonly data: string;
}

const ciphertextPattern = /^v([1-9]\d{0,8}):([A-Za-z0-9+/]{4,2048}={0,2})$/;

/** Vault's own `vault:vN:DATA`; OpenBao writes the same. `undefined` for anything else. */
export function parseVaultCiphertext(value: unknown): VaultCiphertext | undefined {
  if (typeof value !== 'string' || !value.startsWith('vault:')) return undefined;
  return parseTail(value.slice('vault:'.length));
}

export function formatVaultCiphertext({ version, data }: VaultCiphertext): string {
  return `vault:v${version}:${data}`;
}

/** `PREFIXvN:DATA`, the prefix naming the key and how its context is bound. */
export function formatWrapped(prefix: string, { version, data }: VaultCiphertext): string {
  return `${prefix}v${version}:${data}`;
}

/** `undefined` unless it is a text that {@link formatWrapped} gives with this prefix. */
export function parseWrapped(prefix: string, text: string): VaultCiphertext | undefined {
  return text.startsWith(prefix) ? parseTail(text.slice(prefix.length)) : undefined;
}

function parseTail(text: string): VaultCiphertext | undefined {
  const match = ciphertextPattern.exec(text);
  if (match === null) return undefined;
  const [, version, data = ''] = match;
  // Only the one text that these bytes have (RFC 4648, 3.5): Vault takes others.
  return decodeBase64(data) === undefined ? undefined : { version: Number(version), data };
}

/** The bytes of a base64 text, or `undefined` if it is any other text than the one that these bytes have. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** The path of a mount. Each segment is checked: `..` would lead a request out of it, to any path of Vault. */
export function checkMount(value: unknown): string {
  const isMount =
    typeof value === 'string' &&
    value.length <= 256 &&
    value.split('/').every((segment) => /^[\w.-]+$/.test(segment) && !/^\.+$/.test(segment));
  if (!isMount)
    throw misuse(
      'mount',
      "be the path of a transit engine, like 'transit' or 'team/transit': letters, digits and . _ - between single slashes, " +
        'none at its ends',
      value,
    );
  return value;
}

/** The name of a key, by Vault's own rule. */
export function checkKeyName(value: unknown): string {
  if (typeof value !== 'string' || value.length > 256 || !/^\w(?:[\w.-]*\w)?$/.test(value))
    throw misuse(
      'key',
      'be the name of a transit key: letters, digits and . _ -, the first and last a letter, digit or _',
      value,
    );
  return value;
}

/** The name that stands in what is stored. */
export function checkId(value: unknown): string {
  if (typeof value !== 'string' || !/^\w[\w./-]{0,255}$/.test(value))
    throw misuse('id', 'be 1 to 256 letters, digits or . _ / - and begin with a letter, digit or _', value);
  return value;
}

const bindingLabel = 'jwt-authority/encrypt-vault-transit/v1';

/**
 * The bytes that Vault binds, in base64: no two contexts have the same, and the order of the members is none.
 *
 * @throws {TypeError} unless it is an object whose values are all texts.
 */
export function encodeContext(context: unknown): string {
  const rule = 'be an object whose values are texts';
  if (typeof context !== 'object' || context === null || Array.isArray(context))
    throw misuse('context', rule, context);
  // By UTF-16 code units, the same everywhere. JSON writes lone surrogates as escapes, so that they differ too.
  const entries: [string, unknown][] = Object.entries(context);
  for (const [, value] of entries) {
    if (typeof value !== 'string') throw misuse('context', `${rule} (all of them)`, value);
  }
  const sorted = entries.toSorted(([left], [right]) => (left < right ? -1 : 1));
  return Buffer.from(JSON.stringify([bindingLabel, sorted])).toString('base64');
}
