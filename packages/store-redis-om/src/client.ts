import type { RedisConnection, RedisSubscription } from '@jwt-authority/redis-protocol';

/**
 * What is used of a client of the package `redis` 4.7 or later, 5 or 6: made by `createClient`, `createCluster` or
 * `createSentinel`. Types of its own, since those of the majors do not fit one another.
 */
export type NodeRedisClient = NodeRedisStandalone | NodeRedisCluster | NodeRedisSentinel;

interface Evaluates {
  readonly options?: { readonly keyPrefix?: string | Buffer; readonly username?: string } | undefined;
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  set(key: string, value: string, options: { PX: number; NX: true }): Promise<unknown>;
}

/** Subscribes on a connection that the client makes for that, and keeps up. */
interface Subscribes {
  subscribe(channel: string, listener: () => void): Promise<unknown>;
  unsubscribe(channel: string, listener: () => void): Promise<unknown>;
}

export interface NodeRedisStandalone extends Evaluates {
  duplicate(): NodeRedisSubscriber;
}

export interface NodeRedisCluster extends Evaluates, Subscribes {
  nodeClient(node: never): unknown;
  sendCommand(firstKey: string, isReadonly: boolean, args: string[]): Promise<unknown>;
}

export interface NodeRedisSentinel extends Evaluates, Subscribes {
  getMasterNode(): unknown;
  on(event: 'topology-change', listener: () => void): unknown;
  off(event: 'topology-change', listener: () => void): unknown;
}

/** What is used of the duplicate that `watch` subscribes with. */
export interface NodeRedisSubscriber {
  on(event: 'ready' | 'error', listener: () => void): unknown;
  connect(): Promise<unknown>;
  subscribe(channel: string, listener: () => void): Promise<unknown>;
  disconnect(): Promise<void>;
}

export function connectionOf(client: NodeRedisClient): RedisConnection {
  return {
    keyPrefix: String(client.options?.keyPrefix ?? ''),
    username: client.options?.username ?? 'default',
    evaluate(script, key, args) {
      // redis 4 takes the script for the key, and asks any node of a cluster. What is sent as it is, it sends to the right one.
      if (isCluster(client) && !('close' in client)) {
        return client.sendCommand(key, false, ['EVAL', script, '1', key, ...args]);
      }
      return client.eval(script, { keys: [key], arguments: [...args] });
    },
    setIfAbsent: (key, value, milliseconds) => client.set(key, value, { PX: milliseconds, NX: true }),
    subscribe(channel, onMessage) {
      if (isCluster(client) || isSentinel(client)) return subscribeByItself(client, channel, onMessage);
      return subscribeByDuplicate(client, channel, onMessage);
    },
  };
}

function isCluster(client: NodeRedisClient): client is NodeRedisCluster {
  return 'nodeClient' in client;
}

function isSentinel(client: NodeRedisClient): client is NodeRedisSentinel {
  return 'getMasterNode' in client;
}

function subscribeByDuplicate(
  client: NodeRedisStandalone,
  channel: string,
  onMessage: () => void,
): RedisSubscription {
  const subscriber = client.duplicate();
  // Without a listener, an error ends the process. Loads meet the same failures, and report them.
  subscriber.on('error', () => undefined);
  let isFirst = true;
  subscriber.on('ready', () => {
    if (!isFirst) onMessage();
    isFirst = false;
  });
  return {
    subscribed: subscriber
      .connect()
      .then(() => subscriber.subscribe(channel, () => onMessage()))
      .then(() => undefined),
    // It rejects where it never was connected.
    close: () => void settle(() => subscriber.disconnect()),
  };
}

function subscribeByItself(
  client: NodeRedisCluster | NodeRedisSentinel,
  channel: string,
  onMessage: () => void,
): RedisSubscription {
  // A function of this subscription alone: unsubscribing removes this one.
  const listener = (): void => onMessage();
  if (isSentinel(client)) client.on('topology-change', listener);
  return {
    subscribed: client.subscribe(channel, listener).then(() => undefined),
    close() {
      if (isSentinel(client)) client.off('topology-change', listener);
      void settle(() => client.unsubscribe(channel, listener));
    },
  };
}

async function settle(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch {
    // Whatever it says, there is nothing left to close.
  }
}
