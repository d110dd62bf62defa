import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  associatedData,
  canonicalJwk,
  parseDocument,
  serializeDocument,
  type DocumentIdentity,
  type KeyRecord,
  type KeySet,
  type KeySetDocument,
} from '../../src/key-set/document.ts';
import { deepFreeze, firstSet, fullDocument, policyOf, publicJwk, start, withMembers } from './support.ts';

const { keySet, sealed } = fullDocument;
const text = serializeDocument(fullDocument);
const identity: DocumentIdentity = { namespace: 'prod', revision: 7, etag: 'etag' };

/** A JSON value, to be taken apart. */
type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Path = readonly (string | number)[];

const parsedText = (): Json => JSON.parse(text) as Json;

/** The paths of everything in a JSON value, with what stands there. */
function everything(value: Json, path: Path = []): [path: Path, value: Json][] {
  const own: [Path, Json][] = [[path, value]];
  if (typeof value !== 'object' || value === null) return own;
  const inner = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return [...own, ...inner.flatMap(([name, member]) => everything(member, [...path, name]))];
}

/** The text of the document with something else at `path`; `undefined`: nothing. Canonical in every other respect. */
function altered(path: Path, replacement: unknown): string {
  const whole = JSON.parse(text) as Record<string, unknown>;
  const parent = path.slice(0, -1).reduce<unknown>((value, name) => Reflect.get(Object(value), name), whole);
  const name = path.at(-1) ?? '';
  if (Array.isArray(parent) && replacement === undefined) parent.splice(Number(name), 1);
  else Reflect.set(Object(parent), name, replacement);
  return JSON.stringify(whole);
}

/** The text of the document with one member more in the object at `path`. */
function withMember(path: Path, name: string): string {
  const whole = parsedText();
  const target = path.reduce<unknown>((value, step) => Reflect.get(Object(value), step), whole);
  // Not by assignment: that would not make a member named "__proto__".
  Object.defineProperty(Object(target), name, { value: 1, enumerable: true });
  return JSON.stringify(whole);
}

function valueAt(path: Path): unknown {
  return path.reduce<unknown>((value, name) => Reflect.get(Object(value), name), parsedText());
}

function kindOf(candidate: string): string {
  return parseDocument(candidate).kind;
}

function problemOf(candidate: string): string | undefined {
  const parsed = parseDocument(candidate);
  return 'problem' in parsed ? parsed.problem : undefined;
}

const notCanonical = 'it is not in canonical form';
const optionalMembers = new Set([
  'publishNotBefore',
  'deactivatesAt',
  'expiresAt',
  'revokedAt',
  'revocationReason',
]);
const inside = everything(parsedText()).filter(([path]) => path.length > 0);
const named = inside.filter(([path]) => typeof path.at(-1) === 'string');

describe('round trip', () => {
  it('gives back what was written, with every member and without the optional ones', () => {
    const least: KeySetDocument = { keySet: firstSet(policyOf()), sealed };
    for (const document of [fullDocument, least]) {
      expect(parseDocument(serializeDocument(document)), 'nothing lost, nothing added').toEqual({
        kind: 'document',
        document,
      });
    }
  });

  it('writes one text, whatever the order of members in memory', () => {
    const shuffle = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null) return value;
      if (Array.isArray(value)) return value.map(shuffle);
      return Object.fromEntries(
        Object.entries(value)
          .toReversed()
          .map(([name, member]) => [name, shuffle(member)]),
      );
    };
    // Same members, other order.
    const other = shuffle(fullDocument) as KeySetDocument;
    expect(serializeDocument(other), 'the canonical text').toBe(text);
    expect(associatedData(other.keySet, '', identity), 'the same authenticated content').toEqual(
      associatedData(keySet, '', identity),
    );
  });

  it('keeps any well-formed text in a kid and a reason', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }), (anyText) => {
        const keys = keySet.keys.map((key, index) =>
          index === 0 ? { ...key, kid: anyText, revocationReason: anyText } : key,
        );
        const document = { keySet: { ...keySet, keys }, sealed };
        expect(parseDocument(serializeDocument(document))).toEqual({ kind: 'document', document });
      }),
    );
  });

  it('compares public keys by content: canonicalJwk', () => {
    const jwk = publicJwk('1', 'ES256');
    const reversed = Object.fromEntries(Object.entries(jwk).toReversed());
    expect(canonicalJwk({ ...reversed, kty: 'EC' }), 'order of members is nothing').toBe(canonicalJwk(jwk));
    expect(canonicalJwk(publicJwk('2', 'ES256')), 'another key').not.toBe(canonicalJwk(jwk));
  });
});

