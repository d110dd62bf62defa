import { describe, expect, it } from 'vitest';
import type { Algorithm } from '../../src/algorithms.ts';
import { deactivate, importKey, publish, retire, revoke, rollBack } from '../../src/key-set/changes.ts';
import type { KeySet } from '../../src/key-set/document.ts';
import { applySteps, makesKey, newKeyAlgorithms, plan, upcoming, type Step } from '../../src/key-set/plan.ts';
import type { KeySetPolicy } from '../../src/key-set/policy.ts';
import { activeKey } from '../../src/key-set/states.ts';
import { validate } from '../../src/key-set/validate.ts';
import { changed, day, deepFreeze, firstSet, hour, keyOf, newKey, policyOf, start } from './support.ts';

const policy = policyOf();
const { rotationInterval, propagationDelay, clockTolerance, commitDeadline, tokenLifetime } = policy;
const first = firstSet(policy);
const { activatesAt } = keyOf(first, 'a');
const due = activatesAt + rotationInterval - propagationDelay;
const rotating = deepFreeze(publish(first, policy, due, newKey('n')));
const takeover = due + propagationDelay + commitDeadline;

const publishES256: Step = { step: 'publish', alg: 'ES256' };

/** The key set after everything that is due at this moment. */
function run(keySet: KeySet | undefined, now: number, of: KeySetPolicy = policy): KeySet | undefined {
  const steps = plan(keySet, now, of);
  const newKeys = newKeyAlgorithms(steps).map((alg) => newKey(`${alg} ${now}`, alg));
  return deepFreeze(applySteps(keySet, steps, now, of, newKeys));
}

/** The names of the steps that are due. */
function names(keySet: KeySet, now: number, of: KeySetPolicy = policy): string[] {
  return plan(keySet, now, of).map(({ step }) => step);
}

describe('an empty store', () => {
  it('gets the first keys of all configured algorithms', () => {
    const both = policyOf({ algorithms: ['EdDSA', 'ES256'] });
    expect(plan(undefined, start, both)).toEqual([{ step: 'initialise', algorithms: ['EdDSA', 'ES256'] }]);
  });

  it("gets nothing with initialise: 'never': it waits for an instance that still holds the keys", () => {
    expect(plan(undefined, start, policyOf({ initialise: 'never' }))).toEqual([]);
  });
});

