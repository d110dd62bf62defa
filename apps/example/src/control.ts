import type { JwksRotator } from '@jwt-authority/core';
import type { RunningServer } from './start.ts';

/** What the process that started this one may ask. Only it has this channel: there is no network behind it. */
export type Command =
  | { readonly name: 'rotate' | 'rollback' | 'reseal' }
  | { readonly name: 'revoke'; readonly kid: string };

/** What it is told. */
export type Report =
  | { readonly type: 'listening'; readonly url: string }
  | { readonly type: 'event'; readonly name: (typeof reported)[number] }
  | { readonly type: 'done'; readonly id: number; readonly result: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly message: string };

const reported = ['rotated', 'retired', 'tampered', 'healed'] as const;

/** Lets a parent process operate the server over the IPC channel of `child_process.fork`, and ends with it. */
export function obeyParent({ url, rotator, events }: RunningServer, shutDown: () => void): void {
  const report = (message: Report): void => {
    if (process.connected) process.send?.(message);
  };
  let last: Promise<unknown> = Promise.resolve();
  process.on('message', ({ id, command }: { id: number; command: Command }) => {
    // One after the other, in the order they came.
    last = last
      .then(async () => execute(rotator, command))
      .then((result) => report({ type: 'done', id, result }))
      .catch((error: unknown) => report({ type: 'failed', id, message: String(error) }));
  });
  for (const name of reported) events.on(name, () => report({ type: 'event', name }));
  process.once('disconnect', shutDown);
  report({ type: 'listening', url });
}

async function execute(rotator: JwksRotator, command: Command): Promise<unknown> {
  switch (command.name) {
    case 'rotate':
      return rotator.rotateNow();
    case 'rollback':
      return rotator.rollback();
    case 'reseal':
      return rotator.rewrap({ force: true });
    case 'revoke':
      return rotator.revoke(command.kid, { reason: 'demo' });
  }
}
