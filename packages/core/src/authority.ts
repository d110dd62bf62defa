import type { JWK } from 'jose';
import type { Algorithm } from './algorithms.ts';
import type { ClaimExpectations, JwtClaims } from './claims.ts';
import { applySchema, type ClaimsSchema } from './claims-schema.ts';
import { checkSignOptions, claimsToSign, type SignOptions } from './claims-to-sign.ts';
import type { TokenHeader } from './compact.ts';
import { withDeadline } from './clock.ts';
import { describeError, JwtAuthorityError } from './errors.ts';
import { publishedJwk, publishedJwks, type JwksSource, type PublishedJwk } from './jwks.ts';
import type { KeyRing, Publication } from './key-ring/key-ring.ts';
import type { SigningKey } from './key-ring/view.ts';
import {
  checkInteger,
  checkMethods,
  checkOneOf,
  checkOptions,
  checkText,
  checkTexts,
  inSeconds,
  misuse,
} from './options.ts';
import type { ReplayStore } from './ports.ts';
import { JwksRotator } from './rotator.ts';
import { TokenVerifier, type VerifiedContent } from './token-verifier.ts';
import { expectationsOf, type VerifyOptions } from './verify-options.ts';

export interface JwtAuthorityOptions {
  readonly keyRing: KeyRing;
  /** `iss` of every token signed here, and expected of every token verified. */
  readonly issuer?: string | undefined;
  /** Expected `aud` of tokens to verify, one or several of which one must match; and `aud` of tokens signed without one, if it is a single one. */
  readonly audience?: string | readonly string[] | undefined;
  /** The `typ` header of tokens signed here, for instance `at+jwt` (RFC 9068). If given, `verify` expects it. Default `JWT`, and any accepted. */
  readonly typ?: string | undefined;
  /** Longest token that `verify` looks at, in characters. Default 16384. */
  readonly maxTokenLength?: number | undefined;
  /**
   * How many verified tokens to remember, so that the signature of one that comes again need not be checked again; everything
   * else is, at each use. Forgotten at every change of the key set. Claims are frozen then. 0 to 1,000,000. Default 0: none.
   */
  readonly maxCachedTokens?: number | undefined;
  /** For `verifyOnce`. One per issuer. */
  readonly replayStore?: ReplayStore | undefined;
  /** Whether `verify` goes on with known keys when the key set is staler than the stale bound. Default `'accept'`: P7. */
  readonly verifyWhenStale?: 'accept' | 'refuse' | undefined;
}

/** The names of {@link JwtAuthorityOptions}, without `keyRing`. */
export const authorityOptionNames = [
  'issuer',
  'audience',
  'typ',
  'maxTokenLength',
  'maxCachedTokens',
  'replayStore',
  'verifyWhenStale',
] as const;

/** What {@link JwtAuthority.verifyWithHeader} gives. */
export interface VerifiedToken<Claims> {
  readonly claims: Claims;
  /** The protected header, frozen. */
  readonly header: TokenHeader;
  readonly kid: string;
  /** How long ago the key set was last read, in seconds. */
  readonly keySetAge: number;
}

const maxKnownHeaders = 1000;

/** Signs and verifies JWTs (RFC 7519) with the keys of a key ring, and says what to publish. */
export class JwtAuthority implements JwksSource {
  readonly keyRing: KeyRing;
  readonly #issuer: string | undefined;
  readonly #audience: string | readonly string[] | undefined;
  readonly #typ: string | undefined;
  readonly #maxTokenLength: number;
  readonly #replayStore: ReplayStore | undefined;
  readonly #refuseWhenStale: boolean;
  /** Encoded protected headers by what they say: each is encoded once. */
  readonly #encodedHeaders = new Map<string, string>();
  readonly #verifier: TokenVerifier;

