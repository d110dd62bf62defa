import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose';
import type { ServerProcess } from './server-process.ts';
import { propagationDelay, type Stage } from './stage.ts';
import { act, check, pause, short, timed, until } from './story.ts';
import {
  client,
  getToken,
  IndependentVerifier,
  issuer,
  publishedKids,
  visit,
  type Token,
} from './visitor.ts';

type Server = ServerProcess;

export async function firstKey(stage: Stage): Promise<Server> {
  act('A first key');
  const { value: server, ms } = await timed(async () => stage.start('A', '6'));
  const kids = await publishedKids(server);
  check(
    'a server on an empty folder makes its first key',
    kids.length === 1,
    `kid ${short(kids[0])}, ${ms} ms with start-up`,
  );

  const { value: token, ms: signing } = await timed(async () => getToken(server));
  check(
    'POST /token gives a token of that key',
    token.kid === kids[0],
    `kid ${short(token.kid)}, ${signing} ms`,
  );
  const { value: answer, ms: visiting } = await timed(async () => visit(server, token.token));
  check('GET /protected takes it', answer === '200', `${answer}, ${visiting} ms`);
  const without = await visit(server);
  check('GET /protected without a token is refused', without === '401', without);
  const judgement = await new IndependentVerifier(server).judge(token.token);
  check('an independent verifier, with the JWKS alone, takes it', judgement === 'accepted', judgement);
  stage.tokens.push(token);
  return server;
}

export async function rotation(stage: Stage, server: Server): Promise<void> {
  act(`A rotation, by schedule (${propagationDelay} s from publishing to signing, 24 h in earnest)`);
  const [first = ''] = stage.tokens.map(({ kid }) => kid);
  const next = await until('the next key is published', async () =>
    (await publishedKids(server)).find((kid) => kid !== first),
  );
  const publishedAt = performance.now();
  const early = await getToken(server);
  check(
    'the next key is published first, and does not sign yet',
    early.kid === first,
    `next ${short(next)}, signing ${short(early.kid)}`,
  );

  const verifier = new IndependentVerifier(server);
  const refused: string[] = [];
  let tokens = 0;
  const last = await until('the next key takes over', async () => {
    const token = await getToken(server);
    const judgement = await verifier.judge(token.token);
    tokens += 1;
    if (judgement !== 'accepted') refused.push(judgement);
    return token.kid === next ? token : undefined;
  });
  const waited = Math.round(performance.now() - publishedAt);
  check(
    'it takes over when every cache can know it',
    waited >= propagationDelay * 1000,
    `after ${waited} ms`,
  );
  check(
    'the independent verifier took every token signed meanwhile, at once',
    refused.length === 0,
    `${tokens} tokens, ${refused.length} refused`,
  );
  stage.tokens.push(last);
  await checkTokens('the old token and the new one are both good', stage, [server], verifier);

  await until(
    'the private half of the old key is destroyed',
    () => server.events.includes('retired') || undefined,
  );
  const { keys } = await stage.keys.read();
  const old = keys.find(({ kid }) => kid === first);
  check(
    'the private half of the old key is destroyed',
    old?.hasPrivateKey === false,
    `its public half stays for its tokens`,
  );
}

export async function twoProcesses(stage: Stage, server: Server): Promise<readonly [Server, Server]> {
  act('Two processes, one folder');
  const { value: ending, ms } = await timed(async () => server.end('SIGTERM'));
  check('SIGTERM ends the server in good order', ending === 'exit code 0', `${ending}, ${ms} ms`);
  const before = await stage.keys.read();
  const [a, b] = await Promise.all([stage.start('A'), stage.start('B')]);
  const [one, other] = await Promise.all([publishedKids(a), publishedKids(b)]);
  const isSame = one.join() === other.join() && one.length === before.keys.length;
  check(
    'two servers start on it at once and publish the same keys',
    isSame,
    `${one.length} and ${other.length} keys, none new`,
  );
  await checkTokens('each takes the tokens of the one that ended', stage, [a, b]);

  const results = await Promise.all(
    [a, b].map(async (each) => each.command<{ outcome: string; kid: string }>({ name: 'rotate' })),
  );
  const after = await stage.keys.read();
  const outcomes = results.map(({ outcome }) => outcome).toSorted();
  check(
    'both rotate at the same instant: one does',
    outcomes.join() === 'already_pending,rotated',
    outcomes.join(' and '),
  );
  check(
    'there is exactly one new key',
    after.keys.length === before.keys.length + 1 && results[0]?.kid === results[1]?.kid,
    `${before.keys.length} keys before, ${after.keys.length} after; both name ${short(results[0]?.kid)}`,
  );
  return [a, b];
}

