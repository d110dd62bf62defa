import { generateKeyPairSync } from 'node:crypto';
import type { KeyPair } from '../../../packages/core/src/algorithms.ts';
import { reconcile } from '../../../packages/core/src/key-ring/reconcile.ts';
import { dueSteps, revokeKey, type Transition } from '../../../packages/core/src/key-ring/transitions.ts';
import { replace } from '../../../packages/core/src/key-set/changes.ts';
import type { KeySet } from '../../../packages/core/src/key-set/document.ts';
import { upcoming } from '../../../packages/core/src/key-set/plan.ts';
import { resolvePolicy } from '../../../packages/core/src/key-set/policy.ts';
import { activeKey, isPublished } from '../../../packages/core/src/key-set/states.ts';
import { validate } from '../../../packages/core/src/key-set/validate.ts';
import { successionProblem } from '../src/simulation/succession.ts';

/**
 * The real planner, join and transitions with the store's contract, explored breadth-first: every interleaving of load,
 * decide, write, lost reply, late execution, crash, wipe, revocation and the passing of time, for two instances and one
 * verifier with a cache, up to a depth. Without cryptography: what is explored is who knows what when.
 */

const policy = resolvePolicy({
  algorithms: ['Ed25519'],
  propagationDelay: 560,
  staleBound: 250,
  refreshInterval: 100,
  jwksMaxAge: 125,
  staleIfError: 125,
  clockTolerance: 30,
  commitDeadline: 50,
  rotationInterval: 1400,
  maxTokenLifetime: 300,
});
const mostKeys = 3;
const cacheLife = policy.jwksMaxAge + policy.staleIfError;
const start = Date.UTC(2026, 0, 1);
const { privateKey } = generateKeyPairSync('ed25519');

interface Stored {
  readonly keySet: KeySet;
  readonly revision: number;
  readonly etag: number;
}

/** A write that has been decided and not been executed. */
interface Write {
  readonly next: Stored;
  readonly expected: number | undefined;
  readonly notAfter: number;
}

interface Instance {
  readonly held: Stored | undefined;
  readonly confirmedAt: number;
  /** What the last load found; a write follows only upon one. */
  readonly seen: number | 'nothing' | undefined;
  readonly write: Write | undefined;
}

interface State {
  readonly now: number;
  readonly stored: Stored | undefined;
  readonly instances: readonly [Instance, Instance];
  /** Abandoned by their senders, and perhaps executed later. */
  readonly late: readonly Write[];
  readonly cache:
    | { readonly kids: readonly string[]; readonly at: number; readonly readAt: number }
    | undefined;
  readonly wiped: boolean;
  readonly commits: number;
  readonly keys: number;
  /** When each key was first stored, and until when tokens of it may be valid. */
  readonly storedAt: Readonly<Record<string, number>>;
  readonly tokensUntil: Readonly<Record<string, number>>;
  readonly immediate: Readonly<Record<string, true>>;
  readonly revoked: readonly string[];
}

interface Move {
  readonly name: string;
  readonly state: State;
}

export interface Exploration {
  readonly states: number;
  readonly moves: number;
  readonly depth: number;
  readonly violations: readonly string[];
}

const blank: Instance = { held: undefined, confirmedAt: -Infinity, seen: undefined, write: undefined };

function withInstance(state: State, who: 0 | 1, change: Partial<Instance>): State {
  const [first, second] = state.instances;
  const instances =
    who === 0 ? ([{ ...first, ...change }, second] as const) : ([first, { ...second, ...change }] as const);
  return { ...state, instances };
}

function newPair(state: State): KeyPair {
  return { kid: `k${state.keys}`, alg: 'Ed25519', publicJwk: { kty: 'OKP' }, privateKey };
}

function decided(state: State, who: 0 | 1, keySet: KeySet, revision: number, madeKey: boolean): State {
  const { stored } = state;
  const next: Stored = { keySet, revision, etag: state.commits + 1 };
  const write: Write = { next, expected: stored?.etag, notAfter: state.now + policy.commitDeadline };
  const after = withInstance(state, who, { write, seen: undefined });
  return { ...after, commits: state.commits + 1, keys: state.keys + (madeKey ? 1 : 0) };
}

