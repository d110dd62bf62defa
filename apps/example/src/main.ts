import { obeyParent } from './control.ts';
import { start } from './start.ts';

try {
  // Every refresh is a line at level debug.
  const server = await start(process.env, { ...console, debug() {} });
  const shutDown = (): void => void server.close().then(() => process.exit(0));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, shutDown);
  if (process.send !== undefined) obeyParent(server, shutDown);

  const { issuer, client } = server.configuration;
  console.log(`Listening on ${server.url} as ${issuer}`);
  console.log(`Keys:   ${server.url}/.well-known/jwks.json`);
  console.log(
    `Client: ${client.id}${client.isGenerated ? `, secret ${client.secret} (made for this run; set CLIENT_SECRET)` : ''}`,
  );
} catch (error) {
  console.error(`Cannot start: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
