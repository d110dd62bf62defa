import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOptionNames } from '../packages/core/src/create.ts';
import { milliseconds } from '../packages/core/src/options.ts';
import { policyOptionNames, resolvePolicy } from '../packages/core/src/key-set/policy.ts';
import { redisMissing } from './support/redis-binary.ts';
import { RedisServer } from './support/redis-server.ts';
import { packages, root, workspaces } from './workspace.ts';

const inPackages = workspaces.map(({ folder }) => relative(root, join(folder, 'README.md')));
const inDocs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...inPackages,
  ...inDocs.map((name) => `docs/${name}`),
].filter((page) => existsSync(join(root, page)));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** What every sample may import: `@jwt-authority/core/testing` → the file in src. */
const entries = new Map(
  packages.flatMap(({ name, folder, manifest }) =>
    Object.entries(manifest.exports ?? {}).map(([path, conditions]) => {
      const { '@jwt-authority/source': source } = conditions as Record<string, string>;
      return [name + path.slice(1), join(folder, source ?? '')] as const;
    }),
  ),
);

interface Sample {
  readonly page: string;
  readonly line: number;
  readonly code: string;
}

/** Every ```ts block. One that uses `authority` without making it continues the first one of its page. */
const samples = pages.flatMap((page): Sample[] => {
  const text = read(page);
  const found = [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map((match) => ({
    page,
    line: text.slice(0, match.index).split('\n').length,
    code: match[1] ?? '',
  }));
  const first = found[0]?.code ?? '';
  return found.map(({ code, ...place }, index) => {
    const continues =
      index > 0 && /\bauthority\b/.test(withoutImports(code)) && !/\bconst authority\b/.test(code);
    return { ...place, code: continues ? `${first}\n${code}` : `${code}\nexport {};\n` };
  });
});

function withoutImports(code: string): string {
  return code.replaceAll(/^import [\s\S]*?;$/gm, '');
}

describe('the samples', () => {
  const folder = join(root, 'node_modules/.cache/documentation');
  const fileOf = ({ page, line }: Sample): string => join(folder, `${page.replaceAll('/', '-')}-${line}.ts`);
  const runnable = samples.filter(({ page }) => page === 'README.md' || page === 'packages/core/README.md');
  /** What packages leave to their users to install, and where this repository has it. */
  const clients = [
    ...new Map(
      packages.flatMap(({ folder: from, manifest }) =>
        Object.keys(manifest.peerDependencies ?? {})
          .filter((name) => !entries.has(name))
          .map((name) => [name, join(from, 'node_modules', name)] as const),
      ),
    ),
  ];
  const needsRedis = ({ code }: Sample): boolean => code.includes('REDIS_URL');
  let redis: RedisServer | undefined;
  let problems: readonly string[];
  let results: Record<string, { error?: string; jwks: unknown[] }>;

  beforeAll(async () => {
    await rm(folder, { recursive: true, force: true });
    await mkdir(join(folder, 'out'), { recursive: true });
    for (const [name, target] of clients) {
      const link = join(folder, 'node_modules', name);
      await mkdir(dirname(link), { recursive: true });
      await symlink(target, link);
    }
    if (redisMissing === '') redis = await RedisServer.start();
    // Stands in for Express 5: as much of it as the samples use.
    const express =
      "import { createServer, type IncomingMessage as In, type ServerResponse as Out } from 'node:http';\n" +
      'type Handler = (request: In, response: Out, next: (error?: unknown) => void) => void;\n' +
      'export default () => { let served: Handler; return {\n' +
      '  get(_path: string, handler: Handler): void { served = handler; },\n' +
      '  listen(port: number): void { createServer((request, response) => served(request, response, () => {})).listen(port); } }; };';
    await writeFile(join(folder, 'express.ts'), express);
    // And for jest, whose functions give nothing back.
    const jest =
      'type Test = (name: string, run: () => Promise<unknown> | undefined, timeout?: number) => void;\n' +
      'export declare const it: Test & { skip: Test };\n' +
      'export declare const describe: (name: string, run: () => void) => void;';
    await writeFile(join(folder, 'jest.ts'), jest);
    const paths = Object.fromEntries([
      ...entries,
      ['express', join(folder, 'express.ts')],
      ['@jest/globals', join(folder, 'jest.ts')],
    ]);
    const tsconfig = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        noPropertyAccessFromIndexSignature: false,
        paths: mapValues(paths, (path) => [path]),
      },
      files: [...samples.map(fileOf), 'planted.ts'],
      include: [],
    };
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    await writeFile(join(folder, 'planted.ts'), "const wrong: number = 'text';\nexport {};\n");
    for (const sample of samples) await writeFile(fileOf(sample), sample.code);

    const check = node(['node_modules/typescript/bin/tsc', '--noEmit', '-p', folder]);
    const bundle = await rolldown({
      input: runnable.filter((sample) => redis !== undefined || !needsRedis(sample)).map(fileOf),
      platform: 'node',
      external: clients.map(([name]) => name),
      resolve: {
        alias: Object.fromEntries(Object.entries(paths).map(([name, path]) => [`${name}$`, path])),
        conditionNames: ['@jwt-authority/source', 'node', 'import'],
      },
    });
    const { output } = await bundle.write({ dir: join(folder, 'out'), entryFileNames: '[name].mjs' });
    const files = output
      .filter((file) => file.type === 'chunk' && file.isEntry)
      .map((file) => join(folder, 'out', file.fileName));
    const printed = await node([join(root, 'test/fixtures/run-samples.mjs'), ...files], {
      REDIS_URL: `redis://127.0.0.1:${redis?.port}`,
    });
    results = JSON.parse(printed.trim().split('\n').at(-1) ?? '') as typeof results;
    problems = (await check).split('\n');
  }, 120_000);
  afterAll(() => redis?.stop());

  test.each(samples)('$page, line $line, type-checks', (sample) => {
    const name = relative(root, fileOf(sample));
    expect(
      problems.filter((problem) => problem.startsWith(name)),
      'what tsc says of this sample as readers see it',
    ).toEqual([]);
  });

  test('tsc finds a planted error', () => {
    const elsewhere = problems.filter((problem) => /^(?:error|.*planted\.ts)/.test(problem));
    expect(elsewhere, 'if it does not, a clean result says nothing about the samples').toEqual([
      expect.stringContaining('planted.ts(1,7): error TS2322'),
    ]);
  });

  test.for(runnable)('$page, line $line, runs', (sample, { skip }) => {
    skip(redisMissing !== '' && needsRedis(sample), redisMissing);
    const result = results[join(folder, 'out', `${sample.page.replaceAll('/', '-')}-${sample.line}.mjs`)];
    expect(result?.error, 'a reader who copies this sample would see this').toBeUndefined();
    expect(result, 'it must have been run').toBeDefined();
    const served = /\.listen\(/.test(sample.code) ? [{ status: 200, hasKeys: true }] : [];
    expect(result?.jwks, 'the server that the sample starts publishes its keys').toEqual(served);
  });
});

