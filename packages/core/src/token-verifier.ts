import { hash } from 'node:crypto';
import { checkClaims, type ClaimExpectations, type JwtClaims } from './claims.ts';
import { parseCompact, parseHeader, type TokenHeader } from './compact.ts';
import { JwtAuthorityError } from './errors.ts';
import { deepFreeze, parseJsonObject } from './json.ts';
import type { KeyRing } from './key-ring/key-ring.ts';
import type { VerificationKey } from './key-ring/view.ts';
import { LeastRecentlyUsed } from './least-recently-used.ts';

/** A token whose signature held and whose claims are as expected. */
export interface VerifiedContent {
  readonly claims: JwtClaims & { readonly exp: number };
  readonly header: TokenHeader;
}

/** What a signature check found. What the token claims is judged anew at each use. */
interface SignedContent {
  readonly claims: Record<string, unknown>;
  readonly header: TokenHeader;
  /** The very key that verified it. Every change of the key set brings new ones, so that nothing outlasts it. */
  readonly key: VerificationKey;
}

const maxKnownHeaders = 1000;

/** Verifies tokens by the keys of a key ring: format, key, signature, claims, in this order. */
export class TokenVerifier {
  readonly #keyRing: KeyRing;
  readonly #maxTokenLength: number;
  /** Protected headers of tokens that verified, by their encoding: each is decoded and judged once. Made-up ones cannot fill it. */
  readonly #headers = new LeastRecentlyUsed<TokenHeader>(maxKnownHeaders);
  /** By the SHA-256 digest of the token: it holds nothing that could be used as one, and nobody can choose where an entry goes. */
  readonly #contents: LeastRecentlyUsed<SignedContent> | undefined;

  constructor(
    keyRing: KeyRing,
    limits: { readonly maxTokenLength: number; readonly maxCachedTokens: number },
  ) {
    this.#keyRing = keyRing;
    this.#maxTokenLength = limits.maxTokenLength;
    if (limits.maxCachedTokens > 0) this.#contents = new LeastRecentlyUsed(limits.maxCachedTokens);
  }

  /** @throws `JwtAuthorityError` as `JwtAuthority.verify` says. */
  async verify(token: string, expectations: ClaimExpectations): Promise<VerifiedContent> {
    const digest = this.#digest(token);
    const known = this.#known(digest);
    const content = known ?? (await this.#verifySignature(token));
    const { claims, header } = content;
    checkClaims(claims, header, expectations, this.#keyRing.clock.now());
    // Frozen, for it will be handed out again.
    if (digest !== undefined && known === undefined) {
      this.#contents?.set(digest, { ...content, claims: deepFreeze(claims) });
    }
    return { claims, header };
  }

  #digest(token: unknown): string | undefined {
    if (this.#contents === undefined || typeof token !== 'string' || token.length > this.#maxTokenLength) {
      return undefined;
    }
    return hash('sha256', token, 'base64');
  }

  #known(digest: string | undefined): SignedContent | undefined {
    const content = digest === undefined ? undefined : this.#contents?.get(digest);
    if (content === undefined) return undefined;
    // Revoked, expired, or in a key set that has changed: the whole way, then.
    return this.#keyRing.verificationKey(content.key.kid) === content.key ? content : undefined;
  }

  async #verifySignature(token: string): Promise<SignedContent> {
    const { encodedHeader, payload, signature, signingInput } = parseCompact(token, this.#maxTokenLength);
    const knownHeader = this.#headers.get(encodedHeader);
    const header = knownHeader ?? parseHeader(encodedHeader);
    const keyRing = this.#keyRing;
    const key = keyRing.verificationKey(header.kid) ?? (await keyRing.findVerificationKey(header.kid));
    if (key === 'revoked') {
      throw new JwtAuthorityError('key_revoked', 'the token was signed by a key that has been revoked');
    }
    if (key.alg !== header.alg) {
      throw new JwtAuthorityError(
        'algorithm_mismatch',
        `the token's "alg" is not ${key.alg}, that of the key it names`,
      );
    }
    if (!(await key.verify(Buffer.from(signingInput, 'latin1'), signature))) {
      throw new JwtAuthorityError('signature_invalid', 'the signature is not that of this token and key');
    }
    if (knownHeader === undefined) this.#headers.set(encodedHeader, header);
    return { claims: parseClaims(payload), header, key };
  }
}

/** Claims of a token whose signature held. `checkClaims` says the rest. */
function parseClaims(payload: Buffer): Record<string, unknown> {
  const parsed = parseJsonObject(payload);
  if (!('problem' in parsed)) return parsed.value;
  throw parsed.problem === 'not_json'
    ? new JwtAuthorityError(
        'malformed',
        'The token has claims that are not a JSON object in UTF-8',
        'claims_not_json',
      )
    : new JwtAuthorityError(
        'malformed',
        'The token has claims that name a member twice',
        'claims_duplicate_member',
      );
}
