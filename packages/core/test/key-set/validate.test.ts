import { describe, expect, it } from 'vitest';
import { publish } from '../../src/key-set/changes.ts';
import { validate } from '../../src/key-set/validate.ts';
import { changed, deepFreeze, firstSet, keyOf, newKey, policyOf, start } from './support.ts';

const policy = policyOf();
const rotating = deepFreeze(publish(firstSet(policy), policy, start, newKey('n')));
const { activatesAt, deactivatesAt = 0, tokenLifetime } = keyOf(rotating, 'a');

describe('validate', () => {
  it('finds nothing wrong with a key set in rotation', () => {
    expect(validate(rotating)).toBeUndefined();
  });

  it('P4: lets a key expire no earlier than the last token it may have signed', () => {
    const last = deactivatesAt + tokenLifetime;
    expect(validate(changed(rotating, 'a', { expiresAt: last })), 'equal is enough').toBeUndefined();
    expect(validate(changed(rotating, 'a', { expiresAt: last - 1 })), 'one millisecond early').toBe(
      'a key expires before the last token it may have signed',
    );
  });

  it.each<[rule: string, kid: string, members: Parameters<typeof changed>[2], problem: string]>([
    ['a kid stands once among the keys', 'n', { kid: 'a' }, 'a kid stands twice'],
    [
      'deactivatesAt does not come alone',
      'a',
      { expiresAt: undefined },
      'a key has only one of deactivatesAt and expiresAt',
    ],
    [
      'expiresAt does not come alone',
      'a',
      { deactivatesAt: undefined, hasPrivateKey: false },
      'a key has only one of deactivatesAt and expiresAt',
    ],
    ['P5: a revoked key has no private half', 'a', { revokedAt: start }, 'a revoked key has a private half'],
    [
      'a key does not stop before it starts',
      'a',
      { activatesAt: deactivatesAt + 1 },
      'a key with a private half stops before it starts',
    ],
    [
      'a key without a private half has an end',
      'n',
      { hasPrivateKey: false },
      'a key without a private half has no end',
    ],
    [
      'of one algorithm, at most one key signs without an end',
      'a',
      { deactivatesAt: undefined, expiresAt: undefined },
      'two keys of one algorithm sign without an end',
    ],
    [
      'a reason stands only with a revocation',
      'a',
      { revocationReason: 'stolen' },
      'a key has a reason of revocation but is not revoked',
    ],
  ])('%s', (_rule, kid, members, problem) => {
    expect(validate(changed(rotating, kid, members))).toBe(problem);
  });

  it('a kid does not stand both in keys and in departed, nor twice in departed', () => {
    const gone = { kid: 'a', time: start };
    expect(validate({ ...rotating, departed: [gone] }), 'alive and departed').toBe('a kid stands twice');
    expect(validate({ ...firstSet(policy), keys: [], departed: [gone, gone] }), 'departed twice').toBe(
      'a kid stands twice',
    );
  });

  it('lets keys of two algorithms sign without an end', () => {
    expect(
      validate(changed(firstSet(policyOf({ algorithms: ['ES256', 'EdDSA'] })), 'a', {})),
    ).toBeUndefined();
  });

  it('lets a key that took over this very moment be stopped in an emergency', () => {
    const sharp = changed(rotating, 'a', {
      deactivatesAt: activatesAt,
      expiresAt: activatesAt + tokenLifetime,
    });
    expect(
      validate(sharp),
      'activatesAt = deactivatesAt: an empty span, not a contradiction',
    ).toBeUndefined();
  });
});
