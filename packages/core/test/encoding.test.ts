import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contextFields, decodeBase64url, encodeFields, type EncodableField } from '../src/encoding.ts';

const anyText = fc.string({ unit: 'binary' });
const field: fc.Arbitrary<EncodableField> = fc.oneof(
  anyText,
  // Any UTF-16 at all, lone surrogates included: JSON.parse('"\\ud800"') gives one.
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc.uint8Array(),
  fc.constant(undefined),
);
const list = fc.array(field, { maxLength: 5 });

/** Lists near each other: the second is the first with one thing moved, split, joined, retyped or dropped. */
const neighbours = fc.tuple(list, field, field, fc.nat(), fc.nat(8)).map(([fields, one, other, at, how]) => {
  const position = at % (fields.length + 1);
  const before = fields.slice(0, position);
  const after = fields.slice(position);
  const left = [...before, one, other, ...after];
  const variants: readonly EncodableField[][] = [
    [...before, other, one, ...after],
    [...before, `${String(one)}${String(other)}`, ...after],
    [...before, `${String(one)}${String(other)}`, '', ...after],
    [...before, one, ...after],
    [...before, one, other, undefined, ...after],
    [...before, encodeFields([one, other]), ...after],
    [...before, String(one), other, ...after],
    [...before, Buffer.from(String(one), 'utf16le'), other, ...after],
    [...before, typeof one === 'number' ? -one : one, other, ...after],
  ];
  return [left, variants[how] ?? left] as const;
});

/** Equality of lists, bytes by content; `-0` and `0` differ. Written without the encoder. */
function same(left: readonly EncodableField[], right: readonly EncodableField[]): boolean {
  return (
    left.length === right.length &&
    left.every((one, index) => {
      const other = right[index];
      return one instanceof Uint8Array && other instanceof Uint8Array
        ? Buffer.compare(one, other) === 0
        : Object.is(one, other);
    })
  );
}

