import { commands } from './commands.ts';
import { faults } from './faults.ts';
import type { Incident, Kinds } from './incident.ts';
import { losses } from './losses.ts';
import { Random } from './random.ts';
import type { Settings } from './settings.ts';
import type { World } from './world.ts';

const kinds: Kinds = { ...faults, ...losses, ...commands };

export const incidentKinds: readonly string[] = Object.keys(kinds);

export function makeIncidents(
  seed: number,
  steps: number,
  settings: Settings,
  boost: Readonly<Record<string, number>> = {},
): Incident[] {
  const random = new Random(seed).fork(3);
  const possible = Object.entries(kinds).filter(([, { only }]) => only === undefined || settings[only]);
  // Each history has its own weather: some kinds often, some never.
  const weights = possible.map(
    ([name, { weight }]) =>
      weight *
      (boost[name] ?? 1) *
      (random.chance(0.3) && boost[name] === undefined ? 0 : random.chance(0.15) ? 6 : 1),
  );
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const gap = random.between(8, 60);
  const incidents: Incident[] = [];
  for (let step = 20 + gap * random.next(); step < steps; step += gap * random.between(0.1, 1.9)) {
    let dice = random.next() * total;
    const index = weights.findIndex((weight) => (dice -= weight) < 0);
    const [what] = possible[index] ?? [];
    if (what === undefined) continue;
    incidents.push({
      step: Math.floor(step),
      what,
      who: random.below(1000),
      size: random.next(),
      which: random.below(65_536),
    });
  }
  return incidents;
}

export function happen(world: World, incident: Incident): void {
  const instance = world.instances[incident.who % world.instances.length];
  if (instance === undefined) return;
  world.note(`-- ${incident.what} (${instance.name}, ${incident.size.toFixed(2)}, ${incident.which})`);
  const happened = kinds[incident.what]?.happen(world, instance, incident) === true;
  if (happened) world.counts.add(`incident: ${incident.what}`);
  else world.note('   (nothing came of it)');
}
