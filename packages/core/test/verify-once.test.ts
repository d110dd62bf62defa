import { describe, expect, it } from 'vitest';
import { JwtAuthorityError, type ReplayStore, type VerifyOptions } from '../src/index.ts';
import { fakeClock } from '../src/testing.ts';
import { memoryReplayStore } from '../../store-memory/src/index.ts';
import { decodePart, forge, rejection, setUp, verdict } from './support/authorities.ts';

const now = Date.UTC(2026, 0, 1) / 1000;

interface Claim {
  readonly value: string;
  readonly ttlSeconds: number;
}

/** A replay store whose `claim` does this; it records what it was asked. */
function recordingStore(
  claim: (value: string, ttlSeconds: number) => unknown,
): ReplayStore & { claims: Claim[] } {
  const claims: Claim[] = [];
  const unused = async (): Promise<never> => {
    throw new Error('only claim is atomic');
  };
  return {
    claims,
    has: unused,
    add: unused,
    delete: unused,
    claim: async (value, ttlSeconds) => {
      claims.push({ value, ttlSeconds });
      // Whatever a faulty store answers.
      return claim(value, ttlSeconds) as boolean;
    },
  };
}

describe('verifyOnce', () => {
  it('50 uses at once: exactly one succeeds', async () => {
    const { authority } = await setUp({ replayStore: memoryReplayStore<string>() });
    const { token } = await authority.sign({ sub: 'user-1' }, { jti: true, expiresIn: '15m' });
    const uses = await Promise.all(
      Array.from({ length: 50 }, async () => verdict(authority.verifyOnce(token))),
    );
    expect(uses.filter((use) => use === 'accepted').length, 'first uses').toBe(1);
    expect(uses.filter((use) => use === 'replayed').length, 'replays').toBe(49);
  });

  it('gives the claims once, then says that it was used', async () => {
    const { authority } = await setUp({ replayStore: memoryReplayStore<string>() });
    const { token } = await authority.sign({ sub: 'user-1' }, { jti: 'one', expiresIn: '15m' });
    const claims = await authority.verifyOnce<{ sub: string }>(token, { subject: 'user-1' });
    expect(claims, 'those of verify').toStrictEqual(decodePart(token, 1));
    const error = await rejection(authority.verifyOnce(token));
    expect(error, 'the same tomorrow').toMatchObject({ code: 'replayed', retryable: false });
    expect(error.message, 'without the jti').toBe('this one-time token was used before');
    const another = await authority.sign({ sub: 'user-1' }, { jti: 'two', expiresIn: '15m' });
    expect(await verdict(authority.verifyOnce(another.token)), 'another token').toBe('accepted');
    const same = await authority.sign({ sub: 'user-2' }, { jti: 'one', expiresIn: '15m' });
    expect(await verdict(authority.verifyOnce(same.token)), 'the jti counts, not the text').toBe('replayed');
  });

  it.each<[what: string, exp: number, options: VerifyOptions, ttlSeconds: number]>([
    ['the leeway of this call and the tolerance of clocks', now + 900, {}, 900 + 30 + 30],
    ['a longer leeway of this call', now + 900, { clockTolerance: '5m' }, 900 + 300 + 30],
    ['not less for a stricter call: another may be laxer', now + 900, { clockTolerance: 0 }, 900 + 30 + 30],
    ['rounded up to whole seconds', now + 0.25, {}, 61],
    ['an exp that is over, within the leeway', now - 29, {}, 31],
  ])('claims the jti until nobody accepts the token: %s', async (_, exp, options, ttlSeconds) => {
    const replayStore = recordingStore(() => true);
    const { authority, pairs } = await setUp({ replayStore });
    const [pair] = pairs;
    if (pair === undefined) throw new Error('no key was made');
    await authority.verifyOnce(await forge(pair, { jti: 'one', exp }), options);
    expect(replayStore.claims, 'one claim, with this time').toStrictEqual([{ value: 'one', ttlSeconds }]);
  });

  it('with a real store: refused as a replay for as long as it would verify, at any instance', async () => {
    const storeClock = fakeClock();
    const { authority } = await setUp({ replayStore: memoryReplayStore<string>({ clock: storeClock }) });
    const { token } = await authority.sign({}, { jti: true, expiresIn: 60 });
    expect(await verdict(authority.verifyOnce(token)), 'first use').toBe('accepted');
    // Time goes on for the store only: this instance stands for one that is slower, and still takes the token.
    await storeClock.advance(119.999);
    expect(await verdict(authority.verifyOnce(token)), 'exp, leeway and tolerance are not over').toBe(
      'replayed',
    );
    await storeClock.advance(0.001);
    expect(await verdict(authority.verifyOnce(token)), 'over: the store has forgotten').toBe('accepted');
  });

  it('expired before it was used: nothing is claimed', async () => {
    const replayStore = recordingStore(() => true);
    const { authority, clock } = await setUp({ replayStore });
    const { token } = await authority.sign({}, { jti: true, expiresIn: 60 });
    clock.step(90_000);
    expect(await verdict(authority.verifyOnce(token)), 'the verdict').toBe('expired');
    expect(await verdict(authority.verifyOnce(`${token}=`)), 'the verdict').toBe('malformed: not_base64url');
    expect(
      await verdict(authority.verifyOnce(token, { clockTolerance: '1h', audience: 'x' })),
      'the verdict',
    ).toBe('missing_claim');
    expect(replayStore.claims, 'whoever has no valid token cannot use up another one').toEqual([]);
  });

  it.each<[what: string, fails: () => unknown, message: string]>([
    [
      'rejects',
      async () => Promise.reject(new Error('redis://user:secret@host')),
      'the replay store failed: Error',
    ],
    [
      'rejects with a system code',
      async () => Promise.reject(Object.assign(new Error('secret'), { code: 'ECONNREFUSED' })),
      'the replay store failed: Error ECONNREFUSED',
    ],
    [
      'throws',
      () => {
        throw new TypeError('secret');
      },
      'the replay store failed: TypeError',
    ],
    [
      'rejects with no error',
      async () => {
        throw 'secret'; /* eslint-disable-line typescript/only-throw-error -- clients do */
      },
      'the replay store failed: a thrown string',
    ],
    [
      'says that it is full',
      () => {
        throw new JwtAuthorityError('replay_store_unavailable', 'the store is full');
      },
      'the store is full',
    ],
    [
      'fails with another code of ours',
      () => {
        throw new JwtAuthorityError('store_unavailable', 'no answer');
      },
      'the replay store failed: no answer',
    ],
  ])('fails closed when the store %s', async (_, fails, message) => {
    const { authority } = await setUp({ replayStore: recordingStore(fails) });
    const { token } = await authority.sign({}, { jti: true });
    const error = await rejection(authority.verifyOnce(token));
    expect(error, 'nobody can say that it was not used').toMatchObject({
      code: 'replay_store_unavailable',
      retryable: true,
    });
    expect(error.message, 'what is known, nothing secret').toBe(message);
    expect(error.cause, 'a cause could carry a connection string').toBeUndefined();
  });

  it('fails closed when the store hangs, at the deadline', async () => {
    const { authority, clock } = await setUp({
      replayStore: recordingStore(async () => new Promise(() => {})),
      commitDeadline: '3s',
    });
    const { token } = await authority.sign({}, { jti: true });
    let answered: string | undefined;
    const answer = verdict(authority.verifyOnce(token)).then((code) => {
      answered = code;
    });
    await clock.advance(2.999);
    expect(answered, 'before the deadline').toBeUndefined();
    await clock.advance(0.001);
    await answer;
    expect(answered, 'at the deadline').toBe('replay_store_unavailable');
    await authority.close();
    expect(clock.timers, 'no timer is left').toBe(0);
  });

  it.each([false, undefined, null, 0, 1, 'OK', 'false', {}])(
    'an answer other than true (%j) is no first use',
    async (answer) => {
      const { authority } = await setUp({ replayStore: recordingStore(() => answer) });
      const { token } = await authority.sign({}, { jti: true });
      expect(await verdict(authority.verifyOnce(token)), 'fails closed').toBe('replayed');
    },
  );

  it('needs a jti, and keeps what else is required', async () => {
    const replayStore = recordingStore(() => true);
    const { authority, pairs } = await setUp({ replayStore });
    const [pair] = pairs;
    if (pair === undefined) throw new Error('no key was made');
    const judge = async (claims: object, options?: VerifyOptions): Promise<string> =>
      verdict(authority.verifyOnce(await forge(pair, { exp: now + 60, ...claims }), options));
    expect(await judge({}), 'without jti').toBe('missing_claim');
    expect(await judge({ jti: 5 }), 'a jti that is no text').toBe('invalid_claim');
    expect(await judge({ jti: 'one' }, { requiredClaims: ['scope'] }), 'without scope').toBe('missing_claim');
    expect(
      await judge({ jti: 'one' }, { requiredClaims: 'jti' as never }),
      'a text would be taken letter by letter',
    ).toBe('TypeError');
    expect(await judge({ jti: 'one' }, null as never), 'no options object').toBe('TypeError');
    expect(replayStore.claims, 'nothing was claimed').toEqual([]);
    expect(await judge({ jti: 'one', scope: '' }, { requiredClaims: ['scope'] }), 'with both').toBe(
      'accepted',
    );
  });

  it('needs a replay store', async () => {
    const { authority } = await setUp();
    const { token } = await authority.sign({}, { jti: true });
    const error = await rejection(authority.verifyOnce(token));
    expect(error, 'misuse').toBeInstanceOf(TypeError);
    expect(error.message, 'names the option').toBe(
      'verifyOnce needs the option "replayStore" of the authority',
    );
  });
});
