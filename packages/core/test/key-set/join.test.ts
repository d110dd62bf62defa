import { describe, expect, it } from 'vitest';
import {
  deactivate,
  initialise,
  promote,
  prune,
  publish,
  replace,
  retire,
  revoke,
  rollBack,
} from '../../src/key-set/changes.ts';
import type { KeyRecord, KeySet } from '../../src/key-set/document.ts';
import { covers, join, revocationsOf, type Joined } from '../../src/key-set/join.ts';
import type { KeySetPolicy } from '../../src/key-set/policy.ts';
import { activeKey, isPublished, keyState, pendingKey } from '../../src/key-set/states.ts';
import { validate } from '../../src/key-set/validate.ts';
import {
  changed,
  day,
  deepFreeze,
  firstSet,
  hour,
  keyOf,
  newKey,
  policyOf,
  start,
  withMembers,
} from './support.ts';

const policy = policyOf();
const { propagationDelay, commitDeadline, clockTolerance, tokenLifetime } = policy;
const now = start + 60 * day;
const first = firstSet(policy);
const rotating = deepFreeze(publish(first, policy, now - hour, newKey('n')));
const takeover = now - hour + propagationDelay + commitDeadline;
/** When a key with this lifetime expires that somebody may still sign with, without knowing of the join. */
const unplanned = now + tokenLifetime + propagationDelay + commitDeadline;
/** What an instance mints that starts on a wiped store. */
const minted = deepFreeze(initialise(policy, now - 60_000, [newKey('m')]));

/** Joins, and checks what holds for every join: it is valid, covers both sides, and joining again changes nothing. */
function joined(
  stored: KeySet | undefined,
  held: KeySet,
  revisions: readonly [stored: number, held: number],
  of: KeySetPolicy = policy,
): Joined {
  const [storedRevision, heldRevision] = revisions;
  const left = stored && { keySet: stored, revision: storedRevision };
  const result = deepFreeze(join(left, { keySet: held, revision: heldRevision }, now, of));
  expect(validate(result.keySet), 'the join is valid').toBeUndefined();
  for (const side of [stored, held]) {
    if (side === undefined) continue;
    expect(covers(result.keySet, side, now), 'P8: the join covers both sides').toBe(true);
    const again = join(
      { keySet: result.keySet, revision: 99 },
      { keySet: side, revision: 1 },
      now,
      of,
    ).keySet;
    expect(again.keys, 'joining again changes nothing').toEqual(result.keySet.keys);
  }
  return result;
}

function signer(keySet: KeySet, at = now): string | undefined {
  return activeKey(keySet, 'ES256', at)?.kid;
}

function without(keySet: KeySet, ...kids: string[]): KeySet {
  return deepFreeze({ ...keySet, keys: keySet.keys.filter(({ kid }) => !kids.includes(kid)) });
}

function revoked(keySet: KeySet, kid: string, at = now): KeySet {
  return deepFreeze(revoke(keySet, policy, at, { kid, reason: `revoked ${kid}` }));
}

function departed(keySet: KeySet, kid: string, time = now): KeySet {
  return deepFreeze({ ...without(keySet, kid), departed: [...keySet.departed, { kid, time }] });
}

