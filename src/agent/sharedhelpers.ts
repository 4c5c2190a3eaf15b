import type { Clock } from '../base/clock.ts';
import { createHelper, type Helper } from './helper.ts';

/** One helper process for each path, whoever asks: of a disk that hangs, no two wait. */
export interface SharedHelpers {
  /** To be closed by whoever asked for it. */
  open(path: string): Helper;
}

export interface SharedHelpersOptions {
  readonly script: string;
  readonly recordFile: (path: string) => string;
  readonly clock: Clock;
}

export function createSharedHelpers({ script, recordFile, clock }: SharedHelpersOptions): SharedHelpers {
  const inUse = new Map<string, { readonly helper: Helper; users: number }>();
  return {
    open: (path) => {
      const shared = inUse.get(path) ?? {
        helper: createHelper({ script, subject: path, recordFile: recordFile(path), clock }),
        users: 0,
      };
      inUse.set(path, shared);
      shared.users += 1;
      let open = true;
      return {
        ...shared.helper,
        close: () => {
          if (!open) return;
          open = false;
          shared.users -= 1;
          if (shared.users > 0) return;
          inUse.delete(path);
          shared.helper.close();
        },
      };
    },
  };
}