describe('publish (protocol 2)', () => {
  it('is due at activatesAt + I − P, and not a millisecond earlier', () => {
    expect(plan(first, due - 1, policy), 'nothing at all').toEqual([]);
    expect(plan(first, due, policy)).toEqual([publishES256]);
  });

  it('P2: is not due while a key is pending, and has the same answer everywhere', () => {
    expect(plan(rotating, due, policy), 'published once').toEqual([]);
    expect(plan(rotating, takeover - 1, policy), 'still pending').toEqual([]);
    expect(plan(first, due, policy), 'a pure function').toEqual(plan(structuredClone(first), due, policy));
  });

  it('counts from the activation of the key that took over', () => {
    const retired = retire(rotating, ['a']);
    const next = takeover + rotationInterval - propagationDelay;
    expect([next - 1, next].map((now) => names(retired, now).includes('publish'))).toEqual([false, true]);
  });

  it("uses P' = max(own, the document's): the longer delay publishes earlier", () => {
    const longer = { ...first, propagationDelay: 3 * propagationDelay };
    const shorter = { ...first, propagationDelay: 1000 };
    const earlier = activatesAt + rotationInterval - 3 * propagationDelay;
    expect(
      [earlier - 1, earlier].map((now) => plan(longer, now, policy).length),
      "the document's",
    ).toEqual([0, 1]);
    expect(
      [due - 1, due].map((now) => plan(shorter, now, policy).length),
      'its own',
    ).toEqual([0, 1]);
  });

  it('waits for publishNotBefore', () => {
    const held = { ...first, publishNotBefore: due + hour };
    expect([due, due + hour - 1, due + hour].map((now) => plan(held, now, policy).length)).toEqual([0, 0, 1]);
    expect(
      plan({ ...first, publishNotBefore: due - hour }, due - 1, policy),
      'it never makes it earlier',
    ).toEqual([]);
  });

  it('is due at once for an algorithm that has no key yet, unless publishNotBefore says otherwise', () => {
    const both = policyOf({ algorithms: ['EdDSA', 'ES256'] });
    expect(plan(first, start, both)).toEqual([{ step: 'publish', alg: 'EdDSA' }]);
    expect(plan({ ...first, publishNotBefore: start + 1 }, start, both)).toEqual([]);
  });

  it('is due at once for an active key that ends without a successor, and lets it sign until there is one', () => {
    const ending = changed(first, 'a', { deactivatesAt: start + hour, expiresAt: start + 9 * day });
    expect(plan(ending, start, policy)).toEqual([publishES256]);
    const published = run(ending, start);
    expect(keyOf(published, 'a').deactivatesAt, 'no gap').toBe(
      keyOf(published, `ES256 ${start}`).activatesAt,
    );
  });

  it('happens for each algorithm by its own schedule', () => {
    const both = policyOf({ algorithms: ['EdDSA', 'ES256'] });
    const staggered = changed(firstSet(both), 'b', { activatesAt: activatesAt + day });
    expect(plan(staggered, due, both), 'EdDSA first').toEqual([{ step: 'publish', alg: 'EdDSA' }]);
    expect(newKeyAlgorithms(plan(staggered, due + day, both)), 'then both').toEqual(['EdDSA', 'ES256']);
  });
});

describe('two algorithms rotate in one commit, by an instance with a shorter propagation delay', () => {
  it('P3: both keys are published for the delay of whoever published last, not only the first of them', () => {
    const both = ['EdDSA', 'ES256'] as const;
    const slow = policyOf({ algorithms: both, propagationDelay: '48h' });
    const quick = policyOf({ algorithms: both, propagationDelay: '24h' });
    const before = firstSet(slow);
    const at = keyOf(before, 'a').activatesAt + quick.rotationInterval - slow.propagationDelay;
    const pending = run(before, at, quick)?.keys.filter((key) => key.activatesAt > at);
    expect(
      pending?.map((key) => key.activatesAt),
      'caches that the slow instances allow must know either key before it signs',
    ).toEqual([1, 2].map(() => at + slow.propagationDelay + quick.commitDeadline));
  });
});

describe('retire and prune (protocol 2)', () => {
  it('P5: the private half is dropped at deactivatesAt + τ, not before: a slower clock still signs', () => {
    const moment = takeover + clockTolerance;
    expect(plan(rotating, moment - 1, policy)).toEqual([]);
    expect(plan(rotating, moment, policy)).toEqual([{ step: 'retire', kids: ['a'] }]);
    expect(plan(retire(rotating, ['a']), moment, policy), 'once').toEqual([]);
  });

  it('an expired key is pruned at expiresAt + τ: a slower clock must not take it for lost', () => {
    const retired = retire(rotating, ['a']);
    const moment = takeover + tokenLifetime + propagationDelay + clockTolerance;
    expect(plan(retired, moment - 1, policy)).toEqual([]);
    expect(plan(retired, moment, policy)).toEqual([{ step: 'prune', kids: ['a'] }]);
  });

  it('a revoked key is pruned when it would have expired', () => {
    const revoked = revoke(rotating, policy, due, { kid: 'n', reason: 'test' });
    const { expiresAt = 0 } = keyOf(revoked, 'n');
    const moments = [expiresAt + clockTolerance - 1, expiresAt + clockTolerance];
    expect(
      moments.map((now) => names(revoked, now).includes('prune')),
      'a tombstone until then',
    ).toEqual([false, true]);
  });

  it('both happen at once after a long standstill, and the key set recovers', () => {
    const late = takeover + 400 * day;
    expect(names(rotating, late)).toEqual(['retire', 'prune', 'publish']);
    const after = run(rotating, late);
    expect(
      after?.keys.map(({ kid }) => kid),
      'the old key has gone',
    ).toEqual(['n', `ES256 ${late}`]);
    expect(after?.departed).toEqual([{ kid: 'a', time: late }]);
  });
});

