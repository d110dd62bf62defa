import { randomBytes } from 'node:crypto';
import {
  createJwtAuthority,
  type KeySetStore,
  localEncrypter,
  type ReplayStore,
  type RotatingJwtAuthority,
} from '@jwt-authority/core';
import { ioredisReplayStore, ioredisStore } from '@jwt-authority/store-ioredis';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { createClient as createClient4 } from 'redis-4';
import { createClient as createClient5 } from 'redis-5';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { redisMissing } from '../../../test/support/redis-binary.ts';
import { RedisServer } from '../../../test/support/redis-server.ts';
import { redisOmReplayStore, redisOmStore } from '../src/index.ts';
import { type Client, close, open } from './contract.ts';

/** The processes of one deployment: one that signs, one that verifies, each with a client of its own. */
interface Deployment {
  readonly signer: RotatingJwtAuthority;
  readonly verifier: RotatingJwtAuthority;
  end(): Promise<void>;
}

describe.skipIf(redisMissing !== '')(
  `a live deployment moves from one package to the other${redisMissing}`,
  () => {
    let server: RedisServer;
    const encrypter = localEncrypter({ key: randomBytes(32) });
    beforeAll(async () => {
      server = await RedisServer.start();
    });
    afterAll(() => server.stop());

    async function deploy<Owned extends object>(
      connect: () => Promise<Owned>,
      disconnect: (client: Owned) => Promise<void>,
      stores: (client: Owned) => { store: KeySetStore; replayStore: ReplayStore },
    ): Promise<Deployment> {
      const clients = await Promise.all([connect(), connect()]);
      const [signer, verifier] = await Promise.all(
        clients.map((client) =>
          createJwtAuthority({
            ...stores(client),
            encrypter,
            issuer: 'https://auth.example.com',
            algorithms: ['ES256'],
          }),
        ),
      );
      if (signer === undefined || verifier === undefined) throw new Error('there are two clients');
      return {
        signer,
        verifier,
        async end() {
          await signer.close();
          await verifier.close();
          for (const client of clients) await disconnect(client);
        },
      };
    }

    const withIoredis = (namespace: string): Promise<Deployment> =>
      deploy(
        async () => new Redis({ host: server.host, port: server.port }),
        async (client) => client.disconnect(),
        (client) => ({
          store: ioredisStore({ client, namespace }),
          replayStore: ioredisReplayStore({ client, namespace }),
        }),
      );
    const withRedisOm = (namespace: string, connect: (port: number) => Client): Promise<Deployment> =>
      deploy(
        () => open(connect(server.port)),
        close,
        (client) => ({
          store: redisOmStore({ client, namespace }),
          replayStore: redisOmReplayStore({ client, namespace }),
        }),
      );

    test.each<[string, (port: number) => Client]>([
      ['redis 4', (port) => createClient4({ socket: { host: '127.0.0.1', port } })],
      ['redis 5', (port) => createClient5({ socket: { host: '127.0.0.1', port } })],
      ['redis 6', (port) => createClient({ socket: { host: '127.0.0.1', port } })],
    ])('P1: ioredis → redis-om on %s → ioredis, with no token lost', async (name, connect) => {
      const namespace = `moves-${name.replace(' ', '-')}`;
      const tokens: string[] = [];
      const used: string[] = [];
      const kids = new Set<string>();
      /** Both deployments sign and verify what any signed so far, as in a rolling deploy. */
      const work = async (...deployments: readonly Deployment[]): Promise<void> => {
        for (const { signer } of deployments) {
          const { token, kid } = await signer.sign({ sub: 'user-1', jti: randomBytes(8).toString('hex') });
          tokens.push(token);
          kids.add(kid);
        }
        for (const { signer, verifier } of deployments) {
          for (const token of tokens) {
            expect((await verifier.verify(token)).sub, 'a token was lost on the way').toBe('user-1');
            expect((await signer.verify(token)).sub, 'a token was lost on the way').toBe('user-1');
          }
          for (const token of used) {
            await expect(verifier.verifyOnce(token), 'used tokens move too').rejects.toMatchObject({
              code: 'replayed',
            });
          }
        }
        const [{ verifier }] = deployments as [Deployment];
        const token = tokens.at(-1) ?? '';
        await verifier.verifyOnce(token);
        used.push(token);
      };
      /** Commits with each kind of change: a next key, and one that signs at once. */
      const rotate = async ({ signer }: Deployment): Promise<void> => {
        await signer.rotator.rotateNow();
        await signer.rotator.rotateNow({ emergency: true });
      };

      const before = await withIoredis(namespace);
      await work(before);
      await rotate(before);
      const between = await withRedisOm(namespace, connect);
      await work(before, between);
      await rotate(between);
      await work(before, between);
      await before.end();
      await work(between);
      const after = await withIoredis(namespace);
      await rotate(between);
      await work(between, after);
      await rotate(after);
      await work(between, after);
      await between.end();
      await work(after);
      await after.end();

      expect(tokens).toHaveLength(11);
      expect(kids.size, 'each of the four rotations brought a key that signed').toBeGreaterThanOrEqual(4);
      const key = `{jwt-authority:${namespace}}:keyset`;
      expect(await server.command('TTL', key), 'a key set that expires is an outage').toBe(':-1\r\n');
      expect(await server.command('HLEN', key), 'both packages write the same fields').toBe(':5\r\n');
    });
  },
);
