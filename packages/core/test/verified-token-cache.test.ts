import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { inlineExecutor, type CryptoExecutor } from '../src/executor.ts';
import { LeastRecentlyUsed } from '../src/least-recently-used.ts';
import { memoryReplayStore } from '../../store-memory/src/index.ts';
import { setUp, verdict, type Setting } from './support/authorities.ts';

/** An authority that remembers so many tokens, and counts the operations that its crypto does. */
async function remembering(maxCachedTokens: number): Promise<Setting & { readonly checks: () => number }> {
  let operations = 0;
  const executor: CryptoExecutor = {
    run(...args) {
      operations++;
      return inlineExecutor.run(...args);
    },
  };
  const setting = await setUp({ maxCachedTokens, executor, replayStore: memoryReplayStore() });
  return { ...setting, checks: () => operations };
}

describe('verified tokens that are remembered', () => {
  it('a signature is checked once; without the option, each time', async () => {
    for (const [limit, expected] of [
      [10, 1],
      [0, 3],
    ] as const) {
      const { authority, checks } = await remembering(limit);
      const { token } = await authority.sign({ sub: 'user-1' });
      const before = checks();
      for (let i = 0; i < 3; i++) expect((await authority.verify(token)).sub).toBe('user-1');
      expect(checks() - before, `with maxCachedTokens ${limit}`).toBe(expected);
    }
  });

  it('everything but the signature is judged anew: issuer, audience, typ, age, schema', async () => {
    const { authority } = await remembering(10);
    const { token } = await authority.sign({ sub: 'user-1', iss: 'https://a', aud: 'api' });
    await authority.verify(token);
    const verdicts = await Promise.all([
      verdict(authority.verify(token, { issuer: 'https://b' })),
      verdict(authority.verify(token, { audience: 'other' })),
      verdict(authority.verify(token, { subject: 'user-2' })),
      verdict(authority.verify(token, { typ: 'at+jwt' })),
      verdict(authority.verify(token, { requiredClaims: ['role'] })),
      verdict(authority.verify(token, { issuer: 'https://a', audience: 'api' })),
    ]);
    expect(verdicts).toEqual([
      'wrong_issuer',
      'wrong_audience',
      'wrong_subject',
      'wrong_type',
      'missing_claim',
      'accepted',
    ]);
  });

  it('P4: it ends with exp, also when the clock steps', async () => {
    const { authority, clock } = await remembering(10);
    const { token } = await authority.sign({}, { expiresIn: '10m' });
    await authority.verify(token);
    clock.step(11 * 60_000);
    expect(await verdict(authority.verify(token))).toBe('expired');
    clock.step(-11 * 60_000);
    expect(await verdict(authority.verify(token)), 'judged by the clock as it is now').toBe('accepted');
  });

  it('P9: a revoked key’s tokens are refused at once', async () => {
    const { authority } = await remembering(10);
    const { token, kid } = await authority.sign({});
    await authority.verify(token);
    await authority.rotator.revoke(kid, { reason: 'leaked' });
    expect(await verdict(authority.verify(token))).toBe('key_revoked');
  });

  it('P9: also while the store cannot be told', async () => {
    const { authority, store } = await remembering(10);
    const { token, kid } = await authority.sign({});
    await authority.verify(token);
    store.state = 'down';
    expect((await authority.rotator.revoke(kid, { reason: 'leaked' })).committed).toBe(false);
    expect(await verdict(authority.verify(token))).toBe('key_revoked');
  });

  it('P1: a rotation forgets them and loses none', async () => {
    const { authority, checks } = await remembering(10);
    const { token } = await authority.sign({});
    await authority.verify(token);
    await authority.rotator.rotateNow();
    const before = checks();
    expect(await verdict(authority.verify(token))).toBe('accepted');
    expect(checks() - before, 'checked again under the key set as it is now').toBe(1);
  });

  it('tokens whose key is gone are not known any more', async () => {
    const { authority, clock } = await remembering(10);
    const { token } = await authority.sign({});
    await authority.verify(token);
    await clock.advance('200d');
    expect(await verdict(authority.verify(token))).toBe('unknown_kid');
  });

  it('nothing that is refused is remembered, and another spelling is another token', async () => {
    const { authority, checks } = await remembering(10);
    const { token } = await authority.sign({});
    await authority.verify(token);
    const forged = `${token.slice(0, -4)}AAAA`;
    const before = checks();
    for (let i = 0; i < 3; i++) expect(await verdict(authority.verify(forged))).toBe('signature_invalid');
    expect(checks() - before).toBe(3);
    expect(await verdict(authority.verify(`${token}=`))).toBe('malformed: not_base64url');
    expect(await verdict(authority.verify(` ${token}`))).toBe('malformed: not_base64url');
  });

  it('claims are frozen throughout: one caller cannot change what the next one is given', async () => {
    const { authority } = await remembering(10);
    const { token } = await authority.sign({ roles: ['user'], tenant: { id: 1 } });
    for (let i = 0; i < 2; i++) {
      const claims = await authority.verify<{ roles: string[]; tenant: { id: number } }>(token);
      expect(() => claims.roles.push('admin'), 'a list inside').toThrow(TypeError);
      expect(() => Object.assign(claims.tenant, { id: 2 }), 'an object inside').toThrow(TypeError);
      expect(() => Object.assign(claims, { sub: 'admin' }), 'the claims').toThrow(TypeError);
    }
  });

  it('verifyOnce still takes a token once', async () => {
    const { authority } = await remembering(10);
    const { token } = await authority.sign({}, { jti: true });
    await authority.verify(token);
    expect(await verdict(authority.verifyOnce(token))).toBe('accepted');
    expect(await verdict(authority.verifyOnce(token))).toBe('replayed');
  });

  it('so many at most, the one not used for longest leaves; what is kept is no token', async () => {
    const { authority, checks } = await remembering(2);
    const [one = '', two = '', three = ''] = (await authority.signMany([{ n: 1 }, { n: 2 }, { n: 3 }])).map(
      ({ token }) => token,
    );
    for (const token of [one, two, one, three]) await authority.verify(token);
    const before = checks();
    await authority.verify(one);
    expect(checks() - before, 'used more lately than the second').toBe(0);
    await authority.verify(two);
    expect(checks() - before, 'it had to leave for the third').toBe(1);
    expect(inspect(authority, { depth: 9, showHidden: true }), 'P5').not.toContain(one.split('.')[2]);
  });

  it.each([-1, 1.5, 2_000_000, '10', Number.NaN])(
    'P11: maxCachedTokens %s is refused',
    async (maxCachedTokens) => {
      // Deliberately wrong, as from JavaScript.
      const options = { maxCachedTokens } as { maxCachedTokens: number };
      await expect(setUp(options)).rejects.toThrow(
        /^"maxCachedTokens" must be a whole number from 0 to 1000000/,
      );
    },
  );
});

it('a map of the least recently used keeps to its limit under a flood', () => {
  const map = new LeastRecentlyUsed<number>(100);
  for (let i = 0; i < 10_000; i++) map.set(createHash('sha1').update(String(i)).digest('hex'), i);
  expect([...map.values()]).toEqual(Array.from({ length: 100 }, (_, i) => 9900 + i));
  map.set('again', 1);
  expect(map.set('again', 2), 'replacing makes nobody leave').toBe(undefined);
  map.delete('again');
  expect(map.get('again')).toBe(undefined);
});
