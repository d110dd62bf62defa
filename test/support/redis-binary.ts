import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const cache = join(import.meta.dirname, '../../.cache/services');
const names = ['redis-server', 'valkey-server'];

/** The server that tests start: from REDIS_SERVER, the PATH, or what scripts/services.sh has put into the project's cache. */
export const redisServer: string | undefined = find();

/** To be put behind a title: says why tests are skipped, if they are. */
export const redisMissing: string =
  redisServer === undefined
    ? ' (skipped: no redis-server or valkey-server on PATH; run scripts/services.sh, or set REDIS_SERVER)'
    : '';

function find(): string | undefined {
  const configured = process.env['REDIS_SERVER'];
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), cache];
  const candidates = configured
    ? [configured]
    : folders.flatMap((folder) => names.map((name) => join(folder, name)));
  const found = candidates.find(isExecutable);
  // Where everything must be tested, nothing is skipped in silence.
  if (found === undefined && (process.env['CI'] === 'true' || configured))
    throw new Error(
      `No Redis server to test with (looked at ${configured ?? 'PATH and .cache/services'}); scripts/services.sh gets one`,
    );
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
