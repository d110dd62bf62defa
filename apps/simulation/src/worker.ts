import {
  createJwtAuthority,
  localEncrypter,
  systemClock,
  type Clock,
  type JwtAuthorityErrorCode,
  JwtAuthorityError,
} from '@jwt-authority/core';
import { fileStore } from '@jwt-authority/store-file';

/** What the parent asks of a worker: at virtual time `now`, do what is due, sign a token and verify these. */
export interface Round {
  readonly now: number;
  readonly tokens: readonly string[];
}

/** What a worker answers. */
export interface RoundResult {
  readonly published: readonly string[];
  readonly lostRace: boolean;
  readonly token: string;
  readonly kid: string;
  /** Codes of refused tokens: none may be. */
  readonly refused: readonly JwtAuthorityErrorCode[];
  readonly keys: number;
}

// One process of the fleet: a real authority on the real file store, its clock set by the parent with every round.
const [folder = '', key = '', settings = '{}'] = process.argv.slice(2);
const clock: Clock & { time: number } = {
  ...systemClock,
  time: 0,
  now: () => clock.time,
  setTimer: () => () => {},
};
let authority: Awaited<ReturnType<typeof createJwtAuthority>> | undefined;

async function work({ now, tokens }: Round): Promise<RoundResult> {
  clock.time = now;
  const published: string[] = [];
  let lostRace = false;
  if (authority === undefined) {
    authority = await createJwtAuthority({
      store: fileStore({ folder, clock }),
      encrypter: localEncrypter({ key }),
      clock,
      ...(JSON.parse(settings) as { rotationInterval: number }),
    });
    authority.rotator.stop();
  } else {
    authority.keyRing.events.on('rotated', ({ kid }) => published.push(kid));
    // A read that the folder's watch began shares its answer, and may have begun before the clock was set.
    do await authority.keyRing.refresh();
    while (authority.keyRing.age > 1000);
    const due = authority.rotator.plan().length > 0;
    const { outcome } = await authority.rotator.checkAndRotateKeys();
    if (outcome === 'postponed') throw new Error('a rotation was postponed');
    lostRace = due && outcome === 'lost_race';
    authority.keyRing.events.removeAllListeners('rotated');
  }
  const { token, kid } = await authority.sign({ sub: String(process.pid) });
  const refused: JwtAuthorityErrorCode[] = [];
  for (const candidate of tokens) {
    try {
      await authority.verify(candidate);
    } catch (error) {
      if (!JwtAuthorityError.is(error)) throw error;
      refused.push(error.code);
    }
  }
  return { published, lostRace, token, kid, refused, keys: authority.keyRing.keySet?.keys.length ?? 0 };
}

process.on('message', (round: Round) => {
  work(round).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.send?.('ready');
