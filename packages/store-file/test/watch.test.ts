import { chmod, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { fileStore } from '../src/index.ts';
import { handClock } from './hand-clock.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'store-file-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function commit(revision: number): Promise<void> {
  const store = fileStore({ folder });
  const { stored } = await store.load();
  await store.compareAndSwap(
    { revision, etag: String(revision), updatedAt: 5, document: '' },
    stored,
    Infinity,
  );
}

/** How many paths this process watches, by the kernel's account. */
async function watchCount(): Promise<number> {
  const counts = (await readdir('/proc/self/fd')).map(async (fd) => {
    if ((await readlink(`/proc/self/fd/${fd}`).catch(() => '')) !== 'anon_inode:inotify') return 0;
    return (await readFile(`/proc/self/fdinfo/${fd}`, 'utf8'))
      .split('\n')
      .filter((line) => line.startsWith('inotify')).length;
  });
  return (await Promise.all(counts)).reduce((one, other) => one + other, 0);
}

describe('watch', () => {
  it('polls where there is nothing to watch yet, and watches as soon as there is', async () => {
    const clock = handClock();
    const onChange = vi.fn<() => void>();
    const stop = await fileStore({ folder, clock, pollInterval: '3s' }).watch(onChange);
    expect(clock.timers, 'one timer, which a moved clock need not stop at').toEqual([
      expect.objectContaining({ delay: 3000, idle: true }),
    ]);
    await commit(1);
    expect(onChange, 'there was no folder to watch').not.toHaveBeenCalled();
    await clock.timers[0]?.fire();
    expect(onChange, 'polling is what is relied on').toHaveBeenCalledTimes(1);
    expect(clock.timers, 'it goes on').toHaveLength(1);

    await commit(2);
    await vi.waitFor(
      () => expect(onChange, 'told by the file system, without the timer').toHaveBeenCalledTimes(2),
      10_000,
    );
    await clock.timers[0]?.fire();
    expect(onChange, 'a look that finds nothing new tells nothing').toHaveBeenCalledTimes(2);
    await stop();
    expect(clock.timers, 'stopped: no timer stays').toEqual([]);
  });

  it('goes on when the folder is removed and made again', async () => {
    const clock = handClock();
    const onChange = vi.fn<() => void>();
    await commit(1);
    const stop = await fileStore({ folder, clock }).watch(onChange);
    await rm(join(folder, 'default'), { recursive: true });
    await clock.timers[0]?.fire();
    expect(onChange, 'lost data is a change: whoever holds the key set heals it').toHaveBeenCalled();
    const calls = onChange.mock.calls.length;
    await commit(1);
    await clock.timers[0]?.fire();
    expect(onChange.mock.calls.length, 'there is something again').toBeGreaterThan(calls);
    const before = onChange.mock.calls.length;
    await commit(2);
    await vi.waitFor(
      () => expect(onChange.mock.calls.length, 'the new folder is watched').toBeGreaterThan(before),
      10_000,
    );
    await stop();
  });

  it('says nothing of failures, and goes on after them', async () => {
    const clock = handClock();
    const onChange = vi.fn<() => void>();
    await commit(1);
    const stop = await fileStore({ folder, clock }).watch(onChange);
    await chmod(join(folder, 'default'), 0o777);
    await clock.timers[0]?.fire();
    expect(onChange, 'a failure to look is not a change; load reports it').not.toHaveBeenCalled();
    await chmod(join(folder, 'default'), 0o700);
    await commit(2);
    await clock.timers[0]?.fire();
    expect(onChange, 'it has gone on').toHaveBeenCalledTimes(1);
    await stop();
  });

  it.runIf(process.platform === 'linux')('leaves no watcher of the system behind', async () => {
    await commit(1);
    const store = fileStore({ folder });
    const before = await watchCount();
    const stops = await Promise.all(Array.from({ length: 20 }, () => store.watch(() => undefined)));
    expect(await watchCount(), 'they do watch, or this proves nothing').toBeGreaterThan(before);
    for (const stop of stops) await stop();
    expect(await watchCount(), 'all are closed').toBe(before);
  });
});
