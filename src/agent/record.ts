import { crc32 } from 'node:zlib';
import { z } from 'zod';
import type { ChannelRecord } from '../decide/channel.ts';

/**
 * What a node says of itself on the shared disk, in `<mountPath>/.pointsman/<namespace>/<group>/<node>`: one record of
 * fixed length with a checksum, written whole by one pwrite, never truncated or renamed (docs/protocol.md, "Records").
 * It is text, so that a person can read it.
 */
export const RECORD_BYTES = 512;

const diskRecord = z.object({
  version: z.literal(1),
  state: z.enum(['claiming', 'running', 'idle', 'ended']),
  ended: z.number().int().min(0),
  claim: z.number().int().min(0),
  epoch: z.number().int().min(0),
  beat: z.string().max(64),
  takeoverAfterSeconds: z.number().int().min(1),
} satisfies Record<keyof ChannelRecord | 'version', z.ZodType>);
export type DiskRecord = z.output<typeof diskRecord>;

const SUM_DIGITS = 8;

export function encodeRecord(record: DiskRecord): Buffer {
  const text = JSON.stringify(record).padEnd(RECORD_BYTES - SUM_DIGITS - 2, ' ');
  const bytes = Buffer.from(`${text} ${checksum(text)}\n`, 'latin1');
  if (bytes.length !== RECORD_BYTES) throw new Error(`Broken invariant: a disk record of ${bytes.length} bytes`);
  return bytes;
}

/** Undefined when it is torn, empty or not a record at all. */
export function decodeRecord(bytes: Uint8Array): DiskRecord | undefined {
  if (bytes.length < RECORD_BYTES) return undefined;
  const whole = Buffer.from(bytes.subarray(0, RECORD_BYTES)).toString('latin1');
  const text = whole.slice(0, RECORD_BYTES - SUM_DIGITS - 2);
  if (whole.slice(text.length) !== ` ${checksum(text)}\n`) return undefined;
  try {
    return diskRecord.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(SUM_DIGITS, '0');
}
