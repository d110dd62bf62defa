import type { Algorithm } from '@jwt-authority/core';
import { isAuthentic } from './ledger.ts';
import type { Incident } from './incident.ts';
import { happen, makeIncidents } from './incidents.ts';
import { unite } from './losses.ts';
import { quiescence } from './scheduler.ts';
import { makeSettings, type Settings } from './settings.ts';
import { Counts, World } from './world.ts';

/** Everything that a history is made of: it can be run again, and with less. */
export interface History {
  readonly seed: number;
  readonly steps: number;
  readonly settings: Settings;
  readonly incidents: readonly Incident[];
}

export interface Outcome {
  readonly violation: string | undefined;
  /** Steps that were made, and the one after which the promise was broken. */
  readonly steps: number;
  /** Virtual milliseconds. */
  readonly lasted: number;
  readonly timeline: readonly string[];
}

export interface Variation {
  readonly algorithms?: readonly Algorithm[] | undefined;
  /** Incidents that happen more often: factors of their weights. */
  readonly boost?: Readonly<Record<string, number>> | undefined;
}

export function makeHistory(seed: number, steps: number, { algorithms, boost }: Variation = {}): History {
  const settings = makeSettings(seed, algorithms);
  return { seed, steps, settings, incidents: makeIncidents(seed, steps, settings, boost) };
}

/** Runs a history to its end or its first violation; then, in a calm, waits for everything to come together. */
export async function run(
  history: History,
  counts: Counts = new Counts(),
  keepsTimeline = false,
): Promise<Outcome> {
  const { seed, settings, incidents } = history;
  const world = new World(seed, settings, counts, keepsTimeline);
  const began = world.now;
  let steps = 0;
  const outcome = (): Outcome => ({
    violation: world.violations[0],
    steps,
    lasted: world.now - began,
    timeline: world.timeline,
  });
  world.begin();
  let next = 0;
  while (steps < history.steps && world.violations.length === 0) {
    for (; (incidents[next]?.step ?? Infinity) <= steps; next++) {
      const incident = incidents[next];
      if (incident === undefined) continue;
      happen(world, incident);
      await quiescence();
    }
    await world.step();
    steps++;
  }
  if (world.violations.length > 0) return outcome();
  await calm(world);
  return outcome();
}

/** When faults stop, rotation, convergence and revocation complete within a stated bound. */
async function calm(world: World): Promise<void> {
  world.note('-- calm');
  unite(world, 0);
  const [store] = world.stores;
  const holder = world.instances.some(({ process }) => process?.authority !== undefined && !process.isDead);
  const lastGood = [...world.ledger.authentic.values()].at(-1);
  if (!holder && store?.current !== undefined && !isAuthentic(world.ledger, store.current)) {
    // Altered, and nobody lives who knows what was there: an operator must put a backup back.
    store.put(lastGood);
    world.lossAt = world.now;
  }
  for (const instance of world.instances) {
    instance.link = undefined;
    instance.kek = { mood: 'well', until: 0 };
    instance.staleReads = undefined;
    instance.disturb();
    if (instance.isBeyond) {
      instance.isBeyond = false;
      instance.crash();
    }
    if (Math.abs(instance.ahead) > 15_000) instance.ahead = 0;
    const { process } = instance;
    if (process?.isPaused === true) {
      process.isPaused = false;
      world.scheduler.resume(process, 0);
    }
    if (process === undefined || process.isDead) instance.start();
  }
  const revoked = world.revoked();
  // Requests that are under way may be minutes late.
  await pass(
    world,
    world.checker.liveness.bound + world.longest.staleBound + 600_000 + 11 * world.commitDeadline,
  );
  if (world.violations.length > 0) return;
  world.isBusy = false;
  // A rotation may fall due just then: within two refreshes everybody knows of it.
  await pass(
    world,
    2 * world.longest.refreshInterval + 4 * world.commitDeadline,
    () => world.checker.liveness.isConverged,
  );
  world.checker.liveness.converged(revoked);
}

async function pass(world: World, duration: number, isOver: () => boolean = () => false): Promise<void> {
  const end = world.now + duration;
  while (world.scheduler.nextAt <= end && world.violations.length === 0 && !isOver()) await world.step();
}
