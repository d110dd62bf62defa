import {
  inlineExecutor,
  JwtAuthorityError,
  KeyRing,
  localEncrypter,
  JwksRotator,
  type KeySetStore,
  type StoredKeySet,
} from '@jwt-authority/core';
import { memoryStore } from '@jwt-authority/store-memory';
import { makeKey } from './simulation/key-pool.ts';

/** What came of altered documents. */
export interface DocumentFigures {
  readonly tried: number;
  /** How often each code was given; `healed`: an instance that held the last good one put it back. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** What was accepted, or refused in a wrong way. None may be. */
  readonly failures: readonly string[];
}

const allowed = new Set([
  'document_rejected',
  'document_unsupported',
  'kek_not_configured',
  'store_unreadable',
]);
const encrypter = localEncrypter.forTests();

function keyRingOn(store: KeySetStore, onTampered: () => void = () => {}): KeyRing {
  let made = 0;
  const keyRing = new KeyRing({
    store,
    encrypter,
    executor: inlineExecutor,
    policy: { algorithms: ['Ed25519'] },
    generateKeyPair: async (alg) => makeKey(alg, made++, store.namespace).pair,
  });
  keyRing.events.on('tampered', onTampered);
  return keyRing;
}

/** A good key set with a pending key, as an instance writes it. */
async function goodDocuments(namespace: string): Promise<readonly [StoredKeySet, StoredKeySet]> {
  const store = memoryStore({ namespace });
  const keyRing = keyRingOn(store);
  const rotator = new JwksRotator({ keyRing });
  await rotator.checkAndRotateKeys();
  const first = (await store.load()).stored;
  await rotator.rotateNow();
  const second = (await store.load()).stored;
  await keyRing.close();
  if (first === undefined || second === undefined) throw new Error('nothing was stored');
  return [first, second];
}

/** Every alteration to be tried, with its name. */
function* alterations(
  good: StoredKeySet,
  older: StoredKeySet,
  foreign: StoredKeySet,
): Generator<[string, StoredKeySet]> {
  const { document } = good;
  const altered = (name: string, text: string): [string, StoredKeySet] => [name, { ...good, document: text }];
  for (let at = 0; at < document.length; at++) {
    for (const bit of [0, 1, 2, 4, 5, 6]) {
      const code = document.charCodeAt(at) ^ (1 << bit);
      yield altered(
        `bit ${bit} of character ${at}`,
        document.slice(0, at) + String.fromCharCode(code) + document.slice(at + 1),
      );
    }
    yield altered(`cut at ${at}`, document.slice(0, at));
    yield altered(`space at ${at}`, `${document.slice(0, at)} ${document.slice(at)}`);
  }
  yield altered('byte order mark', `\uFEFF${document}`);
  yield ['older under this name', { ...good, document: older.document }];
  yield ['older with its etag', { ...older, revision: good.revision }];
  yield ['other revision', { ...good, revision: good.revision + 1 }];
  yield ['other etag', { ...good, etag: `${good.etag}x` }];
  yield ['another namespace', foreign];
  yield ['another namespace under this name', { ...good, document: foreign.document }];
  yield altered('empty', '');
  yield altered('null', 'null');
  yield altered('array', '[]');
  yield altered('deep', `${'['.repeat(100_000)}${']'.repeat(100_000)}`);
  yield altered('huge', document + ' '.repeat(2_000_000));
  // Parsed anew each time: JSON gives what nobody checked.
  const read = (): Record<string, unknown> & { keys: Record<string, unknown>[] } =>
    JSON.parse(document) as Record<string, unknown> & { keys: Record<string, unknown>[] };
  const values = [0, -1, 1.5, 1e308, 9e15, '', 'x', null, true, [], {}, '__proto__', Number.MAX_SAFE_INTEGER];
  for (const name of Object.keys(read())) {
    const { [name]: _, ...without } = read();
    yield altered(`without ${name}`, JSON.stringify(without));
    yield altered(`${name} at the end`, JSON.stringify({ ...without, [name]: read()[name] }));
    yield altered(`${name} twice`, document.replace(`"${name}":`, `"${name}":0,"${name}":`));
    for (const value of values)
      yield altered(`${name} = ${JSON.stringify(value)}`, JSON.stringify({ ...read(), [name]: value }));
  }
  for (const [index, key] of read().keys.entries()) {
    for (const name of [...Object.keys(key), 'deactivatesAt', 'revokedAt', 'd', '__proto__', 'constructor']) {
      for (const value of values) {
        const keys = read().keys.map((other, at) => (at === index ? { ...other, [name]: value } : other));
        yield altered(
          `keys[${index}].${name} = ${JSON.stringify(value)}`,
          JSON.stringify({ ...read(), keys }),
        );
      }
    }
  }
  yield altered('keys reversed', JSON.stringify({ ...read(), keys: read().keys.toReversed() }));
  yield altered('keys doubled', JSON.stringify({ ...read(), keys: [...read().keys, ...read().keys] }));
  yield altered('no keys', JSON.stringify({ ...read(), keys: [] }));
  for (const format of [0, 2, 99]) yield altered(`format ${format}`, JSON.stringify({ ...read(), format }));
  for (const member of ['__proto__', 'toString', 'extra'])
    yield altered(`extra ${member}`, document.replace('{', `{"${member}":1,`));
  // The same content in other words.
  yield altered('escaped', document.replace('"keys"', String.raw`"\u006beys"`));
  yield altered('exponent', document.replace(/:(\d+)000,/, ':$1e3,'));
}

