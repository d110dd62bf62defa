import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

const { env } = process;
const cache =
  env['JWT_AUTHORITY_SERVICES'] ||
  join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'jwt-authority/services');

/** The server that tests start: from REDIS_SERVER, the PATH, or what scripts/services.sh has put into the cache. */
export const redisServer: string | undefined = find();

/** To be put behind a title: says why tests are skipped, if they are. */
export const redisMissing: string =
  redisServer === undefined
    ? ' (skipped: no redis-server or valkey-server on PATH; run scripts/services.sh, or set REDIS_SERVER)'
    : '';

/** Redis with RediSearch, where scripts/services.sh could get it. */
export const redisStackServer: string | undefined = [join(cache, 'redis-stack-7.4/server')].find(
  isExecutable,
);

export const redisStackMissing: string =
  redisStackServer === undefined
    ? ' (skipped: no Redis Stack; scripts/services.sh gets one on Linux, x86_64)'
    : '';

function find(): string | undefined {
  const configured = env['REDIS_SERVER'];
  const onPath = (env['PATH'] ?? '')
    .split(delimiter)
    .flatMap((folder) => ['redis-server', 'valkey-server'].map((name) => join(folder, name)));
  const candidates = configured ? [configured] : [...onPath, join(cache, 'valkey-9.1/server')];
  const found = candidates.find(isExecutable);
  // Where everything must be tested, nothing is skipped in silence.
  if (found === undefined && (env['CI'] === 'true' || configured))
    throw new Error(
      `No Redis server to test with (looked at ${configured ?? `PATH and ${cache}`}); scripts/services.sh gets one`,
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
