import type { ObjectMeta } from '../crds/kind.ts';

/** Tells people what happened to an object. Never waits, never throws: nothing is decided on it. */
export interface Recorder {
  event(
    object: { readonly metadata: ObjectMeta },
    kind: string,
    event: {
      readonly type: 'Normal' | 'Warning';
      readonly reason: string;
      readonly action: string;
      readonly note: string;
    },
  ): void;
}
