import type { KeySetStore } from '../../packages/core/src/index.ts';

/** Where a Redis is and how to get in; survives JSON. */
export interface RedisTarget {
  readonly on: 'standalone' | 'cluster' | 'sentinel';
  /** Of the server, of some nodes, or of the sentinels, which know the primary as `primary`. */
  readonly addresses: readonly { readonly host: string; readonly port: number }[];
  readonly username?: string;
  readonly password?: string;
  /** The certificate to trust, PEM; absent: no TLS. */
  readonly ca?: string;
}

/** A store on a client of its own. */
export interface OpenedStore {
  readonly store: Required<KeySetStore>;
  /** What the adapter's `checkRedis` says about this namespace. */
  check(): Promise<readonly { readonly level: string; readonly setting: string; readonly message: string }[]>;
  close(): void;
}

/** How one adapter opens a store; `timeout` in seconds. */
export type OpenStore = (
  target: RedisTarget,
  options: { readonly namespace: string; readonly timeout: number },
) => Promise<OpenedStore>;