export async function tampering(stage: Stage, servers: readonly [Server, Server]): Promise<void> {
  act('Somebody writes to the store who does not hold the key-encryption key');
  const forged = await forgedToken();
  const injection = await alterAndHeal(stage, servers, forged, ({ keys }) => {
    const [model] = keys;
    if (model !== undefined) keys.push({ ...model, kid: forged.kid, publicJwk: forged.publicJwk });
  });
  check(
    'a public key is put into the file: that is noticed',
    injection.noticedBy !== '',
    `by ${injection.noticedBy}`,
  );
  check(
    'it is not published, and its token not taken',
    injection.accepted === 0,
    `${injection.tries} tries, ${injection.accepted} successful`,
  );
  check(
    'the service goes on with what it knows',
    injection.failures === 0,
    `${injection.tries} visits, ${injection.failures} refused`,
  );
  check('the file is put right', true, `after ${injection.ms} ms, as revision ${injection.revision}`);

  // Each server puts it right at most once per stale bound.
  await pause(2600);
  const flip = await alterAndHeal(stage, servers, forged, ({ sealed }) => {
    sealed.ciphertext = (sealed.ciphertext.startsWith('A') ? 'B' : 'A') + sealed.ciphertext.slice(1);
  });
  check(
    'bits are flipped in the sealed private keys: that is noticed',
    flip.noticedBy !== '',
    `by ${flip.noticedBy}`,
  );
  check(
    'again the service goes on, and the file is put right',
    flip.failures === 0,
    `${flip.tries} visits, ${flip.failures} refused; after ${flip.ms} ms`,
  );
}

/** Alters the stored key set, and visits the servers until one of them has put it right. */
async function alterAndHeal(
  stage: Stage,
  servers: readonly [Server, Server],
  forged: Token,
  change: Parameters<Stage['keys']['alter']>[0],
): Promise<{
  noticedBy: string;
  tries: number;
  accepted: number;
  failures: number;
  ms: number;
  revision: number;
}> {
  const before = await stage.keys.read();
  const noticed = (server: Server): number => server.events.filter((name) => name === 'tampered').length;
  const noticedBefore = servers.map(noticed);
  const [good] = stage.tokens;
  const count = { tries: 0, accepted: 0, failures: 0 };
  await stage.keys.alter(change);
  const { value: revision, ms } = await timed(async () =>
    until('the file is put right', async () => {
      for (const server of servers) {
        count.tries += 1;
        const isTaken = (await visit(server, forged.token)) !== '401 unknown_kid';
        const isPublished = (await publishedKids(server)).includes(forged.kid);
        if (isTaken || isPublished) count.accepted += 1;
        if ((await visit(server, good?.token)) !== '200') count.failures += 1;
      }
      const now = await stage.keys.read();
      const isRight = now.revision > before.revision && kidsOf(now) === kidsOf(before);
      return isRight ? now.revision : undefined;
    }),
  );
  const by = servers
    .filter((server, index) => noticed(server) > (noticedBefore[index] ?? 0))
    .map(({ name }) => name);
  return { ...count, noticedBy: by.join(' and '), ms, revision };
}

async function forgedToken(): Promise<Token & { readonly publicJwk: object }> {
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  const { e, kty, n } = await exportJWK(publicKey);
  const publicJwk = { e, kty, n };
  const kid = await calculateJwkThumbprint(await exportJWK(publicKey));
  const token = await new SignJWT({ sub: client.id, scope: 'read' })
    .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', kid })
    .setIssuer(issuer)
    .setAudience(`${issuer}/protected`)
    .setExpirationTime('1m')
    .sign(privateKey);
  return { token, kid, publicJwk };
}

export async function takeover(stage: Stage, servers: readonly [Server, Server]): Promise<void> {
  const [a, b] = servers;
  const known = new Set(stage.tokens.map(({ kid }) => kid));
  const token = await until('the pending key takes over', async () => {
    const next = await getToken(a);
    return known.has(next.kid) ? undefined : next;
  });
  const other = await getToken(b);
  check(
    'the key that waited meanwhile takes over in both processes',
    other.kid === token.kid,
    `kid ${short(token.kid)}`,
  );
  stage.tokens.push(token);
  await checkTokens('the tokens of all keys are good in both', stage, servers, new IndependentVerifier(b));
}

export async function suddenDeath(stage: Stage, servers: readonly [Server, Server]): Promise<void> {
  const kills = 5;
  act(`A third process changes keys without a pause, and is killed ${kills} times in the middle of it`);
  const before = await stage.keys.read();
  const made: string[] = [];
  let unfinished = 0;
  for (let round = 0; round < kills; round += 1) {
    const victim = await stage.start('C');
    for (const name of manyChanges) victim.send({ name });
    await pause(100 + Math.random() * 400);
    await victim.end('SIGKILL');
    if (victim.results.length < manyChanges.length) unfinished += 1;
    made.push(...victim.results.flatMap((result) => (isRotated(result) ? [result.kid] : [])));
  }
  check('SIGKILL came while it was busy', unfinished === kills, `${unfinished} of ${kills} times`);
  const after = await stage.keys.read();
  const commits = after.revision - before.revision;
  const drafts = (await stage.keys.files()).filter(({ path }) => path.endsWith('.draft')).length;
  check(
    'the folder is readable',
    commits > 0,
    `${commits} commits more, ${drafts} unfinished files to be ignored`,
  );
  const stored = new Set(after.keys.map(({ kid }) => kid));
  const lost = [...before.keys.map(({ kid }) => kid), ...made].filter((kid) => !stored.has(kid));
  check(
    'no key is lost, nor one that it said it had made',
    lost.length === 0,
    `${made.length} made, ${lost.length} lost`,
  );
  await checkTokens('the tokens of all keys are good', stage, servers);
}