/** Tries every alteration (or one of `every`) on an instance that starts, and on one that holds the last good document. */
export async function fuzzDocuments(every = 1): Promise<DocumentFigures> {
  const [older, good] = await goodDocuments('default');
  const [, foreign] = await goodDocuments('other');
  const outcomes: Record<string, number> = {};
  const failures: string[] = [];
  const count = (name: string): void => {
    outcomes[name] = (outcomes[name] ?? 0) + 1;
  };
  let tried = 0;
  let current: StoredKeySet = good;
  let written: StoredKeySet | undefined;
  const store: KeySetStore = {
    namespace: 'default',
    load: async () => ({ stored: written ?? current }),
    compareAndSwap: async (next) => {
      written = next;
      return true;
    },
  };
  let index = 0;
  for (const [name, altered] of alterations(good, older, foreign)) {
    if (index++ % every !== 0) continue;
    if (
      altered.document === good.document &&
      altered.revision === good.revision &&
      altered.etag === good.etag
    )
      continue;
    tried++;
    current = altered;
    written = undefined;
    const fresh = keyRingOn(store);
    try {
      await fresh.ready();
      failures.push(`${name}: a fresh instance took it`);
    } catch (error) {
      if (!JwtAuthorityError.is(error) || !allowed.has(error.code))
        failures.push(`${name}: ${String(error)}`);
      else count(error.code);
    } finally {
      await fresh.close();
    }
    if (written !== undefined) failures.push(`${name}: a fresh instance wrote over it`);

    let reports = 0;
    current = good;
    const holder = keyRingOn(store, () => reports++);
    await holder.ready();
    const { keySet } = holder;
    current = altered;
    for (let read = 0; read < 3; read++) await holder.refresh().catch(() => {});
    // Not its times: putting it back postpones a key that verifiers may not have seen.
    const kids = (held: typeof keySet): string =>
      JSON.stringify(held?.keys.map(({ kid, publicJwk }) => [kid, publicJwk]));
    if (kids(holder.keySet) !== kids(keySet)) failures.push(`${name}: the last good one did not stay in use`);
    if (reports > 1) failures.push(`${name}: reported ${reports} times`);
    if (written !== undefined) count('healed');
    await holder.close();
  }
  return { tried, outcomes, failures };
}
