import { describeError } from '../base/errors.ts';
import type { FailoverGroup, Move } from '../crds/failovergroup.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit.ts';
import { findGroup } from './find.ts';
import { mustHaveOther } from './move.ts';
import { presentState } from './moveprogress.ts';
import { asData } from './output.ts';
import { moveView } from './statusview.ts';
import { table } from './table.ts';
import { timeoutOf, timeoutOption } from './timeout.ts';
import { moveGroup } from './wish.ts';
import { tookWords } from './words.ts';

export const drill: Command = {
  name: 'drill',
  takes: 'GROUP [NODE]',
  least: 1,
  most: 2,
  summary: 'Moves a group to another node and back, and holds both to an objective',
  about: `A real move there and a real move back: the service is away twice, each time for less than what is measured.
That is from the request until the process is ready on the other node and every route leads there, as the controller
measures it. It begins only when the group is Ready.

Exit code 0 when both moves meet the objective, 3 when one does not, 1 when one cannot be made.`,
  options: {
    objective: timeoutOption('The longest that a move may take.', '5s'),
    timeout: timeoutOption('How long to wait for each move.', '60s'),
  },
  formats: ['json', 'yaml'],
  async run({ words, options, format, terminal, clock, signal, connect }) {
    const [objectiveMs, timeoutMs] = [timeoutOf(options['objective']), timeoutOf(options['timeout'])];
    const connection = connect();
    const group = await findGroup(connection, words[0] ?? '', signal);
    const { name, namespace } = group.metadata;
    const home = homeOf(group);
    const away = words[1] ?? mustHaveOther(group);
    if (away === home) throw new Error(`Cannot drill ${name}: it is on ${home} already; name another node`);
    terminal.err(`${name} is to move from ${home} to ${away} and back; a move may take ${tookWords(objectiveMs)}\n`);
    const go = async (from: FailoverGroup, to: string): Promise<Move> => {
      const wish = { api: connection.api, clock, signal, group: from, to, timeoutMs };
      const { node, move } = await moveGroup({ ...wish, tell: (line) => terminal.err(`${line}\n`) });
      if (node !== to || !move) throw new Error(`Cannot drill ${name}: it is served from ${node}, not from ${to}`);
      return move;
    };
    const there = await go(group, away);
    let back: Move;
    try {
      terminal.err(`${name} is to move back from ${away} to ${home}\n`);
      back = await go(await findGroup(connection, name, signal), home);
    } catch (error) {
      const again = `kubectl pointsman move ${name} ${home} -n ${namespace}`;
      throw new Error(`${describeError(error)}; the way there was made, the way back was not: ${again}`);
    }
    const result = judge(name, [there, back], objectiveMs);
    if (format === 'json' || format === 'yaml')
      terminal.out(asData({ namespace, group: name, ...result, moves: result.moves.map(moveView) }, format));
    else terminal.out(drillText(result, name, terminal.colours));
    return result.met ? EXIT.ok : EXIT.notWell;
  },
};

export interface DrillResult {
  readonly met: boolean;
  readonly objectiveMs: number;
  readonly longestMs: number;
  readonly moves: readonly Move[];
}

/** Both ways against the objective. */
export function judge(name: string, moves: readonly Move[], objectiveMs: number): DrillResult {
  const took = moves.map((move) => {
    const { servedAfterMs } = moveView(move);
    if (servedAfterMs === undefined) throw new Error(`Cannot judge the drill of ${name}: a step was not measured`);
    return servedAfterMs;
  });
  const longestMs = Math.max(...took);
  return { met: longestMs <= objectiveMs, objectiveMs, longestMs, moves };
}

export function drillText({ met, objectiveMs, longestMs, moves }: DrillResult, name: string, colours: boolean): string {
  const rows = moves.map((move) => {
    const { from, to, epoch, servedAfterMs = Number.POSITIVE_INFINITY } = moveView(move);
    const good = servedAfterMs <= objectiveMs;
    return [
      `${from ?? '?'} → ${to ?? '?'}`,
      String(epoch ?? '-'),
      tookWords(servedAfterMs),
      { text: good ? 'met' : 'missed', mood: good ? ('good' as const) : ('bad' as const) },
    ];
  });
  const objective = tookWords(objectiveMs);
  const verdict = met
    ? `${name} meets the objective of ${objective}: the longer move took ${tookWords(longestMs)}`
    : `${name} misses the objective of ${objective}: the longer move took ${tookWords(longestMs)}; kubectl pointsman history ${name} shows the steps`;
  return `${table(['MOVE', 'EPOCH', 'SERVED AFTER', 'OBJECTIVE'], rows, colours)}\n${verdict}\n`;
}

/** Where it is; throws where it is not well, for a drill then only adds to the trouble. */
function homeOf(group: FailoverGroup): string {
  const { metadata, status } = group;
  const ready = status?.conditions.find(({ type }) => type === 'Ready');
  if (ready?.status === 'True' && status?.assignment?.state === 'Active') return status.assignment.node;
  throw new Error(`Cannot drill ${metadata.name}: it is not served: ${presentState(group)}; wait until it is Ready`);
}
