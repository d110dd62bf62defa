import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJsonObject } from '../src/json.ts';

const parse = (text: string): ReturnType<typeof parseJsonObject> => parseJsonObject(Buffer.from(text));
const nested = (depth: number): string => `${'{"a":'.repeat(depth - 1)}{}${'}'.repeat(depth - 1)}`;

describe('parseJsonObject', () => {
  it('agrees with JSON.parse on every object without duplicates, however it is written', () => {
    const objects = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ maxDepth: 5 }), {
      noNullPrototype: true,
    });
    fc.assert(
      fc.property(objects, fc.constantFrom(undefined, 2, '\t', ' \n\r'.slice(0, 2)), (object, space) => {
        const text = JSON.stringify(object, undefined, space);
        expect(parse(text), `of ${text}`).toEqual({ value: JSON.parse(text) as unknown });
      }),
      { numRuns: 500 },
    );
  });

  it('refuses any member written a second time, at any place of any object', () => {
    const values = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), {
      minKeys: 1,
      noNullPrototype: true,
    });
    fc.assert(
      fc.property(values, fc.nat(), fc.boolean(), fc.boolean(), (object, pick, inner, escaped) => {
        const members = Object.entries(object).map(
          ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
        );
        const name = Object.keys(object)[pick % members.length] ?? '';
        const units = Array.from({ length: name.length }, (_, i) =>
          name.charCodeAt(i).toString(16).padStart(4, '0'),
        );
        const second = escaped ? `"${units.map((unit) => `\\u${unit}`).join('')}"` : JSON.stringify(name);
        const text = `{${[...members, `${second} : 1`].join(', ')}}`;
        expect(parse(inner ? `{"list":[0,${text}]}` : text), `of ${text}`).toEqual({
          problem: 'duplicate_member',
        });
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['{"a":1,"a":2}', 'the same name'],
    ['{"a":1,"\\u0061":2}', 'an escaped name'],
    ['{"/":1,"\\/":2}', 'an escaped slash'],
    ['{"\\\\":1,"\\u005c":2}', 'two backslashes'],
    ['{"a\\"":1,"a\\u0022":2}', 'two quotes'],
    ['{"x":{"a":1,"a":1}}', 'one level down'],
    ['{"x":[[{"a":1},{"a":1,"b":1,"a":1}]]}', 'in a list of lists'],
    ['{"x":{"a":1,"a":1},"x":{}}', 'in an object that is replaced itself'],
    ['{"__proto__":1,"__proto__":2}', '__proto__'],
    ['{"":1,"":2}', 'an empty name'],
    ['{"a" \n\r\t :1,"a":2}', 'space before the colon'],
    ['{"é":1,"\\u00e9":2}', 'beyond ASCII'],
  ])('refuses a duplicate member: %s (%s)', (text) => {
    expect(parse(text), 'which of the two counts depends on who reads it').toEqual({
      problem: 'duplicate_member',
    });
  });

  it.each([
    ['{"a":"b\\":\\"c","d":"\\\\"}', 'colons and quotes inside of strings'],
    ['{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}', 'the same name in different objects'],
    ['{"a":"a","b":["a:","a"]}', 'values that look like names'],
    ['{"a":1,"A":2,"a ":3}', 'names that are merely alike'],
    [' \n{ } ', 'space around it'],
  ])('accepts %s (%s)', (text) => {
    expect(parse(text), 'no name is there twice').toEqual({ value: JSON.parse(text) as unknown });
  });

  it.each([
    ['', 'nothing'],
    ['null', 'null'],
    ['[]', 'an array'],
    ['"{}"', 'a string'],
    ['1', 'a number'],
    ['{} {}', 'two objects'],
    ['{}\u0000', 'something behind it'],
    ['\ufeff{}', 'a byte order mark'],
    ["{'a':1}", 'other quotes'],
    ['{"a":1,}', 'a trailing comma'],
    ['{"a":NaN}', 'NaN'],
    ['{"a":01}', 'a leading zero'],
    ['{"a":"\n"}', 'a raw newline in a string'],
    ['{/**/}', 'a comment'],
    ['{"a":1', 'no end'],
  ])('refuses %j (%s)', (text) => {
    expect(parse(text), 'only a JSON object is one').toEqual({ problem: 'not_json' });
  });

  it.each([
    ['a broken sequence', [0x7b, 0x22, 0xc3, 0x22, 0x3a, 0x31, 0x7d]],
    ['an overlong encoding', [0x7b, 0x22, 0xc0, 0xa2, 0x22, 0x3a, 0x31, 0x7d]],
    ['a surrogate', [0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d]],
    ['UTF-16', [0x7b, 0x00, 0x7d, 0x00]],
  ])('refuses bytes that are not UTF-8: %s', (_, bytes) => {
    expect(
      parseJsonObject(Uint8Array.from(bytes)),
      'replacing bytes would give two tokens one meaning',
    ).toEqual({
      problem: 'not_json',
    });
  });

  it('reads only its part of a larger buffer', () => {
    const bytes = new Uint8Array(Buffer.from('xx{"a":1}yy')).subarray(2, 9);
    expect(parseJsonObject(bytes), 'small Buffers share their memory with others').toEqual({
      value: { a: 1 },
    });
  });

  it('takes __proto__ for an ordinary member', () => {
    const parsed = parse('{"__proto__":{"isAdmin":true}}');
    const value = 'value' in parsed ? parsed.value : {};
    expect(value['isAdmin'], 'the prototype must not be changed').toBeUndefined();
    expect(Object.keys(value), 'it is an own member').toEqual(['__proto__']);
  });

  it('accepts 64 levels and refuses more, without overflowing the stack', () => {
    expect(parse(nested(64)), '64 levels are allowed').toHaveProperty('value');
    expect(parse(nested(65)), '65 are too deep').toEqual({ problem: 'not_json' });
    expect(parse(`{"a":${'['.repeat(64)}${']'.repeat(64)}}`), 'arrays count too').toEqual({
      problem: 'not_json',
    });
    expect(parse(nested(200_000)), 'this deep, recursion would throw').toEqual({ problem: 'not_json' });
  });

  it.each([
    ['backslashes', `{"a":"${'\\\\'.repeat(500_000)}"}`],
    ['escaped quotes', `{"a":"${'\\"'.repeat(500_000)}"}`],
    ['space', `{"a"${' '.repeat(1_000_000)}:1}`],
    ['short strings', `{"a":[${'"",'.repeat(300_000)}""]}`],
  ])('takes linear time for a megabyte of %s', (_, text) => {
    const start = performance.now();
    expect(parse(text), 'it is valid').toHaveProperty('value');
    // Takes about 10 ms. Quadratic, it would be minutes.
    expect(performance.now() - start, 'an attacker chooses this text').toBeLessThan(2000);
  });
});
