import { EventEmitter } from 'node:events';
import diagnostics from 'node:diagnostics_channel';
import type { Algorithm } from './algorithms.ts';
import { describeError, JwtAuthorityError, type JwtAuthorityErrorCode } from './errors.ts';

/** What every event carries. No event contains a token, a key, a claim or a ciphertext. */
interface EventBase {
  readonly namespace: string;
  /** Epoch milliseconds. */
  readonly at: number;
}

/** What an event is about when it concerns one key. */
interface KeyEvent extends EventBase {
  readonly kid: string;
  readonly alg: Algorithm;
  readonly revision: number;
}

interface FailureEvent extends EventBase {
  readonly code: JwtAuthorityErrorCode | 'unexpected';
  readonly message: string;
}

/** The events of a key ring. Each instance reports what it sees, also what others did; only `rotated` and `healed` are of its own doing. */
export interface KeyRingEventMap {
  /** The store was read; `changed` if that brought another document. */
  refreshed: [EventBase & { readonly revision: number | undefined; readonly changed: boolean }];
  /** A key appeared in the JWKS. */
  published: [KeyEvent & { readonly activatesAt: number }];
  /** This instance's commit made a key: over a fleet, each rotation gives exactly one. */
  rotated: [KeyEvent & { readonly activatesAt: number }];
  /** Another key signs from now on. */
  activated: [KeyEvent & { readonly previousKid: string | undefined }];
  /** The private half of a key was destroyed. */
  retired: [KeyEvent];
  /** An expired key was removed. */
  pruned: [KeyEvent];
  /** `committed: false`: this instance refuses the key already, the store could not be told yet. */
  revoked: [Omit<KeyEvent, 'revision'> & { readonly reason: string; readonly committed: boolean }];
  /** This instance put back what the store had lost. */
  healed: [EventBase & { readonly revision: number; readonly restoredKids: readonly string[] }];
  /** What is stored is not an authentic key set; it is not used. */
  tampered: [EventBase & { readonly problem: string }];
  /** A key pair given through the compatible key store was not taken: another rotation is under way. */
  import_ignored: [Omit<KeyEvent, 'revision'>];
  /** Health became `fresh`, `stale` or `unusable`. */
  fresh: [EventBase];
  stale: [EventBase & { readonly lastRefreshAt: number | undefined }];
  unusable: [EventBase & { readonly code: JwtAuthorityErrorCode }];
  /** This machine's clock minus the store's, in milliseconds, exceeds the clock tolerance: no new key is published from here. */
  clock_skew: [EventBase & { readonly difference: number }];
  store_error: [FailureEvent];
  encrypter_error: [FailureEvent & { readonly encrypter: string }];
  /** The rotator's background run failed; it tries again. */
  rotation_error: [FailureEvent];
}

export type KeyRingEventName = keyof KeyRingEventMap;

/** `console`, a pino logger, or anything of that shape: the fields first, then the message. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const levels: Readonly<Record<KeyRingEventName, keyof Logger>> = {
  refreshed: 'debug',
  published: 'info',
  rotated: 'info',
  activated: 'info',
  retired: 'info',
  pruned: 'info',
  revoked: 'warn',
  healed: 'warn',
  tampered: 'error',
  import_ignored: 'info',
  fresh: 'info',
  stale: 'error',
  unusable: 'error',
  clock_skew: 'error',
  store_error: 'error',
  encrypter_error: 'error',
  rotation_error: 'error',
};

/** What a payload is before namespace and time are added. */
type Report<Name extends KeyRingEventName> = Omit<KeyRingEventMap[Name][0], keyof EventBase>;

/**
 * The typed emitter of a key ring. The same payloads go to the `node:diagnostics_channel` named `jwt-authority:` + event,
 * and to the logger. A listener or logger that throws disturbs nothing.
 */
export class KeyRingEvents extends EventEmitter<KeyRingEventMap> {
  readonly #namespace: string;
  readonly #now: () => number;
  readonly #logger: Logger | undefined;

  /** @internal */
  constructor(namespace: string, now: () => number, logger: Logger | undefined) {
    super();
    this.#namespace = namespace;
    this.#now = now;
    this.#logger = logger;
  }

  /** @internal */
  report<Name extends KeyRingEventName>(name: Name, details: Report<Name>): void {
    // The payload has exactly the members of this event; TypeScript does not follow the spread of a generic.
    const payload = Object.freeze({
      ...details,
      namespace: this.#namespace,
      at: this.#now(),
    }) as unknown as never;
    this.#guard(() => this.#logger?.[levels[name]](payload, `jwt-authority: ${name}`));
    this.#guard(() => diagnostics.channel(`jwt-authority:${name}`).publish(payload));
    // Raw, so that `once` is once.
    for (const listener of this.rawListeners(name)) this.#guard(() => listener(payload));
  }

  #guard(deliver: () => unknown): void {
    const warn = (error: unknown): void =>
      process.emitWarning(
        `a listener of JWT Authority failed: ${describeError(error)}`,
        'JwtAuthorityWarning',
      );
    try {
      const result = deliver();
      if (result instanceof Promise) result.catch(warn);
    } catch (error) {
      warn(error);
    }
  }
}

/** The code and message that an event may carry of a failure. */
export function failureOf(error: unknown): {
  readonly code: JwtAuthorityErrorCode | 'unexpected';
  readonly message: string;
} {
  return { code: JwtAuthorityError.is(error) ? error.code : 'unexpected', message: describeError(error) };
}
