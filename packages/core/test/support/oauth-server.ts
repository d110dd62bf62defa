import { exportJWK, generateKeyPair, importJWK, jwtVerify, SignJWT } from 'jose';
import type { JWK, JWTPayload } from 'jose';
import type {
  JwksKeyStore,
  JwksRotationTimestampStore,
  JwtSigner,
  JwtVerifier,
  KeyGenerator,
} from '../../src/compat.ts';

// What an OAuth server of the @saurbit/oauth2-jwt kind does with the two interfaces, written anew from its observed behaviour:
// RS256 only, makes a key when it finds none and signs with that very key without looking again, knows nothing of tenants,
// revisions or pending keys, reads the clock of the machine. It knows only the interfaces.

export class ServerAuthority implements JwtSigner, JwtVerifier, KeyGenerator {
  readonly #store: JwksKeyStore;
  readonly #ttl: number;
  readonly #makeKeyPair: () => Promise<{ privateKey: JWK; publicKey: JWK }>;

  /** `ttl` in seconds. `makeKeyPair`: 2048 bits take long, a test brings its own. */
  constructor(store: JwksKeyStore, ttl = 36_000, makeKeyPair = makeRsaPair) {
    this.#store = store;
    this.#ttl = ttl;
    this.#makeKeyPair = makeKeyPair;
  }

  async #makeAndStore(): Promise<JWK> {
    const { privateKey, publicKey } = await this.#makeKeyPair();
    const about = { kid: crypto.randomUUID(), alg: 'RS256', use: 'sig' };
    const privateJwk = { ...privateKey, ...about };
    await this.#store.storeKeyPair(about.kid, privateJwk, { ...publicKey, ...about }, this.#ttl);
    return privateJwk;
  }

  async #signingJwk(): Promise<JWK> {
    return (await this.#store.getPrivateKey()) ?? this.#makeAndStore();
  }

  async generateKeyPair(): Promise<void> {
    await this.#makeAndStore();
  }

  async sign(payload: JWTPayload): Promise<{ token: string; kid: string }> {
    const jwk = await this.#signingJwk();
    if (jwk.kty !== 'RSA' || jwk.kid === undefined) throw new Error('expected an RSA key with a kid');
    const header = { typ: 'JWT', alg: 'RS256', kid: jwk.kid };
    const token = await new SignJWT(payload).setProtectedHeader(header).sign(await importJWK(jwk, 'RS256'));
    return { token, kid: jwk.kid };
  }

  async verify<P extends JWTPayload = JWTPayload>(token: string): Promise<P> {
    const { kid } = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) as {
      kid?: string;
    };
    const key = (await this.getJwksEndpointResponse()).keys.find((candidate) => candidate.kid === kid);
    if (key?.kty !== 'RSA') throw new Error('no such key');
    return (await jwtVerify<P>(token, key)).payload;
  }

  /** Newest first. */
  async getJwksEndpointResponse(): Promise<{ keys: JWK[] }> {
    return { keys: [...((await this.#store.getPublicKeys()) as JWK[])].toReversed() };
  }

  async getCurrentKid(): Promise<string | undefined> {
    return (await this.#signingJwk()).kid;
  }
}

async function makeRsaPair(): Promise<{ privateKey: JWK; publicKey: JWK }> {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  return { privateKey: await exportJWK(privateKey), publicKey: await exportJWK(publicKey) };
}

/** Rotates when the interval is over; writes the timestamp after the key was made. */
export class ServerRotator {
  readonly #generator: KeyGenerator;
  readonly #timestamps: JwksRotationTimestampStore;
  readonly #interval: number;
  readonly #now: () => number;

  /** `interval` in milliseconds. */
  constructor(
    generator: KeyGenerator,
    timestamps: JwksRotationTimestampStore,
    interval: number,
    now = Date.now,
  ) {
    this.#generator = generator;
    this.#timestamps = timestamps;
    this.#interval = interval;
    this.#now = now;
  }

  async checkAndRotateKeys(): Promise<void> {
    const now = this.#now();
    const last = await this.#timestamps.getLastRotationTimestamp();
    if (Number.isNaN(last) || now - last >= this.#interval) {
      await this.#generator.generateKeyPair();
      await this.#timestamps.setLastRotationTimestamp(now);
    }
  }
}
