import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { Report } from '../commands.ts';
import { UsageError } from '../failures.ts';

const file = 'jwt-authority.config.json';

/** Writes a configuration, and makes a KEK: into a file that only its owner can read, or, if asked for, onto the terminal. */
export async function init(flags: {
  readonly store: string;
  readonly keyFile: string;
  readonly showKey?: boolean;
}): Promise<Report> {
  const store = {
    file: { kind: 'file', folder: './keys' },
    ioredis: { kind: 'ioredis' },
    'redis-om': { kind: 'redis-om' },
  };
  if (!Object.hasOwn(store, flags.store)) {
    throw new UsageError(`there is no store "${flags.store}"; there are: ${Object.keys(store).join(', ')}`);
  }
  const configuration = {
    namespace: 'default',
    store: store[flags.store as keyof typeof store],
    encrypter: { kind: 'local', keyEnv: 'JWT_AUTHORITY_KEY' },
    policy: { algorithms: ['RS256'], rotationInterval: '90d', maxTokenLifetime: '1h' },
  };
  const key = randomBytes(32).toString('base64');
  if (flags.showKey !== true) await create(flags.keyFile, `${key}\n`);
  await create(file, `${JSON.stringify(configuration, undefined, 2)}\n`);
  const where =
    flags.showKey === true
      ? `Put this into your secret manager, and into the environment of the service as JWT_AUTHORITY_KEY:\n${key}`
      : `The key-encryption key is in ${flags.keyFile}, readable by you only. Move it to your secret manager, keep it out of git,\n` +
        `and give it to the service: JWT_AUTHORITY_KEY_FILE=${flags.keyFile}`;
  return {
    data: { configuration: file, ...(flags.showKey === true ? { key } : { keyFile: flags.keyFile }) },
    text: `${file} is written.\n${where}\nThen make the first key set: jwt-authority rotate`,
  };
}

/** Only what is not there yet: a KEK that is overwritten is lost, and all keys with it. */
async function create(path: string, content: string): Promise<void> {
  let handle;
  try {
    handle = await open(path, 'wx', 0o600);
  } catch (error) {
    const exists = error instanceof Error && 'code' in error && error.code === 'EEXIST';
    throw new UsageError(
      exists ? `${path} exists already; nothing was changed` : `${path} cannot be written`,
    );
  }
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
