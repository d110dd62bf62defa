import type { StoredKeySet } from '@jwt-authority/core';
import { documentOf } from './store.ts';

/** When every history begins. */
export const start: number = Date.UTC(2026, 0, 1);

/** What an event says, without what every event says. */
export function describe(payload: object): string {
  const { namespace: _, at: __, ...rest } = { namespace: '', at: 0, ...payload };
  return JSON.stringify(rest);
}

/** A document in one line: a key is `kid`, `*` if it can sign, and what its times say. */
export function sketch(stored: StoredKeySet): string {
  const document = documentOf(stored);
  const time = (at: number | undefined): string =>
    at === undefined ? '…' : String(Math.round((at - start) / 1000));
  const keys = (document?.keys ?? []).map(
    ({ kid, hasPrivateKey, activatesAt, deactivatesAt, expiresAt, revokedAt }) =>
      `${kid}${hasPrivateKey ? '*' : ''}${revokedAt === undefined ? '' : '!'}[${time(activatesAt)}–${time(deactivatesAt)}–${time(expiresAt)}]`,
  );
  return `${keys.join(' ')}${document?.departed.length ? ` gone: ${document.departed.map(({ kid }) => kid).join(' ')}` : ''}`;
}
