import { generateKeyPairSync } from 'node:crypto';
import type { Algorithm, KeyPair } from '../../src/algorithms.ts';
import { JwtAuthorityError } from '../../src/errors.ts';
import { reconcile } from '../../src/key-ring/reconcile.ts';
import {
  addImportedKey,
  dueSteps,
  retireAlgorithm,
  revokeKey,
  rollBackPending,
  rotateNow,
  type Transition,
} from '../../src/key-ring/transitions.ts';
import { replace, type ImportRole } from '../../src/key-set/changes.ts';
import type { KeySet } from '../../src/key-set/document.ts';
import { resolvePolicy, type KeySetPolicy, type KeySetPolicyOptions } from '../../src/key-set/policy.ts';
import { deepFreeze, start } from './support.ts';

/** A key set as it is stored. Two are the same write if they are the same object. */
export interface Stored {
  readonly keySet: KeySet;
  readonly revision: number;
}

/** An instance: its settings, how much its clock is ahead, and what it holds since when. */
interface Instance {
  policy: KeySetPolicy;
  readonly ahead: number;
  store: number;
  held: Stored | undefined;
  confirmedAt: number;
}

/** What is to be checked whenever a key set is about to be stored. */
export interface Write {
  readonly now: number;
  readonly policy: KeySetPolicy;
  readonly keySet: KeySet;
  /** Set if it is a join of these two. */
  readonly joins?: { readonly stored: KeySet | undefined; readonly held: KeySet; readonly asleep: boolean };
}

/** One thing that happens. `who` and other numbers are taken modulo what there is. */
export type Operation =
  | { readonly do: 'wait'; readonly milliseconds: number }
  | { readonly do: 'check' | 'refresh' | 'restart' | 'fork' | 'unite'; readonly who: number }
  | { readonly do: 'rotate'; readonly who: number; readonly alg: Algorithm; readonly emergency: boolean }
  | { readonly do: 'roll back' | 'retire algorithm'; readonly who: number; readonly alg: Algorithm }
  | { readonly do: 'revoke'; readonly who: number; readonly which: number }
  | {
      readonly do: 'import';
      readonly who: number;
      readonly alg: Algorithm;
      readonly role: ImportRole;
      readonly tokenLifetime: number;
    }
  | { readonly do: 'configure'; readonly who: number; readonly options: KeySetPolicyOptions }
  | { readonly do: 'copy' | 'wipe' }
  | { readonly do: 'restore'; readonly which: number };

const { privateKey } = generateKeyPairSync('ed25519');

/**
 * A few instances and their store, without cryptography and without delays: each operation is one atomic step. What they
 * decide is decided by the code under test; the store may be copied, restored, wiped and split in two.
 */
export class Fleet {
  now: number = start;
  readonly instances: Instance[];
  readonly stores: (Stored | undefined)[] = [undefined, undefined];
  readonly #backups: (Stored | undefined)[] = [undefined];
  readonly #onWrite: (write: Write) => void;
  #keys = 0;

  constructor(
    settings: readonly KeySetPolicyOptions[],
    ahead: readonly number[],
    onWrite: (write: Write) => void,
  ) {
    this.instances = settings.map((options, index) => ({
      policy: resolvePolicy(options),
      ahead: ahead[index] ?? 0,
      store: 0,
      held: undefined,
      confirmedAt: start,
    }));
    this.#onWrite = onWrite;
  }

  run(operation: Operation): void {
    if ('who' in operation) return this.#runAt(operation, this.#instance(operation.who));
    switch (operation.do) {
      case 'wait':
        this.now += operation.milliseconds;
        return;
      case 'copy':
        this.#backups.push(this.stores[0]);
        return;
      case 'wipe':
        this.stores[0] = undefined;
        return;
      case 'restore':
        this.stores[0] = this.#backups[operation.which % this.#backups.length];
        return;
    }
  }

