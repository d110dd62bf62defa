import { expect, it } from 'vitest';
import { explore } from './exhaustive.ts';

// EXHAUSTIVE_DEPTH=11 goes deeper: about three times as many states with each move.
const depth = Number(process.env['EXHAUSTIVE_DEPTH'] ?? 6);

it.each(['nothing', 'a rotation that is due'] as const)(
  `P1 P2 P3 P8: two instances, every interleaving of ${depth} moves, beginning with %s`,
  (from) => {
    const { states, moves, violations, depth: reached } = explore(depth, from);
    console.log(`${states} states by ${moves} moves, depth ${reached}: ${violations.length} violations`);
    expect(violations.slice(0, 3), 'every promise must hold in every state').toEqual([]);
    expect(reached, 'the exploration must not end early').toBe(depth);
  },
  600_000,
);
