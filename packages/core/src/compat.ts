import type { JsonWebKey } from 'node:crypto';
import type { JWTPayload } from 'jose';
import type { KeyPair } from './algorithms.ts';
import { JwtAuthority } from './authority.ts';
import { maxKidLength } from './compact.ts';
import { JwtAuthorityError } from './errors.ts';
import { importKeyPair } from './key-import.ts';
import { privateKeyOf, type KeyRing } from './key-ring/key-ring.ts';
import { addImportedKey, dueSteps } from './key-ring/transitions.ts';
import { effectivePropagationDelay } from './key-set/changes.ts';
import type { KeySetPolicy } from './key-set/policy.ts';
import { pendingKey } from './key-set/states.ts';
import { checkMethods, checkText, milliseconds, misuse } from './options.ts';

// The shapes that existing OAuth servers consume (@saurbit/oauth2-jwt and its relatives). JwtAuthority has the methods of
// JwtSigner, JwtVerifier and KeyGenerator; keyStoreOf() makes the other two of a key ring.

export interface JwksKeyStore {
  /** `ttl` in seconds. */
  storeKeyPair(kid: string, privateKey: object, publicKey: object, ttl: number): void | Promise<void>;
  /** The one current private JWK. */
  getPrivateKey(): Promise<object | undefined>;
  /** Those of the JWKS, oldest first. */
  getPublicKeys(): Promise<object[]>;
}

export interface JwksRotationTimestampStore {
  /** Epoch milliseconds; 0 if there was none. */
  getLastRotationTimestamp(): Promise<number>;
  setLastRotationTimestamp(rotationTimestamp: number): Promise<void>;
}

export interface KeyGenerator {
  generateKeyPair(): Promise<void>;
}

export interface JwtSigner {
  sign(payload: JWTPayload): Promise<{ token: string; kid: string }>;
}

export interface JwtVerifier {
  verify<P extends JWTPayload = JWTPayload>(token: string): Promise<P>;
}

/**
 * A key ring in the shapes of {@link JwksKeyStore} and {@link JwksRotationTimestampStore}: a server that makes and rotates
 * its own keys then keeps them encrypted, shared by all its processes, each rotation counted once. The ring's `algorithms`
 * must have the server's (the default, RS256, is what such servers use).
 *
 * - `storeKeyPair` brings the pair in as the next key under its own `kid`; it signs at once only if nothing else can. It
 *   does nothing, with an `import_ignored` event, while another key is pending or was made within the propagation delay:
 *   two processes that rotate together make one rotation. The public half stays for at least `ttl` seconds.
 * - **`getPrivateKey` gives the active private key in clear**, with its `kid` and `alg`. It is the one place where a private
 *   key leaves this library: a server that signs by itself needs it. Sign with `JwtAuthority` instead where you can. If
 *   there is none it makes one, unless `initialise` is `'never'`: such servers else make one each, and sign with it though
 *   another one was quicker.
 * - The last rotation is when the newest key was made, or what `setLastRotationTimestamp` was told. Times to come, of a
 *   clock that was wrong, do not count: they would hold up the next rotation.
 *
 * All methods throw what {@link KeyRing.ready} throws; `getPrivateKey` and `getPublicKeys` also `stale`.
 */
