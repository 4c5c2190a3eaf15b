import type { Command } from './command.ts';
import { history } from './history.ts';
import { move } from './move.ts';
import { status } from './status.ts';

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [status, move, history];
