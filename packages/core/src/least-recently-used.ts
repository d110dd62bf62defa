/** A map that holds so many entries at most: the one that was not asked for longest leaves for a new one. */
export class LeastRecentlyUsed<Value> {
  readonly #limit: number;
  readonly #entries = new Map<string, Value>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(name: string): Value | undefined {
    const value = this.#entries.get(name);
    if (value !== undefined) {
      this.#entries.delete(name);
      this.#entries.set(name, value);
    }
    return value;
  }

  /** Gives the entry that had to leave, if one had to. */
  set(name: string, value: Value): Value | undefined {
    const [oldest] = this.#entries.size >= this.#limit && !this.#entries.has(name) ? this.#entries : [];
    if (oldest !== undefined) this.#entries.delete(oldest[0]);
    this.#entries.set(name, value);
    return oldest?.[1];
  }

  delete(name: string): void {
    this.#entries.delete(name);
  }

  values(): Iterable<Value> {
    return this.#entries.values();
  }
}
