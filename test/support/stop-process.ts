import { existsSync, readdirSync, readFileSync } from 'node:fs';

/**
 * Stops a process as a debugger does, until SIGCONT. The signal takes its time to reach every thread of a busy machine:
 * where the system says how far it has got (Linux), this returns when all of them stand still.
 */
export function stopProcess(pid: number): void {
  process.kill(pid, 'SIGSTOP');
  const threads = `/proc/${pid}/task`;
  const deadline = performance.now() + 2000;
  while (existsSync(threads) && performance.now() < deadline) {
    if (readdirSync(threads).every((thread) => stands(`${threads}/${thread}/stat`))) return;
  }
}

function stands(path: string): boolean {
  try {
    // The state is behind the name, which may hold anything, in brackets.
    return /\) [TtZX] /.test(readFileSync(path, 'utf8'));
  } catch {
    // It has ended meanwhile.
    return true;
  }
}
