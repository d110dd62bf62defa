import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  firstKey,
  curtain,
  revocation,
  rotation,
  secrets,
  suddenDeath,
  takeover,
  tampering,
  twoProcesses,
} from './demo/acts.ts';
import { Stage } from './demo/stage.ts';
import { DoesNotHold, linesThatHold } from './demo/story.ts';
import { start } from './start.ts';

/** Rejects when somebody wants the demo to end. Signals may come twice: from the terminal, and from pnpm. */
async function interruption(): Promise<never> {
  return new Promise((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => reject(new Error(`ended by ${signal}`)));
    }
    // Whoever reads the story may stop reading.
    process.stdout.on('error', () => reject(new Error('the output was closed')));
  });
}

async function play(stage: Stage): Promise<void> {
  const server = await firstKey(stage);
  await rotation(stage, server);
  const servers = await twoProcesses(stage, server);
  await tampering(stage, servers);
  await takeover(stage, servers);
  await suddenDeath(stage, servers);
  await revocation(stage, servers);
  await secrets(stage);
  await curtain(servers);
}

async function demo(): Promise<void> {
  const began = performance.now();
  const stage = new Stage();
  try {
    await Promise.race([play(stage), interruption()]);
  } finally {
    stage.clear();
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(
    `\nAll ${linesThatHold()} lines hold, in ${seconds} s. Keep a server running: npx --yes pnpm@10.34.9 demo --serve`,
  );
}

/** A server to try by hand, until Ctrl-C. */
async function serve(folder: string | undefined): Promise<void> {
  const temporary = folder === undefined ? mkdtempSync(join(tmpdir(), 'jwt-authority-demo-')) : undefined;
  const hasKey = Boolean(process.env['JWT_AUTHORITY_KEY'] || process.env['JWT_AUTHORITY_KEY_FILE']);
  const key = randomBytes(32).toString('base64');
  try {
    const server = await start({
      ...process.env,
      STORE: 'file',
      KEYS_FOLDER: folder ?? join(temporary ?? '', 'keys'),
      ...(hasKey ? {} : { JWT_AUTHORITY_KEY: key }),
    });
    const { client, issuer } = server.configuration;
    console.log(`Listening on ${server.url} as ${issuer}, until Ctrl-C. Try:

  curl ${server.url}/.well-known/jwks.json
  curl ${server.url}/.well-known/openid-configuration
  curl ${server.url}/health
  curl -u ${client.id}:${client.secret} -d grant_type=client_credentials ${server.url}/token
  curl -H "Authorization: Bearer $TOKEN" ${server.url}/protected
`);
    if (!hasKey && folder !== undefined) {
      console.log(
        `The keys in ${folder} open with this key only. To start on them again:\n\n  export JWT_AUTHORITY_KEY=${key}\n`,
      );
    }
    await interruption().catch((reason: unknown) =>
      console.log(reason instanceof Error ? reason.message : reason),
    );
    await server.close();
  } finally {
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true });
  }
}

const [option, folder, ...more] = process.argv.slice(2);
try {
  if (option === undefined) await demo();
  else if (option === '--serve' && more.length === 0) await serve(folder);
  else throw new TypeError('usage: demo [--serve [FOLDER]]');
  process.exit(0);
} catch (error) {
  if (error instanceof DoesNotHold) console.log(`\nA line does not hold: ${error.message}`);
  else console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
