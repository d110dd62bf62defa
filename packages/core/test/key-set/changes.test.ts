import { describe, expect, it } from 'vitest';
import {
  deactivate,
  effectivePropagationDelay,
  importKey,
  initialise,
  promote,
  prune,
  publish,
  raiseLifetime,
  replace,
  retire,
  revocationNeedsNewKey,
  revoke,
  rollBack,
} from '../../src/key-set/changes.ts';
import type { KeySet } from '../../src/key-set/document.ts';
import { activeKey, isPublished, keyState, pendingKey } from '../../src/key-set/states.ts';
import { validate } from '../../src/key-set/validate.ts';
import { changed, day, deepFreeze, firstSet, hour, keyOf, newKey, policyOf, start } from './support.ts';

const policy = policyOf();
const { propagationDelay, commitDeadline, clockTolerance, tokenLifetime, rotationInterval, staleBound } =
  policy;
const first = firstSet(policy);
const now = start + 60 * day;
const takeover = now + propagationDelay + commitDeadline;
const rotating = deepFreeze(publish(first, policy, now, newKey('n')));
/** When a key that is stopped at `now` without a plan expires. */
const unplanned = now + tokenLifetime + propagationDelay + commitDeadline;

function signer(keySet: KeySet, at = now): string | undefined {
  return activeKey(keySet, 'ES256', at)?.kid;
}

describe('the first key set (protocol 2: immediate activation)', () => {
  it('signs at once with one key per algorithm, dated back by τ for instances with slower clocks', () => {
    const both = policyOf({ algorithms: ['ES256', 'EdDSA'] });
    const keySet = initialise(both, start, [newKey('a'), newKey('b', 'EdDSA')]);
    expect(validate(keySet)).toBeUndefined();
    for (const kid of ['a', 'b']) {
      expect(keyOf(keySet, kid), `key ${kid}`).toMatchObject({
        createdAt: start,
        activatesAt: start - clockTolerance,
        tokenLifetime,
      });
      expect(keyState(keyOf(keySet, kid), start - clockTolerance), 'by the slowest clock').toBe('active');
    }
    expect(keySet).toMatchObject({ format: 1, origin: start, propagationDelay, staleBound, departed: [] });
  });

  it("has a horizon of P' + D + I + B + L + 4τ", () => {
    expect(first.horizon).toBe(
      propagationDelay + commitDeadline + rotationInterval + staleBound + tokenLifetime + 4 * clockTolerance,
    );
  });
});

describe('publish (protocol 2)', () => {
  it("P3: the next key activates at now + P' + D: time passes between the plan and the write", () => {
    expect(keyOf(rotating, 'n')).toMatchObject({
      createdAt: now,
      activatesAt: takeover,
      hasPrivateKey: true,
    });
    expect(keyState(keyOf(rotating, 'n'), takeover - 1), 'published, not signing').toBe('pre-activation');
  });

  it("P4: the active key signs until then, and expires L + P' later", () => {
    expect(keyOf(rotating, 'a')).toMatchObject({
      deactivatesAt: takeover,
      expiresAt: takeover + tokenLifetime + propagationDelay,
      hasPrivateKey: true,
    });
    expect(
      [takeover - 1, takeover].map((at) => signer(rotating, at)),
      'no gap, no overlap',
    ).toEqual(['a', 'n']);
  });

  it("P4: the expiry goes by the key's own lifetime, not by the setting of who publishes", () => {
    const keySet = publish(first, policyOf({ maxTokenLifetime: 60 }), now, newKey('n'));
    expect(keyOf(keySet, 'a').expiresAt).toBe(takeover + tokenLifetime + propagationDelay);
    expect(keyOf(keySet, 'n').tokenLifetime, 'the new key by the setting').toBe(60_000);
  });

  it('P4: an expiry that is later already stays', () => {
    const ending = changed(first, 'a', { deactivatesAt: now + 1, expiresAt: now + 99 * day });
    expect(keyOf(publish(ending, policy, now, newKey('n')), 'a')).toMatchObject({
      deactivatesAt: takeover,
      expiresAt: now + 99 * day,
    });
  });

  it("P3, P4: uses P' = max(own, the document's), and leaves the publisher's own P and B in the document", () => {
    const longer = { ...first, propagationDelay: 2 * propagationDelay, staleBound: 1 };
    const activation = now + 2 * propagationDelay + commitDeadline;
    const keySet = publish(longer, policy, now, newKey('n'));
    expect(keyOf(keySet, 'n').activatesAt, "the document's P").toBe(activation);
    expect(keyOf(keySet, 'a').expiresAt, "the document's P").toBe(
      activation + tokenLifetime + 2 * propagationDelay,
    );
    expect(keySet, 'of its last publisher').toMatchObject({ propagationDelay, staleBound });

    const shorter = publish({ ...first, propagationDelay: 1 }, policy, now, newKey('n'));
    expect(keyOf(shorter, 'n').activatesAt, 'its own P').toBe(takeover);
    expect(effectivePropagationDelay(longer, policy), "P' of the document").toBe(2 * propagationDelay);
  });

  it("P3: holds for a new algorithm's first key too", () => {
    const keySet = publish(first, policy, now, newKey('e', 'EdDSA'));
    expect(keyOf(keySet, 'e').activatesAt).toBe(takeover);
    expect(keyOf(keySet, 'a'), 'the other algorithm is not touched').toEqual(keyOf(first, 'a'));
  });

  it('ends the hold of a roll back when it has passed, and lets it stand when published by command in spite of it', () => {
    expect(
      publish({ ...first, publishNotBefore: now }, policy, now, newKey('n')),
      'passed',
    ).not.toHaveProperty('publishNotBefore');
    const held = publish({ ...first, publishNotBefore: now + 1 }, policy, now, newKey('e', 'EdDSA'));
    expect(held.publishNotBefore, 'another algorithm may be what was rolled back').toBe(now + 1);
  });
});

