import { misuse } from './options.ts';

/** What {@link encodeFields} takes. A list inside of a list: its length as a number, then its fields; or its own encoding as bytes. */
export type EncodableField = string | number | Uint8Array | undefined;

// Part of the stored formats: never change these, or nothing that exists can be opened any more.
const typeBytes = { undefined: 0, string: 1, number: 2, bytes: 3 } as const;

/**
 * The bytes of a list of fields, for use as associated data: no two different lists have the same bytes, so that nothing
 * can be moved from one field into its neighbour. Not meant to be decoded.
 *
 * Each field is one type byte, its length in bytes as 4 bytes big-endian, and its bytes: a text as UTF-16 little-endian
 * (UTF-8 would write every lone surrogate as the same three bytes), a number as IEEE 754 double big-endian, `undefined`
 * as nothing. `-0` differs from `0`.
 *
 * @throws {TypeError} for a number that is not finite: JSON could not give it back.
 */
export function encodeFields(fields: readonly EncodableField[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const field of fields) {
    const [type, bytes] = encodeField(field);
    const header = Buffer.alloc(5);
    header.writeUInt8(type, 0);
    header.writeUInt32BE(bytes.byteLength, 1);
    parts.push(header, bytes);
  }
  return Buffer.concat(parts);
}

function encodeField(field: EncodableField): [type: number, bytes: Uint8Array] {
  if (field === undefined) return [typeBytes.undefined, new Uint8Array(0)];
  if (typeof field === 'string') return [typeBytes.string, Buffer.from(field, 'utf16le')];
  if (typeof field !== 'number') return [typeBytes.bytes, field];
  if (!Number.isFinite(field)) throw new TypeError('A number in associated data must be finite');
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(field);
  return [typeBytes.number, bytes];
}

/**
 * A context as fields, whatever the order of its members, to go into {@link encodeFields}.
 *
 * @throws {TypeError} unless it is an object whose values are all texts.
 */
export function contextFields(context: unknown): EncodableField[] {
  const rule = 'be an object whose values are texts';
  if (typeof context !== 'object' || context === null || Array.isArray(context))
    throw misuse('context', rule, context);
  // Names are unique, so that the order of two entries is that of their names. By UTF-16 code units: the same everywhere.
  const entries = Object.entries(context).toSorted(([left], [right]) => (left < right ? -1 : 1));
  const fields: EncodableField[] = [entries.length];
  for (const [name, value] of entries) {
    if (typeof value !== 'string') throw misuse('context', `${rule} (all of them)`, value);
    fields.push(name, value);
  }
  return fields;
}

/** The bytes of a base64url text, or `undefined` if it is any other text than the one that these bytes have (RFC 4648, 3.5). */
export function decodeBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}
