import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { redisMissing } from '../../../test/support/redis-binary.ts';
import { RedisServer } from '../../../test/support/redis-server.ts';
import { contend, rest } from '../src/redis-fleet.ts';

describe.skipIf(redisMissing !== '')(`a fleet on Redis${redisMissing}`, () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server.stop());

  test('P2: one of a hundred instances commits a due rotation, and all others know of it', async () => {
    const { outcomes, calls, revisions } = await contend(server.port, 100, 10, true, 5);
    expect(outcomes, 'each of the others lost').toEqual({ rotated: 1, lost_race: 99 });
    expect(revisions, 'one commit').toBe(1);
    expect(calls.commits).toBe(1);
    expect(calls.loads, 'they do not go round in circles').toBeLessThan(100 * 6);
  });

  test('P10: at rest, an instance reads once per refresh interval, however many tokens there are, and does nothing else', async () => {
    const { perInterval, otherCalls, tokens } = await rest(server.port, 5, 5);
    expect(tokens).toBeGreaterThan(20);
    expect(otherCalls).toBe(0);
    // Jitter shortens intervals by an eighth on average; a machine under load lengthens them.
    expect(perInterval).toBeLessThan(1.4);
    expect(perInterval).toBeGreaterThan(0.5);
  });
});
