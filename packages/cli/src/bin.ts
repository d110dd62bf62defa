#!/usr/bin/env node
import { describeError } from '@jwt-authority/core';
import { exitCodes } from './failures.ts';
import { processIo } from './io.ts';
import { run } from './program.ts';

const abort = new AbortController();
/** What a server under way gets to end in good order. Milliseconds. */
const grace = 500;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    abort.abort();
    // A call to a store that does not answer has a deadline of seconds: nobody should have to wait for it.
    setTimeout(() => {
      process.stderr.write('jwt-authority: interrupted; see what was done with: jwt-authority status\n');
      process.exit(exitCodes.interrupted);
    }, grace).unref();
    process.once(signal, () => process.exit(exitCodes.interrupted));
  });
}
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // What a pipe's reader does not want any more is no failure of ours; a full disk is one.
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? exitCodes.ok);
  process.stderr.write(`jwt-authority: standard output cannot be written (${describeError(error)})\n`);
  process.exit(exitCodes.failed);
});
// Nobody is left to tell.
process.stderr.on('error', () => {});
process.exitCode = await run(process.argv.slice(2), processIo(), abort.signal);
