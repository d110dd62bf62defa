import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { SummaryReporter } from './scripts/summary-reporter.ts';

const workspaces = ['packages', 'apps'].flatMap((folder) =>
  readdirSync(folder).map((name) => ({ name, root: `${folder}/${name}` })),
);

export default defineConfig({
  // Tests run the TypeScript sources of the workspace, never a build that may be stale.
  ssr: { resolve: { conditions: ['@jwt-authority/source', 'node'] } },
  test: {
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Much of the time is spent waiting for servers and processes, not computing.
    maxWorkers: Math.max(3, availableParallelism()),
    reporters: ['default', new SummaryReporter()],
    coverage: { include: ['packages/core/src/**'] },
    projects: [{ name: 'workspace', root: '.' }, ...workspaces].map(({ name, root }) => ({
      extends: true,
      test: { name, root, include: ['test/**/*.test.ts'] },
    })),
  },
});