describe('lifetime per key (protocol 2)', () => {
  const longer = policyOf({ maxTokenLifetime: '2h' });

  it('P4: is raised while the key has no deactivatesAt', () => {
    expect(plan(first, start, longer)).toEqual([{ step: 'raise_lifetime', kids: ['a'] }]);
    expect(keyOf(run(first, start, longer), 'a').tokenLifetime).toBe(2 * hour);
  });

  it('P4: during a pending rotation a raise touches only the next key', () => {
    expect(plan(rotating, due, longer)).toEqual([{ step: 'raise_lifetime', kids: ['n'] }]);
  });

  it('P4: is never lowered, and not raised for a key that cannot sign or of an algorithm that is not ours', () => {
    expect(plan(first, start, policyOf({ maxTokenLifetime: 60 })), 'lower').toEqual([]);
    const verifyOnly = importKey(first, policy, start, {
      key: newKey('old'),
      role: 'verify-only',
      tokenLifetime: 1000,
    });
    expect(plan(verifyOnly, start, policy), 'verify-only').toEqual([]);
    const mixed = firstSet(policyOf({ algorithms: ['ES256', 'EdDSA'] }));
    expect(plan(mixed, start, longer), 'only ES256 is configured').toEqual([
      { step: 'raise_lifetime', kids: ['a'] },
    ]);
  });

  it('P4: is raised before a publication that is due at the same time, so that the expiry covers it', () => {
    expect(names(first, due, longer)).toEqual(['raise_lifetime', 'publish']);
    const { deactivatesAt = 0, expiresAt } = keyOf(run(first, due, longer), 'a');
    expect(expiresAt, 'deactivatesAt + the raised lifetime + P').toBe(
      deactivatesAt + 2 * hour + propagationDelay,
    );
  });
});

describe('replace (protocol 2)', () => {
  const allRevoked = deepFreeze(revoke(first, policy, start, { kid: 'a', reason: 'test' }));

  it('is due when nothing can sign, whatever publishNotBefore says, and signs at once', () => {
    const held = { ...allRevoked, publishNotBefore: start + day };
    expect(plan(held, start, policy)).toEqual([{ step: 'replace', alg: 'ES256' }]);
    expect(activeKey(run(held, start) ?? held, 'ES256', start), 'signs at once').toMatchObject({
      kid: `ES256 ${start}`,
    });
  });

  it('takes the first configured algorithm', () => {
    expect(plan(allRevoked, start, policyOf({ algorithms: ['EdDSA', 'ES256'] }))).toEqual([
      { step: 'replace', alg: 'EdDSA' },
    ]);
  });

  it('is done besides what else is due', () => {
    expect(names(allRevoked, start + 30 * day)).toEqual(['prune', 'replace']);
  });

  it('is not due while any algorithm has an active or a pending key', () => {
    expect(names(allRevoked, start, policyOf({ algorithms: ['EdDSA'] })), 'nothing signs').toEqual([
      'replace',
    ]);
    expect(names(first, start, policyOf({ algorithms: ['EdDSA'] })), 'ES256 signs on').toEqual(['publish']);
    const pending = { ...rotating, keys: rotating.keys.filter(({ kid }) => kid === 'n') };
    expect(plan(pending, due, policy), 'the pending key will').toEqual([]);
  });
});

