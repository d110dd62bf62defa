/** The app of docs/keys-from-secret-managers.md, for the tests to run with the key as each secret manager gives it. */
import { text } from 'node:stream/consumers';
import { createJwtAuthority, keyFromEnv, localEncrypter } from '@jwt-authority/core';
import { fileStore } from '@jwt-authority/store-file';

const [command = '', folder = '', token = ''] = process.argv.slice(2);
const name = 'JWT_AUTHORITY_KEY';
const previous = 'JWT_AUTHORITY_PREVIOUS_KEY';

try {
  const hasPrevious = Boolean(process.env[previous] || process.env[`${previous}_FILE`]);
  const authority = await createJwtAuthority({
    store: fileStore({ folder }),
    encrypter: [
      localEncrypter({ key: keyFromEnv(name) }),
      ...(hasPrevious ? [localEncrypter({ key: keyFromEnv(previous) })] : []),
    ],
    ...(command === 'import' && { initialise: 'never' }),
  });
  if (command === 'import') {
    await authority.rotator.importKey(await text(process.stdin), { as: 'first', alg: 'RS256', kid: 'main' });
  }
  if (command === 'rewrap') await authority.rotator.rewrap();
  if (token !== '') await authority.verify(token);
  const { token: signed, kid } = await authority.sign({ sub: 'somebody' });
  console.log(JSON.stringify({ kid, token: signed, sealedBy: authority.keyRing.sealedBy }));
  await authority.close();
} catch (error) {
  console.log(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }));
}
