import { readCluster } from './cluster.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit.ts';
import { explainText } from './explaintext.ts';
import { explain as explainGroup } from './explanation.ts';
import { noSuchGroup } from './find.ts';
import { presentState } from './moveprogress.ts';
import { asData } from './output.ts';
import { controllerSilent } from './problems.ts';
import { lookAtGroup } from './sight.ts';

export const explain: Command = {
  name: 'explain',
  takes: 'GROUP',
  least: 1,
  most: 1,
  summary: 'What would happen now if the active node died, and how long it would take',
  about: `Looks at the group as the controller does, lets the active node fall silent in thought, and asks the controller's
own decision what it would do; nothing is touched. What the decision does not know (EC2, the start of the process) is
taken from the last moves.

Exit code 0 when another node would take over, 3 when nothing would.`,
  options: {},
  formats: ['json', 'yaml'],
  async run({ words: [name = ''], format, terminal, clock, signal, connect }) {
    const { api, namespace } = connect();
    const cluster = await readCluster(api, namespace, { signal });
    const group = cluster.groups.find(({ metadata }) => metadata.name === name);
    if (!group) throw noSuchGroup(name, namespace, cluster.groups);
    const assignment = group.status?.assignment;
    if (assignment?.state !== 'Active' || !group.spec.running)
      throw new Error(`Cannot explain ${name}: no node has it for good now: ${presentState(group)}`);
    const seen = await lookAtGroup(api, clock, group, cluster, { signal });
    for (const { message } of controllerSilent(cluster, clock.wall().getTime())) terminal.err(`warning: ${message}\n`);
    const explanation = explainGroup(seen, assignment, { ms: clock.nowMs(), iso: clock.wall().toISOString() });
    terminal.out(format === 'json' || format === 'yaml' ? asData(explanation, format) : explainText(explanation));
    return explanation.takenOver ? EXIT.ok : EXIT.notWell;
  },
};