describe('P6: what is not format 1 to the letter is refused', () => {
  it('P6: every member that is missing, except for the optional ones', () => {
    for (const [path] of named) {
      const result = kindOf(altered(path, undefined));
      const optional = optionalMembers.has(String(path.at(-1)));
      expect(result, `without ${path.join('.')}`).toBe(optional ? 'document' : 'rejected');
    }
    expect(named.length, 'this looked at the whole document').toBeGreaterThan(50);
  });

  it('P6: every member of another type', () => {
    const wrong: Json[] = [null, true, 'text', '1', 7, 1.5, -1, [], {}, [1], { a: 1 }];
    for (const [path, value] of inside) {
      for (const replacement of wrong) {
        if (
          typeof replacement === typeof value &&
          (replacement === null) === (value === null) &&
          Array.isArray(replacement) === Array.isArray(value)
        )
          continue;
        const expected = path[0] === 'format' && typeof replacement === 'number' ? 'unsupported' : 'rejected';
        const candidate = altered(path, replacement);
        expect(kindOf(candidate), `${path.join('.')} as ${JSON.stringify(replacement)}`).toBe(expected);
        expect(problemOf(candidate), `${path.join('.')}: found by its own check`).not.toBe(notCanonical);
      }
    }
  });

  it('P6: an unknown member in any object', () => {
    const objects = everything(parsedText()).filter(
      ([, value]) => typeof value === 'object' && value !== null && !Array.isArray(value),
    );
    expect(objects.length, 'the document, its keys, their JWKs, departed and sealed').toBe(10);
    for (const [path] of objects) {
      for (const name of ['d', 'extra', '__proto__', 'constructor', '']) {
        const candidate = withMember(path, name);
        expect(kindOf(candidate), `"${name}" in "${path.join('.')}"`).toBe('rejected');
        expect(problemOf(candidate), 'found by its own check').not.toBe(notCanonical);
      }
    }
  });

  it.each(['origin', 'propagationDelay', 'staleBound', 'horizon', 'publishNotBefore'])(
    'P6: %s out of its range',
    (name) => {
      for (const value of [-1, 0.5, 8.64e15 + 1, 1e300]) {
        expect(problemOf(altered([name], value)), `for ${value}`).toBe(
          `its "${name}" is missing or not what format 1 has there`,
        );
      }
      for (const value of [0, 8.64e15])
        expect(kindOf(altered([name], value)), `for ${value}`).toBe('document');
    },
  );

  it.each(['tokenLifetime', 'createdAt', 'activatesAt', 'deactivatesAt', 'expiresAt', 'revokedAt'])(
    'P6: %s of a key out of its range',
    (name) => {
      for (const value of [-1, 0.5, 8.64e15 + 1]) {
        expect(problemOf(altered(['keys', 0, name], value)), `for ${value}`).toMatch(/^its "keys"/);
      }
      for (const value of [0, 8.64e15])
        expect(kindOf(altered(['keys', 0, name], value)), `for ${value}`).toBe('document');
    },
  );

  it.each<[path: Path, wrong: readonly Json[], right: readonly Json[]]>([
    [
      ['keys', 0, 'kid'],
      ['', 'k'.repeat(257), '\uD800', 'a\uDC00'],
      ['k', 'k'.repeat(256)],
    ],
    [['keys', 0, 'revocationReason'], ['', 'r'.repeat(501), 'lone \uDFFF'], ['r'.repeat(500)]],
    [['departed', 0, 'kid'], ['', 'k'.repeat(257), '\uD800'], ['k'.repeat(256)]],
    [
      ['departed', 0, 'time'],
      [-1, 0.5, 8.64e15 + 1],
      [0, 8.64e15],
    ],
    [['sealed', 'dataKey'], ['', 'd'.repeat(20_001)], ['d'.repeat(20_000)]],
    [['sealed', 'nonce'], ['', 'AA==', 'a+b', 'a b', 'ä'], ['A-_9']],
    [['sealed', 'ciphertext'], ['', 'AA==', 'a/b', 'a\n'], ['A-_9']],
    [
      ['keys', 1, 'publicJwk', 'x'],
      ['', 'AAAA', `${'A'.repeat(42)}B`, `${'A'.repeat(43)}=`],
      ['A'.repeat(43)],
    ],
    [['keys', 1, 'publicJwk', 'crv'], ['P-384', 'p-256'], ['P-256']],
    [['keys', 1, 'publicJwk', 'kty'], ['RSA', 'ec'], ['EC']],
    [
      ['keys', 2, 'publicJwk', 'e'],
      ['AQ', 'Ag', 'AAEAAQ'],
      ['AQAB', 'Aw'],
    ],
    [['keys', 1, 'alg'], ['ES384', 'RS256', 'EdDSA'], ['ES256']],
  ])('P6: %j out of its range', (path, wrong, right) => {
    for (const value of wrong) {
      const candidate = altered(path, value);
      expect(kindOf(candidate), `for ${JSON.stringify(value)}`).toBe('rejected');
      expect(problemOf(candidate), 'found by its own check').not.toBe(notCanonical);
    }
    for (const value of right)
      expect(kindOf(altered(path, value)), `for ${JSON.stringify(value)}`).toBe('document');
  });

  it('P6: more keys or departed keys than there can be', () => {
    const [key, gone] = [
      ['keys', 1],
      ['departed', 0],
    ].map((path) => valueAt(path));
    expect(
      kindOf(
        altered(
          ['keys'],
          Array.from({ length: 256 }, () => key),
        ),
      ),
      '256 keys',
    ).toBe('document');
    expect(
      problemOf(
        altered(
          ['keys'],
          Array.from({ length: 257 }, () => key),
        ),
      ),
      '257 keys',
    ).toMatch(/^its "keys"/);
    expect(
      kindOf(
        altered(
          ['departed'],
          Array.from({ length: 10_000 }, () => gone),
        ),
      ),
      '10,000 departed',
    ).toBe('document');
    expect(
      problemOf(
        altered(
          ['departed'],
          Array.from({ length: 10_001 }, () => gone),
        ),
      ),
      '10,001 departed',
    ).toMatch(/^its "departed"/);
    expect(kindOf(altered(['keys'], [])), 'no keys at all').toBe('document');
  });

  it('P6: a text of more than a million characters, before reading it', () => {
    const fill = 'A'.repeat(1_000_000 - text.length + sealed.ciphertext.length);
    expect(kindOf(altered(['sealed', 'ciphertext'], fill)), 'a million').toBe('document');
    expect(problemOf(altered(['sealed', 'ciphertext'], `${fill}A`)), 'one more').toBe(
      'it is longer than 1000000 characters',
    );
  });

  it.each(['', 'null', '1', '"text"', '[]', '{}', 'nonsense', '\uFEFF{}', '{"format":1}', '[{"format":2}]'])(
    'P6: %j',
    (candidate) => {
      expect(kindOf(candidate)).toBe('rejected');
    },
  );
});

