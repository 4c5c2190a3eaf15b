import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Rule } from './rules.ts';

/** A line of the source that keeps a rule, and what stands there while the rule is off. */
export interface Edit {
  /** Below the root of the repository. */
  readonly file: string;
  /** As it stands there, once, without the indentation. */
  readonly line: string;
  readonly instead: string;
}

const CHANNEL = 'src/agent/groupchannel.ts';

/**
 * The rules that are switched off in the very lines that keep them; the source knows nothing of it. An edit whose line is
 * not there any more is an error, so that no rule is ever thought to be off that is not.
 */
export const EDITS: Readonly<Partial<Record<Rule, readonly Edit[]>>> = {
  'incarnation in condition 1': [
    edit('src/decide/agent.ts', 'if (assignment.incarnation === incarnation) return undefined;', 'return undefined;'),
    edit(
      'src/decide/agent.ts',
      'if (incarnation !== undefined && assignment.incarnation !== incarnation) {',
      'if (false) {',
    ),
    edit(
      'src/decide/agent.ts',
      'if (incarnation !== undefined && assignment.incarnation < incarnation) return assignment.epoch;',
      'return undefined;',
    ),
  ],
  'a silent shim is killed': [
    edit('src/agent/process.ts', "await killed('no shim of an earlier agent answers');", ''),
    edit('src/agent/process.ts', 'await killed(describeError(error));', ''),
    edit('src/agent/process.ts', 'if (must) await killed(refused);', ''),
  ],
  'EC2 read before the proof': [
    edit(
      'src/decide/instance.ts',
      'if (read === undefined || read.sentMs < fencedMs) return false;',
      'if (read === undefined) return false;',
    ),
    edit(
      'src/reconcilers/fencing.ts',
      '...(read && read.sentMs >= said.sinceMs ? { read } : {}),',
      '...(read ? { read } : {}),',
    ),
    edit(
      'src/reconcilers/fencing.ts',
      '...(stop && stop.sentMs >= said.sinceMs ? { stop } : {}),',
      '...(stop ? { stop } : {}),',
    ),
  ],
  'EC2 asked to stop it': [
    edit(
      'src/decide/instance.ts',
      "return stop?.found === 'stopped' && read.sentMs >= stop.answeredMs;",
      'return true;',
    ),
  ],
  'the GET': [edit('src/decide/agent.ts', 'if (same && sinceGap) return undefined;', 'return undefined;')],
  'the gap': [
    edit(
      'src/decide/agent.ts',
      'const sinceGap = confirmed !== undefined && confirmed.sentAtMs >= deadline.unbrokenSinceMs;',
      'const sinceGap = true;',
    ),
  ],
  'the deadline test': [
    edit('src/decide/agent.ts', 'if (now.ms < deadline.untilMs) return undefined;', 'return undefined;'),
  ],
  'the gate': [edit(CHANNEL, 'const gate = judgeGate(asked, sights, round);', "const gate = { state: 'passed' };")],
  'every other node': [
    edit(
      CHANNEL,
      'const reads = await options.disk(on.path).readOthers(group, othersOf(assignment, node), limitMs, mountOf(on));',
      'const reads = (await options.disk(on.path).readOthers(group, othersOf(assignment, node), limitMs, mountOf(on))).slice(0, 1);',
    ),
    edit(CHANNEL, 'others: othersOf(assignment, node),', 'others: [],'),
    edit(
      CHANNEL,
      'const obstacle = tickObstacle(read, othersOf(assignment, node), epoch);',
      'const obstacle = tickObstacle(read, [], epoch);',
    ),
  ],
  "the file's own number": [
    edit(
      'src/decide/channel.ts',
      "const mustAgeMs = found.kind === 'record' ? found.record.takeoverAfterSeconds * 1000 : fallbackMs;",
      'const mustAgeMs = fallbackMs;',
    ),
  ],
  'age at the gate': [
    edit('src/decide/channel.ts', 'if (round.answeredMs >= untilMs) return undefined;', 'return undefined;'),
  ],
  'ended only at an end': [
    edit(
      CHANNEL,
      "await write((now) => ({ ...now, state: now.state === 'running' ? 'idle' : now.state }), on, timing, limitMs());",
      "await write((now) => ({ ...now, state: 'ended', ended: now.epoch }), on, timing, limitMs());",
    ),
    edit(
      CHANNEL,
      'if (now.ended >= epoch) throw new Error(`Cannot say that epoch $'.concat('{epoch} runs: it has ended here`);'),
      '',
    ),
  ],
  'no claim or epoch at or above': [
    edit(
      'src/decide/channel.ts',
      'if (highestOf(read.record) >= epoch) return `$'.concat(
        '{node} has claimed epoch $',
        '{highestOf(read.record)}`;',
      ),
      '',
    ),
    edit(
      'src/decide/agent.ts',
      'if (claim === undefined || claim.epoch < process.epoch) return undefined;',
      'return undefined;',
    ),
  ],
  'deadline from the start of the tick': [
    edit(
      CHANNEL,
      'options.onExtended(epoch, startedMs + Math.min(carried.fenceAfterMs, options.timing().fenceAfterMs));',
      'options.onExtended(epoch, clock.nowMs() + Math.min(carried.fenceAfterMs, options.timing().fenceAfterMs));',
    ),
  ],
  "the gate's round after the claim": [
    edit(
      'src/decide/channel.ts',
      "if (round === undefined || round.startedMs < Math.max(claimedMs, notBeforeMs)) return { state: 'unread' };",
      "if (round === undefined) return { state: 'unread' };",
    ),
  ],
  'n above the highest ended': [
    edit('src/decide/agent.ts', 'if (epoch > record.ended) return undefined;', 'return undefined;'),
  ],
};

function edit(file: string, line: string, instead: string): Edit {
  return { file, line, instead };
}

/** Before anything of the source is loaded. */
export function editSource(rules: Iterable<Rule>): void {
  const edits = [...rules].flatMap((rule) => EDITS[rule] ?? []);
  if (edits.length === 0) return;
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context);
      const here = edits.filter(({ file }) => url.startsWith('file:') && fileURLToPath(url).endsWith(`/${file}`));
      if (here.length === 0) return loaded;
      return { ...loaded, source: here.reduce(applied, String(loaded.source)) };
    },
  });
}

/** The source with one edit in it. */
export function applied(source: string, { file, line, instead }: Edit): string {
  const lines = source.split('\n');
  const found = lines.flatMap((text, at) => (text.trim() === line ? [at] : []));
  const [at] = found;
  if (at === undefined || found.length > 1)
    throw new Error(`Cannot switch a rule off: ${file} has ${found.length} lines "${line}"; change test/sim/edits.ts`);
  lines[at] = instead;
  return lines.join('\n');
}
