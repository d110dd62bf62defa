import { type Clock, describeError, withDeadline } from '@jwt-authority/core';
import { type Failure, member, other, readFailure } from './failures.ts';

/**
 * What is needed of a client of Vault: a POST to `/v1/PATH`, which resolves to the answer's body and rejects unless the status
 * is 200. The client of `node-vault` is one. It owns address, TLS, namespace and token.
 *
 * `body` is to be written with `JSON.stringify`: nothing else shows what is in it. `timeout` is in milliseconds.
 * Of an error, `response.statusCode` (or `status`) and `response.body.errors` (or `response.data.errors`) are read.
 */
export interface VaultClient {
  write(path: string, body: object, options: { readonly timeout: number }): Promise<unknown>;
}

export interface RequestSettings {
  readonly client: VaultClient;
  /** For all tries of a request, in milliseconds. */
  readonly timeout: number;
  readonly clock: Clock;
  readonly onAuthError: (() => Promise<void> | void) | undefined;
}

/** Milliseconds before the second, third and fourth try. */
const pauses = [100, 300, 900];

/** Requests with a deadline, retries, and one new login. */
export class Requests {
  readonly #settings: RequestSettings;
  #login: Promise<void> | undefined;
  #logins = 0;

  constructor(settings: RequestSettings) {
    this.#settings = settings;
  }

  /** The member `name` of the answer's `data`, a text, or why there is none. */
  async post(
    path: string,
    body: Body,
    name: string,
  ): Promise<{ readonly text: string } | { readonly failure: Failure }> {
    const { clock, timeout } = this.#settings;
    const end = clock.monotonic() + timeout;
    try {
      // The client's own time-out may not exist, or not work.
      const work = this.#postUntil(end, path, body);
      const answer = await withDeadline(clock, timeout, work, () => new LateError());
      if ('failure' in answer) return answer;
      const text = member(member(answer.body, 'data'), name);
      if (typeof text === 'string') return { text };
      return {
        failure: other('kek_unavailable', 'the answer is not one of Vault transit. Is there a proxy?'),
      };
    } catch (error) {
      if (!(error instanceof LateError)) throw error;
      return { failure: other('kek_unavailable', `no answer within ${timeout} ms`) };
    }
  }

  async #postUntil(
    end: number,
    path: string,
    body: Body,
  ): Promise<{ readonly body: unknown } | { readonly failure: Failure }> {
    const { client, clock, onAuthError } = this.#settings;
    let retries = 0;
    let mayLogIn = onAuthError !== undefined;
    for (;;) {
      const timeout = Math.ceil(end - clock.monotonic());
      if (timeout <= 0) throw new LateError();
      const login = this.#logins;
      let failure: Failure;
      try {
        return { body: await client.write(path, body, { timeout }) };
      } catch (error) {
        failure = readFailure(error);
      }
      if (failure.kind === 'forbidden' && mayLogIn) {
        mayLogIn = false;
        const failed = await this.#logIn(login);
        if (failed !== undefined) return { failure: failed };
        continue;
      }
      const pause = pauses[retries];
      const isWorthIt = failure.kind === 'other' && failure.retry;
      if (!isWorthIt || pause === undefined || clock.monotonic() + pause >= end) return { failure };
      retries += 1;
      await wait(clock, pause);
    }
  }

  /** Calls the hook, once for all requests that failed under the same token. */
  async #logIn(loginOfRequest: number): Promise<Failure | undefined> {
    if (loginOfRequest !== this.#logins) return undefined;
    this.#login ??= this.#callHook();
    try {
      await this.#login;
      return undefined;
    } catch (error) {
      return other(
        'kek_unavailable',
        `Vault asks for a new login, and "onAuthError" failed (${describeError(error)})`,
      );
    }
  }

  async #callHook(): Promise<void> {
    try {
      await this.#settings.onAuthError?.();
      this.#logins += 1;
    } finally {
      this.#login = undefined;
    }
  }
}

class LateError extends Error {}

/**
 * A request's body whose members only JSON shows. Clients print what they send (node-vault does, with `DEBUG=node-vault`) and
 * hang it on their errors.
 */
export class Body {
  readonly #members: Readonly<Record<string, string>>;

  constructor(members: Readonly<Record<string, string>>) {
    this.#members = members;
  }

  toJSON(): Readonly<Record<string, string>> {
    return this.#members;
  }
}

function wait(clock: Clock, delay: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(resolve, delay);
  });
}