describe('S covers D (protocol 3)', () => {
  const ended = retire(rotating, ['a']);
  const { expiresAt = 0 } = keyOf(ended, 'a');
  const dead = revoked(ended, 'a');

  it('when it is the same, or has more', () => {
    expect(covers(rotating, rotating, now)).toBe(true);
    expect(covers(rotating, without(rotating, 'n'), now), 'a key more').toBe(true);
    expect(covers(departed(rotating, 'gone'), rotating, now), 'a departed key more').toBe(true);
  });

  it('clause 1: every key of D that is unexpired or revoked stands in S or in its departed list', () => {
    expect(covers(without(rotating, 'n'), rotating, now), 'unexpired and missing').toBe(false);
    expect(covers(departed(rotating, 'a'), rotating, now), 'unexpired and departed').toBe(true);
    const gone = without(ended, 'a');
    expect(
      [expiresAt - 1, expiresAt].map((at) => covers(gone, ended, at)),
      'missing, before and at its expiry',
    ).toEqual([false, true]);
    expect(covers(gone, dead, expiresAt + day), 'expired, but revoked').toBe(false);
    expect(covers(departed(ended, 'a'), dead, expiresAt + day), 'revoked and departed').toBe(true);
  });

  it('clause 2: what D has revoked is revoked in S', () => {
    expect(covers(rotating, revoked(rotating, 'n'), now)).toBe(false);
    expect(covers(revoked(rotating, 'n'), rotating, now), 'the other way round').toBe(true);
    expect(covers(dead, revoked(ended, 'a', now + hour), now), 'at another time').toBe(true);
  });

  it('clause 3: the token lifetime in S is not lower', () => {
    const lifetime = (ms: number): KeySet => changed(rotating, 'n', { tokenLifetime: ms });
    expect([hour - 1, hour, hour + 1].map((ms) => covers(lifetime(ms), lifetime(hour), now))).toEqual([
      false,
      true,
      true,
    ]);
  });

  it('clause 4: where both have an expiry, that of S is not earlier; none is later than any', () => {
    const expiring = (at: number | undefined): KeySet => changed(ended, 'a', { expiresAt: at });
    const pairs = [expiresAt - 1, expiresAt, expiresAt + 1, undefined].map((at) =>
      covers(expiring(at), expiring(expiresAt), now),
    );
    expect(pairs).toEqual([false, true, true, true]);
    expect(covers(expiring(1), expiring(undefined), now), 'missing in D, which cannot sign with it').toBe(
      true,
    );
  });

  it('P4: clause 4: where D signs without an end, S lets what it signed verify to its end', () => {
    const signedUntil = now - hour;
    const last = signedUntil + tokenLifetime;
    const pairs = [last - 1, last, last + 1].map((at) =>
      covers(changed(ended, 'a', { expiresAt: at }), first, now, signedUntil),
    );
    expect(pairs).toEqual([false, true, true]);
    expect(covers(revoked(first, 'a'), first, now), 'what is revoked has no tokens to keep').toBe(true);
  });

  it('clause 4: an unplanned end right after the last reading, by the slowest clock, is covered', () => {
    const read = now - day;
    const stopped = deactivate(first, policy, read - clockTolerance - commitDeadline, keyOf(first, 'a'));
    const signedUntil = read + policy.staleBound;
    expect(covers(stopped, first, now, signedUntil), 'nothing to heal where both read one store').toBe(true);
  });

  it('clause 5: no kid that departed in D stands in S', () => {
    expect(covers(rotating, departed(rotating, 'a'), now)).toBe(false);
    expect(covers(departed(rotating, 'a'), departed(rotating, 'a', now - day), now), 'departed in both').toBe(
      true,
    );
    expect(covers(without(rotating, 'a'), departed(rotating, 'a'), now), 'gone from S').toBe(true);
  });
});

describe('the base of a join (protocol 3)', () => {
  it.each<[title: string, revisions: [number, number], base: 'stored' | 'held']>([
    ['the stored side if its revision is higher', [3, 2], 'stored'],
    ['the held side if its revision is higher', [2, 3], 'held'],
    ['the stored side if they are equal', [2, 2], 'stored'],
  ])('is %s; its key keeps its role', (_title, revisions, base) => {
    const result = joined(minted, first, revisions);
    expect(result.base).toBe(base);
    expect(signer(result.keySet), 'one signs').toBe(base === 'stored' ? 'm' : 'a');
    const other = keyOf(result.keySet, base === 'stored' ? 'a' : 'm');
    expect(keyState(other, now), 'the other only verifies').toBe('deactivated');
  });

  it('is what is held when nothing is stored, whatever the revisions', () => {
    const result = joined(undefined, first, [9, 1]);
    expect(result).toEqual({ keySet: first, base: 'held', needsNewKey: false });
  });

  it("gives deactivatesAt and publishNotBefore, also where the other side's differ", () => {
    const other = {
      ...changed(rotating, 'a', { deactivatesAt: takeover + day, expiresAt: takeover + 9 * day }),
      publishNotBefore: 7,
    };
    const result = joined(rotating, other, [2, 1]).keySet;
    expect(keyOf(result, 'a')).toMatchObject({ deactivatesAt: takeover, expiresAt: takeover + 9 * day });
    expect(result, "the base's").not.toHaveProperty('publishNotBefore');
    expect(joined(other, rotating, [2, 1]).keySet.publishNotBefore, "the base's").toBe(7);
  });

  it('gives the rest, except for what is known of both: earliest origin, longest P and horizon', () => {
    const other = {
      ...minted,
      origin: first.origin - day,
      propagationDelay: 3 * propagationDelay,
      horizon: 9 * first.horizon,
      staleBound: 1,
    };
    for (const revisions of [
      [2, 1],
      [1, 2],
    ] as const) {
      expect(joined(other, first, revisions).keySet, `revisions ${revisions.join(' and ')}`).toMatchObject({
        origin: first.origin - day,
        propagationDelay: 3 * propagationDelay,
        horizon: 9 * first.horizon,
        staleBound: revisions[0] > revisions[1] ? 1 : first.staleBound,
      });
    }
  });
});

