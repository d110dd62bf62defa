import { systemClock, withDeadline } from '@jwt-authority/core';

/** Something about a Redis server that its operator should know. */
export interface RedisFinding {
  /** `error`: stores cannot work on it. `warning`: data may be lost. `info`: good to know, or it could not be checked. */
  readonly level: 'error' | 'warning' | 'info';
  /** What it is about. */
  readonly setting: 'role' | 'maxmemory-policy' | 'persistence' | 'permissions';
  readonly message: string;
}

/** What is asked of one server; rejects where that is not permitted. */
export interface RedisServer {
  /** The text of INFO. */
  info(): Promise<string>;
  /** A value of CONFIG GET. */
  setting(name: string): Promise<string | undefined>;
}

/** Findings about servers, each once. */
export async function checkServers(servers: readonly RedisServer[]): Promise<RedisFinding[]> {
  const found = await Promise.all(servers.map(checkServer));
  return [...new Map(found.flat().map((finding) => [finding.message, finding])).values()];
}

async function checkServer(server: RedisServer): Promise<RedisFinding[]> {
  const [info, save] = await Promise.all([
    inTime(server.info()).catch(() => ''),
    inTime(server.setting('save')).catch(() => undefined),
  ]);
  const facts = new Map(
    Array.from(info.matchAll(/^(\w+):(.*?)\r?$/gm), ([, name, value]) => [name ?? '', value ?? '']),
  );
  return [
    ...checkRole(facts.get('role')),
    ...checkPolicy(facts.get('maxmemory_policy')),
    ...checkPersistence(facts.get('aof_enabled'), save),
  ];
}

/** Clients wait for ever for a server that is frozen. */
function inTime<T>(answer: Promise<T>): Promise<T> {
  return withDeadline(systemClock, 5000, answer, () => new Error('no answer'));
}

function checkRole(role: string | undefined): RedisFinding[] {
  const setting = 'role';
  if (role === undefined) {
    return [
      {
        level: 'info',
        setting,
        message: 'Whether this is a primary could not be checked: INFO is not permitted, or not answered',
      },
    ];
  }
  if (role === 'master') return [];
  const message =
    'The client is connected to a replica, which refuses loads and commits: connect it to the primary';
  return [{ level: 'error', setting, message }];
}

function checkPolicy(policy: string | undefined): RedisFinding[] {
  const setting = 'maxmemory-policy';
  if (policy === undefined) {
    const message =
      'Whether keys may be evicted could not be checked: INFO is not permitted, or not answered';
    return [{ level: 'info', setting, message }];
  }
  if (policy === 'noeviction') return [];
  if (policy.startsWith('volatile-')) {
    const message = `With maxmemory-policy ${policy}, a full Redis keeps key sets, but forgets used one-time tokens before their time: set it to noeviction if there is a replay store`;
    return [{ level: 'info', setting, message }];
  }
  const message = `With maxmemory-policy ${policy}, a full Redis throws key sets away: set it to noeviction`;
  return [{ level: 'warning', setting, message }];
}

function checkPersistence(appendOnly: string | undefined, save: string | undefined): RedisFinding[] {
  const setting = 'persistence';
  if (appendOnly === '1' || (save !== undefined && save !== '')) return [];
  if (appendOnly === undefined || save === undefined) {
    const message =
      'Whether Redis writes to disk could not be checked: it takes INFO and CONFIG GET save. Without it, a restart loses key sets';
    return [{ level: 'info', setting, message }];
  }
  const message =
    'Redis writes nothing to disk: after a restart with no instance running, tokens of the present keys are refused. Set appendonly yes, or save';
  return [{ level: 'warning', setting, message }];
}
