import { randomBytes } from 'node:crypto';
import { JwtAuthorityError, localEncrypter } from '@jwt-authority/core';
import type { KeyEncrypter } from '@jwt-authority/core';
import { describe, expect, it } from 'vitest';
import { keyEncrypterCases, keySetStoreCases, registerCases, replayStoreCases } from '../src/index.ts';
import type { KeySetStoreCaseOptions } from '../src/index.ts';

const unused = (): never => {
  throw new JwtAuthorityError('closed', 'Nothing is opened before a case runs');
};

describe('skip', () => {
  const name = 'of fifty commits at once, one wins';

  it('skips the case of this exact name, and shows the reason', async () => {
    const cases = keySetStoreCases(unused, { skip: [{ name, reason: 'one writer only' }] });
    const skipped = cases.filter((one) => one.skipped !== undefined);
    expect(
      skipped.map((one) => [one.name, one.skipped]),
      'visible in the report',
    ).toEqual([[`${name} (skipped: one writer only)`, 'one writer only']]);
    await expect(skipped[0]?.run(), 'it does nothing when it is run all the same').resolves.toBeUndefined();
    expect(cases.length, 'it stays in the list').toBe(keySetStoreCases(unused).length);
  });

  it.each([
    [
      'an unknown name',
      { name: 'of fifty commits', reason: 'x' },
      /"skip" names an unknown case "of fifty commits". The cases are: /,
    ],
    [
      'the name of a case that does not apply',
      { name: 'a closed client is a clear error', reason: 'x' },
      /unknown case/,
    ],
    [
      'no reason',
      { name, reason: ' ' },
      /"skip" must give a reason for "of fifty commits at once, one wins"/,
    ],
    ['a reason that is none', { name, reason: true }, /"skip" must give a reason/],
  ])('refuses %s', (_what, skip, message) => {
    // Wrong on purpose.
    const options = { skip: [skip] } as KeySetStoreCaseOptions;
    expect(() => keySetStoreCases(unused, options), 'wrong use is a TypeError').toThrow(TypeError);
    expect(() => keySetStoreCases(unused, options), 'a renamed case must not stay skipped unnoticed').toThrow(
      message,
    );
  });
});

describe('the list of cases', () => {
  it('depends on the abilities declared, not on a service', () => {
    const lists = [keySetStoreCases(unused), replayStoreCases(unused), keyEncrypterCases(unused)];
    expect(
      lists.map(({ length }) => length > 10),
      'listed before anything is opened',
    ).toEqual([true, true, true]);
    const names = keySetStoreCases(unused).map(({ name }) => name);
    expect(names, 'without the hook, the case is not listed').not.toContain(
      'a closed client is a clear error',
    );
    const more = keySetStoreCases(unused, { closeClient: async () => undefined }).map(({ name }) => name);
    expect(more, 'with the hook, it is').toContain('a closed client is a clear error');
  });

  it('closes what a case opened, also when it fails', async () => {
    const open: KeyEncrypter[] = [];
    const cases = keyEncrypterCases(
      () => {
        const encrypter = { id: '', canDecrypt: () => false, encrypt: async () => '', decrypt: unused };
        open.push(encrypter);
        return encrypter;
      },
      { close: async (encrypter) => void open.splice(open.indexOf(encrypter), 1) },
    );
    for (const { run } of cases) await expect(run(), 'nothing is right about it').rejects.toThrow(Error);
    expect(open, 'connections would keep the test process alive').toEqual([]);
  });

  it('reaches a test runner, with skipped cases as skipped ones', () => {
    const calls: string[] = [];
    const runner = Object.assign((name: string) => calls.push(name), {
      skip: (name: string) => calls.push(`skip ${name}`),
    });
    registerCases(runner, [
      { name: 'one', run: async () => undefined },
      { name: 'two', skipped: 'why', run: async () => undefined },
    ]);
    expect(calls, 'it and it.skip are all that is needed of a runner').toEqual(['one', 'skip two']);
  });
});

describe('the local encrypter of core keeps the contract of KeyEncrypter', () => {
  const [key, other] = [randomBytes(32), randomBytes(32)];
  const open = (): KeyEncrypter => localEncrypter({ key });
  registerCases(it, keyEncrypterCases(open, { openOther: () => localEncrypter({ key: other }) }));
});