/** Reads the store: adopts, or decides on a join. */
function load(state: State, who: 0 | 1): State | undefined {
  const instance = state.instances[who];
  const { stored, now } = state;
  const seen = stored?.etag ?? 'nothing';
  if (stored !== undefined && stored.etag === instance.held?.etag)
    return withInstance(state, who, { confirmedAt: now, seen });
  const { held } = instance;
  const action = reconcile(stored, held && { ...held, age: now - instance.confirmedAt }, now, policy);
  if (action.kind !== 'heal')
    return withInstance(state, who, { held: stored ?? held, confirmedAt: now, seen });
  if (!action.joined.needsNewKey) return decided(state, who, action.joined.keySet, action.revision, false);
  if (state.keys >= mostKeys) return undefined;
  return decided(
    state,
    who,
    replace(action.joined.keySet, policy, now, newPair(state)),
    action.revision,
    true,
  );
}

function decide(state: State, who: 0 | 1, transition: Transition<unknown>): State | undefined {
  const { held, seen } = state.instances[who];
  // As the keeper does: on what the load just found.
  if (seen === undefined || seen !== (state.stored?.etag ?? 'nothing')) return undefined;
  const pair = newPair(state);
  const first = transition.decide(held?.keySet, state.now, [], policy);
  const needsKey = 'needs' in first;
  if (needsKey && state.keys >= mostKeys) return undefined;
  const decision = needsKey ? transition.decide(held?.keySet, state.now, [pair], policy) : first;
  if ('needs' in decision || decision.keySet === undefined) return undefined;
  return decided(state, who, decision.keySet, (state.stored?.revision ?? 0) + 1, needsKey);
}

/** The contract of a store: compare-and-swap, idempotent, never later than asked. */
function execute(
  state: State,
  { next, expected, notAfter }: Write,
  violations: string[],
): { readonly state: State; readonly won: boolean } {
  if (state.stored?.etag === next.etag) return { state, won: true };
  if (state.stored?.etag !== expected || state.now > notAfter) return { state, won: false };
  const problem =
    validate(next.keySet) ??
    (state.stored === undefined
      ? undefined
      : successionProblem(state.stored.keySet, next.keySet, state.now, policy.clockTolerance));
  if (problem !== undefined) violations.push(problem);
  const storedAt = { ...state.storedAt };
  const immediate = { ...state.immediate };
  for (const key of next.keySet.keys) {
    storedAt[key.kid] ??= state.now;
    if (key.activatesAt <= state.now) immediate[key.kid] ??= true;
    if (
      storedAt[key.kid] !== state.now &&
      key.activatesAt - (storedAt[key.kid] ?? 0) >= policy.propagationDelay
    )
      delete immediate[key.kid];
  }
  const revoked = next.keySet.keys.filter(({ revokedAt }) => revokedAt !== undefined).map(({ kid }) => kid);
  return {
    state: {
      ...state,
      stored: next,
      storedAt,
      immediate,
      revoked: [...new Set([...state.revoked, ...revoked])],
    },
    won: true,
  };
}

