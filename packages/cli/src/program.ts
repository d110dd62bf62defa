import { describeError, JwtAuthorityError } from '@jwt-authority/core';
import { Command, CommanderError } from 'commander';
import { print, type Report } from './commands.ts';
import {
  importKeys,
  revoke,
  rewrap,
  rollback,
  rotate,
  type ChangeFlags,
  type ImportFlags,
} from './commands/change.ts';
import { completion } from './commands/completion.ts';
import { doctor } from './commands/doctor.ts';
import { init } from './commands/init.ts';
import { exportJwks, generate, serveJwks } from './commands/keys.ts';
import { explain, status } from './commands/look.ts';
import { simulate } from './commands/timeline.ts';
import { sign, verify, type SignFlags, type VerifyFlags } from './commands/tokens.ts';
import { exitCodes, UsageError, type ExitCode } from './failures.ts';
import type { Io } from './io.ts';
import { withSession, type Session } from './session.ts';
import type { CommonFlags } from './settings.ts';

/** Runs one command line. Resolves to the exit code; whatever goes wrong is on standard error. */
export async function run(args: readonly string[], io: Io, signal: AbortSignal): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.ok;
  const program = build(io, signal, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    return explainFailure(error, io, args.includes('--json'));
  }
}

function explainFailure(error: unknown, io: Io, asJson: boolean): ExitCode {
  if (error instanceof CommanderError) {
    // Help is asked for this way too; commander has printed what there is to say to a person.
    if (error.exitCode === 0) return exitCodes.ok;
    const message =
      error.code === 'commander.help' ? 'name a command' : error.message.replace(/^error: /, '');
    if (asJson) io.out(JSON.stringify({ error: { code: 'usage', message } }));
    return exitCodes.usage;
  }
  const [code, message, exitCode] = JwtAuthorityError.is(error)
    ? [
        error.code,
        error.message,
        error.code === 'not_initialised' ? exitCodes.needsAttention : exitCodes.failed,
      ]
    : error instanceof UsageError || error instanceof TypeError
      ? ['usage', error.message, exitCodes.usage]
      : ['unexpected', describeError(error), exitCodes.failed];
  if (asJson) io.out(JSON.stringify({ error: { code, message } }));
  io.err(`jwt-authority: ${message}`);
  return exitCode;
}