describe('an algorithm that nobody renews (protocol 2)', () => {
  const mixed = firstSet(policyOf({ algorithms: ['ES256', 'EdDSA'] }));
  const end = activatesAt + rotationInterval + propagationDelay;
  const isDue = (keySet: KeySet, now: number, of = policy): boolean =>
    plan(keySet, now, of).some(({ step }) => step === 'deactivate');

  it("is deactivated I + P' after its key's activation by an instance that is not configured for it", () => {
    expect(isDue(mixed, end - 1), 'one that is configured would have published by now').toBe(false);
    expect(plan(mixed, end, policy)).toContainEqual({ step: 'deactivate', alg: 'EdDSA', kid: 'b' });
    const longer = { ...mixed, propagationDelay: 2 * propagationDelay };
    expect(
      [end, end + propagationDelay].map((now) => isDue(longer, now)),
      "P' of the document",
    ).toEqual([false, true]);
  });

  it('goes on verifying: deactivatedAt now, expiry as for every unplanned end', () => {
    const { deactivatesAt, expiresAt } = keyOf(run(mixed, end), 'b');
    expect(deactivatesAt).toBe(end);
    expect(expiresAt, 'now + L + P + D').toBe(end + tokenLifetime + propagationDelay + commitDeadline);
  });

  it('is left alone by an instance that is configured for it', () => {
    expect(isDue(mixed, end, policyOf({ algorithms: ['ES256', 'EdDSA'] }))).toBe(false);
  });

  it('is left alone while its next key is pending, when it has an end already, and when nothing else signs', () => {
    const renewed = publish(mixed, policy, end - 1, newKey('next', 'EdDSA'));
    expect(isDue(renewed, end), 'its next key is pending').toBe(false);
    const ending = changed(mixed, 'b', { deactivatesAt: end + 1, expiresAt: end + 9 * day });
    expect(isDue(ending, end), 'it has an end').toBe(false);
    expect(isDue(mixed, end, policyOf({ algorithms: ['RS256'] })), 'RS256 does not sign yet').toBe(false);
    const onlyOld = { ...mixed, keys: [keyOf(mixed, 'b')] };
    expect(isDue(onlyOld, end), 'nothing else signs').toBe(false);
  });

  it('is not played ping-pong with in a mixed fleet', () => {
    const [old, young] = [policyOf({ algorithms: ['EdDSA', 'ES256'] }), policyOf({ algorithms: ['ES256'] })];
    let keySet: KeySet | undefined = firstSet(old);
    const ended: Step[] = [];
    for (let now = start; now < start + 5 * rotationInterval; now += 6 * hour) {
      for (const of of [young, old]) {
        ended.push(...plan(keySet, now, of).filter(({ step }) => step === 'deactivate'));
        keySet = run(keySet, now, of);
      }
    }
    expect(ended, 'EdDSA is renewed in time by whoever is configured for it').toEqual([]);

    const left = start + 5 * rotationInterval;
    for (let now = left; now < left + 5 * rotationInterval; now += 6 * hour) {
      ended.push(...plan(keySet, now, young).filter(({ step }) => step === 'deactivate'));
      keySet = run(keySet, now, young);
    }
    expect(ended.length, 'once the last of these has left, it ends, once').toBe(1);
    expect(
      keySet?.keys.map(({ alg }) => alg),
      'and its keys leave',
    ).not.toContain('EdDSA');
  });
});

