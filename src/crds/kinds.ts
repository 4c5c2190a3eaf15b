import { diskMonitor } from './diskmonitor.ts';
import { failoverGroup } from './failovergroup.ts';
import { failoverNode } from './failovernode.ts';
import type { KindDefinition } from './kind.ts';
import { vipResource } from './vipresource.ts';

/** Every kind of the API. */
export const kinds: readonly KindDefinition[] = [failoverGroup, failoverNode, vipResource, diskMonitor];
