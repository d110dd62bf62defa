import { createJwtAuthority, localEncrypter } from '@jwt-authority/core';
import { fakeClock } from '@jwt-authority/core/testing';
import { memoryStore } from '@jwt-authority/store-memory';
import type { Report } from '../commands.ts';
import { readSettings, type CommonFlags } from '../settings.ts';
import type { Io } from '../io.ts';
import { iso } from '../text.ts';

interface Moment {
  readonly at: number;
  readonly what: 'published' | 'activated' | 'retired' | 'pruned';
  readonly key: number;
  readonly alg: string;
}

const words = {
  published: 'is published',
  activated: 'signs from now on',
  retired: 'only verifies, its private half is destroyed',
  pruned: 'is gone',
} as const;

/** When keys would appear, sign and go under the configured policy: the real rotator on a clock that is turned. */
export async function simulate(io: Io, flags: CommonFlags & { readonly for: string }): Promise<Report> {
  const { policy } = await readSettings(flags, io.env);
  const clock = fakeClock(Date.now());
  const authority = await createJwtAuthority({
    ...policy,
    initialise: 'auto',
    store: memoryStore({ clock }),
    encrypter: localEncrypter.forTests(),
    clock,
  });
  const numbers = new Map<string, number>();
  const numberOf = (kid: string): number => {
    const number = numbers.get(kid) ?? numbers.size + 1;
    numbers.set(kid, number);
    return number;
  };
  const start = clock.now();
  const moments: Moment[] = (authority.keyRing.keySet?.keys ?? []).flatMap(({ kid, alg }) => [
    { at: start, what: 'published', key: numberOf(kid), alg },
    { at: start, what: 'activated', key: numberOf(kid), alg },
  ]);
  const { events } = authority.keyRing;
  const note =
    (what: Moment['what']) =>
    ({ at, kid, alg }: { readonly at: number; readonly kid: string; readonly alg: string }): void =>
      void moments.push({ at, what, key: numberOf(kid), alg });
  events.on('published', note('published'));
  events.on('activated', note('activated'));
  events.on('retired', note('retired'));
  events.on('pruned', note('pruned'));
  try {
    await clock.advance(flags.for);
  } finally {
    await authority.close();
  }
  return {
    data: { moments },
    text: moments
      .map(
        ({ at, what, key, alg }) =>
          `${iso(Math.round(at / 1000) * 1000)}  key ${key} (${alg}) ${words[what]}`,
      )
      .join('\n'),
  };
}
