import { randomBytes } from 'node:crypto';
import { JwtAuthorityError, type KeyEncrypter } from '@jwt-authority/core';
import type { Report } from '../commands.ts';
import { exitCodes } from '../failures.ts';
import type { Io } from '../io.ts';
import { loadKeySet, type Session } from '../session.ts';
import { colour } from '../text.ts';

/** What was looked at, what was found, and the way out. */
interface Finding {
  readonly check: string;
  readonly level: 'ok' | 'info' | 'warning' | 'error';
  readonly message: string;
  /** The command or the change that mends it. */
  readonly remedy?: string;
}

/** Everything that can be looked at from here: store, KEK, document, clock, settings, and the JWKS as verifiers get it. */
export async function doctor(
  session: Session,
  io: Io,
  flags: { readonly jwksUrl?: string },
): Promise<Report> {
  const findings: Finding[] = [];
  findings.push(...(await checkStore(session)));
  for (const encrypter of session.encrypters)
    findings.push(await checkKek(encrypter, session.settings.namespace));
  const document = await checkDocument(session);
  findings.push(...document);
  const isLoaded = session.keyRing.keySet !== undefined;
  if (isLoaded) findings.push(...checkState(session));
  const url = flags.jwksUrl ?? session.settings.jwksUrl;
  findings.push(
    ...(url === undefined
      ? [
          {
            check: 'jwks',
            level: 'info',
            message: 'not looked at: give --jwks-url, or "jwksUrl" in the configuration',
          } as const,
        ]
      : await checkJwks(session, url)),
  );
  const worst = ['error', 'warning'].find((level) => findings.some((finding) => finding.level === level));
  return {
    data: { findings },
    text: findings.map((finding) => line(finding, io)).join('\n'),
    exitCode:
      worst === 'error' ? exitCodes.failed : worst === 'warning' ? exitCodes.needsAttention : exitCodes.ok,
  };
}

function line({ check, level, message, remedy }: Finding, io: Io): string {
  const colours = { ok: 'green', info: 'bold', warning: 'yellow', error: 'red' } as const;
  const head = `${colour(colours[level], level.padEnd(7), io.useColour)}  ${check}: ${message}`;
  return remedy === undefined ? head : `${head}\n         → ${remedy}`;
}

async function checkStore({ store, keyRing }: Session): Promise<Finding[]> {
  const start = performance.now();
  try {
    await keyRing.refresh();
  } catch (error) {
    if (!JwtAuthorityError.is(error)) throw error;
    if (error.code === 'store_unavailable' || error.code === 'store_unreadable') {
      return [
        {
          check: 'store',
          level: 'error',
          message: error.message,
          remedy: 'start it, or mend its address and permissions',
        },
      ];
    }
  }
  const latency = performance.now() - start;
  const findings: Finding[] = [
    latency < 500
      ? { check: 'store', level: 'ok', message: `answers in ${latency.toFixed(0)} ms` }
      : {
          check: 'store',
          level: 'warning',
          message: `takes ${latency.toFixed(0)} ms to answer, KEK included`,
        },
  ];
  for (const { level, message } of (await store.check?.()) ?? []) {
    findings.push({
      check: 'store',
      level: level === 'warning' || level === 'error' ? level : 'info',
      message,
    });
  }
  const { clockDifference, policy } = keyRing;
  findings.push(
    Math.abs(clockDifference) > policy.clockTolerance
      ? {
          check: 'clock',
          level: 'error',
          message: `differs from the store's by ${Math.round(clockDifference)} ms, the tolerance is ${policy.clockTolerance} ms`,
          remedy: 'run an NTP client on both machines',
        }
      : {
          check: 'clock',
          level: 'ok',
          message: `differs from the store's by ${Math.round(Math.abs(clockDifference))} ms at most`,
        },
  );
  return findings;
}

/** A dummy key there and back, and with another context not: an encrypter that binds nothing would let key sets be swapped. */
async function checkKek(encrypter: KeyEncrypter, namespace: string): Promise<Finding> {
  const check = `kek ${encrypter.id}`;
  const context = { purpose: 'jwt-authority doctor', namespace };
  const dataKey = randomBytes(32);
  try {
    const wrapped = await encrypter.encrypt(dataKey, context);
    const opened = await encrypter.decrypt(wrapped, context);
    if (!dataKey.equals(opened))
      return { check, level: 'error', message: 'gives back another key than it was given' };
    const other = await encrypter
      .decrypt(wrapped, { ...context, namespace: `${namespace}-other` })
      .catch(() => undefined);
    return other === undefined
      ? { check, level: 'ok', message: 'wraps and unwraps, and binds the context' }
      : {
          check,
          level: 'warning',
          message: 'does not bind the context; the key set is bound by its own encryption all the same',
        };
  } catch (error) {
    return {
      check,
      level: 'error',
      message: JwtAuthorityError.is(error) ? error.message : 'failed',
      remedy: 'running services go on; new ones cannot start, and no key can be published until it answers',
    };
  } finally {
    dataKey.fill(0);
  }
}

async function checkDocument(session: Session): Promise<Finding[]> {
  try {
    await loadKeySet(session);
  } catch (error) {
    if (!JwtAuthorityError.is(error)) throw error;
    const remedies: Partial<Record<typeof error.code, string>> = {
      not_initialised: 'jwt-authority rotate',
      kek_not_configured: 'name that KEK as a previous "encrypter" in the configuration',
      document_rejected:
        'leave it to a running service, which puts its own back; else restore a backup of the store',
      document_unsupported: 'update @jwt-authority/cli',
    };
    const remedy = remedies[error.code];
    return [
      { check: 'key set', level: 'error', message: error.message, ...(remedy !== undefined && { remedy }) },
    ];
  }
  return [
    {
      check: 'key set',
      level: 'ok',
      message: `revision ${session.keyRing.revision}: authentic, and every invariant holds`,
    },
  ];
}

