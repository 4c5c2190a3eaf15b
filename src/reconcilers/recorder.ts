import { API_GROUP, API_VERSION, type ObjectMeta } from '../crds/kind.ts';
import type { Recorder as EventRecorder, Happening } from '../kube/events.ts';

/** Tells people what happened to an object of ours. Never waits, never throws: nothing is decided on it. */
export interface Recorder {
  event(object: { readonly metadata: ObjectMeta }, kind: string, happening: Happening): void;
}

export function createObjectRecorder(recorder: Pick<EventRecorder, 'event'>): Recorder {
  return {
    event({ metadata }, kind, happening) {
      const { namespace, name, uid } = metadata;
      recorder.event({ apiVersion: `${API_GROUP}/${API_VERSION}`, kind, namespace, name, uid }, happening);
    },
  };
}