describe('horizon: the longest full life of a key seen so far (protocol 3)', () => {
  const more = policyOf({ maxTokenLifetime: '30d', rotationInterval: '200d' });
  const life =
    more.propagationDelay +
    more.commitDeadline +
    more.rotationInterval +
    more.staleBound +
    more.tokenLifetime +
    4 * more.clockTolerance;
  const less = policyOf({ rotationInterval: '7d' });

  it.each<[change: string, keySet: KeySet]>([
    ['publish', publish(first, more, now, newKey('n'))],
    ['replace', replace(first, more, now, newKey('n'))],
    ['raiseLifetime', raiseLifetime(first, more, ['a'])],
    [
      'import',
      importKey(first, policyOf({ rotationInterval: '200d' }), now, {
        key: newKey('i'),
        role: 'verify-only',
        tokenLifetime: 30 * day,
      }),
    ],
  ])('grows with %s under settings that let keys live longer', (_change, keySet) => {
    expect(keySet.horizon).toBe(life);
  });

  it('counts the longer lifetime of the key that is replaced', () => {
    const raised = changed(first, 'a', { tokenLifetime: 30 * day });
    expect(publish(raised, policy, now, newKey('n')).horizon - first.horizon).toBe(30 * day - tokenLifetime);
  });

  it('never shrinks', () => {
    expect(publish(first, less, now, newKey('n')).horizon).toBe(first.horizon);
    expect(replace(first, less, now, newKey('n')).horizon).toBe(first.horizon);
  });
});

describe('replace: a new key that signs at once (protocol 2)', () => {
  const replaced = replace(first, policy, now, newKey('r'));

  it('is dated back by τ: an instance with a slower clock has a signer', () => {
    expect(keyOf(replaced, 'r')).toMatchObject({ createdAt: now, activatesAt: now - clockTolerance });
    expect(signer(replaced)).toBe('r');
    expect(signer(replaced, now - clockTolerance), 'by the slowest clock').toBe('r');
    expect(validate(replaced)).toBeUndefined();
  });

  it("P4: the key that it replaces expires at now + L + P' + D: others sign with it for a while", () => {
    expect(keyOf(replaced, 'a')).toMatchObject({ deactivatesAt: now, expiresAt: unplanned });
    const longer = replace({ ...first, propagationDelay: 2 * propagationDelay }, policy, now, newKey('r'));
    expect(keyOf(longer, 'a').expiresAt, "P' of the document").toBe(unplanned + propagationDelay);
  });

  it('works where nothing is active', () => {
    const none = { ...first, keys: [] };
    expect(signer(replace(none, policy, now, newKey('r')))).toBe('r');
  });

  it('is valid in the very millisecond in which the replaced key took over', () => {
    expect(validate(replace(rotating, policy, takeover, newKey('r')))).toBeUndefined();
  });
});

