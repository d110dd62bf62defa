/** A bug put into the code under test, by replacing a piece of its source text. In memory only: see `planted.ts`. */
export interface PlantedBug {
  readonly name: string;
  /** Each text must stand exactly once in its file, or the bug is not planted and the run fails. */
  readonly changes: readonly { readonly file: string; readonly text: string; readonly by: string }[];
  /** Incidents that must happen more often for it to be found soon: factors of their weights. */
  readonly boost?: Readonly<Record<string, number>>;
  /** Steps of each history, where 1000 are too few to get there. */
  readonly steps?: number;
}

const changes = 'core/src/key-set/changes.ts';
const join = 'core/src/key-set/join.ts';
const plan = 'core/src/key-set/plan.ts';
const document = 'core/src/key-set/document.ts';
const sealing = 'core/src/key-ring/sealing.ts';
const keeper = 'core/src/key-ring/keeper.ts';
const keyRing = 'core/src/key-ring/key-ring.ts';
const reconcile = 'core/src/key-ring/reconcile.ts';
const validate = 'core/src/key-set/validate.ts';
const memory = 'store-memory/src/key-set-store.ts';

const takeover = 'const activatesAt = now + propagationDelay + policy.commitDeadline;\n  const active';
const plannedExpiry = 'activatesAt + key.tokenLifetime + propagationDelay)';
const unplanned =
  'return now + key.tokenLifetime + effectivePropagationDelay(keySet, policy) + policy.commitDeadline;';
const unplannedInJoin = 'return now + key.tokenLifetime + propagationDelay + commitDeadline;';
const noValidation = { file: validate, text: 'expiresAt < deactivatesAt + key.tokenLifetime', by: 'false' };

