import type { Process } from './instance.ts';
import type { KeyFacts } from './ledger.ts';
import { span, type Observed } from './observed.ts';
import { documentOf, type Document } from './store.ts';

/** What must come about within a stated bound, once somebody can do it undisturbed. */
export class Liveness {
  readonly #world: Observed;
  readonly #onViolation: (violation: string) => void;
  readonly #missingSince = new Map<string, number>();
  readonly #overdueSince = new Map<string, number>();

  constructor(world: Observed, onViolation: (violation: string) => void) {
    this.#world = world;
    this.#onViolation = onViolation;
  }

  /** After every step. */
  step(live: readonly KeyFacts[]): void {
    this.#healing(live);
    this.#housekeeping();
  }

  #check(holds: boolean, promise: () => string): void {
    if (!holds) this.#onViolation(promise());
  }

  /** An instance that has been undisturbed for this long has read the store, and done what is due. */
  get bound(): number {
    const { refreshInterval, commitDeadline, clockTolerance } = this.#world.longest;
    return 3 * refreshInterval + 6 * commitDeadline + 2 * clockTolerance;
  }

  #undisturbed(): Process[] {
    const { instances, now } = this.#world;
    return instances.flatMap(({ process, disturbedUntil, isBeyond }) =>
      process?.isUp === true && !isBeyond && now - disturbedUntil > this.bound ? [process] : [],
    );
  }

  /** P8: what a live instance knows and the store lacks is put back, unless the instance slept for longer than a key lives. */
  #healing(live: readonly KeyFacts[]): void {
    const { now, longest } = this.#world;
    const quiet = this.#undisturbed();
    const missing = new Set<string>();
    for (const process of quiet) {
      const stored = this.#world.storeOf(process.instance).current;
      const document = stored === undefined ? undefined : documentOf(stored);
      const there = new Set(document?.keys?.map?.(({ kid }) => kid));
      for (const { kid } of live) {
        if (there.has(kid) || process.authority?.keyRing.verificationKey(kid) === undefined) continue;
        const name = `${kid} at ${process.name}`;
        missing.add(name);
        const since = this.#missingSince.get(name) ?? now;
        this.#missingSince.set(name, since);
        this.#check(
          now - since <= this.bound + longest.staleBound,
          () =>
            `P8: the store lacks ${kid} for ${span(now - since)}, and ${process.name} has not put it back`,
        );
      }
    }
    for (const name of this.#missingSince.keys()) if (!missing.has(name)) this.#missingSince.delete(name);
  }

  /** Liveness: what is due is done once somebody can do it. */
  #housekeeping(): void {
    const { now, longest } = this.#world;
    const overdue = new Set<string>();
    for (const process of this.#undisturbed()) {
      const stored = this.#world.storeOf(process.instance).current;
      const document = stored === undefined ? undefined : documentOf(stored);
      const due = (document?.keys ?? []).flatMap?.((key) => this.#dueFor(key, document)) ?? [];
      for (const what of due) {
        overdue.add(what);
        const since = this.#overdueSince.get(what) ?? now;
        this.#overdueSince.set(what, since);
        this.#check(
          now - since <= this.bound + longest.staleBound,
          () => `P2: ${what} is due for ${span(now - since)}, and ${process.name} has not done it`,
        );
      }
    }
    for (const what of this.#overdueSince.keys()) if (!overdue.has(what)) this.#overdueSince.delete(what);
  }

  get isConverged(): boolean {
    return (
      new Set(this.#world.instances.map(({ process }) => process?.authority?.keyRing.revision)).size === 1
    );
  }

  /** At the end of a calm: everybody up, on one document, signing, and nobody takes what was revoked. */
  converged(revoked: ReadonlySet<string>): void {
    const { instances } = this.#world;
    const revisions = new Set(instances.map(({ process }) => process?.authority?.keyRing.revision));
    this.#check(
      revisions.size === 1 && !revisions.has(undefined),
      () => `P8: no convergence, revisions ${[...revisions].join(', ')}`,
    );
    for (const { process } of instances) {
      const { keyRing } = process?.authority ?? {};
      if (process === undefined || keyRing === undefined) continue;
      const { status, code } = keyRing.health();
      this.#check(status === 'fresh', () => `P7: ${process.name} is ${status} in a calm: ${String(code)}`);
      this.#check(
        keyRing.uncommittedRevocations.length === 0,
        () => `P9: ${process.name} has not committed a revocation in a calm`,
      );
      for (const kid of revoked)
        this.#check(
          typeof keyRing.verificationKey(kid) !== 'object',
          () => `P8: ${process.name} verifies with ${kid}, which was revoked`,
        );
    }
  }

  #dueFor(key: Document['keys'][number], document: Document | undefined): string[] {
    const { now, longest } = this.#world;
    const { kid, alg, deactivatesAt, expiresAt, activatesAt, hasPrivateKey } = key;
    if (this.#world.instances.some(({ isBeyond }) => isBeyond)) return [];
    const slack = 2 * longest.clockTolerance;
    const isLast = hasPrivateKey && deactivatesAt === undefined && activatesAt < now;
    const publishable = (document?.publishNotBefore ?? 0) + slack < now;
    return [
      ...(hasPrivateKey && deactivatesAt !== undefined && deactivatesAt + slack < now
        ? [`to destroy the private half of ${kid}`]
        : []),
      ...(expiresAt !== undefined && expiresAt + slack < now ? [`to remove ${kid}`] : []),
      ...(isLast &&
      publishable &&
      activatesAt + longest.rotationInterval + longest.propagationDelay + slack < now
        ? [`to rotate ${alg} after ${kid}`]
        : []),
    ];
  }
}
