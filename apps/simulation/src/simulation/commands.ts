import { JwtAuthorityError, type RotatingJwtAuthority } from '@jwt-authority/core';
import type { Incident, Kind, Kinds } from './incident.ts';
import type { Process } from './instance.ts';
import { makeKey } from './key-pool.ts';
import type { Document } from './store.ts';
import type { World } from './world.ts';

/** An operator's command. What it is refused with is its own affair. */
function command(
  run: (
    authority: RotatingJwtAuthority,
    world: World,
    incident: Incident,
    process: Process,
  ) => Promise<unknown> | undefined,
): Kind['happen'] {
  return (world, { process }, incident) => {
    if (process?.isUp !== true || process.authority === undefined) return false;
    const work = run(process.authority, world, incident, process);
    if (work === undefined) return false;
    work.then(
      () => world.note(`${process.name} has done it: ${incident.what}`),
      (error: unknown) => {
        if (!JwtAuthorityError.is(error)) world.unexpected(error);
        else world.note(`${process.name} could not ${incident.what}: ${error.code}`);
      },
    );
    return true;
  };
}

function byHand(
  run: (authority: RotatingJwtAuthority, incident: Incident) => Promise<unknown>,
): Kind['happen'] {
  return command((authority, world, incident, process) => {
    // Of its own: a process may be about several at a time.
    const underWay = { process };
    world.commands.add(underWay);
    return run(authority, incident).finally(() => {
      world.commands.delete(underWay);
      world.rotatedByHandAt = world.now;
    });
  });
}

function revoke(choose: (keys: Document['keys'], now: number) => Document['keys']): Kind['happen'] {
  return command((authority, world, { which }) => {
    const { keyRing, rotator } = authority;
    const kids = choose(keyRing.keySet?.keys ?? [], keyRing.clock.now()).filter(
      ({ revokedAt }) => revokedAt === undefined,
    );
    const { kid } = kids[which % Math.max(1, kids.length)] ?? {};
    const facts = world.ledger.keys.get(kid ?? '');
    if (kid === undefined || facts === undefined) return undefined;
    facts.triedToRevoke = true;
    world.rotatedByHandAt = world.now;
    world.note(`an operator revokes ${kid}`);
    return rotator.revoke(kid, { reason: 'simulated' });
  });
}

/** What operators do, at random moments. */
export const commands: Kinds = {
  'operator rotates': { weight: 4, happen: byHand(async ({ rotator }) => rotator.rotateNow()) },
  'operator rotates at once': {
    weight: 2,
    happen: (world, instance, incident) => {
      const began = world.now;
      const { process } = instance;
      // Two at a time make two keys, of course.
      if (process === undefined || world.emergencies.has(process)) return false;
      return byHand(async ({ rotator }) => {
        world.emergencies.add(process);
        const result = await rotator.rotateNow({ emergency: true }).finally(() => {
          world.emergencies.delete(process);
          world.emergencyAt = world.now;
        });
        // P2: one command, one key; unless a loss brought in another.
        const made = [...world.ledger.keys.values()].filter(
          ({ kid, immediate, firstStoredAt }) =>
            immediate && firstStoredAt >= began && kid.startsWith(instance.name),
        );
        // A revocation at the same time may bring one, too.
        const revoking = [...world.ledger.keys.values()].some(
          ({ triedToRevoke, revokedAt = Infinity }) => triedToRevoke && revokedAt >= began,
        );
        if (made.length > 1 && world.lossAt < began && !revoking) world.onDoubled(made.map(({ kid }) => kid));
        return result;
      })(world, instance, incident);
    },
  },
  'operator rolls back': { weight: 4, happen: byHand(async ({ rotator }) => rotator.rollback()) },
  'operator rewraps': { weight: 3, happen: command(async ({ rotator }) => rotator.rewrap({ force: true })) },
  'active key revoked': {
    weight: 2,
    happen: revoke((keys, now) => keys.filter((key) => key.hasPrivateKey && key.activatesAt <= now)),
  },
  'pending key revoked': {
    weight: 2,
    happen: revoke((keys, now) => keys.filter((key) => key.hasPrivateKey && key.activatesAt > now)),
  },
  'old key revoked': { weight: 2, happen: revoke((keys) => keys.filter((key) => !key.hasPrivateKey)) },
  'key imported': {
    weight: 1,
    happen: (world, instance, incident) => {
      const { pair } = makeKey('Ed25519', 3000 + (incident.which % 900), 'i');
      world.onKeyMade(makeKey('Ed25519', 3000 + (incident.which % 900), 'i'));
      const as = incident.which % 2 === 0 ? 'next' : 'verify-only';
      return byHand(async ({ rotator }) =>
        rotator.importKey(pair.privateKey, { as, alg: 'Ed25519', kid: pair.kid }),
      )(world, instance, incident);
    },
  },
  'algorithm retired': {
    weight: 1,
    happen: byHand(async ({ rotator, keyRing }) => {
      const unused = keyRing.keySet?.keys.find(({ alg }) => !keyRing.policy.algorithms.includes(alg));
      return unused === undefined ? undefined : rotator.retireAlgorithm(unused.alg);
    }),
  },
};