  /** @throws {TypeError} for options that are missing, of the wrong kind or unknown. */
  constructor(options: JwtAuthorityOptions) {
    checkOptions(options, 'JwtAuthority', ['keyRing', ...authorityOptionNames]);
    const {
      keyRing,
      issuer,
      audience,
      typ,
      maxTokenLength = 16_384,
      maxCachedTokens = 0,
      replayStore,
      verifyWhenStale = 'accept',
    } = options;
    checkMethods(keyRing, 'keyRing', ['ready', 'signingKey', 'verificationKey']);
    this.keyRing = keyRing;
    this.#issuer = issuer === undefined ? undefined : checkText(issuer, 'issuer');
    const audiences = audience === undefined ? undefined : checkTexts(audience, 'audience');
    this.#audience = audiences?.length === 1 ? audiences[0] : audiences;
    this.#typ = typ === undefined ? undefined : checkText(typ, 'typ', 100);
    this.#maxTokenLength = checkInteger(maxTokenLength, 'maxTokenLength', 256, 1_000_000);
    this.#verifier = new TokenVerifier(keyRing, {
      maxTokenLength: this.#maxTokenLength,
      maxCachedTokens: checkInteger(maxCachedTokens, 'maxCachedTokens', 0, 1_000_000),
    });
    if (replayStore !== undefined) checkMethods(replayStore, 'replayStore', ['claim']);
    this.#replayStore = replayStore;
    this.#refuseWhenStale = checkOneOf(verifyWhenStale, 'verifyWhenStale', ['accept', 'refuse']) === 'refuse';
  }

  /**
   * Signs a token. `iat` is now unless the payload has one, `iss` the authority's, `exp` always there: the longest that
   * the key set promises unless the payload or the options say. No call to a store or KEK service, but for the first load.
   *
   * @throws {TypeError} if the payload is no plain object, has a registered claim of the wrong kind or one that an option
   *   gives too, or what is to be signed could not be accepted: `exp` over, `iat` to come, too long for `maxTokenLength`.
   * @throws `JwtAuthorityError`: `token_lifetime_exceeded` (`exp` beyond what the key set promises: P4), `stale`,
   *   `no_active_key`, `not_initialised`, and what the first load throws: `store_unavailable`, `kek_unavailable`, …
   */
  async sign(payload: JwtClaims, options: SignOptions = {}): Promise<{ token: string; kid: string }> {
    const key = await this.#signingKey(checkSignOptions(options).alg);
    const { policy, clock } = this.keyRing;
    const claims = claimsToSign(payload, options, {
      issuer: this.#issuer,
      audience: typeof this.#audience === 'string' ? this.#audience : undefined,
      tokenLifetime: Math.min(key.tokenLifetime, policy.tokenLifetime),
      now: clock.now(),
    });
    const header = this.#encodedHeader(key, options.typ ?? this.#typ ?? 'JWT');
    const input = `${header}.${Buffer.from(claims).toString('base64url')}`;
    const signature = await key.sign(Buffer.from(input, 'latin1'));
    const token = `${input}.${signature.toString('base64url')}`;
    if (token.length > this.#maxTokenLength) {
      throw new TypeError(
        `"payload" makes a token of ${token.length} characters, "maxTokenLength" is ${this.#maxTokenLength}: verify would refuse it`,
      );
    }
    return { token, kid: key.kid };
  }

  /**
   * Signs several tokens at once, in the order given. If one cannot be signed, none is returned.
   *
   * @throws as {@link JwtAuthority.sign}.
   */
  async signMany(
    payloads: readonly JwtClaims[],
    options: SignOptions = {},
  ): Promise<{ token: string; kid: string }[]> {
    if (!Array.isArray(payloads)) throw misuse('payloads', 'be an array of claims sets', payloads);
    if (typeof checkSignOptions(options).jti === 'string') {
      throw misuse('jti', 'be true in signMany: one text would name all tokens', options.jti);
    }
    return Promise.all(payloads.map(async (payload: JwtClaims) => this.sign(payload, options)));
  }

  async #signingKey(alg: Algorithm | undefined): Promise<SigningKey> {
    await this.prepare();
    return this.keyRing.signingKey(alg);
  }

  #encodedHeader({ alg, kid }: SigningKey, typ: string): string {
    // With the length of the one part that may hold any character but is not the last: no two headers share a name.
    const name = `${typ.length} ${typ} ${alg} ${kid}`;
    const known = this.#encodedHeaders.get(name);
    if (known !== undefined) return known;
    const encoded = Buffer.from(JSON.stringify({ alg, typ, kid })).toString('base64url');
    if (this.#encodedHeaders.size >= maxKnownHeaders) this.#encodedHeaders.clear();
    this.#encodedHeaders.set(name, encoded);
    return encoded;
  }

  /**
   * Verifies a token and gives its claims. The algorithm is that of the key which `kid` names (RFC 8725, 3.1); whatever
   * the token brings along itself (`jwk`, `jku`, `x5u`, `x5c`, `crit`) makes it malformed. `exp` is required.
   *
   * @throws `JwtAuthorityError`: `malformed` (with `reason`), `unknown_kid`, `unknown_kid_while_stale`, `key_revoked`,
   *   `algorithm_mismatch`, `signature_invalid`, `expired`, `not_yet_valid`, `too_old`, `wrong_issuer`, `wrong_audience`,
   *   `wrong_subject`, `wrong_type`, `missing_claim`, `invalid_claim`; `stale` if so configured; and what the first load
   *   throws: `store_unavailable`, `kek_unavailable`, …
   */
  async verify<Claims extends JwtClaims = JwtClaims>(
    token: string,
    options: VerifyOptions<Claims> = {},
  ): Promise<Claims> {
    const { claims } = await this.#verify(token, this.#expectations(options));
    return fit(claims, options.schema);
  }

  /** As {@link JwtAuthority.verify}, with the header and how old the knowledge is that it was judged by. */
  async verifyWithHeader<Claims extends JwtClaims = JwtClaims>(
    token: string,
    options: VerifyOptions<Claims> = {},
  ): Promise<VerifiedToken<Claims>> {
    const { claims, header } = await this.#verify(token, this.#expectations(options));
    return {
      claims: await fit(claims, options.schema),
      header,
      kid: header.kid,
      keySetAge: this.keyRing.age / 1000,
    };
  }

  async #verify(token: string, expectations: ClaimExpectations): Promise<VerifiedContent> {
    if (this.#refuseWhenStale) await this.#checkFresh();
    return this.#verifier.verify(token, expectations);
  }

  async #checkFresh(): Promise<void> {
    await this.prepare();
    const { keyRing } = this;
    if (keyRing.age > keyRing.staleBound) {
      throw new JwtAuthorityError(
        'stale',
        `the key set was last read ${inSeconds(keyRing.age)} s ago, the bound is ${inSeconds(keyRing.staleBound)} s`,
      );
    }
  }

  #expectations<Claims extends JwtClaims>(options: VerifyOptions<Claims>): ClaimExpectations {
    return expectationsOf(options, {
      issuer: this.#issuer,
      audience: this.#audience,
      typ: this.#typ,
      clockTolerance: this.keyRing.policy.clockTolerance,
    });
  }

  /**
   * Verifies a one-time token and uses it up: the `jti` is claimed in the replay store, atomically, until nobody would
   * accept the token any more. Fails closed.
   *
   * @throws as {@link JwtAuthority.verify}; `missing_claim` without `jti`; `replayed`; `replay_store_unavailable`.
   * @throws {TypeError} if the authority has no `replayStore`.
   */
  async verifyOnce<Claims extends JwtClaims = JwtClaims>(
    token: string,
    options: VerifyOptions<Claims> = {},
  ): Promise<Claims> {
    const replayStore = this.#replayStore;
    if (replayStore === undefined) {
      throw new TypeError('verifyOnce needs the option "replayStore" of the authority');
    }
    const { policy, clock } = this.keyRing;
    const expectations = this.#expectations(options);
    const { clockTolerance, requiredClaims = [] } = expectations;
    const { claims } = await this.#verify(token, {
      ...expectations,
      requiredClaims: [...requiredClaims, 'jti'],
    });
    // Before it is used up; what the schema makes of it may be without jti and exp.
    const fitting = await fit(claims, options.schema);
    const { jti = '', exp } = claims;
    // Until the slowest clock with the longest leeway says that it has expired: that of another call may be the usual one.
    const leeway = Math.max(clockTolerance, policy.clockTolerance) + policy.clockTolerance;
    const ttl = Math.max(1, Math.ceil((exp * 1000 + leeway - clock.now()) / 1000));
    if ((await this.#claim(replayStore, jti, ttl)) !== true) {
      throw new JwtAuthorityError('replayed', 'this one-time token was used before');
    }
    return fitting;
  }

  async #claim(replayStore: ReplayStore, jti: string, ttl: number): Promise<unknown> {
    const { policy, clock } = this.keyRing;
    const failed = (what: string): Error =>
      new JwtAuthorityError('replay_store_unavailable', `the replay store ${what}`);
    const late = (): Error => failed(`did not answer within ${policy.commitDeadline} ms`);
    try {
      return await withDeadline(clock, policy.commitDeadline, replayStore.claim(jti, ttl), late);
    } catch (error) {
      if (JwtAuthorityError.is(error) && error.code === 'replay_store_unavailable') throw error;
      throw failed(`failed: ${describeError(error)}`);
    }
  }

  /** Loads the key set if that was not done yet, or again if it is stale. */
  async prepare(): Promise<void> {
    const { keyRing } = this;
    if (keyRing.age > keyRing.staleBound) await keyRing.refreshIfStale();
  }

  /** What to publish now: see {@link KeyRing.publication}. */
  publication(): Publication {
    return this.keyRing.publication();
  }

  /** The JWKS, the newest key first. @throws `JwtAuthorityError` as {@link JwtAuthority.sign}. */
  async getPublicKeys(): Promise<{ keys: PublishedJwk[] }> {
    await this.prepare();
    return { keys: publishedJwks(this.publication().keys) };
  }

  /** The same as {@link JwtAuthority.getPublicKeys}; {@link jwksHandler} adds what HTTP needs. */
  async getJwksEndpointResponse(): Promise<{ keys: PublishedJwk[] }> {
    return this.getPublicKeys();
  }

  /** A published key, `undefined` if this `kid` is not published. */
  async getPublicKey(kid: string): Promise<JWK | undefined> {
    await this.prepare();
    const record = this.publication().keys.find((key) => key.kid === kid);
    return record === undefined ? undefined : publishedJwk(record);
  }

  /** The key that `sign` would use now, `undefined` if there is none. Never makes one. */
  async getCurrentKid(): Promise<string | undefined> {
    await this.prepare();
    try {
      return this.keyRing.signingKey().kid;
    } catch (error) {
      if (JwtAuthorityError.is(error) && (error.code === 'no_active_key' || error.code === 'not_initialised'))
        return undefined;
      throw error;
    }
  }

  /** Rotates now: publishes a next key, unless one is pending. It signs after the propagation delay. */
  async generateKeyPair(): Promise<void> {
    await new JwksRotator({ keyRing: this.keyRing }).rotateNow();
  }
}

/** Without a schema, the caller says what its claims are: the registered ones were checked. */
function fit<Claims extends JwtClaims>(
  claims: JwtClaims,
  schema: ClaimsSchema<Claims> | undefined,
): Claims | Promise<Claims> {
  return schema === undefined ? (claims as unknown as Claims) : applySchema(schema, claims);
}
