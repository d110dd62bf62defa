import type { RedisConnection, RedisSubscription } from '@jwt-authority/redis-protocol';

/**
 * What is used of an ioredis client: a `Redis` (standalone or by Sentinel) or a `Cluster`, of ioredis 5 or 6. A type of its own,
 * since the classes of the two majors do not fit one another.
 */
export interface IoredisClient {
  readonly options: {
    readonly keyPrefix?: string | undefined;
    readonly username?: string | undefined;
    readonly redisOptions?: { readonly username?: string | undefined } | undefined;
  };
  eval(script: string, numberOfKeys: number, ...keysAndArguments: string[]): Promise<unknown>;
  set(key: string, value: string, px: 'PX', milliseconds: number, nx: 'NX'): Promise<unknown>;
  duplicate(): IoredisSubscriber;
}

/** What is used of the duplicate that `watch` subscribes with. */
export interface IoredisSubscriber {
  readonly status: string;
  readonly options: object;
  on(event: 'message', listener: (channel: string) => void): unknown;
  on(event: 'ready' | 'error', listener: () => void): unknown;
  connect(): Promise<void>;
  subscribe(channel: string): Promise<unknown>;
  disconnect(): void;
}

export function connectionOf(client: IoredisClient): RedisConnection {
  const { keyPrefix, username, redisOptions } = client.options;
  return {
    keyPrefix: keyPrefix ?? '',
    username: username ?? redisOptions?.username ?? 'default',
    evaluate: (script, key, args) => client.eval(script, 1, key, ...args),
    setIfAbsent: (key, value, milliseconds) => client.set(key, value, 'PX', milliseconds, 'NX'),
    subscribe: (channel, onMessage) => subscribe(client, channel, onMessage),
  };
}

function subscribe(client: IoredisClient, channel: string, onMessage: () => void): RedisSubscription {
  const subscriber = client.duplicate();
  // What it does by itself would end the process where the channel is no longer permitted: nobody hears of that failure.
  Object.assign(subscriber.options, { autoResubscribe: false });
  // Without a listener, ioredis prints every failure to connect. Loads meet the same failures, and report them.
  subscriber.on('error', () => undefined);
  subscriber.on('message', (from) => {
    if (from === channel) onMessage();
  });
  const subscribed = new Promise<void>((resolve, reject) => {
    let isFirst = true;
    // At every 'ready', not once: this does not need the client's offline queue.
    subscriber.on('ready', () => {
      subscriber.subscribe(channel).then(() => {
        resolve();
        if (!isFirst) onMessage();
        isFirst = false;
        return undefined;
      }, reject);
    });
  });
  // With lazyConnect, it waits to be told.
  if (subscriber.status === 'wait') subscriber.connect().catch(() => undefined);
  return { subscribed, close: () => subscriber.disconnect() };
}
