import { checkAlgorithm, type Algorithm } from '../algorithms.ts';
import {
  checkInteger,
  checkOneOf,
  checkOptions,
  inSeconds,
  milliseconds,
  misuse,
  type Duration,
} from '../options.ts';

/** How keys rotate. Every duration is seconds as a number, or a text like `'90d'`, `'15m'`. */
export interface KeySetPolicyOptions {
  /**
   * Algorithms to hold keys of, the preferred one first. Default `['RS256']`. Each has its own active key and schedule.
   * Changing them migrates by the normal way: publish, activate, retire; tokens already signed stay good.
   */
  readonly algorithms?: readonly Algorithm[] | undefined;
  /** Size of new RSA keys in bits: 2048 (default) to 8192. */
  readonly modulusLength?: number | undefined;
  /** How long a key signs before the next one takes over. Default 90 days. */
  readonly rotationInterval?: Duration | undefined;
  /**
   * How long a new key is published before it may sign; longer than any verifier caches the JWKS. Default 24 h (.NET
   * caches for 12 h, jwks-rsa 10 h, jose 10 min).
   */
  readonly propagationDelay?: Duration | undefined;
  /** The longest time from now to `exp` that `sign` accepts, and the default. At least 1 s. Default 1 h. */
  readonly maxTokenLifetime?: Duration | undefined;
  /** How old the last successful refresh may be for signing and publishing to go on from memory. Default: a quarter of `propagationDelay`. */
  readonly staleBound?: Duration | undefined;
  /** Longest time between two attempts to read the store. Default 60 s, at most a tenth of `propagationDelay`. */
  readonly refreshInterval?: Duration | undefined;
  /** `max-age` of the JWKS. Default 600 s, at most an eighth of `propagationDelay`. */
  readonly jwksMaxAge?: Duration | undefined;
  /** `stale-if-error` of the JWKS (RFC 5861). Default 1 h, at most an eighth of `propagationDelay`. */
  readonly staleIfError?: Duration | undefined;
  /** Largest difference between two clocks of the fleet, also the leeway of `exp` and `nbf`. Default 30 s, at most an eighth of `propagationDelay`. */
  readonly clockTolerance?: Duration | undefined;
  /** How long a commit may take from its decision to the write, and the deadline of each call to a store or KEK service. Default 10 s, at most a quarter of `propagationDelay`. */
  readonly commitDeadline?: Duration | undefined;
  /** A policy that would publish more keys than this is refused. Default 20. */
  readonly maxPublishedKeys?: number | undefined;
  /**
   * Whether an empty store gets a first key set. `'never'`, recommended once in production: an instance that starts on a
   * wiped store then waits for one that still holds the keys, instead of making new ones. Default `'auto'`.
   */
  readonly initialise?: 'auto' | 'never' | undefined;
}

/** A checked {@link KeySetPolicyOptions}: every duration in whole milliseconds, nothing optional. */
export interface KeySetPolicy {
  readonly algorithms: readonly [Algorithm, ...Algorithm[]];
  readonly modulusLength: number;
  readonly rotationInterval: number;
  readonly propagationDelay: number;
  readonly tokenLifetime: number;
  readonly staleBound: number;
  readonly refreshInterval: number;
  readonly jwksMaxAge: number;
  readonly staleIfError: number;
  readonly clockTolerance: number;
  readonly commitDeadline: number;
  readonly maxPublishedKeys: number;
  readonly initialise: 'auto' | 'never';
}

/** The names of {@link KeySetPolicyOptions}, for checks of options objects that contain them. */
export const policyOptionNames = [
  'algorithms',
  'modulusLength',
  'rotationInterval',
  'propagationDelay',
  'maxTokenLifetime',
  'staleBound',
  'refreshInterval',
  'jwksMaxAge',
  'staleIfError',
  'clockTolerance',
  'commitDeadline',
  'maxPublishedKeys',
  'initialise',
] as const;

/**
 * Checks a policy and fills in its defaults.
 *
 * The rules, each with its reason in the message of the error that a violation throws:
 * - `staleBound + jwksMaxAge + staleIfError + 2 × clockTolerance ≤ propagationDelay`
 * - `refreshInterval ≤ staleBound / 2`, `commitDeadline ≤ staleBound`
 * - `propagationDelay + commitDeadline < rotationInterval`
 * - about `(maxTokenLifetime + 2 × propagationDelay) / rotationInterval + 2` keys are published per algorithm, at most
 *   `maxPublishedKeys` in all
 *
 * @throws {TypeError} that names the option, the kind of its value and the rule.
 */
export function resolvePolicy(options: KeySetPolicyOptions = {}): KeySetPolicy {
  checkOptions(options, 'policy', policyOptionNames);
  const {
    algorithms = ['RS256'],
    modulusLength = 2048,
    initialise = 'auto',
    maxPublishedKeys = 20,
  } = options;
  const { rotationInterval = '90d', maxTokenLifetime = '1h' } = options;
  const { propagationDelay: delay = '24h' } = options;
  const propagationDelay = milliseconds(delay, 'propagationDelay');
  const defaults = defaultDurations(propagationDelay);
  const duration = (name: keyof KeySetPolicyOptions, fallback: number): number =>
    options[name] === undefined ? fallback : milliseconds(options[name], name);

  const policy: KeySetPolicy = {
    algorithms: checkAlgorithms(algorithms),
    modulusLength: checkInteger(modulusLength, 'modulusLength', 2048, 8192),
    rotationInterval: milliseconds(rotationInterval, 'rotationInterval'),
    propagationDelay,
    tokenLifetime: milliseconds(maxTokenLifetime, 'maxTokenLifetime'),
    staleBound: duration('staleBound', defaults.staleBound),
    refreshInterval: duration('refreshInterval', defaults.refreshInterval),
    jwksMaxAge: duration('jwksMaxAge', defaults.jwksMaxAge),
    staleIfError: duration('staleIfError', defaults.staleIfError),
    clockTolerance: duration('clockTolerance', defaults.clockTolerance),
    commitDeadline: duration('commitDeadline', defaults.commitDeadline),
    maxPublishedKeys: checkInteger(maxPublishedKeys, 'maxPublishedKeys', 2, 100),
    initialise: checkOneOf(initialise, 'initialise', ['auto', 'never']),
  };
  checkRules(policy, defaults);
  return Object.freeze(policy);
}