describe('a key that only the other side has (protocol 3)', () => {
  it("P8: becomes verify-only: deactivatesAt = now, expiresAt = now + L + P' + D, private half dropped", () => {
    const result = joined(minted, first, [2, 1]).keySet;
    expect(keyOf(result, 'a')).toMatchObject({
      deactivatesAt: now,
      expiresAt: unplanned,
      hasPrivateKey: false,
    });
    expect(isPublished(keyOf(result, 'a'), unplanned - 1), 'tokens out verify').toBe(true);
  });

  it('P8: on either side: the key that a fresh instance minted on the wiped store signed already', () => {
    const result = joined(minted, rotating, [1, 2]).keySet;
    expect(keyOf(result, 'm')).toMatchObject({
      deactivatesAt: now,
      expiresAt: unplanned,
      hasPrivateKey: false,
    });
    expect(signer(result), 'the older history signs on').toBe('a');
  });

  it('keeps an own end that is earlier and an own expiry that is later', () => {
    const ended = changed(retire(first, ['a']), 'a', { deactivatesAt: now - day, expiresAt: now + 99 * day });
    expect(keyOf(joined(minted, ended, [2, 1]).keySet, 'a')).toMatchObject({
      deactivatesAt: now - day,
      expiresAt: now + 99 * day,
    });
    const soon = changed(ended, 'a', { expiresAt: now + 1 });
    expect(keyOf(joined(minted, soon, [2, 1]).keySet, 'a').expiresAt, 'somebody may sign with it still').toBe(
      unplanned,
    );
  });

  it("uses P' = the longest of own setting and both documents", () => {
    const delays = (own: KeySetPolicy, stored: number, held: number): number | undefined =>
      keyOf(
        joined(
          { ...minted, propagationDelay: stored * day },
          { ...first, propagationDelay: held * day },
          [2, 1],
          own,
        ).keySet,
        'a',
      ).expiresAt;
    expect(delays(policy, 3, 1), 'stored').toBe(unplanned + 2 * day);
    expect(delays(policy, 1, 4), 'held').toBe(unplanned + 3 * day);
    expect(delays(policyOf({ propagationDelay: '2d' }), 1, 1), 'own').toBe(unplanned + day);
  });

  it('stays revoked', () => {
    const other = revoked(first, 'a');
    expect(keyOf(joined(minted, other, [2, 1]).keySet, 'a')).toMatchObject({
      revokedAt: now,
      revocationReason: 'revoked a',
    });
  });

  it('counts as pruned by the base if it has expired', () => {
    const ended = changed(retire(first, ['a']), 'a', { deactivatesAt: now - 9 * day, expiresAt: now });
    const result = joined(minted, ended, [2, 1]).keySet;
    expect(result.keys.map(({ kid }) => kid)).toEqual(['m']);
    expect(result.departed, 'and is remembered').toEqual([{ kid: 'a', time: now }]);
  });
});