describe('steps', () => {
  const steps: readonly Step[] = [
    { step: 'initialise', algorithms: ['ES256', 'EdDSA'] },
    { step: 'replace', alg: 'RS256' },
    { step: 'publish', alg: 'PS256' },
    { step: 'retire', kids: ['a'] },
    { step: 'prune', kids: ['a'] },
    { step: 'raise_lifetime', kids: ['a'] },
    { step: 'deactivate', alg: 'ES256', kid: 'a' },
  ];

  it('that make keys are those that take key generation and the KEK', () => {
    expect(steps.filter(makesKey).map(({ step }) => step)).toEqual(['initialise', 'replace', 'publish']);
    expect(newKeyAlgorithms(steps)).toEqual(['ES256', 'EdDSA', 'RS256', 'PS256']);
  });

  it('fail without the key that they need, and change nothing in an empty store', () => {
    expect(() => applySteps(first, [publishES256], due, policy, [newKey('e', 'EdDSA')])).toThrow(
      'no new key was prepared for ES256',
    );
    expect(applySteps(undefined, steps.slice(1), start, policy, []), 'nothing to change').toBeUndefined();
  });

  it('that came too late leave things as they are', () => {
    const none = { ...first, keys: [] };
    expect(applySteps(none, [{ step: 'deactivate', alg: 'ES256', kid: 'a' }], start, policy, [])).toEqual(
      none,
    );
  });

  it('lead from an empty store through rotations, with a valid key set after each', () => {
    let keySet: KeySet | undefined;
    const signers = new Set<string>();
    for (let now = start; now < start + 10 * rotationInterval; now += 6 * hour) {
      keySet = run(keySet, now);
      expect(keySet && validate(keySet), `after ${(now - start) / day} days`).toBeUndefined();
      signers.add((keySet && activeKey(keySet, 'ES256', now)?.kid) ?? 'nobody');
    }
    expect(signers, 'somebody always signs').not.toContain('nobody');
    expect(signers.size, 'a new key each interval').toBe(10);
  });
});

describe('upcoming', () => {
  const events = (
    keySet: KeySet,
    now: number,
    of: KeySetPolicy = policy,
  ): [string, number, string | undefined][] =>
    upcoming(keySet, now, of).map(({ what, at, kid }) => [what, at, kid]);

  it('of a key set at rest is the next publication', () => {
    expect(events(first, start)).toEqual([['publish', due, undefined]]);
  });

  it('of a rotation is take-over, retirement, expiry and pruning, in order', () => {
    const expiry = takeover + tokenLifetime + propagationDelay;
    expect(events(rotating, due)).toEqual([
      ['deactivate', takeover, 'a'],
      ['activate', takeover, 'n'],
      ['retire', takeover + clockTolerance, 'a'],
      ['expire', expiry, 'a'],
      ['prune', expiry + clockTolerance, 'a'],
    ]);
    expect(
      events(rotating, takeover).map(([what]) => what),
      'once it has taken over',
    ).toEqual(['retire', 'expire', 'prune', 'publish']);
    expect(
      events(retire(rotating, ['a']), expiry).map(([what]) => what),
      'once it has expired',
    ).toEqual(['prune', 'publish']);
  });

  it('of a revoked key is only that it is pruned', () => {
    const revoked = revoke(rotating, policy, due, { kid: 'n', reason: 'test' });
    expect(
      events(revoked, due)
        .filter(([, , kid]) => kid === 'n')
        .map(([what]) => what),
    ).toEqual(['prune']);
  });

  it('of an algorithm that nobody renews is its end', () => {
    const mixed = firstSet(policyOf({ algorithms: ['ES256', 'EdDSA'] }));
    expect(upcoming(mixed, start, policy)).toContainEqual({
      at: activatesAt + rotationInterval + propagationDelay,
      what: 'deactivate',
      alg: 'EdDSA' satisfies Algorithm,
    });
  });

  it('says when the hold after a roll back ends', () => {
    const rolledBack = rollBack(rotating, policy, due, keyOf(rotating, 'n'));
    expect(upcoming(rolledBack, due, policy)).toContainEqual({
      at: due + propagationDelay,
      what: 'publish',
      alg: 'ES256',
    });
  });

  it('says nothing of an algorithm that has ended', () => {
    const mixed = firstSet(policyOf({ algorithms: ['ES256', 'EdDSA'] }));
    const ended = deactivate(mixed, policy, start, keyOf(mixed, 'b'));
    expect(upcoming(ended, start, policy).filter(({ what }) => what === 'deactivate')).toEqual([]);
  });
});