test.each(pages)('%s has no code that is not checked', (page) => {
  const languages = Array.from(
    read(page).matchAll(/^```(.*)\n[\s\S]*?^```/gm),
    ([, language = '']) => language,
  );
  const others = languages.filter((language) => !['ts', 'sh', 'json', 'hcl', 'text'].includes(language));
  expect(others, 'blocks are ts, which is type-checked, or sh, json, hcl or text').toEqual([]);
});

describe('links', () => {
  test.each(pages)('%s', (page) => {
    const prose = read(page).replaceAll(/^```[\s\S]*?^```/gm, '');
    const targets = [...prose.matchAll(/\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"/g)].map(
      (match) => match[1] ?? match[2] ?? '',
    );
    const broken = targets.filter((target) => {
      if (/^[a-z]+:/.test(target)) return false;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : relative(root, resolve(root, dirname(page), path));
      if (!existsSync(join(root, file))) return true;
      return anchor !== undefined && !anchorsOf(read(file)).has(anchor);
    });
    expect(broken, 'relative links and anchors that lead nowhere').toEqual([]);
    const named = Array.from(
      prose.matchAll(/`((?:packages|apps|docs|test)\/[\w./-]+)`/g),
      ([, path = '']) => path,
    );
    const gone = named.filter((path) => !existsSync(join(root, path)));
    expect(gone, 'files and folders that are named and do not exist').toEqual([]);
  });
});

/** The anchors that GitHub gives headings. */
function anchorsOf(markdown: string): Set<string> {
  const headings = [...markdown.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/^#{1,6} (.+)$/gm)];
  return new Set(
    headings.map(([, text = '']) =>
      text
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  );
}

/** The cells of the first table under a heading; of a cell in backticks, what is in them. */
function table(page: string, heading: string): string[][] {
  const [, section = ''] = read(page).split(new RegExp(`^#+ ${heading}$`, 'm'));
  const [lines = ''] = section
    .slice(section.indexOf('\n|'))
    .trimStart()
    .split(/\n(?!\|)/);
  return lines
    .split('\n')
    .slice(2)
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim().replace(/^`([^`]*)`$/, '$1')),
    );
}

/** What a cell says: `600 s` in milliseconds, else the literal. */
function valueOf(cell: string): unknown {
  return /^\d+ [smhd]$/.test(cell) ? milliseconds(cell, 'cell') : JSON.parse(cell.replaceAll("'", '"'));
}

/** What a cell like `min(600 s, propagationDelay / 8)` comes to. */
function derived(cell: string, propagationDelay: string): number {
  const [, limit = '1000y', part] = /^(?:min\((.+), )?propagationDelay \/ (\d+)\)?$/.exec(cell) ?? [];
  return Math.min(milliseconds(limit, 'limit'), milliseconds(propagationDelay, 'delay') / Number(part));
}

describe('tables', () => {
  test.each(['24h', '60s'])(
    'the defaults of the policy, with a propagation delay of %s',
    (propagationDelay) => {
      const stated = table('README.md', 'Defaults').map(([name, text = '', derivation = '']) => {
        const isDefault = propagationDelay === '24h' || !derivation.includes('propagationDelay');
        if (name === 'propagationDelay' && propagationDelay !== '24h')
          return [name, milliseconds(propagationDelay, name)];
        return [name, isDefault ? valueOf(text) : derived(derivation, propagationDelay)];
      });
      const policy = new Map<string, unknown>(Object.entries(resolvePolicy({ propagationDelay })));
      policy.set('maxTokenLifetime', policy.get('tokenLifetime'));
      const actual = policyOptionNames.map((name) => [name, policy.get(name)]);
      expect(stated, 'the rows of the table and what resolvePolicy() gives').toEqual(actual);
    },
  );

  test('the options of core', () => {
    const listed = table('packages/core/README.md', 'Options').flatMap(([cell = '']) =>
      [...cell.matchAll(/\w+/g)].map(String),
    );
    expect(new Set(listed), 'what createJwtAuthority takes').toEqual(new Set(createOptionNames));
  });

  test('the error codes are those of errors.ts', () => {
    const source = read('packages/core/src/errors.ts');
    const codes = [...source.matchAll(/^ {2}(\w+): \{ retryable: (true|false) \}/gm)].map(
      ([, code, retryable]) => [code, retryable === 'true' ? 'yes' : 'no'],
    );
    const listed = table('packages/core/README.md', 'Errors').map(([code, , retryable]) => [code, retryable]);
    expect(listed, 'every code, in order, and whether it is retryable').toEqual(codes);
    const reasons = /MalformedReason =([^;]*);/.exec(source)?.[1]?.match(/\w+/g) ?? [];
    const missing = reasons.filter((reason) => !read('packages/core/README.md').includes(`\`${reason}\``));
    expect(missing, 'reasons of `malformed` that the page does not name').toEqual([]);
  });

  test('the events are those of events.ts', () => {
    const levels = /const levels[^{]*\{([^}]*)\}/.exec(read('packages/core/src/events.ts'))?.[1] ?? '';
    const events = [...levels.matchAll(/(\w+): '(\w+)'/g)].map(([, name, level]) => [name, level]);
    const listed = table('packages/core/README.md', 'Events').map(([name, level]) => [name, level]);
    expect(listed, 'every event, in order, with the level it is logged at').toEqual(events);
  });
});

