import { duration, type Kind, type Kinds } from './incident.ts';
import type { Instance, LinkFault } from './instance.ts';
import type { KekMood } from './kek.ts';
import type { World } from './world.ts';

function link(fault: LinkFault): Kind['happen'] {
  return (world, instance, { size, which }) => {
    const until = world.now + duration(world, size);
    instance.link = { fault, until, chance: which % 2 === 0 ? 1 : 0.4 };
    // What is under way when it ends is still affected.
    instance.disturb(until - world.now + 60_000 + 11 * world.commitDeadline);
    return true;
  };
}

function kek(mood: KekMood): Kind['happen'] {
  return (world, instance, { size, which }) => {
    const until = world.now + duration(world, size);
    for (const other of which % 3 === 0 ? world.instances : [instance]) {
      other.kek = { mood, until };
      other.disturb(until - world.now + 3 * world.commitDeadline);
    }
    return true;
  };
}

const crash: Kind['happen'] = (world, instance, { size }) => {
  if (instance.process === undefined) return false;
  instance.crash();
  instance.disturb(duration(world, size));
  world.scheduler.after(1000 + size * world.longest.propagationDelay, () => {
    if (instance.process === undefined) instance.start();
  });
  return true;
};

function pause(isSuspension: boolean, most: (world: World) => number): Kind['happen'] {
  return (world, instance, { size }) => {
    const { process } = instance;
    if (process?.isUp !== true) return false;
    const length = 1000 + size ** 3 * most(world);
    process.isPaused = true;
    instance.disturb(length + 3 * world.commitDeadline);
    world.scheduler.after(length, () => {
      if (!process.isPaused || process.isDead) return;
      process.isPaused = false;
      if (isSuspension) instance.slept += length;
      world.scheduler.resume(process, isSuspension ? length : 0);
    });
    return true;
  };
}

function deploy(change: (world: World, instance: Instance, which: number) => void): Kind['happen'] {
  return (world, instance, { which }) => {
    change(world, instance, which);
    instance.crash();
    instance.start();
    return true;
  };
}

/** What it did or read beyond the promises is over one turn of everything later. */
function endBeyond(world: World, instance: Instance): void {
  instance.crash();
  instance.isBeyond = false;
  world.scheduler.after(1000, () => {
    if (instance.process === undefined) instance.start();
  });
}

/** How far a clock may be from true time, so that no two differ by more than the tolerance (30 s). Milliseconds. */
const limit = 14_500;

/** What happens to networks, KEKs, processes and clocks. */
export const faults: Kinds = {
  'slow store': { weight: 3, happen: link('slow') },
  'replies minutes late': { weight: 2, happen: link('minutes late') },
  'store refuses': { weight: 3, happen: link('refuses') },
  'store hangs': { weight: 2, happen: link('hangs') },
  'replies lost': { weight: 4, happen: link('loses replies') },
  'time-out after the effect': { weight: 4, happen: link('hangs after the effect') },
  'abandoned writes executed late': { weight: 5, happen: link('executes late') },
  'requests delivered twice': { weight: 3, happen: link('duplicates') },
  'store down for all': {
    weight: 2,
    happen: (world, _instance, incident) =>
      world.instances.every((instance) => link('refuses')(world, instance, { ...incident, which: 0 })),
  },
  'stale reads': {
    weight: 8,
    only: 'beyond',
    happen(world, instance, { size }) {
      const { previous } = world.storeOf(instance);
      if (previous === undefined || instance.isBeyond) return false;
      instance.staleReads = previous;
      instance.isBeyond = true;
      instance.disturb(duration(world, size));
      world.scheduler.after(duration(world, size), () => {
        instance.staleReads = undefined;
        endBeyond(world, instance);
      });
      return true;
    },
  },
  'clock far off': {
    weight: 8,
    only: 'beyond',
    happen(world, instance, { size, which }) {
      // Without a clock of its own, a store is on the one machine of all its users, who share a clock.
      if (instance.isBeyond || !world.storeHasClock) return false;
      const before = instance.ahead;
      instance.ahead += (which % 2 === 0 ? 1 : -1) * (100_000 + size * world.longest.rotationInterval);
      instance.isBeyond = true;
      instance.disturb(duration(world, size));
      world.scheduler.after(duration(world, size), () => {
        instance.ahead = before;
        endBeyond(world, instance);
      });
      return true;
    },
  },
  'KEK down': { weight: 4, happen: kek('down') },
  'KEK slow': { weight: 2, happen: kek('slow') },
  'KEK hangs': { weight: 2, happen: kek('hangs') },
  'KEK gives wrong keys': {
    weight: 6,
    only: 'beyond',
    happen(world, instance, incident) {
      if (instance.isBeyond) return false;
      instance.isBeyond = true;
      world.scheduler.after(duration(world, incident.size), () => endBeyond(world, instance));
      return kek('gives wrong keys')(world, instance, { ...incident, which: 1 });
    },
  },
  'KEK replaced': {
    weight: 3,
    happen: (world) => {
      // Every instance gets the new one first and the old one behind it, one after the other.
      world.keks.reverse();
      world.instances.forEach((instance, index) => {
        world.scheduler.after(index * 5000, () => {
          instance.keks = [...world.keks];
          instance.crash();
          instance.start();
        });
      });
      return true;
    },
  },
  crash: { weight: 10, happen: crash },
  'crash of all but one': {
    weight: 1,
    happen: (world, instance, incident) =>
      world.instances.every((other) => other === instance || crash(world, other, incident) || true),
  },
  'pause of the process': { weight: 4, happen: pause(false, (world) => 2 * world.longest.propagationDelay) },
  'sleep of the machine': {
    weight: 4,
    happen: pause(true, (world) => 4 * (world.longest.rotationInterval + world.longest.propagationDelay)),
  },
  'deploy with other settings': {
    weight: 5,
    happen: deploy((world, instance, which) => {
      const { policies } = world.settings;
      instance.policy = policies[which % policies.length] ?? instance.policy;
    }),
  },
  'clock stepped': {
    weight: 4,
    happen(world, instance, { size }) {
      if (instance.isBeyond) return false;
      world.setClock(instance, Math.round((2 * size - 1) * limit));
      for (const other of world.sharingClock(instance)) other.disturb();
      return true;
    },
  },
  'clock drifts': {
    weight: 2,
    happen(world, instance, { size }) {
      if (instance.isBeyond) return false;
      const drift = (times: number): void => {
        if (times === 0 || instance.isBeyond) return;
        const ahead = instance.ahead + Math.round((2 * size - 1) * 800);
        // Of all who share it: a store without a clock judges `notAfter` by that of the writer's own machine. Were this
        // instance alone more than a commit deadline (10 s) behind, all that it writes would be refused as too late,
        // within the tolerance (30 s) and for ever; nobody can be in that place.
        world.setClock(instance, Math.max(-limit, Math.min(limit, ahead)));
        world.scheduler.after(world.longest.refreshInterval / 10, () => drift(times - 1));
      };
      drift(15);
      return true;
    },
  },
};
