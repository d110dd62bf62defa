/** A Lua script with one key. Each is sent as a whole: EVALSHA would save some 45 µs, and need a second way. */
interface Script {
  readonly lua: string;
}

/**
 * → [seconds, microseconds, [field, value, …]]. The HDEL removes nothing, but a replica refuses it: what it holds may be
 * old. Other refusals of writes (no space, no replicas) do not matter to a reader.
 */
export const loadScript: Script = {
  lua: `local probe = redis.pcall('HDEL', KEYS[1], '')
if type(probe) == 'table' and probe.err and string.find(probe.err, 'READONLY', 1, true) then return probe end
local time = redis.call('TIME')
return {time[1], time[2], redis.call('HGETALL', KEYS[1])}`,
};

/**
 * ARGV: 1 new etag · 2 expected revision and 3 etag ('' and '': nothing is stored) · 4 notAfter, epoch ms · 5 channel ·
 * 6… fields and values. → 1 committed (now or before), 0 lost or too late.
 *
 * - The look at our own etag comes first: clients send a command again whose reply was lost.
 * - Exactly one write, and no DEL before it: a slot migration in between destroyed the document, and DEL slips past maxmemory.
 * - Abandoned commands are executed late, when the client has reconnected: hence notAfter, judged by the server's clock.
 * - PUBLISH is refused after the write where the user lacks the channel: that must not look like a failed commit.
 */
export const commitScript: Script = {
  lua: `local stored = redis.call('HMGET', KEYS[1], 'revision', 'etag')
if stored[2] == ARGV[1] then return 1 end
if (stored[1] or '') ~= ARGV[2] or (stored[2] or '') ~= ARGV[3] then return 0 end
local time = redis.call('TIME')
if time[1] * 1000 + time[2] / 1000 > tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.pcall('PUBLISH', ARGV[5], ARGV[1])
return 1`,
};

/** ARGV: 1 a token of this call · 2 ttl, ms. → 1 first use, also if this very call is sent again after its reply was lost. */
export const claimScript: Script = {
  lua: `if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return 0`,
};

/** ARGV: 1 a token of this call · 2 ttl, ms. → 1 */
export const rememberScript: Script = { lua: `redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1` };

/** → 1 it is there, 0 it is not. As a script, since clients may send plain reads to a replica. */
export const isRememberedScript: Script = { lua: `return redis.call('EXISTS', KEYS[1])` };

/** → how many keys were removed. */
export const forgetScript: Script = { lua: `return redis.call('DEL', KEYS[1])` };
