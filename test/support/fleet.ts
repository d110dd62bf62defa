import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { eventually } from './redis-server.ts';
import type {
  Command,
  FleetEvent,
  FromWorker,
  InstanceState,
  SignedToken,
  ToWorker,
  WorkerSettings,
} from './fleet-worker.ts';
import type { RedisTarget } from './redis-target.ts';

/** What a fleet did from start to end. */
export interface FleetFigures {
  readonly signed: number;
  readonly verified: number;
  /** Valid tokens that were refused, as code and kid. */
  readonly lost: readonly string[];
  /** Kids whose tokens were refused as revoked. */
  readonly revokedKids: readonly string[];
  /** Keys that two instances made for one due rotation. */
  readonly doubled: readonly string[];
  readonly refusedToSign: Readonly<Record<string, number>>;
  readonly repeated: number;
  readonly states: readonly InstanceState[];
}

export interface FleetProgram {
  start(target: RedisTarget): Promise<Fleet>;
  /** Ends all processes and removes the program. */
  remove(): Promise<void>;
}

/** Bundles a worker with the present sources, since Node 20 runs no TypeScript and a build may be stale. */
export async function bundleFleet(input: string): Promise<FleetProgram> {
  const folder = await mkdtemp(join(tmpdir(), 'jwt-authority-fleet-'));
  const file = join(folder, 'worker.mjs');
  const bundle = await rolldown({
    input,
    platform: 'node',
    resolve: { conditionNames: ['@jwt-authority/source', 'node', 'import', 'default'] },
  });
  await bundle.write({ file, format: 'esm', codeSplitting: false });
  await bundle.close();
  const fleets = new Set<Fleet>();
  return {
    async start(target) {
      const settings = { target, namespace: 'fleet', key: randomBytes(32).toString('base64') };
      const fleet = new Fleet(file, settings);
      fleets.add(fleet);
      await fleet.ready;
      return fleet;
    },
    async remove() {
      for (const fleet of fleets) fleet.kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A signer and two verifiers, each a whole instance with a rotator in a process of its own. */
export class Fleet {
  readonly key: string;
  readonly events: FleetEvent[] = [];
  readonly ready: Promise<unknown>;
  readonly #instances: readonly Instance[];

  constructor(file: string, settings: Omit<WorkerSettings, 'signs'>) {
    this.key = settings.key;
    const parts = [true, false, false].map((signs) => {
      const instance = new Instance(file, { ...settings, signs });
      instance.onEvent = (event) => this.events.push(event);
      return instance;
    });
    const [signer, ...verifiers] = parts;
    if (signer !== undefined) {
      signer.onSigned = (signed) => {
        for (const verifier of verifiers) verifier.send({ kind: 'verify', signed });
      };
    }
    this.#instances = parts;
    this.ready = Promise.all(parts.map((instance) => instance.ready));
  }

  /** The signer does it. */
  async call(command: Command, kid?: string): Promise<unknown> {
    return this.#instances[0]?.call(command, kid);
  }

  async states(): Promise<InstanceState[]> {
    // Ours: fleet-worker.ts answers so.
    return Promise.all(
      this.#instances.map(async (instance) => (await instance.call('state')) as InstanceState),
    );
  }

  count(name: FleetEvent['name']): number {
    return this.events.filter((event) => event.name === name).length;
  }

  /** Waits until all instances have one key set that `holds`. */
  async agrees(what: string, holds: (state: InstanceState) => boolean = () => true): Promise<InstanceState> {
    let [first] = await this.states();
    await eventually(`all instances with ${what}`, async () => {
      const states = await this.states();
      [first] = states;
      return new Set(states.map(({ keys }) => keyOf(keys))).size === 1 && states.every(holds);
    });
    if (first === undefined) throw new Error('there is no instance');
    return first;
  }

  /** Goes on until this many more tokens were verified: the service works. */
  async works(verifications = 40): Promise<void> {
    const total = async (): Promise<number> => sum((await this.states()).map(({ verified }) => verified));
    const target = (await total()) + verifications;
    await eventually(`${verifications} more verifications`, async () => (await total()) >= target);
  }

  /** Waits until a rotation that is not due yet was made, and another key signs. */
  async rotates(): Promise<void> {
    const before = this.count('rotated');
    await eventually('a due rotation', () => this.count('rotated') > before);
    const kid = this.events.findLast(({ name }) => name === 'rotated')?.kid;
    await this.agrees('the next key signing', ({ keys }) => keys.some((key) => key.signs && key.kid === kid));
  }

  /** Lets the signer stop and every token live to its end. */
  async finish(): Promise<FleetFigures> {
    await this.call('stopSigning');
    await eventually('the end of all verifications', async () =>
      (await this.states()).every(({ pending }) => pending === 0),
    );
    await this.agrees('one key set, one signing key and at most one pending', ({ keys }) => {
      const kids = new Set(keys.map(({ kid }) => kid));
      const pending = keys.filter(({ isPending }) => isPending);
      return kids.size === keys.length && keys.some(({ signs }) => signs) && pending.length <= 1;
    });
    const states = await this.states();
    this.kill();
    const [signer] = states;
    return {
      signed: signer?.signed ?? 0,
      verified: sum(states.map(({ verified }) => verified)),
      lost: states.flatMap(({ lost }) => lost),
      revokedKids: [...new Set(states.flatMap(({ revokedKids }) => revokedKids))],
      doubled: this.#doubled(),
      refusedToSign: signer?.refusedToSign ?? {},
      repeated: sum(states.map(({ repeated }) => repeated)),
      states,
    };
  }

  /** Two keys made within a second, to begin within three, are one rotation made twice: due ones are six seconds apart. */
  #doubled(): string[] {
    const made = this.events
      .filter(({ name }) => name === 'rotated')
      .map(({ kid, at, activatesAt = 0 }) => ({ kid, at, activatesAt }))
      .toSorted((a, b) => a.at - b.at);
    return made.flatMap(({ kid, at, activatesAt }, index) => {
      const previous = made[index - 1];
      if (previous === undefined || at - previous.at >= 1000) return [];
      return Math.abs(activatesAt - previous.activatesAt) < 3000 ? [`${previous.kid} ${kid}`] : [];
    });
  }

  kill(): void {
    for (const instance of this.#instances) instance.kill();
  }
}

class Instance {
  readonly ready: Promise<void>;
  onSigned: (signed: SignedToken) => void = () => undefined;
  onEvent: (event: FleetEvent) => void = () => undefined;
  readonly #child: ChildProcess;
  readonly #calls = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #lastCall = 0;
  #errors = '';

  constructor(file: string, settings: WorkerSettings) {
    this.#child = fork(file, [JSON.stringify(settings)], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.#child.stderr?.on('data', (data) => (this.#errors += String(data)));
    this.ready = new Promise((resolve, reject) => {
      this.#child.on('message', (message: FromWorker) => this.#receive(message, resolve));
      this.#child.once('exit', () => {
        const error = new Error(`a process of the fleet ended: ${this.#errors.slice(-2000)}`);
        reject(error);
        for (const call of this.#calls.values()) call.reject(error);
      });
    });
    // Whoever waits for it hears of it.
    this.ready.catch(() => undefined);
  }

  #receive(message: FromWorker, onReady: () => void): void {
    switch (message.kind) {
      case 'ready':
        return onReady();
      case 'signed':
        return this.onSigned(message.signed);
      case 'event':
        return this.onEvent(message.event);
      case 'reply': {
        const call = this.#calls.get(message.id);
        this.#calls.delete(message.id);
        if (message.error === undefined) call?.resolve(message.value);
        else call?.reject(new Error(message.error));
      }
    }
  }

  send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message);
  }

  call(command: Command, kid?: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#lastCall += 1;
      this.#calls.set(this.#lastCall, { resolve, reject });
      if (!this.#child.connected)
        return reject(new Error(`a process of the fleet has ended: ${this.#errors}`));
      this.send({ kind: 'call', id: this.#lastCall, command, ...(kid !== undefined && { kid }) });
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function keyOf(keys: InstanceState['keys']): string {
  const lines = keys.map(({ kid, signs, isPending, isRevoked }) =>
    [kid, signs, isPending, isRevoked].join(' '),
  );
  return lines.toSorted((a, b) => (a < b ? -1 : 1)).join();
}
