import type { Instance } from './instance.ts';
import type { World } from './world.ts';

/** Something that goes wrong, or that an operator does, before a certain step. Numbers are taken modulo what there is. */
export interface Incident {
  readonly step: number;
  readonly what: string;
  readonly who: number;
  /** From 0 to 1: how long, how much. */
  readonly size: number;
  readonly which: number;
}

export interface Kind {
  readonly weight: number;
  /** Only in histories in which the store loses data, or in which clocks and reads are beyond what is promised. */
  readonly only?: 'loses' | 'beyond';
  /** `false`: there was nothing that it could happen to. */
  happen(world: World, instance: Instance, incident: Incident): boolean;
}

/** Of a disturbance: from a commit deadline to one and a half propagation delays, mostly short. */
export const duration = (world: World, size: number): number =>
  world.commitDeadline + size * size * 1.5 * world.longest.propagationDelay;

/** The kinds of incidents, by name. */
export type Kinds = Readonly<Record<string, Kind>>;