describe('promote: the pending key takes over at once (protocol 2)', () => {
  const promoted = promote(rotating, policy, now, keyOf(rotating, 'n'));

  it('dated back by τ, with the unplanned expiry for the key that stops', () => {
    expect(keyOf(promoted, 'n').activatesAt).toBe(now - clockTolerance);
    expect(signer(promoted, now - clockTolerance)).toBe('n');
    expect(keyOf(promoted, 'a')).toMatchObject({ deactivatesAt: now });
    expect(validate(promoted)).toBeUndefined();
  });

  it('P4: never makes an expiry earlier', () => {
    const planned = takeover + tokenLifetime + propagationDelay;
    expect(keyOf(promoted, 'a').expiresAt, 'the planned one is later').toBe(planned);
  });

  it('also where no key is active', () => {
    const alone = { ...rotating, keys: [keyOf(rotating, 'n')] };
    expect(signer(promote(alone, policy, now, keyOf(alone, 'n')))).toBe('n');
  });
});

describe('retire, prune, raise, deactivate', () => {
  it('P5: retire drops the private half and nothing else', () => {
    const retired = retire(rotating, ['a']);
    expect(keyOf(retired, 'a')).toEqual({ ...keyOf(rotating, 'a'), hasPrivateKey: false });
    expect(keyOf(retired, 'n')).toEqual(keyOf(rotating, 'n'));
  });

  it('prune moves the key to the departed list, and keeps entries for 2 H', () => {
    const times = [now - 2 * first.horizon, now - 2 * first.horizon + 1, now - 1];
    const departed = times.map((time, index) => ({ kid: `gone ${index}`, time }));
    const pruned = prune({ ...rotating, departed }, now, ['a']);
    expect(pruned.keys.map(({ kid }) => kid)).toEqual(['n']);
    expect(pruned.departed, 'the first one is 2 H old').toEqual([
      ...departed.slice(1),
      { kid: 'a', time: now },
    ]);
  });

  it('P4: raise touches the keys it is told, and no expiry is left behind', () => {
    const longer = policyOf({ maxTokenLifetime: '2h' });
    const raised = raiseLifetime(rotating, longer, ['n']);
    expect(keyOf(raised, 'n').tokenLifetime).toBe(2 * hour);
    expect(keyOf(raised, 'a')).toEqual(keyOf(rotating, 'a'));
  });

  it('deactivate ends an algorithm now; its key goes on verifying', () => {
    const ended = deactivate(first, policy, now, keyOf(first, 'a'));
    expect(keyOf(ended, 'a')).toMatchObject({
      deactivatesAt: now,
      expiresAt: unplanned,
      hasPrivateKey: true,
    });
    expect(signer(ended)).toBeUndefined();
    expect(isPublished(keyOf(ended, 'a'), unplanned - 1), 'until its expiry').toBe(true);
  });
});

describe('roll back, before activation only (protocol 2)', () => {
  const rolledBack = rollBack(rotating, policy, now, keyOf(rotating, 'n'));

  it('P5: the next key stops, loses its private half and stays published: somebody may still switch to it', () => {
    expect(keyOf(rolledBack, 'n')).toMatchObject({
      deactivatesAt: now,
      expiresAt: unplanned,
      hasPrivateKey: false,
    });
    expect(isPublished(keyOf(rolledBack, 'n'), unplanned - 1)).toBe(true);
    expect(pendingKey(rolledBack, 'ES256', now)).toBeUndefined();
  });

  it('the active key signs on as if nothing had been', () => {
    expect(keyOf(rolledBack, 'a')).toEqual(keyOf(first, 'a'));
    expect(validate(rolledBack)).toBeUndefined();
  });

  it("is not published again before now + P', or as said", () => {
    expect(rolledBack.publishNotBefore).toBe(now + propagationDelay);
    expect(rollBack(rotating, policy, now, keyOf(rotating, 'n'), now + 7).publishNotBefore).toBe(now + 7);
    const longer = rollBack(
      { ...rotating, propagationDelay: 2 * propagationDelay },
      policy,
      now,
      keyOf(rotating, 'n'),
    );
    expect(longer.publishNotBefore, "P' of the document").toBe(now + 2 * propagationDelay);
  });

  it('leaves other algorithms alone', () => {
    const both = deepFreeze(publish(rotating, policy, now, newKey('e', 'EdDSA')));
    const withdrawn = rollBack(both, policy, now, keyOf(both, 'e'));
    expect(keyOf(withdrawn, 'a')).toEqual(keyOf(both, 'a'));
    expect(keyOf(withdrawn, 'n')).toEqual(keyOf(both, 'n'));
  });
});

