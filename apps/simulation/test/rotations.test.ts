import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const script = fileURLToPath(new URL('../dist/rotations.js', import.meta.url));

it('P2: eight processes on one folder publish each of eight due rotations once, and lose no token', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [script, '8', '8', '--json']);
  const figures: unknown = JSON.parse(stdout);
  expect(figures, 'one publication per due rotation, none doubled, no token refused').toMatchObject({
    due: 8,
    published: 8,
    doubled: 0,
    tokensLost: 0,
  });
}, 60_000);
