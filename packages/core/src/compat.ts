import type { JsonWebKey } from 'node:crypto';
import type { JWTPayload } from 'jose';
import { importKeyPair } from './key-import.ts';
import { JwtAuthorityError } from './errors.ts';
import { publishedJwks } from './jwks.ts';
import { privateKeyOf, type KeyRing } from './key-ring/key-ring.ts';
import { addImportedKey, dueSteps } from './key-ring/transitions.ts';
import { effectivePropagationDelay } from './key-set/changes.ts';
import { activeKey, pendingKey } from './key-set/states.ts';
import { checkMethods, checkText, misuse } from './options.ts';

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
 * its own keys then keeps them encrypted, shared by all its processes, each rotation counted once.
 *
 * - `storeKeyPair` brings the pair in as the next key under its own `kid`; it signs at once only if nothing else can. It
 *   does nothing, with an `import_ignored` event, while another key is pending or was made within the propagation delay:
 *   two processes that rotate together make one rotation. The public half stays for at least `ttl` seconds.
 * - **`getPrivateKey` gives the active private key in clear**, with its `kid` and `alg`. It is the one place where a private
 *   key leaves this library: a server that signs by itself needs it. Sign with `JwtAuthority` instead where you can.
 * - The last rotation is when the newest key was made, or what `setLastRotationTimestamp` was told, never later than now.
 */
export function keyStoreOf(keyRing: KeyRing): JwksKeyStore & JwksRotationTimestampStore {
  checkMethods(keyRing, 'keyRing', ['ready', 'commit', 'publication']);
  let toldTimestamp = 0;
  const active = (): ReturnType<typeof activeKey> => {
    const { keySet, policy, clock } = keyRing;
    const now = clock.now();
    return keySet && policy.algorithms.map((alg) => activeKey(keySet, alg, now)).find((key) => key !== undefined);
  };
  const isRotating = (alg: string): boolean => {
    const { keySet, policy, clock } = keyRing;
    if (keySet === undefined) return false;
    const now = clock.now();
    const settled = effectivePropagationDelay(keySet, policy) + policy.commitDeadline;
    return keySet.keys.some((key) => key.alg === alg && (key === pendingKey(keySet, key.alg, now) || (key.revokedAt === undefined && now - key.createdAt < settled)));
  };
  return {
    async storeKeyPair(kid, privateKey, publicKey, ttl) {
      checkText(kid, 'kid');
      if (typeof publicKey !== 'object' || publicKey === null) throw misuse('publicKey', 'be a public JWK', publicKey);
      if (typeof ttl !== 'number' || !(ttl > 0) || ttl > 31_557_600_000) throw misuse('ttl', 'be seconds, more than 0', ttl);
      // A private JWK has its public half in it, and the import checks that they belong together.
      const pair = await importKeyPair(privateKey as JsonWebKey, { name: 'privateKey', kid });
      await keyRing.refresh();
      await keyRing.commit(dueSteps('housekeeping'));
      if (isRotating(pair.alg)) return keyRing.events.report('import_ignored', { kid, alg: pair.alg });
      const tokenLifetime = Math.max(keyRing.policy.tokenLifetime, Math.ceil(ttl * 1000));
      try {
        await keyRing.commit(addImportedKey(pair, active() === undefined ? 'first' : 'next', tokenLifetime));
      } catch (error) {
        // Another process was quicker.
        if (!JwtAuthorityError.is(error) || !['not_applicable', 'key_exists'].includes(error.code)) throw error;
        keyRing.events.report('import_ignored', { kid, alg: pair.alg });
      }
    },
    async getPrivateKey() {
      await keyRing.ready();
      const key = active();
      const privateKey = key && privateKeyOf(keyRing, key.kid);
      return privateKey && { ...privateKey.export({ format: 'jwk' }), kid: key.kid, alg: key.alg, use: 'sig' };
    },
    async getPublicKeys() {
      await keyRing.ready();
      return keyRing.keySet === undefined ? [] : publishedJwks(keyRing.publication().keys).toReversed();
    },
    async getLastRotationTimestamp() {
      await keyRing.ready();
      const newest = Math.max(0, ...(keyRing.keySet?.keys.map((key) => key.createdAt) ?? []));
      // A future time, of a clock that was wrong, must not hold up the next rotation.
      return Math.min(Math.max(newest, toldTimestamp), keyRing.clock.now());
    },
    async setLastRotationTimestamp(rotationTimestamp) {
      if (!Number.isFinite(rotationTimestamp) || rotationTimestamp < 0) throw misuse('rotationTimestamp', 'be epoch milliseconds', rotationTimestamp);
      toldTimestamp = rotationTimestamp;
    },
  };
}
