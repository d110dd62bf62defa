import type { Algorithm, StoredKeySet } from '@jwt-authority/core';
import type { MadeKey } from './key-pool.ts';

/** A token that was signed. */
export interface Token {
  readonly token: string;
  readonly kid: string;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

/** What the observer knows of a key, from its own watching. */
export interface KeyFacts {
  readonly kid: string;
  readonly alg: Algorithm;
  readonly made: MadeKey;
  /** True time at which a store first had it. */
  firstStoredAt: number;
  /** Since when the store that has it has it without a gap, and whether a gap came before. */
  presentSince: number;
  /** How long it had to be published before it signs: what held when it was published. */
  requiredDelay: number;
  /** The same for a key that the store lost, and got back. */
  requiredAgain: number;
  /** It was made to sign at once, or let take over before its time: nobody promises that caches know it. */
  immediate: boolean;
  activatesAt: number;
  /** The end of the longest token that it signed; -Infinity before the first. */
  latestExpiry: number;
  sampleToken: Token | undefined;
  /** Somebody tried to revoke it: it may be refused from then on, here and there. */
  triedToRevoke: boolean;
  /** A store had it as revoked. */
  revokedAt: number | undefined;
}

/** The observer's own history: all that it has seen, nothing that core says about itself. */
export class Ledger {
  readonly keys: Map<string, KeyFacts> = new Map();
  readonly made: Map<string, MadeKey> = new Map();
  /** Every document that an instance wrote, by etag: what is authentic. */
  readonly authentic: Map<string, StoredKeySet> = new Map();
  tokens: Token[] = [];
  readonly backups: StoredKeySet[] = [];

  /** Keys with tokens that no clock takes for expired, and that nobody tried to revoke. */
  live(now: number, tolerance: number): KeyFacts[] {
    const live: KeyFacts[] = [];
    for (const facts of this.keys.values())
      if (facts.latestExpiry - tolerance > now && !facts.triedToRevoke) live.push(facts);
    return live;
  }

  signed(token: Token, now: number): void {
    const facts = this.keys.get(token.kid);
    if (facts === undefined) return;
    if (token.expiresAt > facts.latestExpiry) {
      facts.latestExpiry = token.expiresAt;
      facts.sampleToken = token;
    }
    if (this.tokens.length > 60)
      this.tokens = this.tokens.filter(({ expiresAt }) => expiresAt > now).slice(-40);
    this.tokens.push(token);
  }
}

/** Whether an instance wrote exactly this. */
export function isAuthentic(ledger: Ledger, stored: StoredKeySet | undefined): boolean {
  const written = ledger.authentic.get(stored?.etag ?? '');
  return (
    written !== undefined && written.document === stored?.document && written.revision === stored.revision
  );
}
