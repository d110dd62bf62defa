import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import {
  createJwtAuthority,
  JwtAuthorityError,
  jwksResponse,
  type CreateJwtAuthorityOptions,
  type KeyEncrypter,
  type RotatingJwtAuthority,
} from '@jwt-authority/core';
import { fakeClock, type FakeClock } from '@jwt-authority/core/testing';
import { memoryStore } from '@jwt-authority/store-memory';
import { calculateJwkThumbprint, createLocalJWKSet, decodeJwt, jwtVerify, type JSONWebKeySet } from 'jose';
import { RecordingStore } from './recording-store.ts';

export type Encrypters = readonly [KeyEncrypter, ...KeyEncrypter[]];

/** Short enough to be read in seconds: stale bound 250 s, refresh 60 s, caches 125 + 125 s, deadline 10 s. */
const settings = {
  algorithms: ['ES256'],
  propagationDelay: 1000,
  rotationInterval: 3000,
  maxTokenLifetime: 300,
} satisfies Partial<CreateJwtAuthorityOptions>;

/**
 * Instances on one store, with a load on them: whatever is signed by one is verified by all, and by a verifier that knows
 * nothing but the JWKS, until it expires. Time is virtual, the KEK's service is real.
 */
export class Fleet {
  readonly clock: FakeClock = fakeClock();
  readonly store: RecordingStore = new RecordingStore(() => memoryStore({ clock: this.clock }));
  readonly privateKeys: KeyObject[] = [];
  readonly figures = { signed: 0, verified: 0, rotated: 0 };
  /** Every token that was refused, with the reason: none may be. */
  readonly lost: string[] = [];
  #instances: readonly RotatingJwtAuthority[] = [];
  #tokens: readonly { readonly token: string; readonly expiresAt: number }[] = [];
  #jwks: JSONWebKeySet = { keys: [] };
  #jwksExpires = -Infinity;
  #load: Promise<void> | undefined;
  #stopping = false;

  get instances(): readonly RotatingJwtAuthority[] {
    return this.#instances;
  }

  get first(): RotatingJwtAuthority {
    const [first] = this.#instances;
    if (first === undefined) throw new Error('no instance runs');
    return first;
  }

  /** Starts one instance that is not part of the fleet. The caller closes it. */
  async startOne(
    encrypters: Encrypters,
    options: Partial<CreateJwtAuthorityOptions> = {},
  ): Promise<RotatingJwtAuthority> {
    const authority = await createJwtAuthority({
      ...settings,
      store: this.store,
      encrypter: encrypters,
      clock: this.clock,
      generateKeyPair: async (alg) => {
        const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        this.privateKeys.push(privateKey);
        const { kty = '', crv = '', x = '', y = '' } = publicKey.export({ format: 'jwk' });
        const publicJwk = { kty, crv, x, y };
        return { kid: await calculateJwkThumbprint(publicJwk), alg, publicJwk, privateKey };
      },
      ...options,
    });
    authority.keyRing.events.on('rotated', () => this.figures.rotated++);
    return authority;
  }

  /** Replaces every instance by one with these encrypters, one after the other, as a rolling deployment does. */
  async deploy(encrypters: Encrypters, count = 3): Promise<void> {
    for (let slot = 0; slot < count; slot++) {
      const next = await this.startOne(encrypters);
      const old = this.#instances[slot];
      this.#instances = [...this.#instances.slice(0, slot), next, ...this.#instances.slice(slot + 1)];
      await old?.close();
    }
  }