describe('revoke, in every state (protocol 2)', () => {
  const revocation = (kid: string): { kid: string; reason: string } => ({ kid, reason: 'stolen' });

  it('P5: drops the private half in the same commit and says why', () => {
    const revoked = revoke(first, policy, now, { ...revocation('a'), replacement: newKey('r') });
    expect(keyOf(revoked, 'a')).toMatchObject({
      revokedAt: now,
      revocationReason: 'stolen',
      hasPrivateKey: false,
      deactivatesAt: now,
    });
    expect(isPublished(keyOf(revoked, 'a'), now), 'out of the JWKS').toBe(false);
    expect(keyOf(revoked, 'a').expiresAt, 'revoked keys always get an expiry').toBe(unplanned);
    expect(validate(revoked)).toBeUndefined();
  });

  it('active, none pending: the replacement signs at once', () => {
    expect(revocationNeedsNewKey(first, now, 'a'), 'the commit must bring one').toBe(true);
    const revoked = revoke(first, policy, now, { ...revocation('a'), replacement: newKey('r') });
    expect(keyOf(revoked, 'r').activatesAt, 'dated back').toBe(now - clockTolerance);
    expect(signer(revoked, now - clockTolerance)).toBe('r');
  });

  it('active, none pending, no replacement at hand: nothing signs, and the key is revoked all the same', () => {
    const revoked = revoke(first, policy, now, revocation('a'));
    expect(signer(revoked)).toBeUndefined();
    expect(keyState(keyOf(revoked, 'a'), now)).toBe('compromised');
  });

  it('active, one pending: it takes over at once, because verifiers know it', () => {
    expect(revocationNeedsNewKey(rotating, now, 'a')).toBe(false);
    const revoked = revoke(rotating, policy, now, { ...revocation('a'), replacement: newKey('r') });
    expect(keyOf(revoked, 'n').activatesAt).toBe(now - clockTolerance);
    expect(signer(revoked)).toBe('n');
    expect(
      revoked.keys.map(({ kid }) => kid),
      'no other key comes in',
    ).toEqual(['a', 'n']);
    expect(
      keyOf(revoked, 'a'),
      'the end that was planned is brought forward, the expiry stays',
    ).toMatchObject({
      deactivatesAt: now,
      expiresAt: takeover + tokenLifetime + propagationDelay,
    });
    expect(validate(revoked)).toBeUndefined();
  });

  it('pending: the active key signs on without an end', () => {
    expect(revocationNeedsNewKey(rotating, now, 'n')).toBe(false);
    const revoked = revoke(rotating, policy, now, revocation('n'));
    expect(keyOf(revoked, 'a')).toEqual(keyOf(first, 'a'));
    expect(keyOf(revoked, 'n')).toMatchObject({
      revokedAt: now,
      deactivatesAt: now,
      expiresAt: unplanned,
      hasPrivateKey: false,
    });
    expect(pendingKey(revoked, 'ES256', now)).toBeUndefined();
    expect(validate(revoked)).toBeUndefined();
  });

  it("pending, the first of its algorithm: the others' keys stay as they are", () => {
    const both = deepFreeze(publish(first, policy, now, newKey('e', 'EdDSA')));
    expect(revocationNeedsNewKey(both, now, 'e')).toBe(false);
    expect(keyOf(revoke(both, policy, now, revocation('e')), 'a')).toEqual(keyOf(first, 'a'));
  });

  it('deactivated: keeps its end and expiry, and the active key signs on', () => {
    const later = takeover + hour;
    expect(revocationNeedsNewKey(rotating, later, 'a')).toBe(false);
    const revoked = revoke(rotating, policy, later, { ...revocation('a'), replacement: newKey('r') });
    const { deactivatesAt, expiresAt } = keyOf(rotating, 'a');
    expect(keyOf(revoked, 'a')).toMatchObject({
      revokedAt: later,
      deactivatesAt,
      expiresAt,
      hasPrivateKey: false,
    });
    expect(keyOf(revoked, 'n'), 'not touched').toEqual(keyOf(rotating, 'n'));
    expect(revoked.keys.length).toBe(2);
  });

  it('deactivated less than τ ago: the key that took over is dated back, since to a slower clock the revoked one still signed', () => {
    const moment = takeover + clockTolerance - 1;
    const revoked = revoke(rotating, policy, moment, revocation('a'));
    expect(signer(revoked, moment - clockTolerance), 'the slowest clock has a signer').toBe('n');
    expect(validate(revoked)).toBeUndefined();
  });

  it('expired, revoked already or unknown', () => {
    const { expiresAt = 0 } = keyOf(rotating, 'a');
    expect(keyOf(revoke(rotating, policy, expiresAt, revocation('a')), 'a').expiresAt, 'no later').toBe(
      expiresAt,
    );
    const revoked = revoke(rotating, policy, now, revocation('n'));
    expect(revoke(revoked, policy, now + hour, { kid: 'n', reason: 'again' }), 'the first word counts').toBe(
      revoked,
    );
    expect(revoke(rotating, policy, now, revocation('unknown')), 'nothing happens').toBe(rotating);
    expect(revocationNeedsNewKey(rotating, now, 'unknown')).toBe(false);
  });
});

