import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { redisServer } from './redis-binary.ts';
import { stopProcess } from './stop-process.ts';

const running = new Set<ChildProcess>();
const folders = new Set<string>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** One server process on a free port of the loopback, which tests may mistreat. */
export class RedisServer {
  readonly port: number;
  readonly host = '127.0.0.1';
  readonly folder: string;
  readonly #args: readonly string[];
  readonly #binary: string | undefined;
  #child: ChildProcess | undefined;

  private constructor(port: number, folder: string, args: readonly string[], binary: string | undefined) {
    this.port = port;
    this.folder = folder;
    this.#args = args;
    this.#binary = binary;
  }

  /** Starts one and waits until it answers. It saves nothing to disk, unless `args`, as on the command line, tell it to. */
  static async start(...args: readonly string[]): Promise<RedisServer> {
    return RedisServer.startWith([
      '--save',
      '',
      '--appendonly',
      'no',
      '--repl-diskless-sync-delay',
      '0',
      ...args,
    ]);
  }

  /** As {@link start}, with these arguments only: Sentinel knows no others. `binary`: another server than the usual one. */
  static async startWith(
    args: readonly string[],
    binary: string | undefined = redisServer,
  ): Promise<RedisServer> {
    const folder = mkdtempSync(join(tmpdir(), 'redis-server-'));
    folders.add(folder);
    for (let attempt = 1; ; attempt += 1) {
      const server = new RedisServer(await freePort(), folder, args, binary);
      try {
        await server.restart();
        return server;
      } catch (error) {
        // Somebody else may have taken the port meanwhile.
        if (attempt === 3) throw error;
      }
    }
  }

  /** Starts the process again, with the data in its folder, if any was saved. */
  async restart(): Promise<void> {
    if (this.#binary === undefined) throw new Error('no Redis server: these tests should have been skipped');
    const child = spawn(
      this.#binary,
      [...this.#args, '--port', String(this.port), '--bind', this.host, '--dir', this.folder],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let output = '';
    child.stdout.on('data', (data) => (output = (output + String(data)).slice(-2000)));
    child.stderr.on('data', (data) => (output += String(data)));
    running.add(child);
    child.once('exit', () => running.delete(child));
    this.#child = child;
    await eventually(`redis-server on port ${this.port}`, async () => {
      if (child.exitCode !== null) throw new Error(`redis-server ended: ${output}`);
      return (await this.command('PING').catch(() => '')).startsWith('+PONG');
    });
  }

  /** The raw reply to one command, sent on a connection of its own. */
  command(...args: readonly string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, this.host);
      let reply = '';
      socket.setTimeout(5000, () => socket.destroy(new Error(`no answer to ${args[0]}`)));
      socket.on('error', reject);
      socket.on('data', (data) => {
        reply += data.toString('latin1');
        if (isWhole(reply)) socket.end();
      });
      socket.on('close', () => resolve(reply));
      socket.write(
        `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join('')}`,
      );
    });
  }

  freeze(): void {
    if (this.#child?.pid !== undefined) stopProcess(this.#child.pid);
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  /** As in a crash: nothing is saved. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
    folders.delete(this.folder);
  }
}

/** Simple texts, errors, integers and bulk texts; of arrays, the first line is enough for us. */
function isWhole(reply: string): boolean {
  const end = reply.indexOf('\r\n');
  if (end < 0) return false;
  if (!reply.startsWith('$')) return true;
  return reply.length >= end + 2 + Number(reply.slice(1, end)) + 2;
}

/** Asks again and again until the answer is true, for a limited time. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  patience = 15_000,
): Promise<void> {
  const end = performance.now() + patience;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${patience} ms in vain for: ${what}`);
    await sleep(20);
  }
}

/** A port that is free, as is the one 10,000 above, which Redis Cluster takes as well. Below those for outgoing connections. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 11_000 + Math.floor(Math.random() * 10_000);
    if ((await isFree(port)) && (await isFree(port + 10_000))) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
