import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeysFolder } from './keys-folder.ts';
import { killServers, ServerProcess } from './server-process.ts';
import { client, issuer, type Token } from './visitor.ts';

/** How long a new key is published before it signs: 24 hours in earnest, in the demo these seconds. */
export const propagationDelay = 4;

/** What the acts share. */
export class Stage {
  readonly keyEncryptionKey: Buffer = randomBytes(32);
  readonly keys: KeysFolder;
  /** Tokens that are to stay good to the end of the demo, one per key. */
  readonly tokens: Token[] = [];
  readonly #folder: string;

  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), 'jwt-authority-demo-'));
    this.keys = new KeysFolder(join(this.#folder, 'keys'));
  }

  /** Starts a server on the folder that all share. */
  async start(name: string, rotationInterval = '1h'): Promise<ServerProcess> {
    return ServerProcess.start(name, {
      PORT: '0',
      ISSUER: issuer,
      CLIENT_ID: client.id,
      CLIENT_SECRET: client.secret,
      STORE: 'file',
      KEYS_FOLDER: this.keys.path,
      JWT_AUTHORITY_KEY: this.keyEncryptionKey.toString('base64'),
      ROTATION_INTERVAL: rotationInterval,
      PROPAGATION_DELAY: String(propagationDelay),
      MAX_TOKEN_LIFETIME: '60',
      // Most of the delay goes to the stale bound: a busy machine must not spoil the demo.
      STALE_BOUND: '2.5',
      JWKS_MAX_AGE: '0.5',
      STALE_IF_ERROR: '0',
      CLOCK_TOLERANCE: '0.5',
    });
  }

  /** Leaves nothing behind. */
  clear(): void {
    killServers();
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