describe('a key in both (protocol 3)', () => {
  const bothWays = (stored: KeySet, held: KeySet, kid: string): KeyRecord[] =>
    [
      [2, 1],
      [1, 2],
    ].map(([left = 0, right = 0]) => keyOf(joined(stored, held, [left, right]).keySet, kid));

  it('P8: is revoked if either side says so, since the earlier moment, with its reason', () => {
    for (const key of [
      ...bothWays(rotating, revoked(rotating, 'n'), 'n'),
      ...bothWays(revoked(rotating, 'n'), rotating, 'n'),
    ]) {
      expect(key).toMatchObject({
        revokedAt: now,
        revocationReason: 'revoked n',
        hasPrivateKey: false,
        deactivatesAt: now,
      });
      expect(
        key.expiresAt,
        "a revoked key always has an expiry, at least now + L + P'",
      ).toBeGreaterThanOrEqual(now + tokenLifetime + propagationDelay);
    }
    for (const key of bothWays(revoked(rotating, 'n', now - 5), revoked(rotating, 'n', now - 9), 'n')) {
      expect(key.revokedAt).toBe(now - 9);
    }
  });

  it('P8: is revoked also where no reason was given', () => {
    const silent = changed(revoked(rotating, 'n'), 'n', { revocationReason: undefined });
    for (const key of bothWays(rotating, silent, 'n')) {
      expect(key.revokedAt).toBe(now);
      expect(key).not.toHaveProperty('revocationReason');
    }
  });

  it('P4: has the higher lifetime, and an expiry recomputed from it', () => {
    const longer = changed(rotating, 'a', { tokenLifetime: 40 * day, expiresAt: takeover + 40 * day });
    for (const key of bothWays(rotating, longer, 'a')) {
      expect(key).toMatchObject({
        tokenLifetime: 40 * day,
        expiresAt: takeover + 40 * day + propagationDelay,
      });
    }
  });

  it('P4: has the later expiry', () => {
    const later = changed(rotating, 'a', { expiresAt: now + 99 * day });
    for (const key of bothWays(rotating, later, 'a')) expect(key.expiresAt).toBe(now + 99 * day);
  });

  it("P4: expires no earlier than now + L + P' + D if the base has an expiry and the other none: the other's side signs with it", () => {
    const rotated = publish(first, policy, now - 3 * day, newKey('n'));
    const { deactivatesAt } = keyOf(rotated, 'a');
    const ended = changed(retire(rotated, ['a']), 'a', { expiresAt: now + hour });
    expect(keyOf(joined(ended, first, [2, 1]).keySet, 'a')).toMatchObject({
      deactivatesAt,
      expiresAt: unplanned,
    });
  });

  it('has no end if the base gives it none', () => {
    const result = joined(first, rotating, [2, 1]).keySet;
    expect(keyOf(result, 'a'), 'signs on').toEqual(keyOf(first, 'a'));
    expect(keyOf(result, 'n'), "the other's next key was published: it verifies").toMatchObject({
      hasPrivateKey: false,
      deactivatesAt: now,
    });
  });
});

describe('departed keys in a join (protocol 3)', () => {
  it('are those of both sides, with the later time, and none of them stays', () => {
    const left = departed(departed(rotating, 'x', now - 9), 'y', now - 5);
    const right = departed(departed(without(rotating, 'n'), 'y', now - 1), 'z', now - 3);
    const result = joined(left, right, [2, 1]).keySet;
    const times = Object.fromEntries(result.departed.map(({ kid, time }) => [kid, time]));
    expect(times).toEqual({ x: now - 9, y: now - 1, z: now - 3 });
  });

  it.each([
    [2, 1],
    [1, 2],
  ] as const)('P8: leave the base as well as the other side (revisions %i and %i)', (stored, held) => {
    const ended = changed(publish(first, policy, now - 30 * day, newKey('n')), 'n', {});
    const pruned = deepFreeze(prune(ended, now, ['a']));
    const result = joined(ended, pruned, [stored, held]).keySet;
    expect(
      result.keys.map(({ kid }) => kid),
      'an old backup does not bring back what was pruned',
    ).toEqual(['n']);
  });
});