describe('encodeFields', () => {
  it('is injective: equal bytes exactly for equal lists', () => {
    fc.assert(
      fc.property(fc.oneof(fc.tuple(list, list), neighbours), ([left, right]) => {
        expect(encodeFields(left).equals(encodeFields(right)), 'bytes equal iff lists equal').toBe(
          same(left, right),
        );
      }),
      { numRuns: 5000 },
    );
  });

  it('can be read back without doubt, which proves it injective', () => {
    fc.assert(
      fc.property(list, (fields) => {
        const decoded = decode(encodeFields(fields));
        expect(same(fields, decoded), 'decoding gives the fields that were encoded').toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['a text moved into its neighbour', ['ab', 'c'], ['a', 'bc']],
    ['undefined and an empty text', [undefined], ['']],
    ['undefined and no field', [undefined], []],
    ['an empty text and no bytes', [''], [new Uint8Array(0)]],
    ['a number and its text', [1], ['1']],
    ['a text and its bytes', ['a'], [Buffer.from('a', 'utf16le')]],
    ['0 and -0', [0], [-0]],
    ['two lone surrogates, which UTF-8 writes the same', ['\ud800'], ['\udfff']],
    ['a lone surrogate and the replacement character', ['\ud800'], ['\ufffd']],
    ['two spellings of é', ['\u00e9'], ['e\u0301']],
    ['times one millisecond apart', [1_790_000_000_000], [1_790_000_000_001]],
    ['the largest safe integers', [Number.MAX_SAFE_INTEGER], [Number.MAX_SAFE_INTEGER - 1]],
    ['a list and its encoding as one field', ['a', 'b'], [encodeFields(['a', 'b'])]],
  ] satisfies [string, EncodableField[], EncodableField[]][])('tells apart: %s', (_what, left, right) => {
    expect(encodeFields(left).equals(encodeFields(right)), 'different lists must have different bytes').toBe(
      false,
    );
  });

  it('keeps its bytes: stored key sets depend on them', () => {
    const bytes = encodeFields([undefined, 'aé', 1.5, Uint8Array.of(7, 8), '']);
    expect(bytes.toString('hex'), 'a change here makes every stored document unreadable').toBe(
      ['0000000000', '01000000046100e900', '02000000083ff8000000000000', '03000000020708', '0100000000'].join(
        '',
      ),
    );
  });

  it('does not write into or keep the bytes it is given', () => {
    const given = Uint8Array.of(1, 2, 3);
    const encoded = encodeFields([given]);
    encoded.fill(0);
    expect([...given], 'the result is a copy').toEqual([1, 2, 3]);
  });

  it('takes a view of a larger buffer as the view only', () => {
    const view = Buffer.from('secret-abc').subarray(7);
    expect(
      encodeFields([view]).equals(encodeFields([Uint8Array.of(97, 98, 99)])),
      'only the view counts',
    ).toBe(true);
  });

  it.each([Number.NaN, Infinity, -Infinity])('refuses %s, which JSON cannot carry', (number) => {
    expect(() => encodeFields([number]), 'it could not be read back').toThrow(
      new TypeError('A number in associated data must be finite'),
    );
  });
});

describe('contextFields', () => {
  it('is the same for equal contexts in any order, and differs for all others', () => {
    const context = fc.dictionary(fc.string({ unit: 'binary', maxLength: 3 }), fc.string({ maxLength: 3 }), {
      maxKeys: 4,
    });
    const bytes = (value: Record<string, string>): string =>
      encodeFields(contextFields(value)).toString('hex');
    fc.assert(
      fc.property(context, context, (left, right) => {
        const turned = Object.fromEntries(Object.entries(left).toReversed());
        expect(bytes(turned), 'the order of the members does not matter').toBe(bytes(left));
        const equal =
          Object.keys(left).length === Object.keys(right).length &&
          Object.entries(left).every(([name, value]) => Object.hasOwn(right, name) && right[name] === value);
        expect(bytes(left) === bytes(right), 'bytes equal iff contexts equal').toBe(equal);
      }),
      { numRuns: 1000 },
    );
  });

  it('takes fields behind it without doubt about where it ends', () => {
    const one = encodeFields([...contextFields({ a: '1' }), 'b', '2']);
    const two = encodeFields(contextFields({ a: '1', b: '2' }));
    expect(one.equals(two), 'a field behind the context must not pass for a member of it').toBe(false);
  });

  it.each([undefined, null, 'text', 5, ['a'], { a: 1 }, { a: undefined }, { a: 'x', b: null }])(
    'refuses %j',
    (context) => {
      expect(() => contextFields(context), 'only texts are bound').toThrow(
        /^"context" must be an object whose values are/,
      );
    },
  );
});

describe('decodeBase64url', () => {
  it('gives back any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const decoded = decodeBase64url(Buffer.from(bytes).toString('base64url'));
        expect(decoded, 'decoding undoes encoding').toEqual(Buffer.from(bytes));
      }),
    );
  });

  it('takes one text for each bytes only', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from('AQgw09-_+/= \n\t.é')) }), (text) => {
        const again = decodeBase64url(text)?.toString('base64url') ?? text;
        expect(again, 'what is taken is the canonical text').toBe(text);
      }),
    );
    for (const text of ['AA=', 'AA==', 'AB', 'A', 'AA\n', ' AA', '+/+/', 'A.A', 'ＡＡ']) {
      expect(decodeBase64url(text), `${JSON.stringify(text)} is not canonical`).toBeUndefined();
    }
  });
});

/** A reader of the format, here to show that there is only one way to read it. */
function decode(bytes: Buffer): EncodableField[] {
  const fields: EncodableField[] = [];
  let at = 0;
  while (at < bytes.length) {
    const type = bytes.readUInt8(at);
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    const content = bytes.subarray(at + 5, end);
    fields.push(
      [undefined, content.toString('utf16le'), content.length === 8 ? content.readDoubleBE() : 0, content][
        type
      ],
    );
    at = end;
  }
  return fields;
}