type DerivedDurations = Pick<
  KeySetPolicy,
  'staleBound' | 'refreshInterval' | 'jwksMaxAge' | 'staleIfError' | 'clockTolerance' | 'commitDeadline'
>;

/** What derives from the propagation delay. Together at most three quarters of it, so any delay is legal by default. */
function defaultDurations(propagationDelay: number): DerivedDurations {
  const atMost = (limit: number, part: number): number =>
    Math.floor(Math.min(limit, propagationDelay / part));
  return {
    staleBound: atMost(Infinity, 4),
    refreshInterval: atMost(60_000, 10),
    jwksMaxAge: atMost(600_000, 8),
    staleIfError: atMost(3_600_000, 8),
    clockTolerance: atMost(30_000, 8),
    commitDeadline: atMost(10_000, 4),
  };
}

function checkAlgorithms(value: unknown): KeySetPolicy['algorithms'] {
  if (!Array.isArray(value)) throw misuse('algorithms', "be an array like ['RS256']", value);
  const [first, ...rest] = value.map((entry, index) => checkAlgorithm(entry, `algorithms[${index}]`));
  if (first === undefined) throw misuse('algorithms', 'name at least one algorithm', value);
  if (new Set(value).size !== value.length) throw misuse('algorithms', 'not name an algorithm twice', value);
  return Object.freeze([first, ...rest] as const);
}

function checkRules(policy: KeySetPolicy, defaults: DerivedDurations): void {
  const { propagationDelay, staleBound, jwksMaxAge, staleIfError, clockTolerance, refreshInterval } = policy;
  const { commitDeadline, rotationInterval, tokenLifetime } = policy;
  const atLeast = (name: keyof KeySetPolicyOptions, value: number, least: number): void => {
    if (value < least)
      throw new TypeError(`"${name}" (${inSeconds(value)} s) must be at least ${inSeconds(least)} s`);
  };
  atLeast('propagationDelay', propagationDelay, 1000);
  atLeast('maxTokenLifetime', tokenLifetime, 1000);
  atLeast('refreshInterval', refreshInterval, 10);
  atLeast('commitDeadline', commitDeadline, 50);

  const lag = staleBound + jwksMaxAge + staleIfError + 2 * clockTolerance;
  if (lag > propagationDelay) {
    const terms = [staleBound, jwksMaxAge, staleIfError].map(inSeconds).join(' + ');
    // At least one is: the defaults always fit.
    const raised = (['jwksMaxAge', 'staleIfError', 'staleBound', 'clockTolerance'] as const)
      .filter((name) => policy[name] > defaults[name])
      .map((name) => `${name} (default here: ${inSeconds(defaults[name])} s)`);
    throw new TypeError(
      `"propagationDelay" (${inSeconds(propagationDelay)} s) must be at least "staleBound" + "jwksMaxAge" + "staleIfError" + 2 × "clockTolerance" ` +
        `(${terms} + 2 × ${inSeconds(clockTolerance)} = ${inSeconds(lag)} s): a new key would sign before every cache could know it. ` +
        `Lower ${raised.join(' or ')} or raise propagationDelay.`,
    );
  }
  if (refreshInterval > staleBound / 2) {
    throw new TypeError(
      `"refreshInterval" (${inSeconds(refreshInterval)} s) must be at most half of "staleBound" (${inSeconds(staleBound)} s): ` +
        'one missed refresh would stop the service.',
    );
  }
  if (commitDeadline > staleBound) {
    throw new TypeError(
      `"commitDeadline" (${inSeconds(commitDeadline)} s) must be at most "staleBound" (${inSeconds(staleBound)} s): ` +
        'a commit could take effect after the instance that made it may no longer act on it.',
    );
  }
  if (propagationDelay + commitDeadline >= rotationInterval) {
    throw new TypeError(
      `"rotationInterval" (${inSeconds(rotationInterval)} s) must be longer than "propagationDelay" + "commitDeadline" ` +
        `(${inSeconds(propagationDelay)} + ${inSeconds(commitDeadline)} s): the next key is published that long before it signs.`,
    );
  }
  const perAlgorithm = Math.ceil((tokenLifetime + 2 * propagationDelay) / rotationInterval) + 2;
  const published = perAlgorithm * policy.algorithms.length;
  if (published > policy.maxPublishedKeys) {
    throw new TypeError(
      `"rotationInterval" (${inSeconds(rotationInterval)} s) would publish about ${published} keys at a time, more than "maxPublishedKeys" ` +
        `(${policy.maxPublishedKeys}): each stays for "maxTokenLifetime" + 2 × "propagationDelay" (${inSeconds(tokenLifetime + 2 * propagationDelay)} s). ` +
        'Rotate less often, or shorten the token lifetime.',
    );
  }
}
