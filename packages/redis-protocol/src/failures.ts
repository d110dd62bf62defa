import { describeError } from '@jwt-authority/core';
import type { RedisConnection } from './connection.ts';
import type { RedisNames } from './names.ts';

/** What a failed call to Redis means. */
export interface Failure {
  /** Says what happened and what to do, nothing secret: no text of the client or server, which may hold anything. */
  readonly reason: string;
  /** The server answered: it did not do what was asked. Otherwise nobody can say. */
  readonly refused: boolean;
  /** The same call may well succeed at once, on another connection or node. */
  readonly worthARetry: boolean;
  /** What is stored under the name is not ours. */
  readonly unreadable: boolean;
}

/** Every command that the scripts, the watch and the clients' own handshakes use; all known to Redis 6.2. */
const commands =
  '+eval +hgetall +hmget +hset +hdel +time +publish +subscribe +unsubscribe +set +get +exists +del ' +
  '+ping +info +hello +client|setname +cluster|slots +cluster|shards +cluster|info';

const moved = 'the key lives on another node of the Redis Cluster: give a Cluster client';
const reasons: Readonly<Record<string, string>> = {
  ASK: moved,
  BUSY: "Redis is busy with somebody's script",
  CLUSTERDOWN: 'the Redis Cluster does not serve this key at the moment',
  CROSSSLOT: moved,
  LOADING: 'Redis was started a moment ago and is still loading its data',
  MASTERDOWN: 'the client is connected to a replica that has lost its primary: connect it to the primary',
  MISCONF: 'Redis refuses writes, since it cannot save to its disk: see its log',
  MOVED: moved,
  NOAUTH: 'Redis asks for a password and the client gave none: set "password" (and "username") of the client',
  NOREPLICAS: 'Redis refuses writes, since fewer replicas than its min-replicas-to-write are connected',
  NOSCRIPT: 'Redis does not have the script: something between client and server turns EVAL into EVALSHA',
  OOM: 'Redis has reached its maxmemory, nothing was written: give it more memory, or remove something',
  READONLY:
    'the client is connected to a read-only replica: connect it to the primary (through Sentinel, or with reconnectOnError)',
  TRYAGAIN: 'the Redis Cluster is moving this key to another node',
  WRONGPASS: 'Redis does not accept the password that the client gave',
};
const retried = new Set(['ASK', 'CLUSTERDOWN', 'MOVED', 'TRYAGAIN']);

export function explainFailure(error: unknown, connection: RedisConnection, names: RedisNames): Failure {
  const code = replyCode(error);
  if (code === undefined) {
    return { reason: describeLoss(error), refused: false, worthARetry: true, unreadable: false };
  }
  return {
    reason: `${reasonFor(code, error, connection, names)} (${code})`,
    refused: true,
    worthARetry: retried.has(code),
    unreadable: code === 'WRONGTYPE',
  };
}

function reasonFor(code: string, error: unknown, connection: RedisConnection, names: RedisNames): string {
  const { keyPrefix, username } = connection;
  const { base } = names;
  if (code === 'NOPERM') {
    const lacking = lackingPermission(error, connection, names);
    return `the Redis user "${username}" lacks a permission${lacking}. ${grantFor(connection, names)}`;
  }
  if (code === 'WRONGTYPE') {
    return (
      `a key that begins with "${keyPrefix}${base}" holds something else than it should: another application uses the name. ` +
      'Choose another "prefix" or "namespace", or remove that key'
    );
  }
  return reasons[code] ?? 'Redis refused the command';
}

/** The one command that gives a user all that is needed, and does not take anything away. */
export function grantFor({ keyPrefix, username }: RedisConnection, { base }: RedisNames): string {
  return `An administrator gives what is needed by: ACL SETUSER ${username} ~${keyPrefix}${base}* &${base}* ${commands}`;
}

function lackingPermission(error: unknown, { keyPrefix }: RedisConnection, { base }: RedisNames): string {
  const message = error instanceof Error ? error.message : '';
  const [, command] = /'([a-z]{2,20}(?:\|[a-z]{2,20})?)' command/.exec(message) ?? [];
  if (command !== undefined) return ` (+${command})`;
  if (/access (?:a|(?:at least )?one of the) channel/.test(message)) return ` (&${base}*)`;
  return /access (?:a|(?:at least )?one of the) key/.test(message) ? ` (~${keyPrefix}${base}*)` : '';
}

/** The code that a reply of the server begins with, `undefined` if the failure is not a reply. */
function replyCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { message } = error;
  const [, code] = /^-?([A-Z]{2,30}) /.exec(message) ?? [];
  if (code !== 'ERR') return code;
  if (/user executing the script|has no permissions|No permissions to/i.test(message)) return 'NOPERM';
  // Before Redis 7, the error of a command in a script stood behind where it was raised.
  return /@user_script: ?\d+: -?([A-Z]{3,30}) /.exec(message)?.[1] ?? code;
}

function describeLoss(error: unknown): string {
  const described = describeError(error);
  const isClosed = error instanceof Error && /\bclosed?\b/i.test(error.message);
  return isClosed
    ? `the client is closed or has lost its connection (${described})`
    : `Redis cannot be reached (${described})`;
}
