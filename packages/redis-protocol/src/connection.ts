/** All that this package needs of a Redis client. */
export interface RedisConnection {
  /**
   * Evaluates a Lua script that uses one key (KEYS[1]), on the primary that has it, and gives its reply as arrays, texts and
   * integers. The client puts its own key prefix before the key. Rejects with the client's error.
   */
  evaluate(script: string, key: string, args: readonly string[]): Promise<unknown>;
  /** SET with PX and NX: `null` if the key is there already. As with {@link RedisConnection.evaluate} otherwise. */
  setIfAbsent(key: string, value: string, milliseconds: number): Promise<unknown>;
  /**
   * Subscribes to a channel, on a connection of its own, which keeps trying until it is closed. `onMessage` is called for
   * every message, and whenever the connection was lost and is back: messages may have been missed.
   */
  subscribe(channel: string, onMessage: () => void): RedisSubscription;
  /** What the client puts before keys, and who it is: for messages about missing permissions. */
  readonly keyPrefix: string;
  readonly username: string;
}

export interface RedisSubscription {
  /** Resolves at the first success; rejects with the client's error if the server refuses. */
  readonly subscribed: Promise<void>;
  close(): void;
}
