import type { Instance } from './instance.ts';
import type { Ledger } from './ledger.ts';
import type { Timing } from './settings.ts';
import type { SimulatedStore } from './store.ts';
import type { RemoteVerifier } from './verifiers.ts';

/** What the checker looks at. */
export interface Observed {
  readonly now: number;
  readonly ledger: Ledger;
  readonly instances: readonly Instance[];
  readonly verifiers: readonly RemoteVerifier[];
  /** The extremes over all policies of this history. */
  readonly shortest: Timing;
  readonly longest: Timing;
  /** When the store last lost something, or split. */
  readonly lossAt: number;
  readonly isSplit: boolean;
  /** When an operator last published or brought in a key. */
  readonly rotatedByHandAt: number;
  /** Whether an operator's command may still take effect. */
  readonly isCommanded: boolean;
  storeOf(instance: Instance): SimulatedStore;
}

export function span(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 100) / 10;
  return Math.abs(seconds) < 7200 ? `${seconds} s` : `${Math.round(seconds / 360) / 10} h`;
}