describe('a pending key whose publication was lost (protocol 3)', () => {
  const activation = now + propagationDelay + commitDeadline;

  it("P3: waits for now + P' + D again, with its predecessor signing on", () => {
    const result = joined(first, rotating, [1, 2]).keySet;
    expect(keyOf(result, 'n').activatesAt, 'no verifier can have seen it').toBe(activation);
    expect(keyOf(result, 'a')).toMatchObject({
      deactivatesAt: activation,
      expiresAt: activation + tokenLifetime + propagationDelay,
      hasPrivateKey: true,
    });
    expect(
      [activation - 1, activation].map((at) => signer(result, at)),
      'no gap',
    ).toEqual(['a', 'n']);
  });

  it('P3: also when nothing is stored at all', () => {
    expect(keyOf(joined(undefined, rotating, [0, 2]).keySet, 'n').activatesAt).toBe(activation);
  });

  it('P3: never signs earlier than planned', () => {
    const far = changed(changed(rotating, 'n', { activatesAt: activation + day }), 'a', {
      deactivatesAt: activation + day,
      expiresAt: activation + 9 * day,
    });
    expect(keyOf(joined(first, far, [1, 2]).keySet, 'n').activatesAt).toBe(activation + day);
  });

  it('P3: keeps a later expiry of its predecessor', () => {
    const later = changed(rotating, 'a', { expiresAt: now + 99 * day });
    expect(keyOf(joined(first, later, [1, 2]).keySet, 'a').expiresAt).toBe(now + 99 * day);
  });

  it('keeps its time if the store has it', () => {
    const fork = deepFreeze({ ...rotating, keys: [...rotating.keys, keyOf(revoked(minted, 'm'), 'm')] });
    expect(keyOf(joined(fork, rotating, [1, 2]).keySet, 'n').activatesAt).toBe(takeover);
    expect(keyOf(joined(rotating, fork, [1, 2]).keySet, 'n').activatesAt).toBe(takeover);
  });

  it('leaves other keys alone: another algorithm, and keys that ended before', () => {
    const base = deepFreeze({
      ...rotating,
      keys: [
        ...rotating.keys,
        { ...keyOf(rotating, 'a'), kid: 'other algorithm', alg: 'EdDSA' as const },
        { ...keyOf(rotating, 'a'), kid: 'retired', hasPrivateKey: false },
        { ...keyOf(rotating, 'a'), kid: 'earlier', activatesAt: 1, deactivatesAt: now - 1 },
      ],
    });
    const result = joined(first, base, [1, 2]).keySet;
    for (const kid of ['other algorithm', 'retired', 'earlier']) {
      expect(keyOf(result, kid).deactivatesAt, `the key ${kid}`).toBe(keyOf(base, kid).deactivatesAt);
    }
  });
});

describe('the join leaves a signer (protocol 3)', () => {
  const compromised = revoked(first, 'a');

  it("P8: the other's active key takes over, in the same commit, if the base's key is revoked", () => {
    const other = deepFreeze(
      revoke(first, policy, now - hour, { kid: 'a', reason: 'test', replacement: newKey('r') }),
    );
    const { keySet, needsNewKey } = joined(other, first, [1, 2]);
    expect(needsNewKey).toBe(false);
    expect(signer(keySet)).toBe('r');
    expect(keyOf(keySet, 'r'), 'signs on without an end').toEqual(keyOf(other, 'r'));
  });

  it('P8: it is dated back by τ, if it took over less than that ago', () => {
    const other = revoked(changed(rotating, 'n', { activatesAt: now }), 'a');
    const base = revoked(rollBack(rotating, policy, now - 5, keyOf(rotating, 'n')), 'a', now - 3);
    const { keySet } = joined(changed(other, 'n', { activatesAt: now }), base, [1, 2]);
    expect(signer(keySet)).toBe('n');
    expect(signer(keySet, now - clockTolerance), 'by the slowest clock').toBe('n');
  });

  it('P8: it signs until the pending key of the base does', () => {
    const other = deepFreeze(
      revoke(first, policy, now - hour, { kid: 'a', reason: 'test', replacement: newKey('r') }),
    );
    const { keySet } = joined(rotating, other, [2, 1]);
    expect([now, takeover - 1, takeover].map((at) => signer(keySet, at))).toEqual(['r', 'r', 'n']);
    expect(keyOf(keySet, 'r')).toMatchObject({
      deactivatesAt: takeover,
      expiresAt: takeover + tokenLifetime + propagationDelay,
    });
  });

  it('P8: if that is the pending key itself, it takes over at once', () => {
    const other = deepFreeze(revoke(rotating, policy, now - hour, { kid: 'a', reason: 'test' }));
    expect(signer(other), 'promoted there').toBe('n');
    const { keySet } = joined(rotating, other, [2, 1]);
    expect(signer(keySet)).toBe('n');
    expect(keyOf(keySet, 'n').activatesAt).toBeLessThanOrEqual(now - clockTolerance);
  });

  it('P8: the pending key of the base takes over at once if the other has none', () => {
    const { keySet, needsNewKey } = joined(rotating, compromised, [2, 1]);
    expect(needsNewKey).toBe(false);
    expect(keyOf(keySet, 'n').activatesAt).toBe(now - clockTolerance);
    expect(pendingKey(keySet, 'ES256', now)).toBeUndefined();
  });

  it('P8: else the commit needs a new key; with it, one signs', () => {
    const { keySet, needsNewKey } = joined(first, compromised, [2, 1]);
    expect(needsNewKey, 'both know only the revoked key').toBe(true);
    const replaced = replace(keySet, policy, now, newKey('r'));
    expect(validate(replaced)).toBeUndefined();
    expect(signer(replaced)).toBe('r');
  });

  it("P8: never with a revoked key, though the other's side signs with it", () => {
    const { keySet, needsNewKey } = joined(compromised, first, [2, 1]);
    expect(needsNewKey).toBe(true);
    expect(keyState(keyOf(keySet, 'a'), now)).toBe('compromised');
  });

  it('a signer of another algorithm is enough', () => {
    const both = firstSet(policyOf({ algorithms: ['ES256', 'EdDSA'] }));
    const { keySet, needsNewKey } = joined(both, revoked(both, 'a'), [2, 1]);
    expect(needsNewKey).toBe(false);
    expect([signer(keySet), activeKey(keySet, 'EdDSA', now)?.kid]).toEqual([undefined, 'b']);
  });

  it('fits in with the pending key of its own algorithm where several are pending', () => {
    const both = policyOf({ algorithms: ['ES256', 'EdDSA'] });
    const signing = firstSet(both);
    const pending = [newKey('n'), newKey('o', 'EdDSA')].reduce(
      (set, key) => publish(set, both, now - hour, key),
      signing,
    );
    // The other side knows both active keys as revoked, and has one of the second algorithm instead.
    const other = ['a', 'b'].reduce(
      (set, kid) =>
        revoke(set, both, now - hour, {
          kid,
          reason: 'test',
          ...(kid === 'b' && { replacement: newKey('r', 'EdDSA') }),
        }),
      signing,
    );
    const { keySet } = joined(deepFreeze(pending), deepFreeze(other), [2, 1], both);
    expect(
      [now, takeover].map((at) => activeKey(keySet, 'EdDSA', at)?.kid),
      'r until o takes over',
    ).toEqual(['r', 'o']);
    expect(signer(keySet, takeover)).toBe('n');
  });
});

