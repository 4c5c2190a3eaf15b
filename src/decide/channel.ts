/**
 * The second channel, on the shared disk: what the nodes of a group write there of themselves, and what may be concluded
 * from it. The rules stand in docs/protocol.md, "The second channel".
 */

/** What a node says of itself: the content of its own file. */
export interface ChannelRecord {
  /**
   * - `claiming`: it has been assigned `claim`, and asks whether everybody else is out.
   * - `running`: its process lives, under `epoch`.
   * - `idle`: it has died and was not started again.
   * - `ended`: nothing of epoch `ended` is left, and the disk has taken all of it.
   */
  readonly state: 'claiming' | 'running' | 'idle' | 'ended';
  /** The highest epoch this node has ended. */
  readonly ended: number;
  /** The highest epoch it has claimed; 0 without a gate. */
  readonly claim: number;
  /** The epoch it is in, or was in last. */
  readonly epoch: number;
  /** Never there before, whatever the write changed: "the same content" means the same beat. */
  readonly beat: string;
  /** How long this record must be left to age. */
  readonly takeoverAfterSeconds: number;
}

/** How one file was found. */
export type FileRead = { readonly node: string } & (
  | { readonly kind: 'record'; readonly record: ChannelRecord }
  /** It is there, and its node has never written it. */
  | { readonly kind: 'empty' }
  /** It was not there, and has been made now, empty. */
  | { readonly kind: 'missing' }
  /** No whole record, or none that this version understands. `content` is the same as long as its bytes are. */
  | { readonly kind: 'torn'; readonly content: string }
  /** Nothing was learned. */
  | { readonly kind: 'failed'; readonly message: string }
);
