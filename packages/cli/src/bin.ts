#!/usr/bin/env node
import { processIo } from './io.ts';
import { run } from './program.ts';

const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // The first one ends in good order, the second one at once.
  process.once(signal, () => {
    abort.abort();
    process.once(signal, () => process.exit(130));
  });
}
// What a pipe's reader does not want any more is no failure of ours.
process.stdout.on('error', () => process.exit(0));
process.exitCode = await run(process.argv.slice(2), processIo(), abort.signal);
