import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Command, Report } from '../control.ts';

const main = fileURLToPath(new URL('../main.js', import.meta.url));
const running = new Set<ChildProcess>();
const patience = 15_000;

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** The example server as a process of its own, operated as `control.ts` says. */
export class ServerProcess {
  readonly name: string;
  /** Names of the events that it reported. */
  readonly events: string[] = [];
  /** What the commands that were answered have given. */
  readonly results: unknown[] = [];
  readonly #child: ChildProcess;
  readonly #exit: Promise<string>;
  readonly #waiting = new Map<number, Waiting>();
  #output = '';
  #commands = 0;
  #url = '';

  /** Resolves when it listens. `program`: default the built server. */
  static async start(
    name: string,
    env: Readonly<Record<string, string>>,
    program: string = main,
  ): Promise<ServerProcess> {
    const server = new ServerProcess(name, env, program);
    server.#url = String(await server.#answerTo(0));
    return server;
  }

  private constructor(name: string, env: Readonly<Record<string, string>>, program: string) {
    this.name = name;
    // Nothing else of the demo's own environment, which may have settings of another server.
    const { PATH = '', SystemRoot = '' } = process.env;
    this.#child = fork(program, {
      env: { PATH, SystemRoot, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    running.add(this.#child);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output = (this.#output + chunk.toString()).slice(-4000);
      });
    }
    this.#child.on('message', (report: Report) => this.#receive(report));
    this.#exit = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        running.delete(this.#child);
        resolve(signal ?? `exit code ${code}`);
        for (const { reject } of this.#waiting.values()) reject(this.#failure('has ended'));
      });
    });
  }

  get url(): string {
    return this.#url;
  }

  /** Resolves to what the server did. */
  async command<Result>(command: Command): Promise<Result> {
    // The caller knows what its command gives: see control.ts.
    return this.#answerTo(this.send(command)) as Promise<Result>;
  }

  /** Does not wait, and does not mind if the server is dead. */
  send(command: Command): number {
    this.#commands += 1;
    this.#child.send({ id: this.#commands, command }, () => {});
    return this.#commands;
  }

  /** Resolves to how it ended. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<string> {
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), patience);
    return this.#exit.finally(() => clearTimeout(timer));
  }

  #receive(report: Report): void {
    switch (report.type) {
      case 'listening':
        this.#waiting.get(0)?.resolve(report.url);
        break;
      case 'event':
        this.events.push(report.name);
        break;
      case 'done':
        this.results.push(report.result);
        this.#waiting.get(report.id)?.resolve(report.result);
        break;
      case 'failed':
        this.#waiting.get(report.id)?.reject(this.#failure(`answered: ${report.message}`));
        break;
    }
  }

  async #answerTo(id: number): Promise<unknown> {
    let timer: NodeJS.Timeout | undefined;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      timer = setTimeout(() => reject(this.#failure(`was silent for ${patience / 1000} s`)), patience);
    });
    return answer.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(id);
    });
  }

  #failure(problem: string): Error {
    return new Error(`server ${this.name} ${problem}\n${this.#output}`);
  }
}

/** Ends whatever is left; in good order that is nothing. */
export function killServers(): void {
  for (const child of running) child.kill('SIGKILL');
}
