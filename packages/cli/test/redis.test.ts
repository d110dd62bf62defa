import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redisMissing, redisServer } from '../../../test/support/redis-binary.ts';
import { RedisServer } from '../../../test/support/redis-server.ts';
import { commandLine, type CommandLine } from './command.ts';

const skipped = redisServer === undefined ? ` (skipped: ${redisMissing})` : '';

describe.skipIf(redisServer === undefined && process.env['CI'] !== 'true')(
  `on a real Redis${skipped}`,
  () => {
    let command: CommandLine;
    let server: RedisServer;
    const env = (): Record<string, string> => ({
      JWT_AUTHORITY_KEY: kek,
      REDIS_URL: `redis://${server.host}:${server.port}`,
    });
    const kek = randomBytes(32).toString('base64');
    beforeAll(async () => {
      [command, server] = await Promise.all([commandLine(), RedisServer.start()]);
    });
    afterAll(async () => {
      await Promise.all([command.remove(), server.stop()]);
    });

    it('what one client library writes, the other one reads', async () => {
      const run = async (store: string, ...args: string[]) =>
        command.run(['--store', store, '--namespace', 'cli', ...args], { env: env() });
      expect((await run('ioredis', 'rotate')).code).toBe(0);
      const [one, other] = [
        await run('ioredis', 'status', '--json'),
        await run('redis-om', 'status', '--json'),
      ];
      expect(one.json()['keys']).toEqual(other.json()['keys']);
      expect((await run('redis-om', 'rotate', '--emergency')).code).toBe(0);
      const token = (await run('ioredis', 'sign')).out.trim();
      expect((await run('redis-om', 'verify', token)).code).toBe(0);
      const doctor = await run('ioredis', 'doctor');
      expect(doctor.out, 'the settings of the server are looked at').toMatch(
        /store: .*(maxmemory|persist|save|appendonly)/i,
      );
    });

    it.each(['ioredis', 'redis-om'])(
      '%s: P7: a server that is not there is an error within its deadline, without the URL',
      async (store) => {
        const start = performance.now();
        const down = await command.run(['status', '--store', store], {
          env: { ...env(), REDIS_URL: 'redis://user:pass-word@127.0.0.1:1' },
        });
        expect(down.code).toBe(1);
        expect(down.err).toMatch(/^jwt-authority: .*Redis/);
        expect(down.err).not.toContain('pass-word');
        expect(performance.now() - start, 'not a hang').toBeLessThan(25_000);
      },
    );
  },
);