describe('an old backup (protocol 3)', () => {
  const { horizon } = first;
  const later = deepFreeze({ ...minted, origin: now - 9 * horizon });
  const backup = (createdAt: number): KeySet => {
    const key = { ...keyOf(later, 'm'), kid: 'old', createdAt, activatesAt: createdAt };
    return deepFreeze({ ...later, keys: [key] });
  };

  it('P8: brings back no key that D never knew, created more than 2 H ago yet in its history: it has departed', () => {
    const result = joined(backup(now - 2 * horizon - 1), later, [1, 9]).keySet;
    expect(
      result.keys.map(({ kid }) => kid),
      'it may have been revoked long ago',
    ).toEqual(['m']);
    expect(result.departed).toEqual([{ kid: 'old', time: now }]);
  });

  it('P8: also not the very first key of that history', () => {
    expect(joined(backup(later.origin), later, [1, 9]).keySet.departed).toEqual([{ kid: 'old', time: now }]);
  });

  it('P8: but a younger key is new, and an older one is of another history: both verify', () => {
    for (const createdAt of [now - 2 * horizon, later.origin - 1]) {
      expect(keyState(keyOf(joined(backup(createdAt), later, [1, 9]).keySet, 'old'), now)).toBe(
        'deactivated',
      );
    }
  });

  it('P8: whichever side is the base: then the held key signs', () => {
    const { keySet } = joined(backup(now - 2 * horizon - 1), later, [9, 1]);
    expect(keySet.keys.map(({ kid }) => kid)).toEqual(['m']);
    expect(signer(keySet)).toBe('m');
  });

  it('P8: with the longer horizon of both', () => {
    const patient = { ...backup(now - 2 * horizon - 1), horizon: 2 * horizon };
    expect(joined(patient, later, [1, 9]).keySet.departed, 'younger than 2 H of this one').toEqual([]);
  });

  it('P1: a key that D knows is not touched, however old it is', () => {
    const result = joined(first, { ...revoked(rotating, 'n'), horizon: 1 }, [2, 1]).keySet;
    expect(signer({ ...result, horizon: 1 })).toBe('a');
  });

  it('P8: restored over a revocation, is undone', () => {
    const replaced = deepFreeze(
      revoke(first, policy, now - hour, { kid: 'a', reason: 'test', replacement: newKey('r') }),
    );
    expect(covers(first, replaced, now), 'the backup does not know it').toBe(false);
    const { keySet } = joined(first, replaced, [1, 2]);
    expect(keyState(keyOf(keySet, 'a'), now)).toBe('compromised');
    expect(signer(keySet)).toBe('r');
  });
});

