import { type InstanceRead, type InstanceState, isHibernated } from './instance.ts';

/**
 * What is to be done about an instance that a group needs to be off, after what EC2 said last. `mark`: promise to start
 * it again, then stop it.
 */
export function stopStep(read: InstanceRead, marked: boolean, found: string | undefined): 'mark' | 'stop' | 'wait' {
  if (read.state === 'missing' || read.state === 'terminated' || read.state === 'shutting-down') return 'wait';
  // Its memory is being written to the disk: a stop in the midst of that would hide it, and what ran would go on.
  if (isHibernated(read)) return 'wait';
  // It is on its way, or the stop itself found it there, and nobody has started it since.
  if (found === 'stopped' && read.state === 'stopped') return 'wait';
  if (found !== undefined && read.state === 'stopping') return 'wait';
  // Also one that is stopped by what was read, which may be old: whose stop it was, StopInstances itself tells.
  return marked ? 'stop' : 'mark';
}

/** Whether somebody else had stopped it, by the states around the first stop of ours: then it is theirs to start. */
export function isTheirs({ was }: { readonly was: InstanceState }): boolean {
  return was === 'stopped' || was === 'stopping';
}

/**
 * What is to be done about an instance that bears our mark, and that no group needs to be off. One that runs is started
 * as well: the answer comes from the part of EC2 that changes states, and only when that says `running` is the mark
 * taken off. A read may be old, and a stop of ours may still be under way.
 */
export function startStep(read: InstanceRead): 'start' | 'forget' | 'wait' {
  if (read.state === 'missing' || read.state === 'terminated' || read.state === 'shutting-down') return 'forget';
  // We never hibernate: it was started, and hibernated, by somebody else.
  if (read.state === 'stopped' && isHibernated(read)) return 'forget';
  return read.state === 'stopping' ? 'wait' : 'start';
}