function checkState({ keyRing, rotator }: Session): Finding[] {
  const findings: Finding[] = [];
  const { heldUpBy, due, active, now } = rotator.explain();
  for (const reason of heldUpBy) findings.push({ check: 'rotation', level: 'warning', message: reason });
  if (active.length === 0) {
    findings.push({
      check: 'rotation',
      level: 'error',
      message: 'no key signs',
      remedy: 'jwt-authority rotate --emergency',
    });
  }
  const { keySet, policy } = keyRing;
  const isLate = due.length > 0 && now - (keySet?.keys[0]?.createdAt ?? now) > policy.refreshInterval * 2;
  findings.push(
    isLate
      ? {
          check: 'rotation',
          level: 'warning',
          message: `due and not done: ${due.map(({ step }) => step).join(', ')}. Does any service with a started rotator run?`,
          remedy: 'start one; in an emergency: jwt-authority rotate',
        }
      : { check: 'rotation', level: 'ok', message: 'nothing is overdue' },
  );
  for (const name of ['propagationDelay', 'staleBound'] as const) {
    if (keySet !== undefined && keySet[name] !== policy[name]) {
      findings.push({
        check: 'settings',
        level: 'info',
        message: `"${name}" is ${policy[name] / 1000} s here and ${keySet[name] / 1000} s in the key set; the safer one holds`,
        remedy: 'give this command the policy of the service, in the configuration file',
      });
    }
  }
  return findings;
}

/** `undefined` if it is no JWKS. */
function kidsOf(body: unknown): ReadonlySet<string> | undefined {
  const keys: unknown = Reflect.get(Object(body), 'keys');
  if (!Array.isArray(keys)) return undefined;
  // What is no key with a kid cannot be one of ours; it shows as surplus.
  return new Set(keys.map((key: unknown) => String(Reflect.get(Object(key), 'kid')).slice(0, 100)));
}

/** The JWKS through whatever stands before the service. */
async function checkJwks({ authority, keyRing }: Session, url: string): Promise<Finding[]> {
  const check = 'jwks';
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(10_000), redirect: 'manual' });
    body = await response.json();
  } catch {
    return [
      { check, level: 'error', message: 'does not answer with JSON within 10 s', remedy: `curl -i ${url}` },
    ];
  }
  if (response.status !== 200) {
    return [
      { check, level: 'error', message: `answers with status ${response.status}`, remedy: `curl -i ${url}` },
    ];
  }
  const published = kidsOf(body);
  if (published === undefined) {
    return [
      { check, level: 'error', message: 'answers with JSON that is no JWKS', remedy: `curl -i ${url}` },
    ];
  }
  const findings: Finding[] = [];
  const expected = await authority.getPublicKeys().catch(() => undefined);
  const missing = (expected?.keys ?? []).filter(({ kid }) => !published.has(kid)).map(({ kid }) => kid);
  findings.push(
    missing.length > 0
      ? {
          check,
          level: 'error',
          message: `lacks ${missing.join(', ')}, which the store has`,
          remedy:
            'is the service stale, or does a cache in between hold an older answer? See its /health and the Age header',
        }
      : { check, level: 'ok', message: `has every key that the store has (${published.size})` },
  );
  const surplus = [...published].filter((kid) => !(expected?.keys ?? []).some((key) => key.kid === kid));
  if (expected !== undefined && surplus.length > 0) {
    findings.push({
      check,
      level: 'error',
      message: `has ${surplus.join(', ')}, which the store does not have: verifiers trust a key that is revoked, gone or foreign`,
      remedy: 'purge the caches in between; if it stays, the service reads another store or namespace',
    });
  }
  const [, maxAge] = /max-age=(\d+)/.exec(response.headers.get('cache-control') ?? '') ?? [];
  const age = Number(response.headers.get('age') ?? 0);
  const { jwksMaxAge } = keyRing.policy;
  findings.push(
    maxAge === undefined || Number(maxAge) * 1000 > jwksMaxAge || age * 1000 > jwksMaxAge
      ? {
          check,
          level: 'warning',
          message: `is sent with max-age ${maxAge ?? 'none'} and age ${age}; the schedule of keys allows for ${jwksMaxAge / 1000} s`,
          remedy:
            'let proxies and CDNs keep the Cache-Control of the service, or raise "jwksMaxAge" and "propagationDelay"',
        }
      : { check, level: 'ok', message: `max-age ${maxAge} s, age ${age} s: within the schedule` },
  );
  const etag = response.headers.get('etag');
  if (etag === null)
    return [
      ...findings,
      { check, level: 'info', message: 'has no ETag: verifiers fetch it whole each time' },
    ];
  const again = await fetch(url, {
    headers: { 'if-none-match': etag },
    signal: AbortSignal.timeout(10_000),
    redirect: 'manual',
  }).catch(() => undefined);
  findings.push(
    again?.status === 304
      ? { check, level: 'ok', message: 'answers 304 to its own ETag' }
      : { check, level: 'info', message: 'does not answer 304 to its own ETag' },
  );
  return findings;
}
