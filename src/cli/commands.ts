import type { Command } from './command.ts';
import { completion } from './completion.ts';
import { drill } from './drill.ts';
import { explain } from './explain.ts';
import { history } from './history.ts';
import { move } from './move.ts';
import { status } from './status.ts';
import { watch } from './watch.ts';

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [status, move, history, explain, watch, drill, completion];
