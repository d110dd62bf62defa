import { createInterface } from 'node:readline/promises';
import { text } from 'node:stream/consumers';

/** Where a command reads from and writes to: the process, or a test. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  out(line: string): void;
  /** For people: what went wrong, what to do. Never on standard output, which may go into a file. */
  err(line: string): void;
  readInput(): Promise<string>;
  /** Whether somebody sits there and can be asked. */
  readonly isInteractive: boolean;
  ask(question: string): Promise<string>;
  readonly useColour: boolean;
  /** Columns of the terminal. */
  readonly width: number;
}

export function processIo(): Io {
  const { stdin, stdout, stderr, env } = process;
  return {
    env,
    out: (line) => void stdout.write(`${line}\n`),
    err: (line) => void stderr.write(`${line}\n`),
    readInput: async () => text(stdin),
    isInteractive: stdin.isTTY && stdout.isTTY,
    async ask(question) {
      const lines = createInterface({ input: stdin, output: stderr });
      try {
        return await lines.question(question);
      } catch {
        // Ctrl-C or Ctrl-D: an answer that is not yes.
        return '';
      } finally {
        lines.close();
      }
    },
    // https://no-color.org: set and not empty.
    useColour: stdout.isTTY && !env['NO_COLOR'],
    width: stdout.columns || 80,
  };
}