describe('what a newer version wrote is unsupported, not rejected: it must not be overwritten', () => {
  it.each([0, 2, 1.5, -1, 1e21])('format %d, whatever else it holds', (format) => {
    expect(kindOf(altered(['format'], format)), 'all else as in format 1').toBe('unsupported');
    expect(kindOf(JSON.stringify({ format, surprise: [] })), 'nothing else as in format 1').toBe(
      'unsupported',
    );
  });

  it.each(['1', '2', null, true, [2]])('but format %j is no format', (format) => {
    expect(kindOf(altered(['format'], format))).toBe('rejected');
  });

  it.each(['ES256K', 'SLH-DSA-SHA2-128s', 'RS1'])('a key of the algorithm %s', (alg) => {
    expect(kindOf(altered(['keys', 1, 'alg'], alg))).toBe('unsupported');
  });

  it.each(['', 'a b', 'x'.repeat(41), 'ES256\n', 1, null])('but %j is no name of an algorithm', (alg) => {
    expect(kindOf(altered(['keys', 1, 'alg'], alg))).toBe('rejected');
  });
});

describe('P6: any text but the canonical one is refused, so that every byte is authenticated', () => {
  it.each<[title: string, candidate: string]>([
    ['space before', ` ${text}`],
    ['line feed after', `${text}\n`],
    ['space inside', text.replace(',"origin"', ', "origin"')],
    ['another order of members', text.replace(/^\{"format":1,("origin":\d+),/, '{$1,"format":1,')],
    ['another order inside of a JWK', text.replace(/("crv":"P-256"),("kty":"EC")/, '$2,$1')],
    ['an exponent', text.replace('"tokenLifetime":3600000', '"tokenLifetime":36e5')],
    ['a fraction of nothing', text.replace('"tokenLifetime":3600000', '"tokenLifetime":3600000.0')],
    ['minus zero', text.replace('"tokenLifetime":3600000', '"tokenLifetime":-0')],
    ['an escape that is not needed', text.replace('"kid":"active"', String.raw`"kid":"\u0061ctive"`)],
    ['an escaped slash', text.replace('stolen', String.raw`\/`)],
    [
      'digits beyond precision',
      text.replace('"tokenLifetime":3600000', '"tokenLifetime":3600000.00000000000000000001'),
    ],
  ])('P6: %s', (_title, candidate) => {
    expect(candidate, 'this alters the text').not.toBe(text);
    expect(problemOf(candidate)).toBe(notCanonical);
  });

  it('P6: a member that stands twice', () => {
    expect(kindOf(text.replace('"format":1', '"format":1,"format":1'))).toBe('rejected');
    expect(
      kindOf(text.replace('"kid":"active"', String.raw`"kid":"active","k\u0069d":"active"`)),
      'however it is escaped',
    ).toBe('rejected');
  });

  it('P6: cut off at every byte', () => {
    const bytes = Buffer.from(text);
    for (let length = 0; length < bytes.length; length++) {
      expect(kindOf(bytes.toString('utf8', 0, length)), `the first ${length} bytes`).toBe('rejected');
    }
  });

  it('P6: any other text never throws, and what is accepted is canonical', () => {
    const alteration = fc.tuple(
      fc.nat(text.length),
      fc.nat(3),
      fc.constantFrom('', '0', '1', '"', '}', '{', ',', 'e', ' ', 'A', '\uD800'),
    );
    fc.assert(
      fc.property(alteration, ([at, removed, added]) => {
        const candidate = text.slice(0, at) + added + text.slice(at + removed);
        const parsed = parseDocument(candidate);
        if (parsed.kind !== 'document') return;
        expect(serializeDocument(parsed.document), 'its one text').toBe(candidate);
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'binary' }), fc.json()),
        (candidate) => kindOf(candidate) === 'rejected' || candidate.includes('format'),
      ),
    );
  });
});

