import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { describeError } from './errors.ts';
import { checkOptions, checkText, kindOf, misuse } from './options.ts';

const keyLength = 32;
const largestKeyFile = 1024;
const howToMakeOne = 'Make one with: openssl rand -base64 32';

/**
 * Reads a key of 32 bytes from the environment variable `name` or, if `${name}_FILE` is set instead, from the file that this
 * one names (as container secrets come), see {@link keyFromFile}. The value is base64, base64url or hex; newlines at its end
 * are dropped. An empty variable counts as not set.
 *
 * ```ts
 * localEncrypter({ key: keyFromEnv('JWT_AUTHORITY_KEY') })
 * ```
 *
 * @param name capital letters, digits and `_`.
 * @returns a copy of its own; {@link localEncrypter} takes another, so you may zero this one.
 * @throws {TypeError} if neither or both are set, the file cannot be read, or the key is not 32 bytes or looks like a passphrase.
 */
export function keyFromEnv(
  name: string,
  options: { readonly env?: Readonly<Record<string, string | undefined>> } = {},
): Uint8Array {
  // Capitals only, and no long hex: if the key itself is given in place of the name, messages must not show it.
  if (typeof name !== 'string' || !/^(?![0-9A-F]{32,}$)[A-Z_][A-Z0-9_]{0,127}$/.test(name)) {
    throw misuse('name', 'be the name of an environment variable, of capital letters, digits and _', name);
  }
  checkOptions(options, 'keyFromEnv', ['env']);
  const { env = process.env } = options;
  const fileName = `${name}_FILE`;
  const value = env[name];
  const path = env[fileName];
  if (value && path) throw new TypeError(`"${name}" and "${fileName}" are both set: set one of them only`);
  if (path) return readKeyFile(path, fileName);
  if (value) return parseKey(withoutFinalNewlines(value), name);
  throw new TypeError(
    `Neither "${name}" nor "${fileName}" is set in the environment. Set the first to a key of 32 bytes, or the second ` +
      `to the path of a file that holds one. ${howToMakeOne}`,
  );
}

/**
 * Reads a key from a file that holds 32 bytes, as they are or as a text in base64, base64url or hex with or without a newline
 * at its end.
 *
 * Warns (`process.emitWarning`, code `JWT_AUTHORITY_KEY_FILE_MODE`) if the group or others may read the file, except on
 * Windows. Where that is as it must be, run node with `--disable-warning=JWT_AUTHORITY_KEY_FILE_MODE`.
 *
 * @returns a copy of its own.
 * @throws {TypeError} if it cannot be read, is not a regular file of at most 1024 bytes, or the key is not 32 bytes or looks
 *   like a passphrase.
 */
export function keyFromFile(path: string): Uint8Array {
  return readKeyFile(checkText(path, 'path', 4096), 'path');
}

/** `name` is what messages say until the file is known to exist: a key may stand where its path should. */
function readKeyFile(path: string, name: string): Uint8Array {
  const { content, stats } = readSmallFile(path, name);
  try {
    if (process.platform !== 'win32' && (stats.mode & 0o044) !== 0) {
      process.emitWarning(
        `The group or others may read the key file ${path}. Run: chmod 600 ${shellQuoted(path)}`,
        {
          type: 'JwtAuthorityWarning',
          code: 'JWT_AUTHORITY_KEY_FILE_MODE',
        },
      );
    }
    // 32 bytes that are no text are the key itself, and the last of them may be a newline.
    const isKey = content.length === keyLength && !isReadable(content);
    return parseKey(isKey ? content : withoutFinalNewlines(content.toString()), path);
  } finally {
    content.fill(0);
  }
}

function readSmallFile(path: string, name: string): { content: Buffer; stats: Stats } {
  const file = openFile(path, name);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() || stats.size > largestKeyFile) {
      throw new TypeError(`"${path}" must be a regular file of at most ${largestKeyFile} bytes`);
    }
    return { content: readFileSync(file), stats };
  } finally {
    closeSync(file);
  }
}

function openFile(path: string, name: string): number {
  try {
    // Without O_NONBLOCK (absent on Windows), opening a named pipe would wait for a writer for ever.
    return openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw new TypeError(`"${name}" must be the path of a file that can be read (${describeError(error)})`);
  }
}

