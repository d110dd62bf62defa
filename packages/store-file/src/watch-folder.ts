import { type FSWatcher, watch } from 'node:fs';
import type { Clock } from '@jwt-authority/core';
import type { KeySetFolder } from './key-set-folder.ts';

/**
 * Calls back whenever the folder's last number has changed. The file system's events only make it look earlier: it looks
 * every `interval` milliseconds as well, since not every file system has events.
 */
export async function watchFolder(
  folder: KeySetFolder,
  clock: Clock,
  interval: number,
  onChange: () => void,
): Promise<() => Promise<void>> {
  let stopped = false;
  let watcher: FSWatcher | undefined;
  let cancelTimer = (): void => {};
  let looking: Promise<void> | undefined;
  let lookAgain = false;
  let seen: number | undefined;

  const closeWatcher = (): void => {
    watcher?.close();
    watcher = undefined;
  };
  const openWatcher = (): void => {
    try {
      watcher ??= watch(folder.path, { persistent: false }, () => void look()).on('error', closeWatcher);
    } catch {
      // No such folder yet, or no more watches to be had: the timer looks, and tries this again.
    }
  };

  const lookUntilQuiet = async (): Promise<void> => {
    try {
      while (lookAgain) {
        lookAgain = false;
        // A failure is not told here: the next load meets it too.
        const last = await folder.list().then(
          (listing) => listing.last,
          () => seen,
        );
        if (stopped) return;
        // With its folder gone, a watcher stays silent for ever, also when there is a new one.
        if (last === 0) closeWatcher();
        const changed = last !== seen;
        seen = last;
        if (changed) onChange();
      }
    } finally {
      looking = undefined;
    }
  };
  const look = (): Promise<void> => {
    lookAgain = true;
    looking ??= lookUntilQuiet();
    return looking;
  };
  const lookAndWait = async (): Promise<void> => {
    openWatcher();
    await look();
    if (!stopped) cancelTimer = clock.setTimer(lookAndWait, interval, { idle: true });
  };

  openWatcher();
  seen = await folder.list().then(
    (listing) => listing.last,
    () => undefined,
  );
  cancelTimer = clock.setTimer(lookAndWait, interval, { idle: true });

  return async () => {
    stopped = true;
    cancelTimer();
    closeWatcher();
  };
}
