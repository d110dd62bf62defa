import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { rolldown } from 'rolldown';
import { describe, expect, test } from 'vitest';
import { packages, root, workspaces } from './workspace.ts';

const CORE = '@jwt-authority/core';

test("core's bundle holds core and jose, and names no storage or cloud client", async () => {
  const bundle = await rolldown({ input: join(root, 'packages/core/src/index.ts'), platform: 'node' });
  const { output } = await bundle.generate({ minify: true });
  const chunks = output.filter((file) => file.type === 'chunk');

  const modules = chunks.flatMap((chunk) => chunk.moduleIds).map((id) => relative(root, id));
  expect(modules.filter((id) => !/^packages\/core\/src\/|\/node_modules\/jose\//.test(id))).toEqual([]);
  const code = chunks.map((chunk) => chunk.code).join('\n');
  expect(code).not.toMatch(/ioredis|redis-om|['"`]redis['"`]|@redis\/|node-vault|@aws-sdk/);
});

describe('dependencies point inward', () => {
  const needs = ({ manifest }: (typeof packages)[number]): string[] =>
    Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }).toSorted();

  test('core needs jose and nothing else', () => {
    expect(packages.filter(({ name }) => name === CORE).flatMap(needs)).toEqual(['jose']);
  });

  // What the Redis stores share stands between them and core.
  const between = new Map(
    ['ioredis', 'redis-om'].map((name) => [
      `@jwt-authority/store-${name}`,
      ['@jwt-authority/redis-protocol'],
    ]),
  );
  // The command line wires them together, as an application does.
  const CLI = '@jwt-authority/cli';
  test('nothing needs the command line', () => {
    expect(packages.filter((each) => needs(each).includes(CLI))).toEqual([]);
  });
  test.each(packages.filter(({ name }) => name !== CORE && name !== CLI))(
    '$name needs core, and no other adapter',
    (adapter) => {
      const ours = needs(adapter).filter((other) => other.startsWith('@jwt-authority/'));
      expect(ours).toEqual([CORE, ...(between.get(adapter.name) ?? [])]);
    },
  );
});

describe('relative imports stay inside src', () => {
  test.each(workspaces)('$name', ({ folder }) => {
    const src = join(folder, 'src');
    const outside = readdirSync(src, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .flatMap((file) =>
        Array.from(
          readFileSync(join(src, file), 'utf8').matchAll(/\b(?:from|import)\b[\s(]*['"](\.[^'"]*)['"]/g),
          ([, path = '']) => join(file, '..', path),
        ),
      )
      .filter((path) => path.startsWith('..'));
    expect(outside).toEqual([]);
  });
});