  /** Ends every instance, then starts new ones: what is only in memory is gone. */
  async restart(encrypters: Encrypters): Promise<void> {
    const count = this.#instances.length;
    await this.pauseLoad();
    await Promise.all(this.#instances.map(async (instance) => instance.close()));
    this.#instances = [];
    await this.deploy(encrypters, count);
    this.startLoad();
  }

  /** Lets `seconds` pass in steps that are shorter than a refresh interval; at each, every instance signs and verifies. */
  async advance(seconds: number): Promise<void> {
    for (let left = seconds; left > 0; left -= 50) {
      await this.clock.advance(Math.min(50, left));
      if (this.#load !== undefined) for (const instance of this.#instances) await this.#round(instance);
    }
  }

  /** From now on tokens are signed and verified, also in the middle of whatever happens. */
  startLoad(): void {
    this.#stopping = false;
    this.#load ??= this.#work();
  }

  /** Ends the load after the present round. */
  async pauseLoad(): Promise<void> {
    this.#stopping = true;
    await this.#load;
    this.#load = undefined;
  }

  /** Drops the tokens and the JWKS that the load works with: what follows may invalidate them rightly. */
  forgetTokens(): void {
    this.#tokens = [];
    this.#jwksExpires = -Infinity;
  }

  async close(): Promise<void> {
    await this.pauseLoad();
    await Promise.all(this.#instances.map(async (instance) => instance.close()));
  }

  async #work(): Promise<void> {
    for (let round = 0; !this.#stopping; round++) {
      const instance = this.#instances[round % this.#instances.length];
      if (instance !== undefined) await this.#round(instance);
      // The load is not to take the machine from what it is a load on.
      await pause(4);
    }
  }

  async #round(instance: RotatingJwtAuthority): Promise<void> {
    await this.#attempt('sign', Infinity, async () => {
      const { token } = await instance.sign({ sub: 'somebody' }, { expiresIn: 300 });
      this.figures.signed++;
      this.#tokens = [...this.#tokens, { token, expiresAt: (decodeJwt(token).exp ?? 0) * 1000 }].slice(-20);
    });
    await this.#fetchJwks(instance);
    const now = this.clock.now();
    this.#tokens = this.#tokens.filter(({ expiresAt }) => expiresAt > now);
    // The oldest that are still good, whose key may be gone from somewhere, and the newest, whose key may be unknown.
    const sample = new Set([...this.#tokens.slice(0, 2), ...this.#tokens.slice(-2)]);
    for (const { token, expiresAt } of sample) {
      for (const verifier of this.#instances) {
        await this.#attempt('verify', expiresAt, async () => verifier.verify(token));
      }
      await this.#attempt('verify by the JWKS', expiresAt, async () =>
        jwtVerify(token, createLocalJWKSet(this.#jwks), { currentDate: new Date(this.clock.now()) }),
      );
    }
  }

  async #attempt(what: string, expiresAt: number, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      if (what !== 'sign') this.figures.verified++;
    } catch (error) {
      // The clock may have moved on meanwhile; and an instance that is replaced ends.
      if (expiresAt <= this.clock.now()) return;
      if (JwtAuthorityError.is(error) && error.code === 'closed') return;
      this.lost.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** As a cache does that keeps the JWKS as long as it may, and the old one if the server answers 503. */
  async #fetchJwks(instance: RotatingJwtAuthority): Promise<void> {
    if (this.clock.now() < this.#jwksExpires) return;
    const response = await jwksResponse(instance, new Request('https://issuer.example/jwks.json'));
    if (response.status !== 200) return;
    const maxAge = /max-age=(\d+)/.exec(response.headers.get('cache-control') ?? '')?.[1] ?? '0';
    this.#jwksExpires = this.clock.now() + Number(maxAge) * 1000;
    this.#jwks = (await response.json()) as JSONWebKeySet;
  }
}

/** Which of these secrets stand in any document that was ever stored, in any of the usual encodings. */
export function leaked(
  store: RecordingStore,
  privateKeys: readonly KeyObject[],
  dataKeys: readonly Buffer[],
): number {
  const secrets = [
    ...dataKeys,
    ...privateKeys.map((key) => Buffer.from(key.export({ format: 'jwk' }).d ?? '', 'base64url')),
  ];
  const all = store.written.map(({ document }) => document).join('\n');
  return secrets.filter((secret) =>
    (['base64', 'base64url', 'hex', 'latin1'] as const).some((encoding) =>
      all.includes(secret.toString(encoding).replace(/=+$/, '')),
    ),
  ).length;
}
