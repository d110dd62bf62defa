/** What the process ends with. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  needsAttention: 3,
  /** As a shell has it of whoever SIGINT ends. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** The command was called wrongly, or its configuration is wrong: the message says what to do. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
