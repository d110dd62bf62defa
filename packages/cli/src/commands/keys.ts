import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { checkAlgorithm, describeError, jwksHandler } from '@jwt-authority/core';
import { calculateJwkThumbprint, exportJWK, exportPKCS8, generateKeyPair } from 'jose';
import type { Report } from '../commands.ts';
import { UsageError } from '../failures.ts';
import type { Io } from '../io.ts';
import { loadKeySet, type Session } from '../session.ts';

/** The public keys, as the service publishes them. */
export async function exportJwks(session: Session): Promise<Report> {
  await loadKeySet(session);
  const jwks = await session.authority.getPublicKeys();
  return { data: jwks, text: JSON.stringify(jwks, undefined, 2) };
}

/** Serves the JWKS from the store, read-only, until it is interrupted. */
export async function serveJwks(
  session: Session,
  io: Io,
  { port, host, signal }: { readonly port: string; readonly host: string; readonly signal: AbortSignal },
): Promise<Report> {
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw new UsageError('the port must be a number from 0 to 65535');
  await loadKeySet(session);
  const server = createServer(jwksHandler(session.authority, { cors: true }));
  server.listen(Number(port), host);
  try {
    await once(server, 'listening');
  } catch (error) {
    throw new UsageError(`cannot listen on ${host}:${port} (${describeError(error)})`);
  }
  // A TCP server's address, as it listens.
  const { port: bound } = server.address() as AddressInfo;
  io.err(`The JWKS of namespace "${session.settings.namespace}": http://${host}:${bound}/ (Ctrl-C ends it)`);
  if (!signal.aborted) await once(signal, 'abort');
  server.close();
  server.closeAllConnections();
  return { data: { outcome: 'stopped' }, text: '' };
}

/** A key pair that nothing else knows of, for those who only need that. Prints the private key: it was asked for. */
export async function generate(flags: { readonly alg: string; readonly format: string }): Promise<Report> {
  if (flags.format !== 'pem' && flags.format !== 'jwk') throw new UsageError('the format must be pem or jwk');
  // jose makes keys for encryption too; these are for signing.
  const alg = checkAlgorithm(flags.alg, 'alg');
  const pair = await generateKeyPair(alg, { extractable: true }).catch(() => {
    throw new UsageError(`"${alg}" is no algorithm that this Node.js makes keys for`);
  });
  const publicJwk = await exportJWK(pair.publicKey);
  const kid = await calculateJwkThumbprint(publicJwk);
  const about = { kid, alg, use: 'sig' };
  const privateKey =
    flags.format === 'pem'
      ? await exportPKCS8(pair.privateKey)
      : { ...(await exportJWK(pair.privateKey)), ...about };
  return {
    data: { kid, alg, publicJwk: { ...publicJwk, ...about }, privateKey },
    text: typeof privateKey === 'string' ? privateKey.trimEnd() : JSON.stringify(privateKey, undefined, 2),
  };
}
