import type { FailoverGroup } from '../crds/failovergroup.ts';
import type { Call, Command } from './command.ts';
import { EXIT } from './exit.ts';
import { findGroup } from './find.ts';
import { bestOther, presentState, whyNoOther } from './moveprogress.ts';
import { asData } from './output.ts';
import { moveView } from './statusview.ts';
import { timeoutOf, timeoutOption } from './timeout.ts';
import { askForMove, type Moved, moveGroup } from './wish.ts';
import { tookWords } from './words.ts';

export const move: Command = {
  name: 'move',
  takes: 'GROUP [NODE]',
  least: 1,
  most: 2,
  summary: 'Moves a group to another node, and shows each step',
  about: `Asks for a move by the annotation pointsman.dev/move-to, and shows how it is carried out, with the times that
the controller measures. Without NODE: to the first other node of spec.nodes that is fit.

Exit code 0 when the group is served from there, 1 when the move is refused or not done in time, 3 when the group
ended up elsewhere.`,
  options: {
    wait: { type: 'boolean', default: true, about: 'Wait until the group is served again; --wait=false only asks.' },
    timeout: timeoutOption('How long to wait.', '60s'),
  },
  formats: ['json', 'yaml'],
  async run(call) {
    const { words, options, terminal, clock, signal } = call;
    const timeoutMs = timeoutOf(options['timeout']);
    const connection = call.connect();
    const group = await findGroup(connection, words[0] ?? '', signal);
    const { name } = group.metadata;
    const to = words[1] ?? mustHaveOther(group);
    const assignment = group.status?.assignment;
    if (assignment?.node === to && assignment.state === 'Active') {
      write(call, group, { node: to, move: undefined }, to, `${name} is on ${to} already: ${presentState(group)}`);
      return EXIT.ok;
    }
    const wish = { api: connection.api, clock, signal, group, to, timeoutMs };
    terminal.err(`${name} is to move${assignment ? ` from ${assignment.node}` : ''} to ${to}\n`);
    if (options['wait'] === false) {
      await askForMove(wish);
      terminal.out(`failovergroup/${name} annotated\n`);
      return EXIT.ok;
    }
    const moved = await moveGroup({ ...wish, tell: (line) => terminal.err(`${line}\n`) });
    write(call, group, moved, to, verdict(name, to, moved));
    return moved.node === to ? EXIT.ok : EXIT.notWell;
  },
};

/** The best other node; throws where there is none. */
export function mustHaveOther(group: FailoverGroup): string {
  const to = bestOther(group);
  if (to !== undefined) return to;
  const { name } = group.metadata;
  throw new Error(`Cannot move ${name}: no other node can take it: ${whyNoOther(group)}`);
}

/** `failover is served from server2, 570 ms after it was asked for (epoch 3, proof Released)`. */
export function verdict(name: string, to: string, { node, move }: Moved): string {
  const servedAfterMs = move && moveView(move).servedAfterMs;
  const after = servedAfterMs === undefined ? '' : `, ${tookWords(servedAfterMs)} after the first sign of the move`;
  const how = move
    ? ` (${[`epoch ${move.epoch ?? '?'}`, ...(move.proof ? [`proof ${move.proof}`] : [])].join(', ')})`
    : '';
  const not = node === to ? '' : `, not from ${to}${move ? `: ${move.message}` : ''}`;
  return `${name} is served from ${node}${after}${how}${not}`;
}

function write(
  { format, terminal }: Call,
  { metadata: { namespace, name } }: FailoverGroup,
  { node, move }: Moved,
  to: string,
  words: string,
): void {
  if (format === 'json' || format === 'yaml') {
    const data = { namespace, group: name, askedFor: to, servedFrom: node, ...(move && { move: moveView(move) }) };
    terminal.out(asData(data, format));
  } else {
    terminal.out(`${words}\n`);
  }
}
