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
  test.each(packages)('$name', ({ name, manifest }) => {
    const needed = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });
    const ours = needed.filter((other) => other.startsWith('@jwt-authority/'));
    expect(name === CORE ? needed : ours).toEqual(name === CORE ? ['jose'] : [CORE]);
  });
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
