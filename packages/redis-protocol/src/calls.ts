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

  /** The reply of a script. */
  evaluate(
    { lua }: { readonly lua: string },
    key: string,
    args: readonly string[],
    fail: (failure: Failure) => Error,
  ): Promise<unknown> {
    return this.repeatable(() => this.connection.evaluate(lua, key, args), fail);
  }

  /**
   * The result of work that may as well be done twice: where the connection is lost, nobody knows whether it was done, so it is
   * done again, once.
   *
   * @throws what `fail` makes of the failure.
   */
  repeatable<T>(work: () => Promise<T>, fail: (failure: Failure) => Error): Promise<T> {
    // One promise and not five: a layer of them costs a tenth of a call to Redis.
    return new Promise((resolve, reject) => {
      let isOver = false;
      const end = (): void => {
        isOver = true;
        cancel();
      };
      const failed = (error: unknown): void => {
        end();
        reject(fail(this.explain(error)));
      };
      const cancel = this.#clock.setTimer(() => failed(this.#late()), this.#timeout);
      const succeeded = (result: T): void => {
        end();
        resolve(result);
      };
      const attempt = (onFailure: (error: unknown) => void): void => {
        try {
          work().then(succeeded, onFailure);
        } catch (error) {
          onFailure(error);
        }
      };
      attempt((error) => {
        if (isOver) return;
        if (this.explain(error).worthARetry) attempt(failed);
        else failed(error);
      });
    });
  }

  withDeadline<T>(work: Promise<T>): Promise<T> {
    return withDeadline(this.#clock, this.#timeout, work, () => this.#late());
  }

  #late(): Error {
    return new Late(`Redis did not answer within ${this.#timeout} ms`);
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
