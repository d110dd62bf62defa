import {
  createJwtAuthority,
  createOptionNames,
  type CreateJwtAuthorityOptions,
  type RotatingJwtAuthority,
} from './create.ts';
import { policyOptionNames, resolvePolicy } from './key-set/policy.ts';
import { systemClock, type Clock } from './clock.ts';
import { JwtAuthorityError } from './errors.ts';
import { LeastRecentlyUsed } from './least-recently-used.ts';
import { checkInteger, checkOptions, checkText, milliseconds, misuse, type Duration } from './options.ts';
import type { KeySetStore } from './ports.ts';

export interface AuthorityPoolOptions extends Omit<CreateJwtAuthorityOptions, 'store' | 'issuer'> {
  /**
   * The store of a tenant: of a namespace of its own, on a client that all share. Throw for a tenant that does not exist:
   * a name that anybody can make up would be given keys.
   */
  readonly store: (tenant: string) => KeySetStore;
  /** The issuer of a tenant's tokens, or one for all. Default: none. */
  readonly issuer?: string | ((tenant: string) => string) | undefined;
  /** How many tenants to hold at once; for one more, the one not asked for longest is let go. 1 to 1,000,000. Default 1000. */
  readonly maxAuthorities?: number | undefined;
  /** How long one that was let go still serves who holds it, then it is closed. Default 60 s. */
  readonly closeAfter?: Duration | undefined;
}

/** Authorities of many tenants in one process: each loaded on first use, so many at most, none shared between tenants. */
export class AuthorityPool {
  readonly #create: (tenant: string) => Promise<RotatingJwtAuthority>;
  readonly #clock: Clock;
  readonly #closeAfter: number;
  readonly #held: LeastRecentlyUsed<Promise<RotatingJwtAuthority>>;
  /** Let go, and not closed yet. */
  readonly #leaving = new Map<Promise<RotatingJwtAuthority>, () => void>();
  #isClosed = false;

  /** @internal */
  constructor(options: AuthorityPoolOptions) {
    const { store, issuer, maxAuthorities = 1000, closeAfter = 60, ...rest } = options;
    if (typeof store !== 'function') {
      throw misuse('store', 'be a function that gives the store of a tenant', store);
    }
    this.#held = new LeastRecentlyUsed(checkInteger(maxAuthorities, 'maxAuthorities', 1, 1_000_000));
    this.#closeAfter = milliseconds(closeAfter, 'closeAfter');
    this.#clock = options.clock ?? systemClock;
    this.#create = async (tenant) =>
      createJwtAuthority({
        ...rest,
        store: store(tenant),
        issuer: typeof issuer === 'function' ? issuer(tenant) : issuer,
      });
  }

  /**
   * The authority of a tenant, loaded if it is not held yet; concurrent calls share one load. Ask for it at each use instead
   * of keeping it: one that was let go ends.
   *
   * @throws what `store` and `issuer` throw, and {@link createJwtAuthority}; the next call tries again. `closed` after `close`.
   */
  async get(tenant: string): Promise<RotatingJwtAuthority> {
    checkText(tenant, 'tenant', 1000);
    if (this.#isClosed) throw new JwtAuthorityError('closed', 'this pool has been closed');
    const held = this.#held.get(tenant);
    if (held !== undefined) return held;
    const loading = this.#create(tenant);
    const leaving = this.#held.set(tenant, loading);
    if (leaving !== undefined) this.#letGo(leaving);
    try {
      return await loading;
    } catch (error) {
      if (this.#held.get(tenant) === loading) this.#held.delete(tenant);
      throw error;
    }
  }

  #letGo(authority: Promise<RotatingJwtAuthority>): void {
    const cancel = this.#clock.setTimer(async () => {
      this.#leaving.delete(authority);
      await close(authority);
    }, this.#closeAfter);
    this.#leaving.set(authority, cancel);
  }

  /** Closes all authorities. Stores and encrypters stay open: they are the caller's. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const cancel of this.#leaving.values()) cancel();
    await Promise.all([...this.#held.values(), ...this.#leaving.keys()].map(close));
    this.#leaving.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function close(authority: Promise<RotatingJwtAuthority>): Promise<void> {
  // One that could not be loaded has nothing to close; whoever asked for it was told.
  const loaded = await authority.catch(() => undefined);
  await loaded?.close();
}

/**
 * A pool of authorities, one per tenant, with the options of {@link createJwtAuthority} but for `store` and `issuer`, which
 * depend on the tenant. Nothing is loaded yet. Each refreshes and rotates by itself, at times of its own.
 *
 * @throws {TypeError} for wrong options. Those of the authority and the key ring are checked by the first `get`.
 */
export function createAuthorityPool(options: AuthorityPoolOptions): AuthorityPool {
  checkOptions(options, 'createAuthorityPool', [...createOptionNames, 'maxAuthorities', 'closeAfter']);
  resolvePolicy(Object.fromEntries(policyOptionNames.map((name) => [name, options[name]])));
  return new AuthorityPool(options);
}
