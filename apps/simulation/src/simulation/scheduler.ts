/** Whom an event belongs to: it waits while the owner is paused, and is dropped once the owner is dead. */
export interface Owner {
  readonly isDead: boolean;
  readonly isPaused: boolean;
}

interface Event {
  at: number;
  readonly order: number;
  readonly owner: Owner | undefined;
  readonly isTimer: boolean;
  readonly run: () => void;
  cancelled: boolean;
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/**
 * Virtual time, and the one queue of everything that will happen: timers, requests that arrive, replies that are
 * delivered. One event at a time; between two of them all promises settle (nothing else is under way: cryptography runs
 * inline), so that the same seed gives the same order of everything.
 */
export class Scheduler {
  #now: number;
  #order = 0;
  #heap: Event[] = [];
  #deferred: Event[] = [];

  constructor(start: number) {
    this.#now = start;
  }

  /** True time, epoch milliseconds. No instance knows it. */
  get now(): number {
    return this.#now;
  }

  /** Plans an event `delay` milliseconds from now. Gives the function that cancels it. */
  after(delay: number, run: () => void, owner?: Owner, isTimer = false): () => void {
    const at = this.#now + Math.max(0, delay);
    const event: Event = { at, order: this.#order++, owner, isTimer, run, cancelled: false };
    this.#push(event);
    return () => {
      event.cancelled = true;
    };
  }

  /** Runs the next event. `false`: there is none. */
  step(): boolean {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return false;
      if (event.cancelled || event.owner?.isDead === true) continue;
      if (event.owner?.isPaused === true) {
        this.#deferred.push(event);
        continue;
      }
      this.#now = Math.max(this.#now, event.at);
      event.run();
      return true;
    }
  }

  /** When the next event is due, as far as known. */
  get nextAt(): number {
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Moves on to a moment before the next event. */
  moveTo(time: number): void {
    this.#now = Math.max(this.#now, Math.min(time, this.nextAt));
  }

  /**
   * The owner runs again. After a suspension its timers go on where they stood (`sleptFor` milliseconds), else what fell
   * due meanwhile runs now.
   */
  resume(owner: Owner, sleptFor: number): void {
    const shift = (event: Event): void => {
      if (event.owner === owner && event.isTimer) event.at += sleptFor;
    };
    if (sleptFor > 0) {
      const waiting = this.#heap;
      this.#heap = [];
      waiting.forEach(shift);
      for (const event of waiting) this.#push(event);
    }
    const mine = this.#deferred.filter((event) => event.owner === owner);
    this.#deferred = this.#deferred.filter((event) => event.owner !== owner);
    mine.forEach(shift);
    for (const event of mine) this.#push(event);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || before(above, event)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const [leftChild, rightChild] = [heap[left], heap[left + 1]];
      if (leftChild === undefined) break;
      const goRight = rightChild !== undefined && before(rightChild, leftChild);
      const child = goRight ? rightChild : leftChild;
      if (before(last, child)) break;
      heap[index] = child;
      index = goRight ? left + 1 : left;
    }
    heap[index] = last;
    return first;
  }
}

/** Lets everything settle that waits for nothing but promises. */
export async function quiescence(): Promise<void> {
  await new Promise<void>((resolve) => {
    setImmediate(resolve);
  });
}
