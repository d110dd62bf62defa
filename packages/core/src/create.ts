import { authorityOptionNames, JwtAuthority, type JwtAuthorityOptions } from './authority.ts';
import { checkOptions } from './options.ts';
import { keyRingOptionNames, type KeyRingOptions } from './key-ring/options.ts';
import { KeyRing } from './key-ring/key-ring.ts';
import { policyOptionNames, type KeySetPolicyOptions } from './key-set/policy.ts';
import { JwksRotator } from './rotator.ts';

/** Everything in one flat object: the parts' options, see there. Only `store` and `encrypter` are required. */
export type CreateJwtAuthorityOptions = Omit<JwtAuthorityOptions, 'keyRing'> &
  Omit<KeyRingOptions, 'policy'> &
  KeySetPolicyOptions;

/** The names of {@link CreateJwtAuthorityOptions}. */
export const createOptionNames: readonly (keyof CreateJwtAuthorityOptions)[] = [
  ...keyRingOptionNames,
  ...policyOptionNames,
  ...authorityOptionNames,
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
 */
export async function createJwtAuthority(options: CreateJwtAuthorityOptions): Promise<RotatingJwtAuthority> {
  checkOptions(options, 'createJwtAuthority', createOptionNames);
  const pick = <Name extends keyof CreateJwtAuthorityOptions>(
    names: readonly Name[],
  ): Pick<CreateJwtAuthorityOptions, Name> =>
    // Object.fromEntries forgets the names it was given.
    Object.fromEntries(names.map((name) => [name, options[name]])) as Pick<CreateJwtAuthorityOptions, Name>;
  const keyRing = new KeyRing({ ...pick(keyRingOptionNames), policy: pick(policyOptionNames) });
  const authority = new RotatingJwtAuthority({ keyRing, ...pick(authorityOptionNames) });
  try {
    const first = await authority.rotator.checkAndRotateKeys();
    if (first.outcome === 'postponed' && keyRing.keySet === undefined) throw first.error;
    authority.rotator.start();
    return authority;
  } catch (error) {
    await authority.close();
    throw error;
  }
}
