import { describe, expect, it } from 'vitest';
import { createJwtAuthority, localEncrypter, type KeyEncrypter } from '../src/index.ts';
import { fakeClock, type FakeClock } from '../src/testing.ts';
import { memoryStore } from '../../store-memory/src/index.ts';
import { observedStore, verdict } from './support/authorities.ts';
import { CountingEncrypter } from './support/world.ts';

/** A store that has a key set, a KEK, and what it takes to start on them. */
async function existing(): Promise<{
  readonly clock: FakeClock;
  readonly store: ReturnType<typeof observedStore>;
  readonly encrypter: CountingEncrypter;
  readonly start: (options?: {
    retryStart?: boolean;
    encrypter?: KeyEncrypter;
  }) => ReturnType<typeof createJwtAuthority>;
  readonly kid: string;
}> {
  const clock = fakeClock();
  const store = observedStore(memoryStore({ clock }));
  const encrypter = new CountingEncrypter();
  const start = async (options = {}): ReturnType<typeof createJwtAuthority> =>
    createJwtAuthority({ store, encrypter, clock, algorithms: ['ES256'], ...options });
  await using authority = await start();
  const { kid } = await authority.sign({ sub: 'somebody' });
  return { clock, store, encrypter, start, kid };
}

describe.each(['store', 'KEK'] as const)('P7: the %s is down at start', (which) => {
  const code = which === 'store' ? 'store_unavailable' : 'kek_unavailable';

  it(`P7: ${code}, and nothing is left running`, async () => {
    const { clock, store, encrypter, start } = await existing();
    if (which === 'store') store.state = 'down';
    else encrypter.isDown = true;
    expect(await verdict(start()), 'one clear error').toBe(code);
    expect(clock.timers, 'nothing is left').toBe(0);
  });

  it('P7: with retryStart it starts, says why it cannot sign, and signs with the same key once it can', async () => {
    const { clock, store, encrypter, start, kid } = await existing();
    if (which === 'store') store.state = 'down';
    else encrypter.isDown = true;
    await using authority = await start({ retryStart: true });
    expect(await verdict(authority.sign({ sub: 'somebody' })), 'not a key of its own').toBe(code);
    expect(authority.keyRing.health(), 'for a readiness check').toMatchObject({ status: 'unusable', code });
    await clock.advance('10m');
    store.state = 'up';
    encrypter.isDown = false;
    await clock.advance('2m');
    expect(authority.keyRing.health().status, 'by itself, nobody asked for a token').toBe('fresh');
    expect((await authority.sign({ sub: 'somebody' })).kid, 'never replaced').toBe(kid);
  });
});

it('P7: retryStart does not hide a KEK that is the wrong one', async () => {
  const { start } = await existing();
  const encrypter = localEncrypter.forTests();
  expect(await verdict(start({ retryStart: true, encrypter })), 'waiting does not mend it').toBe(
    'kek_not_configured',
  );
});