describe('import (protocol 2)', () => {
  const imported = (
    role: 'first' | 'next' | 'verify-only',
    lifetime: number,
    alg: 'ES256' | 'EdDSA' = 'ES256',
  ): KeySet => importKey(first, policy, now, { key: newKey('i', alg), role, tokenLifetime: lifetime });

  it('as next: published as any other, createdAt = time of import, own kid kept', () => {
    const keySet = imported('next', tokenLifetime);
    expect(keyOf(keySet, 'i')).toMatchObject({ createdAt: now, activatesAt: takeover, hasPrivateKey: true });
    expect(keyOf(keySet, 'a').deactivatesAt).toBe(takeover);
    expect(validate(keySet)).toBeUndefined();
  });

  it('as first: signs at once, dated back', () => {
    const keySet = imported('first', tokenLifetime, 'EdDSA');
    expect(keyOf(keySet, 'i')).toMatchObject({
      createdAt: now,
      activatesAt: now - clockTolerance,
      hasPrivateKey: true,
    });
    expect(activeKey(keySet, 'EdDSA', now)?.kid).toBe('i');
    expect(validate(keySet)).toBeUndefined();
  });

  it('verify-only: no private half, published for the lifetime of its tokens, and nothing else changes', () => {
    const keySet = imported('verify-only', 30 * day);
    expect(keyOf(keySet, 'i')).toMatchObject({
      createdAt: now,
      tokenLifetime: 30 * day,
      deactivatesAt: now,
      expiresAt: now + 30 * day + propagationDelay + commitDeadline,
      hasPrivateKey: false,
    });
    expect(keyState(keyOf(keySet, 'i'), now)).toBe('deactivated');
    expect(keyOf(keySet, 'a'), 'the active key signs on').toEqual(keyOf(first, 'a'));
    expect(validate(keySet)).toBeUndefined();
  });

  it('P4: its lifetime is what the caller says of tokens already out, at least the own one if it will sign', () => {
    expect(keyOf(imported('verify-only', 1000), 'i').tokenLifetime, 'it signs no more').toBe(1000);
    for (const role of ['next', 'first'] as const) {
      expect(keyOf(imported(role, 1000), 'i').tokenLifetime, `${role}, shorter`).toBe(tokenLifetime);
      expect(keyOf(imported(role, 30 * day), 'i').tokenLifetime, `${role}, longer`).toBe(30 * day);
    }
  });

  it('P4: a lifetime given does not touch the key that is replaced', () => {
    expect(keyOf(imported('next', 30 * day), 'a').expiresAt).toBe(
      takeover + tokenLifetime + propagationDelay,
    );
  });
});

it('no change touches what it is given: all inputs are frozen', () => {
  expect(
    [first, rotating].every((keySet) => Object.isFrozen(keySet) && Object.isFrozen(keySet.keys[0])),
  ).toBe(true);
});
