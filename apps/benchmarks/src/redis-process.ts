import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A Redis server of this run alone, on the loopback. */
export interface RedisProcess {
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts the server that REDIS_SERVER names, else the redis-server on PATH. It saves nothing to disk. */
export async function startRedis(): Promise<RedisProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'jwt-authority-benchmark-'));
  const port = await freePort();
  const binary = process.env['REDIS_SERVER'] || 'redis-server';
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    folder,
    '--save',
    '',
    '--loglevel',
    'notice',
  ];
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  let output = '';
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${binary} ended: ${output}`)));
    child.stdout.on('data', (data) => {
      output = (output + String(data)).slice(-2000);
      if (/ready to accept connections/i.test(output)) resolve();
    });
  });
  return {
    port,
    async stop() {
      kill();
      await exited;
      process.off('exit', kill);
      await rm(folder, { recursive: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A TCP server's address is never a text, and there while it listens.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