/** At least those of facts/protocol.md (section 6) and of the issue. */
export const plantedBugs: readonly PlantedBug[] = [
  {
    name: 'a new key signs at once',
    changes: [{ file: changes, text: takeover, by: 'const activatesAt = now + 1;\n  const active' }],
  },
  {
    name: 'no slack for the commit',
    changes: [
      { file: changes, text: takeover, by: 'const activatesAt = now + propagationDelay;\n  const active' },
    ],
    boost: { 'slow store': 12, 'operator rotates': 4 },
  },
  {
    name: 'activation judged by age and configuration',
    changes: [
      {
        file: 'core/src/key-set/states.ts',
        text: "return key.activatesAt <= now ? 'active'",
        by: "return key.createdAt + 400_000 <= now ? 'active'",
      },
    ],
  },
  {
    name: 'retired one propagation delay early',
    changes: [
      {
        file: plan,
        text: 'hasPrivateKey && deactivatesAt + clockTolerance <= now;',
        by: 'hasPrivateKey && deactivatesAt - 560_000 <= now;',
      },
    ],
  },
  {
    name: 'expiry without lifetime and delay',
    changes: [noValidation, { file: changes, text: plannedExpiry, by: 'activatesAt)' }],
  },
  {
    name: 'expiry without stale bound and tolerance',
    changes: [
      { file: changes, text: unplanned, by: 'return now + key.tokenLifetime;' },
      { file: join, text: unplannedInJoin, by: 'return now + key.tokenLifetime;' },
    ],
    boost: { 'operator rotates at once': 6, 'store refuses': 4 },
  },
  {
    name: 'expiry without stale bound',
    changes: [
      { file: changes, text: unplanned, by: 'return now + key.tokenLifetime + 2 * policy.clockTolerance;' },
      { file: join, text: unplannedInJoin, by: 'return now + key.tokenLifetime + 60_000;' },
    ],
    boost: { 'operator rotates at once': 6, 'store refuses': 4 },
  },
  {
    name: 'no stale bound for the JWKS',
    changes: [
      {
        file: keyRing,
        text: "const view = this.#freshView('publish');",
        by: "const view = this.#keeper.view ?? this.#freshView('publish');",
      },
    ],
    boost: { 'store refuses': 3, 'sleep of the machine': 3 },
  },
  {
    name: 'no stale bound for signing',
    changes: [
      {
        file: keyRing,
        text: "const view = this.#freshView('sign');",
        by: "const view = this.#keeper.view ?? this.#freshView('sign');",
      },
    ],
  },
  {
    name: 'healing absent',
    changes: [
      {
        file: reconcile,
        text: 'if (stored !== undefined && covers(stored.keySet, known, now, signedUntil))',
        by: 'if (known !== undefined)',
      },
    ],
  },
  {
    name: 'newest revision wins',
    changes: [
      {
        file: reconcile,
        text: 'if (stored !== undefined && covers(stored.keySet, known, now, signedUntil))',
        by: 'if (stored !== undefined && stored.revision >= held.revision)',
      },
    ],
  },
  {
    name: 'the join forgets revocations',
    changes: [
      { file: join, text: 'const revokedBy = [key, other].find', by: 'const revokedBy = [key].find' },
    ],
    boost: {
      'active key revoked': 6,
      'pending key revoked': 6,
      'old key revoked': 6,
      'last write lost': 5,
      'split brain': 5,
    },
  },
  {
    name: 'old unknown keys return',
    changes: [{ file: join, text: '...longGone(storedSet, held.keySet, now, horizon),', by: '' }],
    boost: {
      'active key revoked': 6,
      'old key revoked': 6,
      'old backup restored': 20,
      crash: 0,
      'crash of all but one': 0,
      'deploy with other settings': 0,
      'KEK replaced': 0,
    },
    steps: 3000,
  },
  {
    name: 'neither departed list nor memory bound',
    changes: [
      { file: changes, text: '...kids.map((kid) => ({ kid, time: now })),', by: '' },
      {
        file: reconcile,
        text: 'const asleep = stored !== undefined && held.age > held.keySet.horizon;',
        by: 'const asleep = false;',
      },
    ],
  },
  {
    name: 'no compare-and-swap',
    changes: [
      {
        file: memory,
        text: 'if (this.#stored?.revision !== expected?.revision || this.#stored?.etag !== expected?.etag) return false;',
        by: '',
      },
    ],
  },
  {
    name: 'no fence on late writes',
    changes: [{ file: memory, text: 'if (this.#clock.now() > notAfter) return false;', by: '' }],
    boost: {
      'abandoned writes executed late': 8,
      'time-out after the effect': 4,
      'requests delivered twice': 4,
    },
  },
  {
    name: 'decided outside of the swap only',
    changes: [
      {
        file: keeper,
        text: 'const maxUnseen = 100;',
        by: 'const maxUnseen = 100;\nconst decisions = new WeakMap();',
      },
      {
        file: keeper,
        text: 'const decision = transition.decide(this.#view?.keySet, now, newPairs, policy);',
        by: "const decision = decisions.get(newPairs) ?? transition.decide(this.#view?.keySet, now, newPairs, policy);\n    if (!('needs' in decision)) decisions.set(newPairs, decision);",
      },
    ],
  },
  {
    name: 'lost acknowledgement taken for a lost race',
    changes: [{ file: keeper, text: 'if (now.stored?.etag !== etag) throw error;', by: 'return false;' }],
    boost: { 'operator rotates at once': 10, 'replies lost': 10 },
  },
  {
    name: 'lost acknowledgement taken for a won race',
    changes: [{ file: keeper, text: 'if (now.stored?.etag !== etag) throw error;', by: '' }],
    boost: { 'operator rotates at once': 10, 'store refuses': 6, 'slow store': 6 },
  },
  {
    name: 'clock tolerance ignored',
    changes: [
      {
        file: plan,
        text: "policy.initialise === 'auto' ? [{ step: 'initialise', algorithms: policy.algorithms }] : [];\n  const { clockTolerance } = policy;",
        by: "policy.initialise === 'auto' ? [{ step: 'initialise', algorithms: policy.algorithms }] : [];\n  const clockTolerance = 0;",
      },
      {
        file: changes,
        text: 'keys: newKeys.map((key) => record(key, policy, now, now - policy.clockTolerance)),',
        by: 'keys: newKeys.map((key) => record(key, policy, now, now)),',
      },
      {
        file: changes,
        text: 'activatesAt: Math.min(key.activatesAt, now - policy.clockTolerance)',
        by: 'activatesAt: Math.min(key.activatesAt, now)',
      },
    ],
  },
  {
    name: 'no look at the store for an unknown kid',
    changes: [
      { file: keyRing, text: 'const asks = this.#unknownKids.mayAsk(kid);', by: 'const asks = false;' },
    ],
    boost: { 'operator rotates at once': 10 },
  },
  {
    name: 'associated data without the revision',
    changes: [{ file: document, text: '    identity.revision,\n', by: '' }],
    boost: { 'revision altered': 6 },
  },
  {
    name: 'associated data without revision, etag',
    changes: [{ file: document, text: '    identity.revision,\n    identity.etag,\n', by: '' }],
    boost: { 'old document under the present name': 6 },
  },
  {
    name: 'namespace neither in the associated data nor in the context of the KEK',
    changes: [
      { file: document, text: '    identity.namespace,\n', by: '' },
      {
        file: sealing,
        text: 'await encrypter.encrypt(bytes, { namespace, purpose })',
        by: 'await encrypter.encrypt(bytes, { purpose })',
      },
      {
        file: sealing,
        text: 'await encrypter.decrypt(wrapped, { namespace, purpose })',
        by: 'await encrypter.decrypt(wrapped, { purpose })',
      },
    ],
    boost: { 'document of another namespace': 6 },
  },
  {
    name: 'the private halves stand in clear',
    changes: [
      {
        file: sealing,
        text: "ciphertext: ciphertext.toString('base64url'),",
        by: "ciphertext: ciphertext.toString('base64url') + plaintext.toString('base64url'),",
      },
    ],
  },
  {
    name: 'private halves are never destroyed',
    changes: [
      { file: plan, text: "if (retired.length > 0) steps.push({ step: 'retire', kids: retired });", by: '' },
      {
        file: keeper,
        text: 'const keySet = retire(decision.keySet, stoppedKids(decision.keySet, now, policy));',
        by: 'const { keySet } = decision;',
      },
    ],
  },
];