function* movesOf(state: State, violations: string[]): Generator<Move> {
  for (const who of [0, 1] as const) {
    const name = who === 0 ? 'a' : 'b';
    const { write, held } = state.instances[who];
    if (write === undefined) {
      const loaded = load(state, who);
      if (loaded !== undefined) yield { name: `${name} loads`, state: loaded };
      for (const which of ['housekeeping', 'making keys'] as const) {
        const next = decide(state, who, dueSteps(which));
        if (next !== undefined) yield { name: `${name} decides (${which})`, state: next };
      }
      const active = held && activeKey(held.keySet, 'Ed25519', state.now);
      const revoking =
        active && state.revoked.length === 0 ? decide(state, who, revokeKey(active.kid, 'test')) : undefined;
      if (revoking !== undefined) yield { name: `${name} revokes ${String(active?.kid)}`, state: revoking };
    } else {
      const { state: after, won } = execute(state, write, violations);
      yield {
        name: `${name} writes (${won ? 'won' : 'lost'})`,
        state: withInstance(after, who, won ? { held: write.next, write: undefined } : { write: undefined }),
      };
      if (won)
        yield {
          name: `${name} writes, the reply is lost`,
          state: withInstance(after, who, { write: undefined }),
        };
      if (state.late.length === 0)
        yield {
          name: `${name} abandons its write`,
          state: { ...withInstance(state, who, { write: undefined }), late: [write] },
        };
    }
    if (held !== undefined && state.instances[1 - who]?.held !== undefined)
      yield { name: `${name} crashes`, state: withInstance(state, who, blank) };
    const isFresh = held !== undefined && state.now - state.instances[who].confirmedAt <= policy.staleBound;
    if (isFresh && state.cache?.at !== state.now) {
      const kids = held.keySet.keys.filter((key) => isPublished(key, state.now)).map(({ kid }) => kid);
      yield {
        name: `the verifier asks ${name}`,
        state: { ...state, cache: { kids, at: state.now, readAt: state.instances[who].confirmedAt } },
      };
    }
  }
  for (const write of state.late) {
    yield {
      name: 'the abandoned write is executed',
      state: { ...execute(state, write, violations).state, late: [] },
    };
    yield { name: 'the abandoned write is lost', state: { ...state, late: [] } };
  }
  // A loss is promised to be healed while somebody holds what was stored.
  const isHeld = state.instances.some(
    ({ held, write }) => held?.etag === state.stored?.etag && write === undefined,
  );
  if (!state.wiped && state.stored !== undefined && isHeld)
    yield { name: 'the store is wiped', state: { ...state, stored: undefined, wiped: true } };
  for (const time of times(state))
    yield { name: `${(time - state.now) / 1000} s pass`, state: { ...state, now: time } };
}

/** The next moments that matter: what falls due, the edge of the stale bound, the deadline of a write. */
function times(state: State): readonly number[] {
  const { now, stored } = state;
  const due = stored === undefined ? [] : upcoming(stored.keySet, now, policy).map(({ at }) => at);
  const writes = [
    ...state.late,
    ...state.instances.flatMap(({ write }) => (write === undefined ? [] : [write])),
  ];
  const edges = writes.map(({ notAfter }) => notAfter + 1);
  const stale = state.instances.flatMap(({ held, confirmedAt }) =>
    held === undefined ? [] : [confirmedAt + policy.staleBound],
  );
  return [
    ...new Set([
      Math.min(...due.filter((at) => at > now)),
      Math.min(...edges.filter((at) => at > now)),
      Math.min(...stale.filter((at) => at > now)),
    ]),
  ].filter(Number.isFinite);
}

/** What must hold in every state; and the tokens that can be signed in it. */
function look(state: State): { readonly state: State; readonly problem: string | undefined } {
  const tokensUntil = { ...state.tokensUntil };
  let problem: string | undefined;
  const { now, wiped } = state;
  for (const { held, confirmedAt } of state.instances) {
    if (held === undefined || now - confirmedAt > policy.staleBound) continue;
    const active = activeKey(held.keySet, 'Ed25519', now);
    if (active === undefined || state.revoked.includes(active.kid)) continue;
    const published = now - (state.storedAt[active.kid] ?? now);
    if (state.immediate[active.kid] !== true && published < policy.propagationDelay && !wiped)
      problem ??= `P3: ${active.kid} signs ${published / 1000} s after it was published`;
    tokensUntil[active.kid] = now + active.tokenLifetime;
  }
  for (const [kid, until] of Object.entries(tokensUntil)) {
    if (until <= now || state.revoked.includes(kid)) continue;
    for (const { held, confirmedAt } of state.instances) {
      if (held === undefined || now - confirmedAt > policy.staleBound || wiped) continue;
      const key = held.keySet.keys.find((candidate) => candidate.kid === kid);
      const mustKnow = state.immediate[kid] !== true || confirmedAt > (state.storedAt[kid] ?? Infinity);
      if (mustKnow && (key === undefined || !isPublished(key, now)))
        problem ??= `P1: an instance does not verify tokens of ${kid}`;
    }
    const { cache } = state;
    if (cache !== undefined && now - cache.at <= cacheLife && !wiped) {
      const mustKnow = state.immediate[kid] !== true || cache.readAt > (state.storedAt[kid] ?? Infinity);
      if (mustKnow && !cache.kids.includes(kid)) problem ??= `P1: the verifier does not know ${kid}`;
    }
  }
  for (const { held } of state.instances) {
    const undone = held?.keySet.keys.some(
      (key) =>
        key.revokedAt === undefined &&
        state.revoked.includes(key.kid) &&
        key.hasPrivateKey &&
        now - (state.instances.find((instance) => instance.held === held)?.confirmedAt ?? 0) < 0,
    );
    if (undone === true) problem ??= 'P9: a revocation was undone';
  }
  return { state: { ...state, tokensUntil }, problem };
}

