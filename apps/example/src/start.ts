import type { AddressInfo } from 'node:net';
import {
  createJwtAuthority,
  describeError,
  type JwksRotator,
  type KeyRingEvents,
  type Logger,
} from '@jwt-authority/core';
import { inVariables, readConfiguration, type Configuration, type Environment } from './configuration.ts';
import { closeServer, createAuthServer } from './server.ts';

export interface RunningServer {
  /** Where it listens. The issuer is what clients see, which may be a proxy. */
  readonly url: string;
  readonly configuration: Configuration;
  readonly rotator: JwksRotator;
  readonly events: KeyRingEvents;
  /** Ends what is under way, then stops rotation. Calling it again waits for the same end. */
  close(): Promise<void>;
}

/** Runs the server by the environment. @throws {TypeError} that names the variable that is wrong. */
export async function start(env: Environment, logger?: Logger): Promise<RunningServer> {
  const configuration = await readConfiguration(env);
  const { issuer, client, store, encrypter, policy, host, port } = configuration;
  const authority = await createJwtAuthority({
    issuer,
    typ: 'at+jwt',
    store,
    encrypter,
    logger,
    ...policy,
  }).catch((error: unknown) => {
    configuration.close();
    throw error instanceof TypeError ? new TypeError(inVariables(error.message)) : error;
  });
  for (const warning of await configuration.warnings()) logger?.warn({ store: 'redis' }, warning);
  const server = createAuthServer({ authority, issuer, client });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, host, resolve);
    });
  } catch (error) {
    await authority.close();
    configuration.close();
    throw new Error(`cannot listen at "HOST" ${host} and "PORT" ${port} (${describeError(error)})`);
  }

  let closed: Promise<void> | undefined;
  // A TCP server's address is never a text, and there while it listens.
  const address = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    configuration,
    rotator: authority.rotator,
    events: authority.keyRing.events,
    close() {
      closed ??= closeServer(server)
        .then(async () => authority.close())
        .then(configuration.close);
      return closed;
    },
  };
}