describe('a sleeper, whose view is older than a full life of a key (protocol 3, rule 3)', () => {
  const held = deepFreeze(revoke(rotating, policy, now - hour, { kid: 'a', reason: 'test' }));
  const known = revocationsOf(departed(held, 'x'));

  it('knows for certain what was revoked and what has gone, nothing else', () => {
    expect(known.keys.map(({ kid }) => kid)).toEqual(['a']);
    expect(known.departed.map(({ kid }) => kid)).toEqual(['x']);
  });

  it('P8: has the store covered if none of these is alive there', () => {
    expect(covers(departed(minted, 'a'), known, now), 'its other keys were pruned meanwhile').toBe(true);
  });

  it('P8: has these joined, and only these, if one is', () => {
    const { keySet } = joined(first, known, [2, 0]);
    expect(keyOf(keySet, 'a').revokedAt, 'the revocation is not undone').toBe(now - hour);
    expect(
      keySet.keys.map(({ kid }) => kid),
      'what it held besides is not brought back',
    ).toEqual(['a']);
    const alive = deepFreeze({
      ...minted,
      keys: [...minted.keys, { ...keyOf(minted, 'm'), kid: 'x', alg: 'EdDSA' as const }],
    });
    expect(
      joined(alive, revocationsOf(departed(first, 'x')), [2, 0]).keySet.keys.map(({ kid }) => kid),
    ).toEqual(['m']);
  });

  it('P1: never takes an active key of the store for gone, though it does not list it and it is older than 2 H', () => {
    const { keySet } = joined(
      { ...rotating, horizon: day },
      { ...revocationsOf(revoked(rotating, 'n')), horizon: day },
      [2, 0],
    );
    expect(signer(keySet), 'the interval was made longer meanwhile: the key lives on').toBe('a');
    expect(keySet.origin, 'the history of the store').toBe(first.origin);
  });
});

describe('what two sides did while they did not see each other', () => {
  it('P2: two publications: both keys verify, one signs', () => {
    const [left, right] = ['l', 'r'].map((kid) =>
      deepFreeze(publish(first, policy, now - hour, newKey(kid))),
    );
    if (left === undefined || right === undefined) throw new Error('there are two');
    const { keySet } = joined(left, right, [2, 2]);
    expect(
      [now, takeover].map((at) => signer(keySet, at)),
      "the stored side's",
    ).toEqual(['a', 'l']);
    expect(isPublished(keyOf(keySet, 'r'), takeover), 'somebody may sign with it').toBe(true);
  });

  it('P8: a roll back on one side and a revocation on the other: the revocation counts', () => {
    const rolledBack = rollBack(rotating, policy, now - hour, keyOf(rotating, 'n'));
    const { keySet } = joined(rolledBack, revoked(rotating, 'n'), [2, 1]);
    expect(keyState(keyOf(keySet, 'n'), now)).toBe('compromised');
    expect(signer(keySet)).toBe('a');
  });

  it('P8: an emergency on one side: the other side adopts it if it is the newer one', () => {
    const promoted = promote(rotating, policy, now - hour, keyOf(rotating, 'n'));
    expect(covers(promoted, rotating, now), 'nothing is lost').toBe(true);
    expect(signer(joined(promoted, rotating, [2, 1]).keySet)).toBe('n');
  });

  it('P8: an end of an algorithm on the other side does not stop the base, yet covers it', () => {
    const ended = deactivate(first, policy, now - hour, keyOf(first, 'a'));
    expect(signer(joined(first, ended, [2, 1]).keySet)).toBe('a');
  });
});

it('withMembers removes what is undefined: the tests above rely on it', () => {
  expect(withMembers({ a: 1, b: 2 }, { b: undefined, c: 3 })).toEqual({ a: 1, c: 3 });
});