export function keyStoreOf(keyRing: KeyRing): JwksKeyStore & JwksRotationTimestampStore {
  checkMethods(keyRing, 'keyRing', ['ready', 'commit', 'publication']);
  const authority = new JwtAuthority({ keyRing });
  const { policy, clock } = keyRing;
  let toldTimestamp = 0;
  const prepare = async (): Promise<void> => {
    await authority.prepare();
    // Another process may have made the first key just now; its tokens are out.
    if (keyRing.keySet === undefined) await keyRing.refresh();
  };
  return {
    async storeKeyPair(kid, privateKey, publicKey, ttl) {
      checkText(kid, 'kid', maxKidLength);
      if (!kid.isWellFormed()) throw misuse('kid', 'be well-formed Unicode', kid);
      if (typeof ttl !== 'number' || !(ttl > 0)) throw misuse('ttl', 'be seconds, more than 0', ttl);
      const tokenLifetime = Math.max(policy.tokenLifetime, milliseconds(ttl, 'ttl'));
      // The object is a JWK or refused.
      const pair = await importKeyPair(privateKey as JsonWebKey, {
        name: 'privateKey',
        kid,
        executor: keyRing.executor,
      });
      checkPair(pair, publicKey, policy);
      await keyRing.refresh();
      if (keyRing.keySet === undefined && policy.initialise === 'never') {
        throw new JwtAuthorityError(
          'not_initialised',
          'the store holds no key set yet, and "initialise" is \'never\'',
        );
      }
      await keyRing.commit(dueSteps('housekeeping'));
      const ignored = (): void => keyRing.events.report('import_ignored', { kid, alg: pair.alg });
      const isFirst = (await authority.getCurrentKid()) === undefined;
      if (!isFirst && isRotating(keyRing, pair.alg)) return ignored();
      try {
        await keyRing.commit(addImportedKey(pair, isFirst ? 'first' : 'next', tokenLifetime));
      } catch (error) {
        // Another process was quicker.
        if (!JwtAuthorityError.is(error) || !['not_applicable', 'key_exists'].includes(error.code))
          throw error;
        ignored();
      }
    },
    async getPrivateKey() {
      await prepare();
      if ((await authority.getCurrentKid()) === undefined) {
        await keyRing.commit(dueSteps('making keys'));
      }
      const { kid, alg } = keyRing.signingKey();
      const privateKey = privateKeyOf(keyRing, kid);
      return privateKey && { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' };
    },
    async getPublicKeys() {
      await prepare();
      return keyRing.keySet === undefined ? [] : (await authority.getPublicKeys()).keys.toReversed();
    },
    async getLastRotationTimestamp() {
      await prepare();
      // The server asks this regularly: the time to destroy private halves that no longer sign (P5).
      await keyRing.commit(dueSteps('housekeeping'));
      const now = clock.now();
      const made = keyRing.keySet?.keys.map(({ createdAt }) => createdAt) ?? [];
      const past = [toldTimestamp, ...made].filter((time) => time <= now + policy.clockTolerance);
      return Math.min(now, Math.max(0, ...past));
    },
    async setLastRotationTimestamp(rotationTimestamp) {
      if (!Number.isFinite(rotationTimestamp) || rotationTimestamp < 0) {
        throw misuse('rotationTimestamp', 'be epoch milliseconds', rotationTimestamp);
      }
      toldTimestamp = rotationTimestamp;
    },
  };
}

function checkPair(pair: KeyPair, publicKey: object, { algorithms }: KeySetPolicy): void {
  if (typeof publicKey !== 'object' || publicKey === null) {
    throw misuse('publicKey', 'be a public JWK', publicKey);
  }
  if (Object.entries(pair.publicJwk).some(([member, value]) => Reflect.get(publicKey, member) !== value)) {
    throw new JwtAuthorityError(
      'unusable_key',
      'The key given as "publicKey" is not the public half of "privateKey"',
    );
  }
  if (!algorithms.includes(pair.alg)) {
    throw new TypeError(
      `"privateKey" must be for one of the key ring's "algorithms" (${algorithms.join(', ')}), got one for ${pair.alg}`,
    );
  }
}

/** Whether a key is pending, or was made so recently that another process may be making one for the same reason. */
function isRotating({ keySet, policy, clock }: KeyRing, alg: string): boolean {
  if (keySet === undefined) return false;
  const now = clock.now();
  const settled = effectivePropagationDelay(keySet, policy) + policy.commitDeadline;
  return keySet.keys.some(
    (key) =>
      key.alg === alg &&
      (key === pendingKey(keySet, key.alg, now) ||
        (key.revokedAt === undefined &&
          key.createdAt > now - settled &&
          key.createdAt <= now + policy.clockTolerance)),
  );
}
