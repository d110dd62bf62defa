// Runs the contracts of the Redis stores on every server in the cache and on PATH, with every client they are tested with,
// and prints a table of the results. `pnpm test:redis-matrix [server…]`, by default all. scripts/services.sh gets the servers.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { promisify } from 'node:util';

const root = join(import.meta.dirname, '..');
const { env } = process;
const cache =
  env.JWT_AUTHORITY_SERVICES ||
  join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'jwt-authority/services');
const onPath = (env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'redis-server'));
const servers = {
  'redis-6.2': join(cache, 'redis-6.2/server'),
  'on-path': onPath.find((path) => existsSync(path)),
  'redis-stack-7.4': join(cache, 'redis-stack-7.4/server'),
  'valkey-8.1': join(cache, 'valkey-8.1/server'),
  'valkey-9.1': join(cache, 'valkey-9.1/server'),
};
// Elections take long and depend on the server alone: the sentinels are part of the ordinary tests.
const files = ['contract-standalone', 'contract-options', 'contract-cluster'];
const atOnce = 3;

const run = promisify(execFile);
const asked = process.argv.slice(2).filter((name) => name !== '--');
const unknown = asked.filter((name) => !Object.hasOwn(servers, name));
if (unknown.length > 0) {
  console.error(`No such server: ${unknown.join(', ')}. There are: ${Object.keys(servers).join(', ')}`);
  process.exit(1);
}
const names = asked.length > 0 ? asked : Object.keys(servers);
const scratch = mkdtempSync(join(tmpdir(), 'redis-matrix-'));
const columns = new Map();
const queue = [...names];
await Promise.all(
  Array.from({ length: atOnce }, async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      columns.set(name, await test(name, servers[name]));
    }
  }),
);
rmSync(scratch, { recursive: true });
const isGood = print(names.map((name) => ({ name, ...columns.get(name) })));
process.exit(isGood ? 0 : 1);

/** What it is, and per client and kind of service how many cases passed and failed. */
async function test(name, server) {
  if (server === undefined || !existsSync(server)) return { version: 'missing', cells: new Map() };
  const { stdout } = await run(server, ['--version']);
  const [, version = '?'] = /v=([\d.]+)/.exec(stdout) ?? [];
  const report = join(scratch, `${name}.json`);
  const projects = ['--project', 'store-ioredis', '--project', 'store-redis-om'];
  const args = ['run', ...projects, ...files, '--reporter=json', `--outputFile=${report}`];
  // It fails where a test does; the report has which.
  await run(process.execPath, ['node_modules/vitest/vitest.mjs', ...args], {
    cwd: root,
    env: { ...env, CI: 'true', REDIS_SERVER: server },
    maxBuffer: 2 ** 26,
  }).catch((error) => {
    if (!existsSync(report)) throw error;
  });
  const cells = new Map();
  const cellOf = (subject) => {
    const cell = cells.get(subject) ?? { passed: 0, failed: [] };
    cells.set(subject, cell);
    return cell;
  };
  for (const { assertionResults, message, name: file, status } of JSON.parse(readFileSync(report, 'utf8'))
    .testResults) {
    for (const { ancestorTitles, title, status: result, failureMessages } of assertionResults) {
      const cell = cellOf(ancestorTitles[0].replace('the contracts on ', ''));
      if (result === 'passed') cell.passed += 1;
      else cell.failed.push(`${title}: ${failureMessages[0]?.split('\n')[0] ?? result}`);
    }
    // A file that does not load, or a server that does not start.
    if (status === 'failed' && message) cellOf(basename(file)).failed.push(message.split('\n')[0]);
  }
  return { version, cells };
}

/** The table; whether all of it is good. */
function print(results) {
  const subjects = [...new Set(results.flatMap(({ cells }) => [...cells.keys()]))].toSorted((one, other) =>
    one.localeCompare(other),
  );
  const line = (cells) => console.log(`| ${cells.join(' | ')} |`);
  line(['client', ...results.map(({ name, version }) => `${name} (${version})`)]);
  line(['---', ...results.map(() => '---')]);
  for (const subject of subjects) {
    line([
      subject,
      ...results.map(({ cells }) => {
        const cell = cells.get(subject);
        if (cell === undefined) return '–';
        return cell.failed.length === 0 ? `${cell.passed} passed` : `${cell.failed.length} failed`;
      }),
    ]);
  }
  const failures = results.flatMap(({ name, cells }) =>
    [...cells].flatMap(([subject, { failed }]) =>
      failed.slice(0, 3).map((text) => `${name}, ${subject}: ${text}`),
    ),
  );
  for (const failure of failures) console.log(failure);
  const missing = results.filter(({ version }) => version === 'missing').map(({ name }) => name);
  if (missing.length > 0)
    console.log(`Not tested, since missing: ${missing.join(', ')}. scripts/services.sh gets them.`);
  return failures.length === 0 && results.some(({ cells }) => cells.size > 0);
}
