import type { ExitCode } from './failures.ts';
import type { Io } from './io.ts';

/** What a command found: `--json` prints `data`, a person reads `text`. */
export interface Report {
  readonly data: object;
  readonly text: string;
  /** Default: ok. */
  readonly exitCode?: ExitCode;
}

/** Prints a report the way it was asked for. */
export function print(io: Io, { data, text, exitCode = 0 }: Report, asJson: boolean): ExitCode {
  if (asJson) io.out(JSON.stringify(data));
  else if (text !== '') io.out(text);
  return exitCode;
}
