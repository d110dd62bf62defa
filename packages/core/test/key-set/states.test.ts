import { describe, expect, it } from 'vitest';
import type { KeyRecord, KeySet } from '../../src/key-set/document.ts';
import {
  activeKey,
  algorithmsOf,
  isPublished,
  keyState,
  pendingKey,
  publishedKeys,
} from '../../src/key-set/states.ts';
import { changed, deepFreeze, firstSet, keyOf, newKey, policyOf, start } from './support.ts';

const policy = policyOf();

function record(kid: string, members: Partial<KeyRecord>): KeyRecord {
  return {
    ...newKey(kid),
    tokenLifetime: 1000,
    createdAt: start,
    activatesAt: start,
    hasPrivateKey: true,
    ...members,
  };
}

function setOf(...keys: KeyRecord[]): KeySet {
  return deepFreeze({ ...firstSet(policy), keys });
}

describe('the state of a key is a pure function of document and time (protocol 2)', () => {
  const key = record('k', { activatesAt: start + 10, deactivatesAt: start + 20, expiresAt: start + 30 });

  it.each([
    { time: 9, state: 'pre-activation', published: true },
    { time: 10, state: 'active', published: true },
    { time: 19, state: 'active', published: true },
    { time: 20, state: 'deactivated', published: true },
    { time: 29, state: 'deactivated', published: true },
    { time: 30, state: 'destroyed', published: false },
  ])('activates at 10, deactivates at 20, expires at 30: $state at $time', ({ time, state, published }) => {
    expect(
      keyState(key, start + time),
      'activatesAt is inclusive, deactivatesAt and expiresAt exclusive',
    ).toBe(state);
    expect(isPublished(key, start + time), 'verification accepts pre-activation keys').toBe(published);
  });

  it.each([0, 15, 25, 35])(
    'a revoked key is compromised and unpublished at %i, whatever its times say',
    (time) => {
      const revoked = { ...key, revokedAt: start + 99, hasPrivateKey: false };
      expect(keyState(revoked, start + time)).toBe('compromised');
      expect(isPublished(revoked, start + time), 'gone from the JWKS at once').toBe(false);
    },
  );

  it('a key without a private half only verifies, before and after its activation', () => {
    const publicOnly = { ...key, hasPrivateKey: false };
    expect([9, 10].map((time) => keyState(publicOnly, start + time))).toEqual(['deactivated', 'deactivated']);
  });

  it('a key whose deactivation has passed before it activates is not pre-activation', () => {
    expect(keyState({ ...key, deactivatesAt: start + 5 }, start + 6), 'it will never sign').toBe(
      'deactivated',
    );
  });

  it('a key without an end signs on', () => {
    expect(keyState(record('k', {}), start + 1e12)).toBe('active');
  });
});

describe('active key (protocol 2)', () => {
  it('is the one with the latest activatesAt among those that may sign', () => {
    const keySet = setOf(
      record('early', { activatesAt: start + 1 }),
      record('late', { activatesAt: start + 5 }),
      record('middle', { activatesAt: start + 3 }),
    );
    expect(activeKey(keySet, 'ES256', start + 5)?.kid).toBe('late');
    expect(activeKey(keySet, 'ES256', start + 4)?.kid, 'a future key does not sign').toBe('middle');
    expect(activeKey(keySet, 'ES256', start), 'nothing signs yet').toBeUndefined();
  });

  it('is the one that signs on, where two overlap: by a clock that is behind, a key that was stopped at once still looks active', () => {
    const stopped = record('stopped', {
      activatesAt: start + 5,
      deactivatesAt: start + 9,
      expiresAt: start + 99,
    });
    const successor = record('successor', { activatesAt: start + 3 });
    expect(
      activeKey(setOf(stopped, successor), 'ES256', start + 6)?.kid,
      'dated back before the other took over',
    ).toBe('successor');
    const ending = { ...successor, deactivatesAt: start + 20, expiresAt: start + 99 };
    expect(activeKey(setOf(ending, stopped), 'ES256', start + 6)?.kid, 'also once it has an end itself').toBe(
      'successor',
    );
  });

  it('is the same on every instance when two activate at once: the kid decides, not the order', () => {
    const [left, right] = [record('left', {}), record('right', {})];
    expect(activeKey(setOf(left, right), 'ES256', start)?.kid).toBe('right');
    expect(activeKey(setOf(right, left), 'ES256', start)?.kid).toBe('right');
  });

  it.each([
    { title: 'revoked', members: { revokedAt: start } },
    { title: 'without a private half', members: { hasPrivateKey: false } },
    { title: 'deactivated', members: { deactivatesAt: start, expiresAt: start + 9 } },
    { title: 'of another algorithm', members: { alg: 'EdDSA' } },
  ] as const)('is never one that is $title', ({ members }) => {
    expect(activeKey(setOf(record('k', members)), 'ES256', start)).toBeUndefined();
  });
});

describe('pending key (protocol 2)', () => {
  it('is the pre-activation key that comes first', () => {
    const keySet = setOf(
      record('later', { activatesAt: start + 9 }),
      record('next', { activatesAt: start + 5 }),
      record('other', { alg: 'EdDSA', activatesAt: start + 1 }),
    );
    expect(pendingKey(keySet, 'ES256', start)?.kid).toBe('next');
    expect(pendingKey(keySet, 'ES256', start + 5)?.kid, 'an active key is not pending').toBe('later');
    expect(pendingKey(keySet, 'ES256', start + 9)).toBeUndefined();
  });
});

describe('the key set as a whole', () => {
  it('publishes pre-activation, active and deactivated keys', () => {
    const keySet = setOf(
      record('pending', { activatesAt: start + 9 }),
      record('active', {}),
      record('verifies', { hasPrivateKey: false, deactivatesAt: start - 9, expiresAt: start + 1 }),
      record('expired', { hasPrivateKey: false, deactivatesAt: start - 9, expiresAt: start }),
      record('revoked', {
        hasPrivateKey: false,
        revokedAt: start - 1,
        deactivatesAt: start - 9,
        expiresAt: start + 9,
      }),
    );
    expect(publishedKeys(keySet, start).map(({ kid }) => kid)).toEqual(['pending', 'active', 'verifies']);
  });

  it('names its algorithms once, in the order of its keys', () => {
    const keySet = setOf(record('1', { alg: 'EdDSA' }), record('2', {}), record('3', { alg: 'EdDSA' }));
    expect(algorithmsOf(keySet)).toEqual(['EdDSA', 'ES256']);
  });

  it('never has its states changed by a setting: no policy is asked', () => {
    const keySet = changed(firstSet(policy), 'a', { tokenLifetime: 1 });
    const states = [keySet, { ...keySet, propagationDelay: 1, staleBound: 1, horizon: 1 }].map((set) =>
      keyState(keyOf(set, 'a'), start),
    );
    expect(states, 'raising an interval must not re-judge old keys').toEqual(['active', 'active']);
  });
});