/**
 * A key of 32 bytes, given as bytes or as a text in base64 or base64url (padding right or absent, no white space, unused bits
 * zero) or hex.
 *
 * Refuses what no random source gives: readable text, and bytes that repeat or count. A random key is refused in less
 * than one of 10^9 cases.
 *
 * @param name stands in messages, the value never does.
 * @returns a copy of its own; the caller zeroes it.
 * @throws {TypeError} if it is anything else.
 */
export function parseKey(value: Uint8Array | string, name: string): Uint8Array {
  const { bytes, form, looksTyped } = decodeKey(value, name);
  try {
    if (bytes.length !== keyLength) throw unfit(name, `be ${keyLength} bytes, got ${bytes.length}${form}`);
    const found = looksTyped || isReadable(bytes) ? 'readable text (a passphrase?)' : describePattern(bytes);
    if (found !== undefined) throw unfit(name, `be ${keyLength} random bytes, got ${found}`);
    return new Uint8Array(bytes);
  } finally {
    bytes.fill(0);
  }
}

function unfit(name: string, rule: string): TypeError {
  return new TypeError(`"${name}" must ${rule}. ${howToMakeOne}`);
}

interface DecodedKey {
  /** A copy. */
  readonly bytes: Buffer;
  /** What it was decoded from, for messages. */
  readonly form: string;
  /** Whether the text has capitals only or no capitals at all: of random base64 texts of 43 characters, 1 in 10^9. */
  readonly looksTyped: boolean;
}

function decodeKey(value: unknown, name: string): DecodedKey {
  if (value instanceof Uint8Array) return { bytes: copyOf(value), form: '', looksTyped: false };
  if (typeof value === 'string' && value !== '') {
    const form = (encoding: string): string => ` (a ${encoding} text of ${value.length} characters)`;
    if (/^(?:[0-9a-f]{2})+$/i.test(value)) {
      return { bytes: decoded(value, 'hex'), form: form('hex'), looksTyped: false };
    }
    const unpadded = value.length % 4 === 0 ? value.replace(/={1,2}$/, '') : value;
    for (const encoding of ['base64', 'base64url'] as const) {
      const bytes = decoded(unpadded, encoding);
      // Node decodes leniently; only a text that encodes back to itself is strict.
      if (bytes.toString(encoding).replace(/=+$/, '') === unpadded) {
        return { bytes, form: form(encoding), looksTyped: !/[a-z]/.test(value) || !/[A-Z]/.test(value) };
      }
      bytes.fill(0);
    }
  }
  throw unfit(
    name,
    `be ${keyLength} bytes, or a text of them in base64, base64url or hex, got ${kindOf(value)}`,
  );
}

/** Not `Buffer.from`, which leaves its bytes in a pool shared with everything else in the process. */
function copyOf(bytes: Uint8Array): Buffer {
  const copy = Buffer.alloc(bytes.byteLength);
  copy.set(bytes);
  return copy;
}

function decoded(text: string, encoding: 'hex' | 'base64' | 'base64url'): Buffer {
  const pooled = Buffer.from(text, encoding);
  const bytes = copyOf(pooled);
  pooled.fill(0);
  return bytes;
}

/** Whether the bytes are UTF-8 of visible characters and white space. */
function isReadable(bytes: Uint8Array): boolean {
  try {
    return /^[\P{C}\s]*$/u.test(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return false;
  }
}

/** What is not random about the bytes, if anything shows. */
function describePattern(bytes: Uint8Array): string | undefined {
  const different = new Set(bytes).size;
  if (different === 1) return `${bytes.length} equal ones`;
  // Random ones: 30 on average, 16 or less in 1 of 10^13 keys. A shorter key written twice is found too.
  if (different <= 16) return 'ones that repeat';
  const steps = new Set(bytes.subarray(1).map((byte, index) => byte - (bytes[index] ?? 0)));
  return steps.size === 1 ? 'ones that count' : undefined;
}

function withoutFinalNewlines(text: string): string {
  return text.replace(/[\r\n]+$/, '');
}

function shellQuoted(path: string): string {
  return /^[\w./:@%+=,-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