test('the commands and packages that the documents name exist', () => {
  const scriptsOf = (file: string): string[] =>
    Object.keys((JSON.parse(readFileSync(file, 'utf8')) as { scripts?: object }).scripts ?? {});
  const commands = new Set([
    'pnpm',
    'install',
    'publish',
    ...[root, ...workspaces.map(({ folder }) => folder)].flatMap((folder) =>
      scriptsOf(join(folder, 'package.json')),
    ),
    ...readdirSync(join(root, 'node_modules/.bin')),
    ...packages.flatMap(({ manifest }) => Object.keys(manifest.bin ?? {})),
  ]);
  const unknown = pages.flatMap((page) => {
    const text = read(page);
    const code = [...text.matchAll(/^```[\s\S]*?^```|`[^`\n]+`/gm)].join('\n');
    const run = code.matchAll(
      /\b(?:pnpm(?:@[\d.]+)?|npx)(?: (?:--filter|-F)[ =]\S+| -[-\w]+)* (?:run )?([a-z][\w:-]*)/g,
    );
    const names = Array.from(run, ([, name = '']) => name).filter((name) => !commands.has(name));
    const imports = Array.from(text.matchAll(/@jwt-authority\/[a-z-]+(?:\/[a-z]+)?/g), String);
    return [...names, ...imports.filter((name) => !entries.has(name))].map((name) => `${page}: ${name}`);
  });
  expect(unknown, 'commands and packages that a reader would look for in vain').toEqual([]);
});

function mapValues<In, Out>(record: Record<string, In>, change: (value: In) => Out): Record<string, Out> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
}

/** What a node process prints, also if it fails, unless it fails before it prints anything. */
function node(args: string[], variables: Record<string, string> = {}): Promise<string> {
  const env = { ...process.env, NO_COLOR: '1', ...variables };
  return new Promise((done, fail) => {
    execFile(process.execPath, args, { cwd: root, env }, (error, stdout) => {
      if (error && stdout === '') fail(new Error(error.message));
      else done(stdout);
    });
  });
}
