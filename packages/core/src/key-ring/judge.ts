import { JwtAuthorityError } from '../errors.ts';
import type { KeyRingEvents } from '../events.ts';
import type { CryptoExecutor } from '../executor.ts';
import { parseDocument } from '../key-set/document.ts';
import { validate } from '../key-set/validate.ts';
import type { StoredKeySet } from '../ports.ts';
import { openKeySet, type DataKey } from './sealing.ts';
import type { KekService } from './services.ts';
import { KeySetView } from './view.ts';

/** What judging a stored key set gave: authentic and opened, or not to be used. */
export type Judgement =
  | { readonly kind: 'authentic'; readonly view: KeySetView }
  | { readonly kind: 'rejected'; readonly error: JwtAuthorityError };

/** Opens what a store has, and tells what is authentic from what is not. */
export class Judge {
  readonly #namespace: string;
  readonly #kek: KekService;
  readonly #executor: CryptoExecutor;
  readonly #events: KeyRingEvents;
  #rejected: StoredKeySet | undefined;

  constructor(parts: {
    readonly namespace: string;
    readonly kek: KekService;
    readonly executor: CryptoExecutor;
    readonly events: KeyRingEvents;
  }) {
    this.#namespace = parts.namespace;
    this.#kek = parts.kek;
    this.#executor = parts.executor;
    this.#events = parts.events;
  }

  /**
   * Judges what is stored, with the data-encryption key that is held if it is still the one. Reports a rejected document
   * once.
   *
   * @throws with the code that says why it cannot be judged.
   */
  async judge(stored: StoredKeySet, held: DataKey | undefined): Promise<Judgement> {
    const about = `what the store holds for namespace "${this.#namespace}"`;
    const parsed = parseDocument(stored.document);
    if (parsed.kind === 'unsupported') {
      throw new JwtAuthorityError('document_unsupported', `${about} cannot be read: ${parsed.problem}`);
    }
    if (parsed.kind === 'rejected') return this.#reject(stored, about, parsed.problem);
    const { keySet, sealed } = parsed.document;
    const dataKey =
      held?.wrapped === sealed.dataKey ? held : await this.#unwrap(sealed.dataKey, stored.revision);
    if (dataKey === undefined) {
      const problem = `its wrapped data-encryption key was altered, or the "${this.#kek.labelOf(sealed.dataKey)}" given here is not the KEK that wrapped it`;
      return this.#reject(stored, about, problem);
    }
    const { revision, etag } = stored;
    const opened = openKeySet(parsed.document, dataKey, { namespace: this.#namespace, revision, etag });
    if ('problem' in opened) return this.#reject(stored, about, opened.problem);
    const broken = validate(keySet);
    if (broken !== undefined) {
      throw new JwtAuthorityError('document_unsupported', `${about} is authentic, but ${broken}`);
    }
    const { privateKeys } = opened;
    return {
      kind: 'authentic',
      view: new KeySetView({ stored, keySet, dataKey, privateKeys }, this.#executor),
    };
  }

  /** The store has what it should have again: the same fault, if it comes back, is news. */
  settle(): void {
    this.#rejected = undefined;
  }

  async #unwrap(wrapped: string, revision: number): Promise<DataKey | undefined> {
    try {
      return await this.#kek.open(wrapped, revision);
    } catch (error) {
      if (JwtAuthorityError.is(error) && error.code === 'decryption_failed') return undefined;
      throw error;
    }
  }

  #reject(stored: StoredKeySet, about: string, problem: string): Judgement {
    if (!isSameCommit(stored, this.#rejected)) this.#events.report('tampered', { problem });
    this.#rejected = stored;
    const message = `${about} (revision ${stored.revision}) is not an authentic key set: ${problem}`;
    return { kind: 'rejected', error: new JwtAuthorityError('document_rejected', message) };
  }
}

/** The same commit, to the byte: a document altered under its own etag is not. */
export function isSameCommit(a: StoredKeySet, b: StoredKeySet | undefined): boolean {
  return a.etag === b?.etag && a.revision === b.revision && a.document === b.document;
}
