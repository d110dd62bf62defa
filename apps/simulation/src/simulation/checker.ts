import { JwtAuthorityError } from '@jwt-authority/core';
import type { Process, Reading } from './instance.ts';
import { isAuthentic, type KeyFacts } from './ledger.ts';
import { Liveness } from './liveness.ts';
import { span, type Observed } from './observed.ts';
import { documentOf, type Commit, type Document } from './store.ts';
import { successionProblem } from './succession.ts';
import type { RemoteVerifier } from './verifiers.ts';

/** The promises, by number, judged by the observer's own history. Says what is broken. */
export class Checker {
  readonly #world: Observed;
  readonly #onViolation: (violation: string) => void;
  readonly #checkedSets = new WeakMap<object, true>();
  readonly #known = new WeakMap<Process, Document>();
  readonly #everRevoked = new WeakMap<Process, Set<string>>();

  readonly liveness: Liveness;

  constructor(world: Observed, onViolation: (violation: string) => void) {
    this.#world = world;
    this.liveness = new Liveness(world, onViolation);
    this.#onViolation = onViolation;
  }

  #check(holds: boolean, promise: () => string): void {
    if (!holds) this.#onViolation(promise());
  }

  // ---- after every step

  step(): void {
    const { now, ledger, instances, verifiers, longest } = this.#world;
    const live = ledger.live(now, longest.clockTolerance);
    for (const instance of instances) {
      const { process } = instance;
      if (process?.isUp === true) this.#instance(process, live);
    }
    for (const verifier of verifiers) this.#verifier(verifier, live);
    this.liveness.step(live);
  }

  /**
   * Whether whoever went by this reading must know the key: the store had it then; or it was published only afterwards,
   * and signs already, although a cache filled by that reading may still be in use.
   */
  mustKnow(facts: KeyFacts, reading: Reading | undefined): boolean {
    if (reading === undefined) return false;
    const expiresAt = reading.kids.get(facts.kid);
    // Where a split brain let the other side sign on, this one has its own end; else P4 judges the end of a key.
    if (expiresAt !== undefined) return expiresAt > this.#world.now + this.#world.longest.clockTolerance;
    return !facts.immediate && facts.firstStoredAt > reading.executedAt;
  }

  #instance(process: Process, live: readonly KeyFacts[]): void {
    const { now, ledger, longest } = this.#world;
    const { authority, confirmed, instance, name } = process;
    if (authority === undefined) return;
    const { keyRing } = authority;
    const { keySet } = keyRing;
    if (keySet === undefined) return;
    this.#adopted(process, keySet);
    if (instance.isBeyond || confirmed === undefined) return;
    const age = now - confirmed.beganAt;
    const isFresh = age <= keyRing.staleBound - longest.clockTolerance;
    for (const facts of live) {
      const isValid = (confirmed.kids.get(facts.kid) ?? 0) > now + longest.clockTolerance;
      const mustKnow = isFresh ? this.mustKnow(facts, confirmed) : isValid;
      if (!mustKnow) continue;
      this.#check(
        typeof keyRing.verificationKey(facts.kid) === 'object',
        () =>
          `P1: ${name} does not verify with ${facts.kid}, which has valid tokens (last read ${span(age)} ago)`,
      );
    }
    for (const kid of confirmed.revoked) {
      this.#check(
        typeof keyRing.verificationKey(kid) !== 'object',
        () => `P9: ${name} has read that ${kid} is revoked, and verifies it`,
      );
    }
    // P7: from memory within the stale bound, and not beyond it.
    let code = '';
    try {
      const { kid } = keyRing.signingKey();
      this.#check(
        age <= keyRing.staleBound + longest.clockTolerance,
        () => `P7: ${name} would sign, stale for ${span(age)} (it says ${span(keyRing.age)})`,
      );
      this.#check(ledger.keys.has(kid), () => `P6: ${name} would sign with ${kid}, which nobody stored`);
      if (ledger.keys.get(kid) !== undefined) this.#mayUse(process, kid);
    } catch (error) {
      if (!JwtAuthorityError.is(error)) throw error;
      code = error.code;
    }
    const mayLackSigner = keyRing.uncommittedRevocations.length > 0;
    if (isFresh && code !== '' && !mayLackSigner) {
      this.#check(false, () => `P7: ${name}, fresh, cannot sign: ${code}`);
    }
  }

  /** P6: every key set in use is to the last member one that an instance wrote. P8: it loses nothing that was known here. */
  #adopted(process: Process, keySet: object): void {
    if (this.#checkedSets.has(keySet)) return;
    this.#checkedSets.set(keySet, true);
    const { ledger, now, longest } = this.#world;
    const held = keySet as Document;
    const text = JSON.stringify(held.keys.map(comparable));
    const revision = process.authority?.keyRing.revision;
    const source = [...ledger.authentic.values()].findLast((stored) => {
      if (stored.revision !== revision) return false;
      return JSON.stringify(documentOf(stored)?.keys.map(comparable)) === text;
    });
    this.#check(source !== undefined, () => `P6: ${process.name} goes by a key set that nobody wrote`);
    const before = this.#known.get(process);
    this.#known.set(process, held);
    const revoked = this.#everRevoked.get(process) ?? new Set<string>();
    this.#everRevoked.set(process, revoked);
    for (const { kid, revokedAt } of held.keys) {
      if (revokedAt !== undefined) revoked.add(kid);
      else
        this.#check(
          !revoked.has(kid),
          () => `P8: ${process.name} takes ${kid}, which it once knew as revoked`,
        );
    }
    if (before === undefined || process.instance.isBeyond) return;
    const later = new Map(held.keys.map((key) => [key.kid, key]));
    const departed = new Set(held.departed.map(({ kid }) => kid));
    const { overslept } = process;
    process.overslept = false;
    for (const key of before.keys) {
      const other = later.get(key.kid);
      if (key.revokedAt !== undefined) {
        this.#check(
          other === undefined || other.revokedAt !== undefined,
          () => `P8: ${process.name} forgot that ${key.kid} is revoked`,
        );
        continue;
      }
      const over = key.expiresAt !== undefined && key.expiresAt - longest.clockTolerance <= now;
      if (overslept) continue;
      this.#check(
        other !== undefined || departed.has(key.kid) || over,
        () => `P8: ${process.name} forgot ${key.kid}`,
      );
      if (other !== undefined) {
        this.#check(
          other.tokenLifetime >= key.tokenLifetime,
          () => `P4: the lifetime of ${key.kid} was lowered at ${process.name}`,
        );
      }
    }
  }

  #verifier(verifier: RemoteVerifier, live: readonly KeyFacts[]): void {
    const { cache, habits } = verifier;
    const { now } = this.#world;
    if (cache === undefined || cache.usableUntil <= now || cache.reading === undefined) return;
    for (const kid of cache.reading.revoked)
      this.#check(
        habits.perKey || !cache.keys.has(kid),
        () => `P9: ${cache.source} published ${kid} to ${habits.name}, having read that it is revoked`,
      );
    if (habits.coolDown < Infinity) return;
    for (const facts of live) {
      if (!this.mustKnow(facts, cache.reading)) continue;
      this.#check(
        cache.keys.has(facts.kid),
        () =>
          `P1: the verifier "${habits.name}" does not know ${facts.kid}, which has valid tokens; it asked ${cache.source} ${span(now - cache.fetchedAt)} ago`,
      );
    }
  }

  // ---- when something happens

  /** P3: whether this key may sign here now. */
  #mayUse(process: Process, kid: string): void {
    const { now, ledger, longest, lossAt, shortest } = this.#world;
    const facts = ledger.keys.get(kid);
    if (facts === undefined || facts.immediate || process.instance.isBeyond) return;
    // No two clocks of a history differ by more than one tolerance: sharper than what is promised, and it holds.
    const needed = facts.requiredDelay - longest.clockTolerance;
    const published = now - facts.firstStoredAt;
    this.#check(
      published >= needed,
      () => `P3: ${process.name} signs with ${kid}, published ${span(published)} ago`,
    );
    // What a loss took away and a holder put back waits again; until its next reading an instance cannot know that.
    const present = now - facts.presentSince;
    if (facts.latestExpiry === -Infinity && now - lossAt > longest.staleBound + shortest.refreshInterval) {
      this.#check(
        present >= Math.min(facts.requiredAgain - longest.clockTolerance, now - lossAt),
        () => `P3: ${process.name} signs with ${kid}, published again only ${span(present)} ago`,
      );
    }
  }

  signed(process: Process, kid: string, expiresAt: number): void {
    const facts = this.#world.ledger.keys.get(kid);
    this.#check(facts !== undefined, () => `P6: ${process.name} signed with ${kid}, which nobody stored`);
    this.#mayUse(process, kid);
    const { now, longest } = this.#world;
    this.#check(
      expiresAt <= now + longest.tokenLifetime + longest.clockTolerance,
      () => `P4: ${process.name} signed beyond every lifetime`,
    );
    const record = process.authority?.keyRing.keySet?.keys.find((key) => key.kid === kid);
    if (record?.expiresAt !== undefined && record.revokedAt === undefined && !process.instance.isBeyond) {
      this.#check(
        record.expiresAt >= expiresAt,
        () => `P4: ${process.name} signed a token that outlives ${kid}`,
      );
    }
  }

  committed({ at: _, stored, before, by }: Commit): void {
    const { now, ledger, longest, instances } = this.#world;
    if (instances.some(({ name, isBeyond }) => name === by && isBeyond)) return;
    const document = documentOf(stored);
    if (document === undefined) return this.#onViolation(`P6: ${by} wrote what cannot be read`);
    for (const { secrets } of ledger.made.values()) {
      this.#check(
        !secrets.some((secret) => stored.document.includes(secret)),
        () => `P5: ${by} stored a private key in clear`,
      );
    }
    const previous = before === undefined ? undefined : documentOf(before);
    // What somebody else altered there is not a predecessor.
    if (before === undefined || previous === undefined || !isAuthentic(ledger, before)) return;
    this.#check(
      stored.revision > before.revision,
      () => `P2: ${by} stored revision ${stored.revision} over ${before.revision}`,
    );
    this.#succession(previous, document, by);
    const tolerance = longest.clockTolerance;
    // The other side of a split brain signs on until both are one again.
    const isApart =
      this.#world.isSplit || now - this.#world.lossAt < this.liveness.bound + longest.staleBound;
    const isBeyond = isApart || this.#world.instances.some((instance) => instance.isBeyond);
    for (const key of document.keys) {
      const facts = ledger.keys.get(key.kid);
      const bound = key.expiresAt ?? Infinity;
      this.#check(
        isBeyond ||
          facts === undefined ||
          facts.triedToRevoke ||
          facts.latestExpiry <= now ||
          bound >= facts.latestExpiry,
        () => `P4: ${by} lets ${key.kid} expire before its last token`,
      );
      this.#check(
        isBeyond ||
          !key.hasPrivateKey ||
          facts === undefined ||
          key.deactivatesAt === undefined ||
          key.deactivatesAt + 3 * tolerance + longest.commitDeadline > now,
        () => `P5: ${by} keeps the private half of ${key.kid}, which stopped long ago`,
      );
    }
  }

  /** What one commit may do to what was there before. */
  #succession(previous: Document, next: Document, by: string): void {
    const { now, ledger, longest, shortest, rotatedByHandAt, lossAt } = this.#world;
    const tolerance = longest.clockTolerance;
    const problem = successionProblem(previous, next, now, tolerance);
    this.#check(problem === undefined, () => `${String(problem)} by ${by}`);
    const later = new Set(next.keys.map(({ kid }) => kid));
    const earlier = new Set(previous.keys.map(({ kid }) => kid));
    for (const { kid } of previous.keys) {
      const facts = ledger.keys.get(kid);
      const isOver = facts === undefined || facts.triedToRevoke || facts.latestExpiry - tolerance <= now;
      this.#check(
        later.has(kid) || isOver || this.#anyBeyond,
        () => `P4: ${by} removed ${kid}, which has valid tokens`,
      );
    }
    if (this.#world.isCommanded || now - rotatedByHandAt <= 20 * longest.commitDeadline) return;
    for (const { kid, alg, hasPrivateKey, activatesAt } of next.keys) {
      if (earlier.has(kid) || !hasPrivateKey || activatesAt <= now + tolerance) continue;
      const active = previous.keys.findLast(
        (key) =>
          key.alg === alg &&
          key.hasPrivateKey &&
          key.activatesAt <= now - tolerance &&
          key.deactivatesAt === undefined,
      );
      if (active === undefined || lossAt >= active.activatesAt) continue;
      const due = active.activatesAt + shortest.rotationInterval - longest.propagationDelay;
      this.#check(
        now + 2 * tolerance >= due,
        () => `P2: ${by} published ${kid} ${span(due - now)} before it was due`,
      );
    }
  }

  get #anyBeyond(): boolean {
    return this.#world.instances.some((instance) => instance.isBeyond);
  }
}

function sorted(members: object): unknown {
  return Object.entries(members).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** The members of a key in one order. */
function comparable(key: Document['keys'][number]): unknown {
  return Object.entries(key)
    .filter(([, value]) => value !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]: [string, unknown]) => [name, name === 'publicJwk' ? sorted(key.publicJwk) : value]);
}