function build(io: Io, signal: AbortSignal, exit: (code: ExitCode) => void): Command {
  const program = new Command('jwt-authority')
    .description('Look at the signing keys of a JWT Authority, and act on them.')
    .option(
      '--config <file>',
      'configuration (default: jwt-authority.config.ts, .mjs or .json in this folder)',
    )
    .option('--json', 'print one JSON object')
    .option('--namespace <name>', 'whose key set (default: default)')
    .option('--store <kind>', 'file, ioredis or redis-om (default: file); REDIS_URL says where Redis is')
    .option('--folder <path>', 'folder of the file store (default: ./keys)')
    .option('--prefix <text>', 'prefix of the keys in Redis')
    .option('--encrypter <kind>', 'local, kms or vault (default: local)')
    .option(
      '--key-env <name>',
      'variable with the key-encryption key; NAME_FILE names a file (default: JWT_AUTHORITY_KEY)',
    )
    .option('--kms-key <id>', 'key id, ARN or alias in AWS KMS')
    .option('--vault-key <name>', 'name of the transit key; VAULT_ADDR and VAULT_TOKEN say where')
    .option('--vault-mount <path>', 'where the transit engine is mounted (default: transit)')
    .addHelpText(
      'after',
      `
Exit codes: 0 done, 1 failed, 2 wrong call or configuration, 3 needs attention, 130 interrupted.

Examples:
  jwt-authority init                          # a configuration and a key-encryption key
  jwt-authority status
  jwt-authority revoke KID --reason 'laptop stolen'
  openssl pkey -in old.pem | jwt-authority import - --alg RS256 --as first
  JWT_AUTHORITY_STORE=ioredis REDIS_URL=redis://localhost:6379 jwt-authority doctor`,
    )
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text.trimEnd()),
      writeErr: (text) => io.err(text.trimEnd()),
    });

  // Commander gives arguments, flags and the command, in this order; the flags are what the options of that very command say.
  const calledBy = (given: readonly unknown[]): Command => given.at(-1) as Command;
  /** One command on a key set. */
  const on = (
    command: Command,
    work: (session: Session, flags: never, args: readonly string[]) => Promise<Report>,
  ): void => {
    command.action(async (...given: unknown[]) => {
      const called = calledBy(given);
      const flags = called.optsWithGlobals<CommonFlags>();
      const report = await withSession(io, flags, async (session) =>
        work(session, flags as never, called.args),
      );
      exit(print(io, report, flags.json === true));
    });
  };
  /** One command that needs no key set. */
  const alone = (command: Command, work: (flags: never) => Promise<Report>): void => {
    command.action(async (...given: unknown[]) => {
      const flags = calledBy(given).optsWithGlobals<CommonFlags>();
      exit(print(io, await work(flags as never), flags.json === true));
    });
  };
  const dryRun = ['--dry-run', 'say what would happen, and change nothing'] as const;
  const alg = ['--alg <name>', 'algorithm, for instance ES256 (default: the first configured one)'] as const;

  alone(
    program
      .command('init')
      .description('write a configuration and make a key-encryption key')
      .option('--key-file <path>', 'where the key goes', './jwt-authority.key')
      .option('--show-key', 'print the key instead of writing it to a file'),
    async (flags: { store?: string; keyFile: string; showKey?: boolean }) =>
      init({ ...flags, store: flags.store ?? 'file' }),
  );
  on(program.command('status').description('the keys, their states, what comes next'), async (session) =>
    status(session, io),
  );
  on(
    program
      .command('explain')
      .alias('plan')
      .description('why the active key is the active one, what is due, what will happen when'),
    explain,
  );
  on(
    program
      .command('rotate')
      .description(
        'publish a next key now; it signs after the propagation delay. Makes the first key set of an empty store',
      )
      .option('--emergency', 'let it sign at once: some caches will not know it yet')
      .option(...alg)
      .option(...dryRun),
    rotate,
  );
  on(
    program
      .command('rollback')
      .description('withdraw a published key that does not sign yet')
      .option(...alg)
      .option(...dryRun),
    rollback,
  );
  on(
    program
      .command('revoke')
      .argument('<kid>')
      .description('revoke a key: all its tokens become invalid. Cannot be undone')
      .requiredOption('--reason <text>', 'why; kept in the key set, no secrets')
      .option('--yes', 'do not ask')
      .option(...dryRun),
    async (session, flags: ChangeFlags & { readonly reason: string }, [kid = '']) =>
      revoke(session, io, kid, flags),
  );
  on(
    program
      .command('rewrap')
      .description('seal the key set under the first encrypter, after a change of KEK')
      .option('--force', 'also if it has done so already, when a data-encryption key may have leaked')
      .option(...dryRun),
    rewrap,
  );
  on(
    program
      .command('import')
      .argument('<file>', 'PEM, JWK or JWKS with one private key; - for standard input')
      .description('bring in a key made elsewhere')
      .option('--as <role>', 'next, first or verify-only', 'next')
      .option('--kid <text>', 'its kid (default: that of the JWK, else its thumbprint)')
      .option('--token-lifetime <duration>', "how long tokens that are out may live, for instance '24h'")
      .option(...alg)
      .option(...dryRun),
    async (session, flags: ImportFlags, [file = '-']) => importKeys(session, io, file, flags),
  );
  on(program.command('export').description('the public keys as a JWKS'), exportJwks);
  on(
    program
      .command('sign')
      .description('sign a token')
      .option('--sub <text>')
      .option('--aud <text>')
      .option('--claims <json>', 'a JSON object; - for standard input')
      .option('--expires-in <duration>', "for instance '15m'")
      .option('--typ <text>', 'the typ header')
      .option('--jti', 'give it a random jti')
      .option(...alg),
    async (session, flags: SignFlags) => sign(session, io, flags),
  );
  on(
    program
      .command('verify')
      .argument('<token>', '- for standard input, which keeps it out of the shell history')
      .description('header, claims and key of a token, or why it is refused')
      .option('--issuer <text>')
      .option('--audience <text>')
      .option('--typ <text>'),
    async (session, { issuer, audience, typ }: VerifyFlags, [token = '-']) =>
      verify(session, io, token, {
        ...(issuer !== undefined && { issuer }),
        ...(audience !== undefined && { audience }),
        ...(typ !== undefined && { typ }),
      }),
  );
  on(
    program
      .command('jwks')
      .description('the JWKS, printed or served read-only from the store')
      .option('--serve <port>', 'serve it over HTTP until interrupted')
      .option('--host <address>', 'where to listen', '127.0.0.1'),
    async (session, { serve, host }: { readonly serve?: string; readonly host: string }) =>
      serve === undefined ? exportJwks(session) : serveJwks(session, io, { port: serve, host, signal }),
  );
  alone(
    program
      .command('generate')
      .description('a key pair, for those who only need that; prints the private key')
      .option('--format <name>', 'pem or jwk', 'pem')
      .option(alg[0], 'algorithm', 'RS256'),
    async (flags: { alg: string; format: string }) => generate(flags),
  );
  on(
    program
      .command('doctor')
      .description('check store, KEK, key set, clock, settings and the published JWKS')
      .option('--jwks-url <url>', 'where verifiers get the JWKS'),
    async (session, flags: { readonly jwksUrl?: string }) => doctor(session, io, flags),
  );
  alone(
    program
      .command('timeline')
      .alias('simulate-timeline')
      .description('when keys would appear, sign and go under the configured policy')
      .option('--for <duration>', 'how far ahead', '365d'),
    async (flags: { for: string }) => simulate(io, flags),
  );
  alone(
    program
      .command('completion')
      .description('shell completion: eval "$(jwt-authority completion)" in bash or zsh'),
    async () => completion(program),
  );
  return program;
}
