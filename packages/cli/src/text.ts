import type { Explanation, KeyStatus, UpcomingEvent } from '@jwt-authority/core';
import { styleText } from 'node:util';

/** A table with a headline, its columns as wide as they need to be. */
function table(headline: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headline, ...rows];
  const widths = headline.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `in 3 d`, `2 h ago`, `now`: the two largest units are enough to act on. */
export function relative(time: number, now: number): string {
  const span = duration(Math.abs(time - now));
  if (span === '0 s') return 'now';
  return time > now ? `in ${span}` : `${span} ago`;
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const units = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ] as const;
  const [size, name] = units.find(([unit]) => seconds >= unit * 2) ?? [1, 's'];
  return `${Math.floor(seconds / size)} ${name}`;
}

export function iso(time: number): string {
  return new Date(time).toISOString().replace('.000Z', 'Z');
}

const verbs: Readonly<Record<UpcomingEvent['what'], string>> = {
  publish: 'the next key is published',
  activate: 'starts to sign',
  deactivate: 'stops signing',
  retire: 'its private half is destroyed',
  expire: 'leaves the JWKS',
  prune: 'is forgotten',
};

export function describeEvent({ what, alg, kid, at }: UpcomingEvent, now: number): string {
  return `${iso(at)}  ${relative(at, now).padEnd(9)}  ${kid ?? alg}  ${verbs[what]}`;
}

/** The keys, and what happens to each next. */
export function keyTable({ keys, upcoming, now }: Explanation): string {
  return table(
    ['KID', 'ALG', 'STATE', 'SINCE', 'NEXT'],
    keys.map((key) => {
      const next = upcoming.find(({ kid }) => kid === key.kid);
      return [
        key.kid,
        key.alg,
        key.state,
        relative(since(key), now),
        next === undefined ? '-' : `${verbs[next.what]} ${relative(next.at, now)}`,
      ];
    }),
  );
}

function since(key: KeyStatus): number {
  switch (key.state) {
    case 'compromised':
      return key.revokedAt ?? key.createdAt;
    case 'destroyed':
      return key.expiresAt ?? key.createdAt;
    case 'deactivated':
      return key.deactivatesAt ?? key.createdAt;
    case 'active':
      return key.activatesAt;
    case 'pre-activation':
      return key.createdAt;
  }
}

/** Each key's life as a bar: `·` published, `█` signs, `░` verifies only, `×` revoked; the line is now. */
export function timeline({ keys, now }: Explanation, width: number): string {
  if (keys.length === 0) return '';
  const label = 14;
  const columns = Math.max(20, Math.min(width, 120) - label);
  const start = Math.min(now, ...keys.map((key) => key.createdAt));
  const ends = keys.map((key) => key.expiresAt ?? key.deactivatesAt ?? now + (now - start) / 4);
  const end = Math.max(now + 1, ...ends);
  const column = (time: number): number => Math.round(((time - start) / (end - start)) * (columns - 1));
  const rows = keys.map((key) => {
    const cells = Array.from({ length: columns }, () => ' ');
    const paint = (from: number, to: number, sign: string): void => {
      for (let at = column(from); at <= column(Math.max(from, to)); at++) cells[at] = sign;
    };
    paint(key.createdAt, Math.max(key.createdAt, key.activatesAt), '·');
    paint(Math.max(key.createdAt, key.activatesAt), key.deactivatesAt ?? end, '█');
    if (key.deactivatesAt !== undefined) paint(key.deactivatesAt, key.expiresAt ?? end, '░');
    if (key.revokedAt !== undefined) paint(key.revokedAt, key.expiresAt ?? end, '×');
    cells[column(now)] = '│';
    return `${key.kid.slice(0, label - 2).padEnd(label)}${cells.join('')}`.trimEnd();
  });
  const axis = `${' '.repeat(label)}${iso(start).slice(0, 16)}${iso(end)
    .slice(0, 16)
    .padStart(columns - 16)}`;
  return [...rows, axis, `${' '.repeat(label)}· published  █ signs  ░ verifies  × revoked  │ now`].join('\n');
}

/** Colours a state or a level, on a terminal. */
export function colour(name: 'green' | 'yellow' | 'red' | 'bold', text: string, isOn: boolean): string {
  return isOn ? styleText(name, text) : text;
}
