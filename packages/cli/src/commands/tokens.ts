import { JwtAuthorityError, type Algorithm, type JwtClaims } from '@jwt-authority/core';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import type { Report } from '../commands.ts';
import { exitCodes, UsageError } from '../failures.ts';
import type { Io } from '../io.ts';
import { loadKeySet, type Session } from '../session.ts';

export interface SignFlags {
  readonly sub?: string;
  readonly aud?: string;
  readonly claims?: string;
  readonly expiresIn?: string;
  readonly alg?: string;
  readonly typ?: string;
  readonly jti?: boolean;
}

/** The token alone, so that it can be put into a variable or a pipe. Claims: flags, and a JSON object by `--claims` (`-`: standard input). */
export async function sign(session: Session, io: Io, flags: SignFlags): Promise<Report> {
  await loadKeySet(session);
  const claims =
    flags.claims === undefined ? {} : parseClaims(flags.claims === '-' ? await io.readInput() : flags.claims);
  const result = await session.authority.sign(claims, {
    ...(flags.sub !== undefined && { subject: flags.sub }),
    ...(flags.aud !== undefined && { audience: flags.aud }),
    ...(flags.expiresIn !== undefined && { expiresIn: flags.expiresIn }),
    ...(flags.typ !== undefined && { typ: flags.typ }),
    // The library checks the name.
    ...(flags.alg !== undefined && { alg: flags.alg as Algorithm }),
    ...(flags.jti === true && { jti: true as const }),
  });
  return { data: result, text: result.token };
}

function parseClaims(text: string): JwtClaims {
  try {
    const claims: unknown = JSON.parse(text);
    // Any JSON object may be claims; the library judges them.
    if (typeof claims === 'object' && claims !== null && !Array.isArray(claims)) return { ...claims };
  } catch {
    // Falls through.
  }
  throw new UsageError('the claims must be a JSON object');
}

export interface VerifyFlags {
  readonly issuer?: string;
  readonly audience?: string;
  readonly typ?: string;
}

/** Header, claims and key of a token, or why it is refused. */
export async function verify(session: Session, io: Io, token: string, flags: VerifyFlags): Promise<Report> {
  await loadKeySet(session);
  const text = (token === '-' ? await io.readInput() : token).trim();
  try {
    const { claims, header, kid } = await session.authority.verifyWithHeader(text, flags);
    const { parameters } = header;
    return {
      data: { valid: true, kid, header: parameters, claims },
      text: `Valid, signed by ${kid}.\nHeader: ${JSON.stringify(parameters)}\nClaims: ${JSON.stringify(claims, undefined, 2)}`,
    };
  } catch (error) {
    if (!JwtAuthorityError.is(error)) throw error;
    const { code, reason } = error;
    const said = readUnverified(text);
    return {
      data: { valid: false, code, reason, message: error.message, unverified: said },
      text: [
        `Refused (${[code, reason].filter(Boolean).join(', ')}): ${error.message}`,
        ...(said === undefined
          ? []
          : [
              'What it says, which nothing vouches for:',
              `Header: ${JSON.stringify(said.header)}`,
              `Claims: ${JSON.stringify(said.claims, undefined, 2)}`,
            ]),
      ].join('\n'),
      exitCode: exitCodes.failed,
    };
  }
}

/** Header and claims of a refused token, as far as it can be read: whoever looks for the reason needs them. */
function readUnverified(token: string): { header: object; claims: object } | undefined {
  try {
    return { header: decodeProtectedHeader(token), claims: decodeJwt(token) };
  } catch {
    return undefined;
  }
}
