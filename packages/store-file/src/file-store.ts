import { resolve } from 'node:path';
import {
  checkMethods,
  checkNamespace,
  checkOptions,
  milliseconds,
  misuse,
  systemClock,
} from '@jwt-authority/core';
import type { Clock, Duration, KeySetStore, LoadResult, StoredKeySet } from '@jwt-authority/core';
import { commit } from './commit.ts';
import { KeySetFolder } from './key-set-folder.ts';
import { isStoredKeySet } from './key-set-file.ts';
import { watchFolder } from './watch-folder.ts';

export interface FileStoreOptions {
  /** Where the key sets of all namespaces live, one folder each; made with mode 0700 by the first commit. Local disk only. */
  readonly folder: string;
  /** Whose key set this is: 1 to 128 letters, digits or `. _ : -`. Default `'default'`. */
  readonly namespace?: string | undefined;
  /** By what `notAfter` is judged and `watch` polls. Default: the clock of this machine. */
  readonly clock?: Clock | undefined;
  /** How often `watch` looks by itself, where the file system tells nothing; above 0. Default 5 seconds. */
  readonly pollInterval?: Duration | undefined;
}

/**
 * Keeps the key set of one namespace in a folder of this machine's local disk, shared by any number of processes.
 *
 * `compareAndSwap` is atomic between processes, without a lock: revision after revision is a file of its own, and link(2)
 * lets exactly one process give a file the next number. It is on disk (fsync) before the answer. A process may be killed
 * at any instant: the key set is then the one before or the one after. Private keys of earlier revisions are cut off their
 * files by every commit. `watch` may call back after a commit of this process too; its callback must not throw.
 *
 * Errors: `store_unavailable` (the system refuses: full disk, no permission; the message has the path and the system's
 * code) and `store_unreadable` (the current file is damaged or not ours, or files are open to other users; the message
 * says what to do). Nothing is overwritten then.
 *
 * @throws {TypeError} if an option is wrong.
 */
export function fileStore(options: FileStoreOptions): Required<KeySetStore> {
  checkOptions(options, 'fileStore', ['folder', 'namespace', 'clock', 'pollInterval']);
  const { folder, namespace = 'default', clock = systemClock, pollInterval = 5 } = options;
  if (typeof folder !== 'string' || folder === '' || folder.includes('\0')) {
    throw misuse('folder', 'be the path of a folder', folder);
  }
  checkNamespace(namespace);
  checkMethods(clock, 'clock', ['now', 'monotonic', 'setTimer']);
  const interval = milliseconds(pollInterval, 'pollInterval');
  if (interval === 0) throw misuse('pollInterval', 'be above 0', pollInterval);
  // Resolved now: the process may change its working directory later.
  return new FileStore(new KeySetFolder(resolve(folder), namespace), clock, interval);
}

class FileStore implements KeySetStore {
  readonly namespace: string;
  readonly #folder: KeySetFolder;
  readonly #clock: Clock;
  readonly #pollInterval: number;

  constructor(folder: KeySetFolder, clock: Clock, pollInterval: number) {
    this.namespace = folder.namespace;
    this.#folder = folder;
    this.#clock = clock;
    this.#pollInterval = pollInterval;
  }

  async load(): Promise<LoadResult> {
    const { stored } = await this.#folder.current();
    return stored === undefined ? {} : { stored };
  }

  async compareAndSwap(
    next: StoredKeySet,
    expected: Pick<StoredKeySet, 'revision' | 'etag'> | undefined,
    notAfter: number,
  ): Promise<boolean> {
    // What could not be read again would have to be cleared away by hand.
    if (!isStoredKeySet(next)) throw misuse('next', 'be a stored key set', next);
    const { stored, sequence } = await this.#folder.current();
    if (stored?.etag === next.etag) return true;
    if (stored?.revision !== expected?.revision || stored?.etag !== expected?.etag) return false;
    return commit(this.#folder, next, sequence + 1, () => this.#clock.now() <= notAfter);
  }

  watch(onChange: () => void): Promise<() => Promise<void>> {
    return watchFolder(this.#folder, this.#clock, this.#pollInterval, onChange);
  }
}
