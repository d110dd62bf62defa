import { authorityOptionNames, JwtAuthority, type JwtAuthorityOptions } from './authority.ts';
import { checkBoolean, checkOptions } from './options.ts';
import { keyRingOptionNames, type KeyRingOptions } from './key-ring/options.ts';
import { KeyRing } from './key-ring/key-ring.ts';
import { policyOptionNames, type KeySetPolicyOptions } from './key-set/policy.ts';
import { JwksRotator } from './rotator.ts';

/** Everything in one flat object: the parts' options, see there. Only `store` and `encrypter` are required. */
export type CreateJwtAuthorityOptions = Omit<JwtAuthorityOptions, 'keyRing'> &
  Omit<KeyRingOptions, 'policy'> &
  KeySetPolicyOptions & {
    /**
     * Whether to start although the store or the KEK service is down, and go on asking in the background: until it
     * answers, `sign` and `verify` reject with its code, and `keyRing.health()` has the reason. Only for what waiting may
     * mend (`retryable`): a wrong KEK fails at once all the same. Default `false`.
     */
    readonly retryStart?: boolean | undefined;
  };

/** The names of {@link CreateJwtAuthorityOptions}. */
export const createOptionNames: readonly (keyof CreateJwtAuthorityOptions)[] = [
  ...keyRingOptionNames,
  ...policyOptionNames,
  ...authorityOptionNames,
  'retryStart',
];

/** A {@link JwtAuthority} with its own key ring and a started rotator. */
export class RotatingJwtAuthority extends JwtAuthority {
  readonly rotator: JwksRotator;

  /** @internal */
  constructor(options: JwtAuthorityOptions) {
    super(options);
    this.rotator = new JwksRotator({ keyRing: options.keyRing });
  }

  /** Stops rotation, timers and watches. Store and encrypter stay open: they are the caller's. */
  async close(): Promise<void> {
    this.rotator.stop();
    await this.keyRing.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * An authority that rotates by itself: a {@link KeyRing}, a {@link JwtAuthority} and a started {@link JwksRotator}. Makes
 * the first key set if the store is empty (unless `initialise` is `'never'`: it then waits for one, see `keyRing.health()`).
 *
 * @throws {TypeError} for wrong options.
 * @throws `JwtAuthorityError` if the key set cannot be loaded now: `store_unavailable`, `store_unreadable`,
 *   `kek_not_configured`, `kek_unavailable`, `document_rejected`, `document_unsupported`. Nothing is left running then.
 *   With `retryStart`, not for `store_unavailable` and `kek_unavailable`.
 */
export async function createJwtAuthority(options: CreateJwtAuthorityOptions): Promise<RotatingJwtAuthority> {
  checkOptions(options, 'createJwtAuthority', createOptionNames);
  const { retryStart = false } = options;
  checkBoolean(retryStart, 'retryStart');
  const pick = <Name extends keyof CreateJwtAuthorityOptions>(
    names: readonly Name[],
  ): Pick<CreateJwtAuthorityOptions, Name> =>
    // Object.fromEntries forgets the names it was given.
    Object.fromEntries(names.map((name) => [name, options[name]])) as Pick<CreateJwtAuthorityOptions, Name>;
  const keyRing = new KeyRing({ ...pick(keyRingOptionNames), policy: pick(policyOptionNames) });
  const authority = new RotatingJwtAuthority({ keyRing, ...pick(authorityOptionNames) });
  try {
    const first = await authority.rotator.checkAndRotateKeys();
    if (first.outcome === 'postponed' && keyRing.keySet === undefined && !retryStart) throw first.error;
    authority.rotator.start();
    return authority;
  } catch (error) {
    await authority.close();
    throw error;
  }
}
