import {
  JwksRotator,
  JwtAuthority,
  JwtAuthorityError,
  KeyRing,
  type KeyEncrypter,
  type KeySetStore,
  type StoredKeySet,
} from '@jwt-authority/core';
import { openEncrypters, openStore, type OpenStore } from './adapters.ts';
import type { Io } from './io.ts';
import { readSettings, type CommonFlags, type Settings } from './settings.ts';

/** One look at a key set, with everything that acts on it. Nothing rotates by itself here. */
export interface Session {
  readonly settings: Settings;
  readonly store: OpenStore;
  readonly encrypters: readonly [KeyEncrypter, ...KeyEncrypter[]];
  readonly keyRing: KeyRing;
  readonly rotator: JwksRotator;
  readonly authority: JwtAuthority;
}

/** Runs `work` on what flags, environment and configuration name, and closes everything that was opened for it. */
export async function withSession<Result>(
  io: Io,
  flags: CommonFlags & { readonly dryRun?: boolean },
  work: (session: Session) => Promise<Result>,
): Promise<Result> {
  const settings = await readSettings(flags, io.env);
  const encrypters = await openEncrypters(settings, io.env);
  const store = await openStore(settings, io.env);
  try {
    const keyRing = new KeyRing({
      store: flags.dryRun === true ? pretending(store.store) : store.store,
      encrypter: encrypters,
      policy: settings.policy,
    });
    try {
      const { issuer } = settings;
      const authority = new JwtAuthority({ keyRing, ...(issuer !== undefined && { issuer }) });
      return await work({
        settings,
        store,
        encrypters,
        keyRing,
        rotator: new JwksRotator({ keyRing }),
        authority,
      });
    } finally {
      await keyRing.close();
    }
  } finally {
    await store.close();
  }
}

/** Loads the key set. @throws `JwtAuthorityError` with code `not_initialised` if there is none: looking must not make one. */
export async function loadKeySet({ keyRing, settings }: Session): Promise<void> {
  await keyRing.ready();
  if (keyRing.keySet !== undefined) return;
  throw new JwtAuthorityError(
    'not_initialised',
    `the store holds no key set for namespace "${settings.namespace}". Make one with: jwt-authority rotate`,
  );
}

/** Keeps what would be written to itself: the same code decides, and nothing happens. */
function pretending(store: KeySetStore): KeySetStore {
  let written: StoredKeySet | undefined;
  return {
    namespace: store.namespace,
    async load() {
      const result = await store.load();
      return written === undefined ? result : { ...result, stored: written };
    },
    async compareAndSwap(next) {
      written = next;
      return true;
    },
  };
}