  #runAt(operation: Extract<Operation, { who: number }>, instance: Instance): void {
    switch (operation.do) {
      case 'check':
        return this.check(instance);
      case 'refresh':
        return this.refresh(instance);
      case 'restart':
        instance.held = undefined;
        return;
      case 'fork':
        if (instance.store === 0) this.stores[1] = this.stores[0];
        instance.store = 1;
        return;
      case 'unite':
        instance.store = 0;
        return;
      case 'configure':
        instance.policy = resolvePolicy(operation.options);
        return;
      case 'rotate':
        return this.#commit(instance, rotateNow(operation.alg, operation.emergency));
      case 'roll back':
        return this.#commit(instance, rollBackPending(operation.alg, undefined));
      case 'retire algorithm':
        return this.#commit(instance, retireAlgorithm(operation.alg));
      case 'revoke': {
        const kids = instance.held?.keySet.keys.map(({ kid }) => kid) ?? [];
        const kid = kids[operation.which % Math.max(1, kids.length)];
        return kid === undefined ? undefined : this.#commit(instance, revokeKey(kid, 'test'));
      }
      case 'import':
        return this.#commit(
          instance,
          addImportedKey(this.#newPair(operation.alg), operation.role, operation.tokenLifetime),
        );
    }
  }

  #instance(who: number): Instance {
    const instance = this.instances[who % this.instances.length];
    if (instance === undefined) throw new Error('a fleet has instances');
    return instance;
  }

  /** Everything that is due, as the rotator does it. */
  check(instance: Instance): void {
    this.#commit(instance, dueSteps('housekeeping'));
    this.#commit(instance, dueSteps('making keys'));
  }

  /** As protocol 3 has it: adopt what is stored, or heal it. */
  refresh(instance: Instance): void {
    const now = this.now + instance.ahead;
    const { policy } = instance;
    for (let round = 0; round < 9; round++) {
      const stored = this.stores[instance.store];
      if (stored !== undefined && stored === instance.held) {
        instance.confirmedAt = now;
        return;
      }
      const { held } = instance;
      const age = now - instance.confirmedAt;
      const action = reconcile(stored, held && { ...held, age }, now, policy);
      if (action.kind !== 'heal' || held === undefined) {
        instance.held = stored;
        instance.confirmedAt = now;
        return;
      }
      const { keySet: joined, needsNewKey } = action.joined;
      const keySet = needsNewKey ? replace(joined, policy, now, this.#newPair(policy.algorithms[0])) : joined;
      const asleep = stored !== undefined && age > held.keySet.horizon;
      this.#write(
        instance,
        { keySet, revision: action.revision },
        { stored: stored?.keySet, held: held.keySet, asleep },
      );
    }
    throw new Error('healing does not end');
  }

  #commit(instance: Instance, transition: Transition<unknown>): void {
    this.refresh(instance);
    const newPairs: KeyPair[] = [];
    for (;;) {
      const current = instance.held;
      const now = this.now + instance.ahead;
      let decision: ReturnType<typeof transition.decide>;
      try {
        decision = transition.decide(current?.keySet, now, newPairs, instance.policy);
      } catch (error) {
        if (JwtAuthorityError.is(error)) return;
        throw error;
      }
      if (!('needs' in decision)) {
        if (decision.keySet !== undefined)
          this.#write(instance, { keySet: decision.keySet, revision: (current?.revision ?? 0) + 1 });
        return;
      }
      newPairs.push(...decision.needs.map((alg) => this.#newPair(alg)));
    }
  }

  #write(instance: Instance, stored: Stored, joins?: Write['joins']): void {
    const { policy } = instance;
    deepFreeze(stored.keySet);
    this.#onWrite({
      now: this.now + instance.ahead,
      policy,
      keySet: stored.keySet,
      ...(joins !== undefined && { joins }),
    });
    this.stores[instance.store] = stored;
    instance.held = stored;
  }

  #newPair(alg: Algorithm): KeyPair {
    this.#keys++;
    // What is in a key is nothing to the key set: any private key will do, and any JWK.
    return { kid: `key ${this.#keys}`, alg, publicJwk: { kty: 'OKP' }, privateKey };
  }
}
