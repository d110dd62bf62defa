import type { RedisConnection } from './connection.ts';
import { explainFailure, grantFor } from './failures.ts';
import { redisNames, type RedisNames } from './names.ts';
import type { RedisFinding } from './server-check.ts';

/** What each part of this package asks of a server; KEY and CHANNEL stand for those of the namespace. */
const needs = {
  keySet: ['HGETALL KEY', 'HMGET KEY etag', 'HSET KEY etag x', 'HDEL KEY x', 'TIME'],
  watch: ['PUBLISH CHANNEL x', 'SUBSCRIBE CHANNEL', 'UNSUBSCRIBE CHANNEL'],
  replay: ['SET KEY x', 'GET KEY', 'EXISTS KEY', 'DEL KEY'],
} as const;

// Only asks: nothing is read, written or published. Before Redis 7, a script cannot ask.
const script = `if not redis.acl_check_cmd then return false end
local refused = {}
for _, command in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(command, '%S+') do words[#words + 1] = word == 'KEY' and KEYS[1] or word end
  if not redis.acl_check_cmd(unpack(words)) then refused[#refused + 1] = command end
end
return refused`;

/**
 * Whether the client's user may do what the stores of a namespace do. Never rejects.
 *
 * @throws {TypeError} if prefix or namespace are not usable.
 */
export async function checkPermissions(
  connection: RedisConnection,
  options: { readonly namespace?: string | undefined; readonly prefix?: string | undefined } = {},
): Promise<RedisFinding[]> {
  const names = redisNames(options.prefix ?? 'jwt-authority', options.namespace ?? 'default');
  const commands = Object.values(needs).flat();
  const args = commands.map((command) => command.replace('CHANNEL', names.channel));
  try {
    const refused = await connection.evaluate(script, names.keySet, args);
    if (!Array.isArray(refused)) {
      const message = 'Which permissions the user lacks, if any, could not be checked: that takes Redis 7';
      return [{ level: 'info', setting: 'permissions', message }];
    }
    return findings(new Set(refused.map(String)), connection, names);
  } catch (error) {
    const { reason, refused } = explainFailure(error, connection, names);
    const message = `The permissions could not be checked: ${reason}`;
    return [{ level: refused ? 'error' : 'info', setting: 'permissions', message }];
  }
}

function findings(
  refused: ReadonlySet<string>,
  connection: RedisConnection,
  names: RedisNames,
): RedisFinding[] {
  const { keyPrefix, username } = connection;
  const describe = (list: readonly string[]): string =>
    list
      .map((command) => command.replace('CHANNEL', names.channel))
      .filter((command) => refused.has(command))
      .map((command) => {
        const [verb = '', object = ''] = command.split(' ');
        return `${verb} ${object.replace('KEY', keyPrefix + names.keySet)}`.trim();
      })
      .join(', ');
  const found: RedisFinding[] = [];
  const add = (level: RedisFinding['level'], lacking: string, consequence: string): void => {
    if (lacking === '') return;
    const message = `The Redis user "${username}" may not ${lacking}: ${consequence}. ${grantFor(connection, names)}`;
    found.push({ level, setting: 'permissions', message });
  };
  add('error', describe(needs.keySet), 'the key set store does not work');
  add('error', describe(needs.watch), 'commits reach other instances only when they look');
  add('warning', describe(needs.replay), 'a replay store would not work');
  return found;
}
