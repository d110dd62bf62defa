import {
  checkMethods,
  JwtAuthorityError,
  milliseconds,
  misuse,
  systemClock,
  withDeadline,
} from '@jwt-authority/core';
import type { Clock, Duration } from '@jwt-authority/core';
import type { RedisConnection } from './connection.ts';
import { explainFailure, type Failure } from './failures.ts';
import { redisNames, type RedisNames } from './names.ts';

/** The options that all stores on Redis have in common. */
export interface RedisStoreOptions {
  /** Whose data this is: 1 to 128 letters, digits or `. _ : -`. Default `'default'`. */
  readonly namespace?: string;
  /** What all keys begin with: 1 to 64 letters, digits or `. _ -`. Default `'jwt-authority'`. */
  readonly prefix?: string;
  /** How long a call may take until it fails, repetition included; above 0. Default 5 seconds. */
  readonly timeout?: Duration;
  /** Measures `timeout`. Default: the clock of this machine. */
  readonly clock?: Clock;
}

export const redisStoreOptionNames = ['namespace', 'prefix', 'timeout', 'clock'] as const;

/** Runs scripts, each within a deadline: clients wait for ever for a server that is frozen. */
export class RedisCalls {
  readonly connection: RedisConnection;
  readonly names: RedisNames;
  readonly #timeout: number;
  readonly #clock: Clock;

  /** @throws {TypeError} if an option is wrong. */
  constructor(connection: RedisConnection, options: RedisStoreOptions) {
    const { namespace = 'default', prefix = 'jwt-authority', timeout = 5, clock = systemClock } = options;
    this.connection = connection;
    this.names = redisNames(prefix, namespace);
    this.#timeout = milliseconds(timeout, 'timeout');
    if (this.#timeout === 0) throw misuse('timeout', 'be above 0', timeout);
    checkMethods(clock, 'clock', ['now', 'monotonic', 'setTimer']);
    this.#clock = clock;
  }

  /**
   * The reply of a script. Scripts can be repeated: where the connection is lost, nobody knows whether it ran.
   *
   * @throws what `fail` makes of the failure.
   */
  async evaluate(
    { lua }: { readonly lua: string },
    key: string,
    args: readonly string[],
    fail: (failure: Failure) => Error,
  ): Promise<unknown> {
    let abandoned = false;
    const run = async (): Promise<unknown> => this.connection.evaluate(lua, key, args);
    try {
      return await this.withDeadline(
        run().catch((error: unknown) => {
          if (abandoned || !this.explain(error).worthARetry) throw error;
          return run();
        }),
      );
    } catch (error) {
      throw fail(this.explain(error));
    } finally {
      abandoned = true;
    }
  }

  withDeadline<T>(work: Promise<T>): Promise<T> {
    const late = (): Error => new Late(`Redis did not answer within ${this.#timeout} ms`);
    return withDeadline(this.#clock, this.#timeout, work, late);
  }

  explain(error: unknown): Failure {
    if (error instanceof Late) {
      return { reason: error.message, refused: false, worthARetry: false, unreadable: false };
    }
    return explainFailure(error, this.connection, this.names);
  }
}

class Late extends Error {}

/** Whether a script answered 1, also as a text: clients can be set to that. */
export function isOne(reply: unknown): boolean {
  return String(reply) === '1';
}

export function storeError(doing: string, { reason, unreadable }: Failure, open = ''): JwtAuthorityError {
  return new JwtAuthorityError(
    unreadable ? 'store_unreadable' : 'store_unavailable',
    `Cannot ${doing}: ${reason}${open}`,
  );
}
