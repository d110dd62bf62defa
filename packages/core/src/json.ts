import { isUtf8 } from 'node:buffer';

/** How many objects and arrays may stand inside of each other. */
const maxDepth = 64;

export type ParsedObject =
  | { readonly value: Record<string, unknown> }
  | { readonly problem: 'not_json' | 'duplicate_member' };

/**
 * Parses UTF-8 bytes that must be one JSON object, as RFC 7515 (4) and RFC 7519 (4) allow it to be read strictly: no byte
 * order mark, nothing but JSON, at most 64 levels deep, and no member name twice in one object at any level, however it is
 * escaped. A member named `__proto__` becomes an ordinary own property.
 */
export function parseJsonObject(bytes: Uint8Array): ParsedObject {
  // toString() would replace invalid bytes without a word.
  if (!isUtf8(bytes)) return { problem: 'not_json' };
  const buffer = Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = buffer.toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: 'not_json' };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { problem: 'not_json' };
  const kept = countKeptMembers(value, 1);
  if (kept === undefined) return { problem: 'not_json' };
  // JSON.parse keeps the last of several members with one name: then it made fewer than the text has.
  if (kept !== countWrittenMembers(text)) return { problem: 'duplicate_member' };
  // An object that JSON.parse made has string keys only.
  return { value: value as Record<string, unknown> };
}

/** The members of all objects in `value`, or `undefined` if it is too deep. */
function countKeptMembers(value: object, depth: number): number | undefined {
  if (depth > maxDepth) return undefined;
  const children: unknown[] = Object.values(value);
  let count = Array.isArray(value) ? 0 : children.length;
  for (const child of children) {
    if (typeof child !== 'object' || child === null) continue;
    const inner = countKeptMembers(child, depth + 1);
    if (inner === undefined) return undefined;
    count += inner;
  }
  return count;
}

/** The strings in a valid JSON text that a colon follows: all member names. Looks at each character at most twice. */
function countWrittenMembers(text: string): number {
  let count = 0;
  let start = text.indexOf('"');
  while (start !== -1) {
    let end = text.indexOf('"', start + 1);
    while (isEscaped(text, end)) end = text.indexOf('"', end + 1);
    let next = end + 1;
    while (isSpace(text.charCodeAt(next))) next++;
    if (text.charCodeAt(next) === 0x3a) count++;
    start = text.indexOf('"', next);
  }
  return count;
}

/** Whether an odd number of backslashes stands before `position`. */
function isEscaped(text: string, position: number): boolean {
  let first = position;
  while (text.charCodeAt(first - 1) === 0x5c) first--;
  return (position - first) % 2 === 1;
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

/** Freezes what {@link parseJsonObject} gave, throughout; it is at most as deep as that allows. */
export function deepFreeze<T extends object>(value: T): Readonly<T> {
  for (const child of Object.values(value)) {
    if (typeof child === 'object' && child !== null) deepFreeze(child);
  }
  return Object.freeze(value);
}
