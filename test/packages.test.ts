import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packages, root } from './workspace.ts';

const entries = packages.flatMap(({ name, manifest }) =>
  Object.keys(manifest.exports ?? {}).map((path) => name + path.slice(1)),
);

describe('the packages as their users get them, packed and installed', () => {
  let project: string;
  let exported: Record<string, string[]>;
  let used: unknown;

  beforeAll(async () => {
    project = await mkdtemp(join(tmpdir(), 'jwt-authority-'));
    await run(process.execPath, ['node_modules/typescript/bin/tsc', '-b', 'tsconfig.build.json'], root);
    await pnpm(['--filter=./packages/*', 'pack', `--pack-destination=${project}`], root);

    const tarballs = (await readdir(project)).map((file) => `./${file}`);
    await writeFile(join(project, 'package.json'), '{ "private": true }');
    await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', ...tarballs], project);

    await copyFile(join(import.meta.dirname, 'fixtures/use-packages.mjs'), join(project, 'use-packages.mjs'));
    const output = await run(process.execPath, ['use-packages.mjs', ...entries], project);
    ({ exported, used } = JSON.parse(output) as { exported: typeof exported; used: unknown });
  }, 180_000);

  afterAll(() => rm(project, { recursive: true, force: true }));

  test('sign, rotate and verify for a first user', () => {
    expect(used, 'what the installed packages did in a project of their own').toEqual({
      subjectByJose: 'user-1',
      rotated: true,
      subjectInAnotherProcess: 'user-1',
      privateKeysInClear: 0,
      contractCases: true,
      brokenContractCases: [],
      timersLeft: 0,
    });
  });

  test('the command line makes keys and shows them', async () => {
    const env = { ...process.env, JWT_AUTHORITY_KEY: randomBytes(32).toString('base64') };
    const command = (...args: string[]): Promise<string> =>
      run(join(project, 'node_modules/.bin/jwt-authority'), args, project, env);
    expect(await command('rotate')).toContain('signs now');
    expect(await command('status')).toContain('healthy');
  });

  test.each(entries)('%s can be imported', (entry) => {
    expect(exported[entry]).not.toHaveLength(0);
  });
});

/** Runs the pnpm that runs this test or, when vitest was started without one, the one that CI uses. */
function pnpm(args: string[], cwd: string): Promise<string> {
  const running = process.env['npm_execpath'];
  if (running?.endsWith('pnpm.cjs')) return run(process.execPath, [running, ...args], cwd);
  // Inside of `npx -c`, as another Node.js is tried, these would be taken for arguments of this npx.
  const { npm_config_call: _call, npm_config_package: _package, ...env } = process.env;
  return run('npx', ['--yes', 'pnpm@10.34.9', ...args], cwd, env);
}

/** Resolves to what the command prints; that is also part of the failure, since tsc reports on stdout. */
function run(
  command: string,
  args: string[],
  cwd: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { cwd, env }, (error, stdout) => {
      if (error) reject(new Error(`${error.message}\n${stdout}`));
      else resolve(stdout);
    });
  });
}
