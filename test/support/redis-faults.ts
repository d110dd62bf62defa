import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestContext } from 'vitest';
import type { RedisServer } from './redis-server.ts';
import type { Alterations } from './tcp-proxy.ts';

/** Moves the slot of a key to another node, as operators do, with clients at work. */
export async function migrate(servers: readonly RedisServer[], key: string): Promise<void> {
  const text = (reply: string): string => reply.split('\r\n')[1] ?? '';
  const slot = (await servers[0]?.command('CLUSTER', 'KEYSLOT', key))?.slice(1).trim() ?? '';
  const holders = await Promise.all(servers.map((server) => server.command('EXISTS', key)));
  const index = holders.findIndex((reply) => !reply.startsWith('-MOVED'));
  const from = servers[index];
  const to = servers[(index + 1) % servers.length];
  if (from === undefined || to === undefined) throw new Error('no node has the slot');
  const [fromId, toId] = await Promise.all(
    [from, to].map(async (server) => text(await server.command('CLUSTER', 'MYID'))),
  );
  const steps: readonly (readonly [RedisServer, ...string[]])[] = [
    [to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId ?? ''],
    [from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId ?? ''],
    [from, 'MIGRATE', to.host, String(to.port), key, '0', '5000'],
    ...[to, from, ...servers].map(
      (server) => [server, 'CLUSTER', 'SETSLOT', slot, 'NODE', toId ?? ''] as const,
    ),
  ];
  for (const [server, ...command] of steps) {
    const reply = await server.command(...command);
    if (!reply.startsWith('+')) throw new Error(`${command.slice(0, 2).join(' ')}: ${reply}`);
  }
}

/** Opens a port with TLS under a certificate of its own, which is at `certificate.pem` in the server's folder. */
export async function listenWithTls(server: RedisServer, context: TestContext): Promise<number> {
  const [key, certificate] = ['key.pem', 'certificate.pem'].map((file) => join(server.folder, file));
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ];
  args.push(
    '-subj',
    '/CN=127.0.0.1',
    '-addext',
    'subjectAltName=IP:127.0.0.1',
    '-keyout',
    key ?? '',
    '-out',
    certificate ?? '',
  );
  const made = await promisify(execFile)('openssl', args).then(
    () => true,
    () => false,
  );
  if (!made) context.skip('no openssl to make a certificate with');
  // The port 10,000 above is free as well: see redis-server.ts.
  const port = server.port + 10_000;
  const settings = {
    'tls-cert-file': certificate ?? '',
    'tls-key-file': key ?? '',
    'tls-ca-cert-file': certificate ?? '',
    'tls-auth-clients': 'no',
    'tls-port': String(port),
  };
  const reply = await server.command('CONFIG', 'SET', ...Object.entries(settings).flat());
  if (!reply.startsWith('+')) context.skip('this server was built without TLS');
  return port;
}

/** Makes the server's clock look as if it were `seconds()` ahead: in the time that a load gives, and in the deadline of a commit. */
export function shiftedTime(seconds: () => number): Alterations {
  const alter = (data: Buffer, pattern: RegExp, shift: number): Buffer =>
    Buffer.from(
      data
        .toString('latin1')
        .replace(pattern, (_all, before: string, time: string) => before + String(Number(time) + shift)),
      'latin1',
    );
  return {
    // Seconds and microseconds, then the hash.
    reply: (data) => alter(data, /(\*3\r\n\$10\r\n)(\d{10})(?=\r\n\$\d\r\n)/g, seconds()),
    // Of the arguments of a commit, the deadline is the first of 13 digits.
    request: (data) => alter(data, /(\r\n\$13\r\n)(\d{13})(?=\r\n)/, -1000 * seconds()),
  };
}
