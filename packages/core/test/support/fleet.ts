import { generateKeyPairSync } from 'node:crypto';
import {
  createJwtAuthority,
  JwtAuthorityError,
  localEncrypter,
  type Clock,
  type KeyRing,
  type RotatingJwtAuthority,
} from '@jwt-authority/core';
import { fakeClock, type FakeClock } from '@jwt-authority/core/testing';
import type { KeySet } from '../../src/key-set/document.ts';
import type { KeyEncrypter, KeySetStore, StoredKeySet } from '../../src/ports.ts';
import { memoryStore } from '../../../store-memory/src/index.ts';

/**
 * Random histories of a small fleet on one store, on virtual time: the real key ring, authority and rotator, a real memory
 * store behind a network that fails, remote verifiers that cache, instances that crash and clocks that differ. After every
 * tick an observer with a history of its own checks the promises. A failing seed replays exactly.
 */

const settings = {
  propagationDelay: 1000,
  rotationInterval: 3000,
  maxTokenLifetime: 300,
  algorithms: ['Ed25519'] as const,
};
const tick = 20;

/** mulberry32: small, seeded, good enough to choose faults. */
function randomSource(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Token {
  readonly kid: string;
  readonly expiresAt: number;
}

interface Verifier {
  kids: ReadonlySet<string>;
  fetchedAt: number;
}

class Instance {
  authority: RotatingJwtAuthority | undefined;
  /** The store cannot be reached before this moment. */
  partitionedUntil = 0;
  /** What it knew at the last look. */
  known: KeySet | undefined;
  readonly name: string;
  readonly clock: Clock;

  constructor(name: string, base: FakeClock, skew: number) {
    this.name = name;
    this.clock = {
      now: () => base.now() + skew,
      monotonic: () => base.monotonic(),
      setTimer: (...timer) => base.setTimer(...timer),
    };
  }
}

/** A fleet of three instances on one store, with everything that goes wrong. */
export class Fleet {
  readonly clock: FakeClock = fakeClock();
  readonly random: () => number;
  store: KeySetStore = memoryStore({ clock: this.clock });
  readonly encrypter: KeyEncrypter = localEncrypter.forTests();
  readonly instances: readonly Instance[];
  readonly verifiers: readonly Verifier[];
  readonly tokens: Token[] = [];
  /** When each key was first seen in the store, and when it was made to sign at once. */
  readonly firstStored = new Map<string, number>();
  readonly immediate = new Set<string>();
  readonly activation = new Map<string, number>();
  /** When the store first had a revocation; and what somebody tried to revoke, which may be refused here and there already. */
  readonly revoked = new Map<string, number>();
  readonly triedToRevoke = new Set<string>();
  /** What broke a promise, with what happened before. */
  readonly violations: string[] = [];
  /** What happened, to show that a run was not idle. */
  readonly figures = { signed: 0, verified: 0, rotated: 0, healed: 0, revoked: 0, crashed: 0 };
  readonly log: string[] = [];
  readonly backups: StoredKeySet[] = [];
  lastLoss = -Infinity;
  networkFails = true;
  readonly loses: boolean;

  constructor(seed: number, loses: boolean) {
    this.loses = loses;
    this.random = randomSource(seed);
    this.instances = ['a', 'b', 'c'].map(
      (name) => new Instance(name, this.clock, Math.round((this.random() - 0.5) * 30_000)),
    );
    this.verifiers = Array.from({ length: 3 }, () => ({ kids: new Set<string>(), fetchedAt: -Infinity }));
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const item = list[Math.floor(this.random() * list.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  note(what: string): void {
    this.log.push(`${Math.round((this.clock.now() - Date.UTC(2026, 0, 1)) / 1000)} s: ${what}`);
  }

  /** The way of one instance to the store. */
  storeOf(instance: Instance): KeySetStore {
    const fail = (): never => {
      throw new JwtAuthorityError('store_unavailable', 'the network failed');
    };
    const cut = (): boolean =>
      this.networkFails && (this.clock.now() < instance.partitionedUntil || this.chance(0.03));
    return {
      namespace: this.store.namespace,
      load: async () => (cut() ? fail() : this.store.load()),
      compareAndSwap: async (next, expected, notAfter) => {
        if (cut()) {
          // Abandoned, and perhaps executed later all the same.
          if (this.chance(0.5))
            this.clock.setTimer(
              async () => void (await this.store.compareAndSwap(next, expected, notAfter)),
              this.random() * 60_000,
            );
          return fail();
        }
        const won = await this.store.compareAndSwap(next, expected, notAfter);
        return this.networkFails && this.chance(0.05) ? fail() : won;
      },
    };
  }

  async start(instance: Instance): Promise<void> {
    let counter = 0;
    try {
      const authority = await createJwtAuthority({
        ...settings,
        store: this.storeOf(instance),
        encrypter: this.encrypter,
        clock: instance.clock,
        executor: { run: (_cost, inline) => inline() },
        randomBytes: (size) => Uint8Array.from({ length: size }, () => Math.floor(this.random() * 256)),
        generateKeyPair: async (alg) => {
          const { privateKey, publicKey } = generateKeyPairSync('ed25519');
          const { kty = '', crv = '', x = '' } = publicKey.export({ format: 'jwk' });
          return {
            kid: `${instance.name}${counter++}-${x.slice(0, 8)}`,
            alg,
            publicJwk: { kty, crv, x },
            privateKey,
          };
        },
      });
      authority.keyRing.events.on('rotated', ({ kid }) => {
        this.figures.rotated++;
        this.note(`${instance.name} rotated to ${kid}`);
      });
      authority.keyRing.events.on('healed', ({ restoredKids }) => {
        this.figures.healed++;
        this.note(`${instance.name} healed ${restoredKids.join(' ')}`);
      });
      authority.keyRing.events.on('activated', ({ kid }) => this.note(`${instance.name} activated ${kid}`));
      instance.authority = authority;
      this.note(`${instance.name} started`);
    } catch {
      instance.authority = undefined;
    }
  }

  async crash(instance: Instance): Promise<void> {
    await instance.authority?.close();
    instance.authority = undefined;
    instance.known = undefined;
    this.figures.crashed++;
    this.note(`${instance.name} crashed`);
  }

  async act(): Promise<void> {
    const instance = this.pick(this.instances);
    const { authority } = instance;
    const dice = this.random();
    if (authority === undefined) {
      if (dice < 0.3) await this.start(instance);
      return;
    }
    if (dice < 0.01 && this.instances.filter((other) => other.authority !== undefined).length > 1)
      await this.crash(instance);
    else if (dice < 0.02) instance.partitionedUntil = this.clock.now() + this.random() * 1_500_000;
    else if (dice < 0.025)
      await this.attempt(`${instance.name} rotates`, async () => authority.rotator.rotateNow());
    else if (dice < 0.03)
      await this.attempt(`${instance.name} rolls back`, async () => authority.rotator.rollback());
    else if (dice < 0.033) await this.revoke(instance, authority);
    else if (dice < 0.035) {
      await this.attempt(`${instance.name} rotates in an emergency`, async () =>
        authority.rotator.rotateNow({ emergency: true }),
      );
    } else if (dice < 0.045) {
      const { stored } = await this.store.load();
      if (stored !== undefined) this.backups.push(stored);
    } else if (this.loses && dice < 0.05) await this.lose();
  }

  async revoke(instance: Instance, authority: RotatingJwtAuthority): Promise<void> {
    const kids =
      authority.keyRing.keySet?.keys.filter((key) => key.revokedAt === undefined).map(({ kid }) => kid) ?? [];
    if (kids.length === 0) return;
    const kid = this.pick(kids);
    this.triedToRevoke.add(kid);
    await this.attempt(`${instance.name} revokes ${kid}`, async () =>
      authority.rotator.revoke(kid, { reason: 'simulated' }),
    );
  }

  async attempt(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      this.note(what);
    } catch (error) {
      if (!JwtAuthorityError.is(error)) throw error;
    }
  }

  /** The store loses what it has, or goes back to an old copy. */
  async lose(): Promise<void> {
    const { stored } = await this.store.load();
    if (stored === undefined || this.clock.now() - this.lastLoss < 2_000_000) return;
    // A loss that nobody can heal is not promised to be: somebody who knows all must be there.
    if (!this.instances.some(({ authority }) => authority?.keyRing.revision === stored.revision)) return;
    this.lastLoss = this.clock.now();
    const backup = this.chance(0.5) && this.backups.length > 0 ? this.pick(this.backups) : undefined;
    this.store = memoryStore({ clock: this.clock });
    if (backup !== undefined) await this.store.compareAndSwap(backup, undefined, Infinity);
    this.note(
      backup === undefined ? 'the store was wiped' : `the store went back to revision ${backup.revision}`,
    );
  }

  async observe(): Promise<void> {
    const now = this.clock.now();
    const { stored } = await this.store.load();
    const keys = stored === undefined ? [] : (JSON.parse(stored.document) as KeySet).keys;
    for (const { kid, createdAt, activatesAt, revokedAt } of keys) {
      if (!this.firstStored.has(kid)) this.firstStored.set(kid, now);
      // It was made to sign at once, or let take over before its time.
      if (activatesAt < createdAt || activatesAt < (this.activation.get(kid) ?? 0)) this.immediate.add(kid);
      this.activation.set(kid, activatesAt);
      if (revokedAt !== undefined && !this.revoked.has(kid)) {
        this.figures.revoked++;
        this.revoked.set(kid, now);
      }
    }
    this.forget(now);
    for (const instance of this.instances) this.observeInstance(instance, now);
    this.observeVerifiers(now);
  }

  forget(now: number): void {
    const kept = this.tokens.filter(
      ({ kid, expiresAt }) => expiresAt > now && !this.revoked.has(kid) && !this.triedToRevoke.has(kid),
    );
    this.tokens.splice(0, this.tokens.length, ...kept);
  }

  observeInstance(instance: Instance, now: number): void {
    const { name, authority } = instance;
    if (authority === undefined) return;
    const { keyRing } = authority;
    this.observeMemory(instance, keyRing);
    const isFresh = keyRing.age <= keyRing.staleBound;
    for (const [kid, at] of this.revoked) {
      // What the store lost before this instance read it is known here again once it was healed.
      if (keyRing.age < now - at && now - this.lastLoss > 400_000) {
        this.check(
          typeof keyRing.verificationKey(kid) !== 'object',
          `P9: ${name} has read the store since ${kid} was revoked, and verifies it`,
        );
      }
    }
    // Nobody else than a fresh instance promises to know every key; and after a loss only once it was healed.
    if (isFresh && now - this.lastLoss > 400_000) {
      for (const { kid } of this.tokens) {
        // Of a key that signed at once, an instance hears with its next refresh (or, asked for it, by looking).
        if (this.immediate.has(kid) && now - (this.activation.get(kid) ?? now) < 300_000) continue;
        this.check(
          typeof keyRing.verificationKey(kid) === 'object',
          `P1: ${name} must verify a token of ${kid}`,
        );
        this.figures.verified++;
      }
    }
    try {
      const key = keyRing.signingKey();
      const published = this.firstStored.get(key.kid);
      const isSafe =
        this.immediate.has(key.kid) ||
        (published !== undefined && now - published >= 1_000_000 - 2 * 30_000 - tick * 1000);
      this.check(isSafe || this.loses, `P3: ${name} signs with ${key.kid} too soon`);
      this.figures.signed++;
      if (!this.triedToRevoke.has(key.kid))
        this.tokens.push({ kid: key.kid, expiresAt: now + Math.min(key.tokenLifetime, 300_000) });
    } catch (error) {
      if (!JwtAuthorityError.is(error)) throw error;
      // A crash of everybody else, or a clock that is late by the tolerance, may leave one without for a moment; not for long.
      this.check(
        ['stale', 'no_active_key', 'not_initialised'].includes(error.code),
        `${name} cannot sign: ${error.code}`,
      );
    }
  }

  /** Whatever the store says: what an instance knew it goes on knowing, and what it knew as revoked it goes on refusing. */
  observeMemory(instance: Instance, keyRing: KeyRing): void {
    const now = instance.clock.now();
    // Others may have ended a key meanwhile, and told so.
    const ended = new Set(keyRing.keySet?.departed.map(({ kid }) => kid));
    for (const { kid, expiresAt } of keyRing.keySet?.keys ?? [])
      if (expiresAt !== undefined && expiresAt <= now) ended.add(kid);
    for (const { kid, expiresAt = Infinity, revokedAt } of instance.known?.keys ?? []) {
      const found = keyRing.verificationKey(kid);
      if (revokedAt !== undefined) {
        this.check(
          typeof found !== 'object',
          `P8: ${instance.name} verifies ${kid} again, which it knew as revoked`,
        );
      } else if (expiresAt > now && !ended.has(kid)) {
        this.check(found !== undefined, `P8: ${instance.name} has forgotten ${kid}, which is valid`);
      }
    }
    instance.known = keyRing.keySet;
  }

  observeVerifiers(now: number): void {
    for (const verifier of this.verifiers) {
      const age = now - verifier.fetchedAt;
      // jwksMaxAge and staleIfError are 125 s each here.
      if (age > 100_000 + this.random() * 25_000) {
        try {
          const source = this.pick(this.instances).authority;
          const { keys = [] } = source?.publication() ?? {};
          if (source !== undefined)
            Object.assign(verifier, { kids: new Set(keys.map(({ kid }) => kid)), fetchedAt: now });
        } catch {
          // 503: it goes on with what it has, as stale-if-error says.
        }
      }
      if (now - verifier.fetchedAt > 250_000 || now - this.lastLoss < 700_000) continue;
      for (const { kid } of this.tokens) {
        if (this.immediate.has(kid)) continue;
        this.check(
          verifier.kids.has(kid),
          `P1: a remote verifier that fetched ${now - verifier.fetchedAt} ms ago must know ${kid}`,
        );
        this.figures.verified++;
      }
    }
  }

  check(holds: boolean, promise: string): void {
    if (!holds) this.violations.push(`${promise}\n${this.log.slice(-40).join('\n')}`);
  }

  /** When faults stop, everybody ends on one document, with one key that signs. */
  async settle(): Promise<void> {
    this.networkFails = false;
    for (const instance of this.instances) if (instance.authority === undefined) await this.start(instance);
    await this.clock.advance(400);
    for (const { authority } of this.instances) await authority?.keyRing.refresh();
    const revisions = new Set(this.instances.map(({ authority }) => authority?.keyRing.revision));
    this.check(
      revisions.size === 1,
      `P8: every instance ends on one document, got revisions ${[...revisions].join(', ')}`,
    );
    for (const { authority, name } of this.instances) {
      for (const kid of this.revoked.keys()) {
        this.check(
          typeof authority?.keyRing.verificationKey(kid) !== 'object',
          `P8: ${name} verifies ${kid} again, which was revoked`,
        );
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.instances.map(async ({ authority }) => authority?.close()));
  }
}

/** One history: faults for `ticks` of about 20 s of virtual time, then a calm in which everything must come together. */
export async function runFleet(
  seed: number,
  ticks: number,
  loses: boolean,
): Promise<Pick<Fleet, 'violations' | 'figures'>> {
  const fleet = new Fleet(seed, loses);
  try {
    for (const instance of fleet.instances) await fleet.start(instance);
    for (let i = 0; i < ticks && fleet.violations.length === 0; i++) {
      await fleet.clock.advance(tick * (0.5 + fleet.random()));
      await fleet.act();
      await fleet.observe();
    }
    if (fleet.violations.length === 0) await fleet.settle();
    return fleet;
  } finally {
    await fleet.close();
  }
}