describe('P6: associated data binds identity and every public field', () => {
  const bytesOf = (set: KeySet, of = identity, dataKey = sealed.dataKey): string =>
    associatedData(set, dataKey, of).toString('hex');
  const withKey = (index: number, members: object): KeySet => ({
    ...keySet,
    keys: keySet.keys.map((key, at) => (at === index ? withMembers(key, members) : key)),
  });

  it('P6: it is the same for the same document and place', () => {
    const parsed = parseDocument(text);
    expect(
      parsed.kind === 'document' ? bytesOf(parsed.document.keySet) : '',
      'what is read is what was sealed',
    ).toBe(bytesOf(keySet));
  });

  it.each<[what: string, bytes: string]>([
    ['namespace', bytesOf(keySet, { ...identity, namespace: 'staging' })],
    ['revision', bytesOf(keySet, { ...identity, revision: 8 })],
    ['etag', bytesOf(keySet, { ...identity, etag: 'etah' })],
    ['wrapped data-encryption key', bytesOf(keySet, identity, 'local:2026:v1.AAAB')],
  ])('P6: another %s gives other bytes', (_what, bytes) => {
    expect(bytes).not.toBe(bytesOf(keySet));
  });

  it('P6: changing or removing any single public field gives other bytes, each its own', () => {
    const fields = everything(JSON.parse(JSON.stringify(keySet)) as Json).filter(
      ([, value]) => typeof value !== 'object',
    );
    const change = (value: Json): Json =>
      typeof value === 'number'
        ? value + 1
        : typeof value === 'boolean'
          ? !value
          : `${JSON.stringify(value)}x`;
    const sets = fields.flatMap(([path, value]) => {
      const changedText = [change(value), ...(optionalMembers.has(String(path.at(-1))) ? [undefined] : [])];
      return changedText.map((replacement) => {
        const { sealed: _, ...set } = JSON.parse(altered(path, replacement)) as KeySet & { sealed: unknown };
        return { path: path.join('.'), bytes: bytesOf(set) };
      });
    });
    const seen = new Map([[bytesOf(keySet), 'the document itself']]);
    for (const { path, bytes } of sets) {
      expect(seen.get(bytes), `${path} is bound, and not mistaken for another field`).toBeUndefined();
      seen.set(bytes, path);
    }
    expect(sets.length, 'every field of three keys and two departed ones').toBeGreaterThan(45);
  });

  it('P6: removing, repeating or exchanging keys and departed keys gives other bytes', () => {
    const { keys, departed } = keySet;
    const variants = [
      { ...keySet, keys: keys.slice(1) },
      { ...keySet, keys: keys.toReversed() },
      { ...keySet, keys: [...keys, ...keys.slice(2)] },
      { ...keySet, departed: departed.slice(1) },
      { ...keySet, departed: departed.toReversed() },
      { ...keySet, departed: [...departed, ...departed.slice(1)] },
    ];
    expect(new Set([keySet, ...variants].map((set) => bytesOf(set))).size).toBe(variants.length + 1);
  });

  it.each<[what: string, left: KeySet, right: KeySet]>([
    ['kid to algorithm', withKey(0, { kid: 'k', alg: 'EdDSA' }), withKey(0, { kid: 'kEd', alg: 'DSA' })],
    [
      'name to value in a JWK',
      withKey(0, { publicJwk: { kty: 'OKP' } }),
      withKey(0, { publicJwk: { kt: 'yOKP' } }),
    ],
    [
      'value to next name in a JWK',
      withKey(0, { publicJwk: { a: 'bc', d: '' } }),
      withKey(0, { publicJwk: { a: 'b', cd: '' } }),
    ],
    [
      'a JWK that has one member more',
      withKey(0, { publicJwk: { a: 'b', c: 'd' } }),
      withKey(0, { publicJwk: { a: 'b' } }),
    ],
    [
      'digits between times',
      withKey(1, { createdAt: 12, activatesAt: 3 }),
      withKey(1, { createdAt: 1, activatesAt: 23 }),
    ],
    [
      'a time between neighbouring optional fields',
      withKey(1, { deactivatesAt: 5, expiresAt: undefined }),
      withKey(1, { deactivatesAt: undefined, expiresAt: 5 }),
    ],
    [
      'expiry to revocation',
      withKey(0, { expiresAt: undefined }),
      withKey(0, { expiresAt: start + 3, revokedAt: undefined }),
    ],
    [
      'departed kids',
      {
        ...keySet,
        departed: [
          { kid: 'ab', time: 1 },
          { kid: 'c', time: 1 },
        ],
      },
      {
        ...keySet,
        departed: [
          { kid: 'a', time: 1 },
          { kid: 'bc', time: 1 },
        ],
      },
    ],
    [
      'a missing reason and a text that looks like one',
      withKey(0, { revocationReason: undefined }),
      withKey(0, { revocationReason: '\0' }),
    ],
  ])('P6: moving bytes between neighbours gives other bytes: %s', (_what, left, right) => {
    expect(bytesOf(left)).not.toBe(bytesOf(right));
  });

  it('P6: moving bytes between namespace, etag, and the wrapped key and what stands before it gives other bytes', () => {
    const bare: KeySet = { ...keySet, departed: [{ kid: 'd', time: 1 }] };
    const places: [DocumentIdentity, string][] = [
      [{ namespace: 'ab', revision: 1, etag: 'c' }, 'key'],
      [{ namespace: 'a', revision: 1, etag: 'bc' }, 'key'],
      [{ namespace: 'ab1', revision: 1, etag: 'c' }, 'key'],
      [{ namespace: 'ab', revision: 11, etag: 'c' }, 'key'],
      [{ namespace: 'ab', revision: 1, etag: 'ckey' }, ''],
      [{ namespace: 'ab', revision: 1, etag: 'c' }, 'k'],
    ];
    expect(new Set(places.map(([place, dataKey]) => bytesOf(bare, place, dataKey))).size).toBe(places.length);
  });

  it('P6: two documents have the same bytes only if they have the same text', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '\0'), minLength: 1, maxLength: 3 });
    const time = fc.integer({ min: 0, max: 2 });
    const key: fc.Arbitrary<KeyRecord> = fc.record(
      {
        kid: letters,
        alg: fc.constantFrom('ES256', 'EdDSA'),
        publicJwk: fc.record({ kty: letters, x: letters, y: letters }, { requiredKeys: ['kty'] }),
        tokenLifetime: time,
        createdAt: time,
        activatesAt: time,
        deactivatesAt: time,
        expiresAt: time,
        revokedAt: time,
        revocationReason: letters,
        hasPrivateKey: fc.boolean(),
      },
      {
        requiredKeys: [
          'kid',
          'alg',
          'publicJwk',
          'tokenLifetime',
          'createdAt',
          'activatesAt',
          'hasPrivateKey',
        ],
      },
    );
    const place = fc.record({
      keys: fc.array(key, { maxLength: 2 }),
      departed: fc.array(fc.record({ kid: letters, time }), { maxLength: 2 }),
      dataKey: letters,
      identity: fc.record({ namespace: letters, revision: time, etag: letters }),
    });
    fc.assert(
      fc.property(place, place, (left, right) => {
        const sides = [left, right].map((side) => {
          const set: KeySet = deepFreeze({
            ...firstSet(policyOf()),
            keys: side.keys,
            departed: side.departed,
          });
          return {
            bytes: bytesOf(set, side.identity, side.dataKey),
            text:
              serializeDocument({ keySet: set, sealed: { ...sealed, dataKey: side.dataKey } }) +
              JSON.stringify(side.identity),
          };
        });
        const [one, two] = sides;
        expect(one?.bytes === two?.bytes, 'same bytes iff same text').toBe(one?.text === two?.text);
      }),
    );
  });
});
