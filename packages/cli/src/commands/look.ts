import type { Explanation } from '@jwt-authority/core';
import type { Report } from '../commands.ts';
import { exitCodes } from '../failures.ts';
import type { Io } from '../io.ts';
import { loadKeySet, type Session } from '../session.ts';
import { colour, describeEvent, keyTable, timeline } from '../text.ts';

/** The keys with their states, what comes next, and whether somebody has to act. */
export async function status(session: Session, io: Io): Promise<Report> {
  await loadKeySet(session);
  const explanation = session.rotator.explain();
  const { namespace, revision, sealedBy, heldUpBy, health, due } = explanation;
  const isFine = health.status === 'fresh' && heldUpBy.length === 0;
  const summary = `namespace ${namespace}, revision ${revision}, sealed by ${sealedBy}`;
  const verdict = isFine
    ? colour('green', 'healthy', io.useColour)
    : colour('red', `needs attention: ${health.status}`, io.useColour);
  return {
    data: explanation,
    text: [
      `${colour('bold', summary, io.useColour)}: ${verdict}`,
      '',
      keyTable(explanation),
      '',
      timeline(explanation, io.width),
      ...heldUpBy.map((reason) => `! ${reason}`),
      ...(due.length > 0
        ? [`Due now: ${due.map(({ step }) => step).join(', ')} (a running service does it)`]
        : []),
    ].join('\n'),
    exitCode: isFine ? exitCodes.ok : exitCodes.needsAttention,
  };
}

/** Why the active key is the active one, what is due, and what will happen when. */
export async function explain(session: Session): Promise<Report> {
  await loadKeySet(session);
  const explanation = session.rotator.explain();
  return { data: explanation, text: plan(explanation) };
}

function plan({ active, due, upcoming, heldUpBy, now }: Explanation): string {
  return [
    ...active.map(({ alg, kid, why }) => `${alg}: ${kid} signs: ${why}`),
    '',
    ...(due.length === 0 ? ['Nothing is due.'] : due.map((step) => `Due now: ${JSON.stringify(step)}`)),
    ...(heldUpBy.length === 0 ? [] : ['Held up:', ...heldUpBy.map((reason) => `  ${reason}`)]),
    '',
    'What comes, if nobody intervenes:',
    ...upcoming.map((event) => `  ${describeEvent(event, now)}`),
  ].join('\n');
}
