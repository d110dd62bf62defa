import { createPrivateKey, type JsonWebKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Algorithm, ImportKeyOptions } from '@jwt-authority/core';
import type { Report } from '../commands.ts';
import { exitCodes, UsageError } from '../failures.ts';
import type { Io } from '../io.ts';
import { loadKeySet, type Session } from '../session.ts';
import { iso, relative } from '../text.ts';

export interface ChangeFlags {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** Set before what would have been done, so that nobody takes it for done. */
const tense = ({ dryRun }: ChangeFlags): string => (dryRun === true ? 'Dry run, nothing was changed. ' : '');

export async function rotate(
  session: Session,
  flags: ChangeFlags & { readonly emergency?: boolean; readonly alg?: string },
): Promise<Report> {
  const result = await session.rotator.rotateNow({
    ...(flags.emergency === true && { emergency: true }),
    // The library checks the name.
    ...(flags.alg !== undefined && { alg: flags.alg as Algorithm }),
  });
  const now = session.keyRing.clock.now();
  const when =
    result.activatesAt <= now
      ? 'signs now'
      : `signs from ${iso(result.activatesAt)} (${relative(result.activatesAt, now)})`;
  return result.outcome === 'rotated'
    ? { data: result, text: `${tense(flags)}Key ${result.kid} is published and ${when}.` }
    : {
        data: result,
        text: `${tense(flags)}Key ${result.kid} is pending already and ${when}. With --emergency it signs at once.`,
        exitCode: exitCodes.needsAttention,
      };
}

export async function rollback(
  { rotator }: Session,
  flags: ChangeFlags & { readonly alg?: string },
): Promise<Report> {
  // The library checks the name.
  const result = await rotator.rollback(flags.alg === undefined ? {} : { alg: flags.alg as Algorithm });
  return {
    data: result,
    text: `${tense(flags)}Key ${result.kid} is withdrawn. The next one is published after ${iso(result.publishNotBefore)}.`,
  };
}

export async function revoke(
  session: Session,
  io: Io,
  kid: string,
  flags: ChangeFlags & { readonly reason: string },
): Promise<Report> {
  await loadKeySet(session);
  const key = session.keyRing.keySet?.keys.find((candidate) => candidate.kid === kid);
  if (flags.yes !== true && flags.dryRun !== true && key !== undefined) {
    if (!io.isInteractive) throw new UsageError('this cannot be undone: say --yes where nobody can be asked');
    const answer = await io.ask(
      `Revoke ${kid}? All its tokens become invalid, and it cannot be undone. Type yes: `,
    );
    if (answer.trim() !== 'yes')
      return { data: { outcome: 'cancelled' }, text: 'Nothing was changed.', exitCode: exitCodes.failed };
  }
  const result = await session.rotator.revoke(kid, { reason: flags.reason });
  const { committed, activeKid, cachesKnowBy } = result;
  return {
    data: result,
    text: committed
      ? `${tense(flags)}Key ${kid} is revoked. ${activeKid === undefined ? 'No key signs now.' : `Key ${activeKid} signs now.`} ` +
        `The last cache lets go of it by ${iso(cachesKnowBy ?? 0)}.`
      : 'The store could not be told: nothing is revoked outside of this process. Try again.',
    exitCode: committed ? exitCodes.ok : exitCodes.failed,
  };
}

export async function rewrap(
  session: Session,
  flags: ChangeFlags & { readonly force?: boolean },
): Promise<Report> {
  await loadKeySet(session);
  const result = await session.rotator.rewrap({ force: flags.force === true });
  const { committed, from, to } = result;
  const { keks, sealedUnder } = session.keyRing;
  const needless = keks.filter(({ seals, opens }) => !seals && !opens).map(({ id }) => id);
  const droppable = needless.length === 0 ? '' : ` Needed no more: ${needless.join(', ')}.`;
  return {
    data: { ...result, sealedUnder, keks },
    text: committed
      ? `${tense(flags)}Sealed by ${to}, before by ${from}.${droppable}`
      : `${to} has sealed the key set already; nothing was to be done. With --force it does so again.${droppable}`,
  };
}

export interface ImportFlags extends ChangeFlags {
  readonly as: string;
  readonly alg?: string;
  readonly kid?: string;
  readonly tokenLifetime?: string;
}

/** PEM (PKCS#8, also SEC1 and PKCS#1), a JWK, or a JWKS with one private key, from a file or, for `-`, standard input. */
export async function importKeys(
  session: Session,
  io: Io,
  file: string,
  flags: ImportFlags,
): Promise<Report> {
  const text = file === '-' ? await io.readInput() : await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) throw new UsageError(`the file ${file} cannot be read`);
  const result = await session.rotator.importKey(parseKey(text), {
    // The library checks these.
    as: flags.as as NonNullable<ImportKeyOptions['as']>,
    ...(flags.alg !== undefined && { alg: flags.alg as Algorithm }),
    ...(flags.kid !== undefined && { kid: flags.kid }),
    ...(flags.tokenLifetime !== undefined && { tokenLifetime: flags.tokenLifetime }),
  });
  return {
    data: result,
    text: `${tense(flags)}Key ${result.kid} is imported; it signs from ${iso(result.activatesAt)}.`,
  };
}

function parseKey(text: string): ReturnType<typeof createPrivateKey> | JsonWebKey {
  const trimmed = text.trim();
  if (trimmed === '') throw new UsageError('there is nothing to import: the input is empty');
  if (!trimmed.startsWith('{')) {
    try {
      return createPrivateKey(trimmed);
    } catch {
      // OpenSSL's reason may quote the key.
      throw new UsageError(
        'this is no private key in PEM (is it encrypted? decrypt it in a pipe) and no JWK',
      );
    }
  }
  let json: { keys?: JsonWebKey[] } & JsonWebKey;
  try {
    // Checked by the library, but for being a set.
    json = JSON.parse(trimmed) as typeof json;
  } catch {
    throw new UsageError('this begins like a JWK and is not JSON');
  }
  if (!Array.isArray(json.keys)) return json;
  const [key, ...others] = json.keys;
  if (key === undefined || others.length > 0) {
    throw new UsageError(
      `this JWKS has ${json.keys.length} keys: import them one by one, saying of each what it is for`,
    );
  }
  return key;
}