/** Making an RSA key takes longer than writing it. Sealing again is a write alone: so SIGKILL meets both. */
const manyChanges = Array.from({ length: 20 }, () => [
  'rotate' as const,
  ...Array.from({ length: 10 }, () => 'reseal' as const),
  'rollback' as const,
]).flat();

function isRotated(result: unknown): result is { readonly kid: string } {
  return typeof result === 'object' && result !== null && 'outcome' in result && result.outcome === 'rotated';
}

export async function revocation(stage: Stage, servers: readonly [Server, Server]): Promise<void> {
  act('A key is revoked');
  const [a, b] = servers;
  const verifier = new IndependentVerifier(b);
  const victim = await getToken(a);
  const known = await verifier.judge(victim.token);
  check('a token is good until then', known === 'accepted', `kid ${short(victim.kid)}`);
  const began = performance.now();
  const since = (): number => Math.round(performance.now() - began);
  await a.command({ name: 'revoke', kid: victim.kid });
  const answer = await visit(a, victim.token);
  check('it is refused where it was revoked', answer === '401 key_revoked', `${answer}, ${since()} ms`);
  await until('the other process refuses it', async () =>
    (await visit(b, victim.token)) === '401 key_revoked' ? true : undefined,
  );
  check('it is refused in the other process', true, `after ${since()} ms`);
  await until('the independent verifier refuses it', async () =>
    (await verifier.judge(victim.token)) === 'accepted' ? undefined : true,
  );
  check('it is refused by the independent verifier, when its cache is over', true, `after ${since()} ms`);

  const successors = await Promise.all(servers.map(async (server) => getToken(server)));
  const [successor] = successors;
  const judgement = await verifier.judge(successor?.token ?? '');
  check(
    'another key signs at once, the same in both processes',
    judgement === 'accepted' && successors.every(({ kid }) => kid === successor?.kid && kid !== victim.kid),
    `kid ${short(successor?.kid)}`,
  );
  const others = stage.tokens.filter(({ kid }) => kid !== victim.kid);
  stage.tokens.splice(0, stage.tokens.length, ...others);
  await checkTokens('the tokens of the other keys are good', stage, servers, verifier);
}

export async function secrets(stage: Stage): Promise<void> {
  act('What a thief of the folder gets');
  const files = await stage.keys.files();
  const open = files.filter(({ mode }) => process.platform !== 'win32' && mode !== 0o600);
  check(
    'every file is readable by its owner only',
    open.length === 0 && files.length > 0,
    `${files.length} files`,
  );
  const key = stage.keyEncryptionKey;
  const marks = [
    'PRIVATE',
    '"d"',
    '\\"d\\"',
    '"p"',
    '\\"p\\"',
    client.secret,
    key.toString('base64'),
    key.toString('base64url'),
    key.toString('hex'),
  ];
  const found = files.flatMap(({ content }) => [
    ...marks.filter((mark) => content.includes(mark)),
    ...(content.includes(key) ? ['key'] : []),
  ]);
  const bytes = files.reduce((sum, { content }) => sum + content.length, 0);
  check(
    'no private key, key-encryption key or client secret is readable in it',
    found.length === 0,
    `${bytes} bytes searched`,
  );
}

export async function curtain(servers: readonly [Server, Server]): Promise<void> {
  const endings = await Promise.all(servers.map(async (server) => server.end('SIGTERM')));
  check(
    'both servers end in good order',
    endings.every((ending) => ending === 'exit code 0'),
    endings.join(', '),
  );
}

async function checkTokens(
  line: string,
  { tokens }: Stage,
  servers: readonly Server[],
  verifier?: IndependentVerifier,
): Promise<void> {
  const answers = await Promise.all([
    ...tokens.flatMap(({ token }) => servers.map(async (server) => visit(server, token))),
    ...tokens.map(async ({ token }) => (await verifier?.judge(token)) ?? 'accepted'),
  ]);
  const refused = answers.filter((answer) => answer !== '200' && answer !== 'accepted');
  const where = `${servers.length} server${servers.length > 1 ? 's' : ''}${verifier === undefined ? '' : ' and the independent verifier'}`;
  check(
    line,
    refused.length === 0,
    `${tokens.length} tokens at ${where}, ${refused.join(', ') || '0 refused'}`,
  );
}

function kidsOf({ keys }: { readonly keys: readonly { readonly kid: string }[] }): string {
  return keys.map(({ kid }) => kid).join();
}