/** Two states in which the same can happen: revisions, names of commits and absolute times do not matter. */
function nameOf(state: State): string {
  const etags = new Map<number, number>();
  return (
    JSON.stringify(state, (name, value: unknown) => {
      if (name === 'commits' || name === 'tokensUntil') return undefined;
      if ((name === 'etag' || name === 'expected' || name === 'seen') && typeof value === 'number') {
        if (!etags.has(value)) etags.set(value, etags.size);
        return etags.get(value);
      }
      return typeof value === 'number' && value > start / 2 ? value - state.now : value;
    }) +
    Object.entries(state.tokensUntil)
      .filter(([, until]) => until > state.now)
      .map(([kid, until]) => `${kid}${until - state.now}`)
      .join()
  );
}

/** Both instances hold the first key set, and the next key is due. */
function settled(empty: State): State {
  const follow = (state: State, name: string): State => {
    const move = [...movesOf(state, [])].find((candidate) => candidate.name === name);
    if (move === undefined) throw new Error(`nothing like "${name}"`);
    return look(move.state).state;
  };
  const made = ['a loads', 'a decides (making keys)', 'a writes (won)', 'b loads'].reduce(follow, empty);
  const [due] = upcoming(made.stored?.keySet ?? missing(), made.now, policy);
  const later = { ...made, now: due?.at ?? made.now };
  return ['a loads', 'b loads'].reduce(follow, later);
}

function missing(): never {
  throw new Error('nothing is stored');
}

/** Everything that can happen within `depth` moves, breadth-first; `most` bounds the number of states. */
export function explore(
  depth: number,
  from: 'nothing' | 'a rotation that is due',
  most: number = Infinity,
): Exploration {
  const empty: State = {
    now: start,
    stored: undefined,
    instances: [blank, blank],
    late: [],
    cache: undefined,
    wiped: false,
    commits: 0,
    keys: 0,
    storedAt: {},
    tokensUntil: {},
    immediate: {},
    revoked: [],
  };
  const initial = from === 'nothing' ? empty : settled(empty);
  const known = new Set([nameOf(initial)]);
  const violations: string[] = [];
  let frontier: { readonly state: State; readonly path: readonly string[] }[] = [
    { state: initial, path: [] },
  ];
  let moves = 0;
  let reached = 0;
  for (; reached < depth && frontier.length > 0 && known.size < most && violations.length === 0; reached++) {
    const next: typeof frontier = [];
    for (const { state, path } of frontier) {
      const found: string[] = [];
      for (const move of movesOf(state, found)) {
        moves++;
        const { state: seen, problem } = look(move.state);
        if (problem !== undefined || found.length > 0) {
          violations.push(`${problem ?? found.join('; ')} after: ${[...path, move.name].join(' · ')}`);
          found.length = 0;
          continue;
        }
        const name = nameOf(seen);
        if (known.has(name)) continue;
        known.add(name);
        next.push({ state: seen, path: [...path, move.name] });
      }
    }
    frontier = next;
  }
  return { states: known.size, moves, depth: reached, violations };
}
