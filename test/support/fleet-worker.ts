import { createJwtAuthority, JwtAuthorityError, localEncrypter } from '../../packages/core/src/index.ts';
import type { RotatingJwtAuthority } from '../../packages/core/src/index.ts';
import type { OpenStore, RedisTarget } from './redis-target.ts';

/** What a process of the fleet is told at its start. */
export interface WorkerSettings {
  readonly signs: boolean;
  readonly target: RedisTarget;
  readonly namespace: string;
  readonly key: string;
}

export interface SignedToken {
  readonly token: string;
  readonly kid: string;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

/** What one instance knows and has done. */
export interface InstanceState {
  readonly revision: number | undefined;
  readonly keys: readonly { kid: string; signs: boolean; isPending: boolean; isRevoked: boolean }[];
  readonly publishedKids: readonly string[];
  /** The next key ought to be published now. */
  readonly isDue: boolean;
  readonly signed: number;
  /** Codes of what `sign` refused, which loses no token. */
  readonly refusedToSign: Readonly<Record<string, number>>;
  /** Successful verifications. */
  readonly verified: number;
  /** Refused although valid, as code and kid. */
  readonly lost: readonly string[];
  /** Tokens refused because their key was revoked. */
  readonly revokedKids: readonly string[];
  /** Verifications that could not tell and were tried again. */
  readonly repeated: number;
  readonly pending: number;
}

export interface FleetEvent {
  readonly name: (typeof eventNames)[number];
  readonly at: number;
  readonly kid?: string;
  readonly activatesAt?: number;
  readonly message?: string;
  readonly code?: string;
}

export type ToWorker =
  | { readonly kind: 'verify'; readonly signed: SignedToken }
  | { readonly kind: 'call'; readonly id: number; readonly command: Command; readonly kid?: string };
export type Command = 'state' | 'rotate' | 'revoke' | 'stopSigning';
export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'signed'; readonly signed: SignedToken }
  | { readonly kind: 'event'; readonly event: FleetEvent }
  | { readonly kind: 'reply'; readonly id: number; readonly value?: unknown; readonly error?: string };

const eventNames = ['rotated', 'healed', 'tampered', 'clock_skew', 'store_error', 'rotation_error'] as const;

/** The schedule of every fleet, in seconds: a key is published every 6 s, 4 s before it signs; tokens live for at most 2 s. */
export const fleetPolicy = {
  algorithms: ['ES256'],
  propagationDelay: 4,
  rotationInterval: 6,
  maxTokenLifetime: 2,
} as const;

const send = (message: FromWorker): void => void process.send?.(message);

/** One instance in a process of its own: signs without pause, or verifies each token three times until it expires. */
export async function runFleetWorker(open: OpenStore): Promise<void> {
  // Written by fleet.ts.
  const settings = JSON.parse(process.argv[2] ?? '') as WorkerSettings;
  const { store } = await open(settings.target, { namespace: settings.namespace, timeout: 0.8 });
  const options = { store, encrypter: localEncrypter({ key: settings.key }), ...fleetPolicy };
  const authority = await createJwtAuthority(options);
  for (const name of eventNames) {
    authority.keyRing.events.on(name, (payload: Omit<FleetEvent, 'name'>) => {
      send({ kind: 'event', event: { ...payload, name } });
    });
  }
  const worker = new Worker(authority);
  process.on('message', (message: ToWorker) => {
    if (message.kind === 'verify') return worker.receive(message.signed);
    worker.run(message.command, message.kid).then(
      (value) => send({ kind: 'reply', id: message.id, value }),
      (error: unknown) => send({ kind: 'reply', id: message.id, error: String(error) }),
    );
  });
  process.on('disconnect', () => process.exit());
  send({ kind: 'ready' });
  if (settings.signs) worker.sign();
}

class Worker {
  readonly #authority: RotatingJwtAuthority;
  readonly #lost: string[] = [];
  readonly #revokedKids = new Set<string>();
  readonly #refusedToSign: Record<string, number> = {};
  #isSigning = true;
  #signed = 0;
  #verified = 0;
  #repeated = 0;
  #pending = 0;

  constructor(authority: RotatingJwtAuthority) {
    this.#authority = authority;
  }

  sign(): void {
    if (!this.#isSigning) return;
    void this.#signOne().finally(() => setTimeout(() => this.sign(), 20));
  }

  async #signOne(): Promise<void> {
    try {
      const { token, kid } = await this.#authority.sign({ sub: 'fleet' });
      const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
        exp: number;
      };
      this.#signed += 1;
      send({ kind: 'signed', signed: { token, kid, expiresAt: exp * 1000 } });
    } catch (error) {
      const code = codeOf(error);
      this.#refusedToSign[code] = (this.#refusedToSign[code] ?? 0) + 1;
    }
  }

  /** Looks at a token now, in the middle of its life, and right before its end. */
  receive(signed: SignedToken): void {
    const left = signed.expiresAt - Date.now();
    for (const delay of [0, left / 2, left - 150]) {
      if (delay < 0) continue;
      this.#pending += 1;
      setTimeout(() => void this.#verify(signed).finally(() => (this.#pending -= 1)), delay);
    }
  }

  async #verify({ token, kid, expiresAt }: SignedToken): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const isInTime = Date.now() < expiresAt;
      if (!isInTime && attempt === 1) return;
      try {
        await this.#authority.verify(token);
        this.#verified += 1;
        return;
      } catch (error) {
        const code = codeOf(error);
        if (code === 'key_revoked') return void this.#revokedKids.add(kid);
        // A process that was held up looked too late.
        if (code === 'expired' && attempt === 1) return;
        if (!isInTime || !JwtAuthorityError.is(error) || !error.retryable)
          return void this.#lost.push(`${code} ${kid}`);
        this.#repeated += 1;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  async run(command: Command, kid: string | undefined): Promise<unknown> {
    const { rotator } = this.#authority;
    switch (command) {
      case 'state':
        return this.#state();
      case 'rotate':
        return rotator.rotateNow();
      case 'revoke':
        return rotator.revoke(kid ?? '', { reason: 'a test' });
      case 'stopSigning':
        this.#isSigning = false;
        return undefined;
    }
  }

  #state(): InstanceState {
    const { keyRing, rotator } = this.#authority;
    const now = Date.now();
    const active = orNothing(() => keyRing.signingKey().kid);
    return {
      revision: keyRing.revision,
      keys: (keyRing.keySet?.keys ?? []).map((key) => ({
        kid: key.kid,
        signs: key.kid === active,
        isPending: key.hasPrivateKey && key.revokedAt === undefined && key.activatesAt > now,
        isRevoked: key.revokedAt !== undefined,
      })),
      publishedKids: orNothing(() => keyRing.publication().keys.map((key) => key.kid)) ?? [],
      isDue: rotator.plan().some(({ step }) => step === 'publish'),
      signed: this.#signed,
      refusedToSign: this.#refusedToSign,
      verified: this.#verified,
      lost: this.#lost,
      revokedKids: [...this.#revokedKids],
      repeated: this.#repeated,
      pending: this.#pending,
    };
  }
}

function orNothing<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): string {
  return JwtAuthorityError.is(error) ? error.code : String(error);
}
