import { execFileSync } from 'node:child_process';
import { openSync, readFileSync, readSync, writeSync } from 'node:fs';

/*
 * A file system of one directory in which every name is the same one file, over /dev/fuse and without libfuse. It does
 * as its behaviour file says at each request: `{"read": "EIO"}` answers with that error, `{"read": "hang"}` never
 * answers. The kernel lets nobody who waits for an answer to a request that was read from the device go, not even by
 * SIGKILL, until it comes or this process ends (fuse(4); request_wait_answer in fs/fuse/dev.c): a disk whose server is
 * away, on one machine.
 */

const [mountPoint = '', behaviourFile = ''] = process.argv.slice(2);

/** enum fuse_opcode in include/uapi/linux/fuse.h. */
const OPERATIONS: Readonly<Record<number, string>> = {
  ...{ 1: 'lookup', 3: 'getattr', 4: 'setattr', 14: 'open', 15: 'read', 16: 'write', 17: 'statfs', 18: 'release' },
  ...{ 20: 'fsync', 25: 'flush', 26: 'init', 27: 'opendir', 28: 'readdir', 29: 'releasedir', 50: 'syncfs' },
};
const WITHOUT_ANSWER = new Set([2, 36, 42]); // forget, interrupt, batch_forget
const ERRNO: Readonly<Record<string, number>> = {
  ...{ EPERM: 1, ENOENT: 2, EIO: 5, EACCES: 13, EINVAL: 22, ENOSPC: 28, EROFS: 30, ENOSYS: 38 },
  ...{ ENOTCONN: 107, ESTALE: 116, EDQUOT: 122 },
};
const FILE = 2n;
const ROOT = 1n;

let content = Buffer.from('x');
const device = openSync('/dev/fuse', 'r+');
const options = `fd=3,rootmode=40000,user_id=0,group_id=0,allow_other`;
execFileSync('mount', ['-i', '-t', 'fuse', '-o', options, 'faulty', mountPoint], {
  stdio: ['ignore', 'inherit', 'inherit', device],
});
process.stdout.write('mounted\n');
const request = Buffer.alloc(1 << 18);
for (;;) {
  try {
    answer(request.subarray(0, readSync(device, request)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENODEV') break; // unmounted
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // its caller has given up meanwhile
  }
}

function answer(asked: Buffer): void {
  const code = asked.readUInt32LE(4);
  if (WITHOUT_ANSWER.has(code)) return;
  const operation = OPERATIONS[code] ?? 'other';
  const behaviour = (JSON.parse(readFileSync(behaviourFile, 'utf8')) as Record<string, string>)[operation];
  if (behaviour === 'hang') {
    process.stdout.write('hangs\n');
    return;
  }
  const body = behaviour === undefined ? perform(operation, asked) : Buffer.alloc(0);
  const error = behaviour === undefined ? (body === undefined ? 'ENOSYS' : undefined) : behaviour;
  const head = Buffer.alloc(16);
  head.writeUInt32LE(16 + (error === undefined ? (body?.length ?? 0) : 0), 0);
  head.writeInt32LE(error === undefined ? 0 : -(ERRNO[error] ?? 5), 4);
  head.writeBigUInt64LE(asked.readBigUInt64LE(8), 8);
  writeSync(device, error === undefined && body !== undefined ? Buffer.concat([head, body]) : head);
}

function perform(operation: string, asked: Buffer): Buffer | undefined {
  const node = asked.readBigUInt64LE(16);
  const argument = asked.subarray(40);
  switch (operation) {
    case 'init': {
      const out = Buffer.alloc(64);
      out.writeUInt32LE(7, 0);
      out.writeUInt32LE(31, 4);
      out.writeUInt32LE(1 << 16, 20); // the longest write
      return out;
    }
    case 'lookup':
      return Buffer.concat([entry(), attributes(FILE)]);
    case 'getattr':
    case 'setattr':
      return Buffer.concat([Buffer.alloc(16), attributes(node)]);
    case 'open':
    case 'opendir': {
      const out = Buffer.alloc(16);
      out.writeUInt32LE(node === ROOT ? 0 : 1, 8); // FOPEN_DIRECT_IO: nothing is answered from the page cache
      return out;
    }
    case 'read': {
      const from = Number(argument.readBigUInt64LE(8));
      return content.subarray(from, from + argument.readUInt32LE(16));
    }
    case 'write': {
      const from = Number(argument.readBigUInt64LE(8));
      const size = argument.readUInt32LE(16);
      const grown = Buffer.alloc(Math.max(content.length, from + size));
      content.copy(grown);
      argument.copy(grown, from, 40, 40 + size);
      content = grown;
      const out = Buffer.alloc(8);
      out.writeUInt32LE(size, 0);
      return out;
    }
    case 'statfs':
      return Buffer.alloc(80);
    case 'readdir':
    case 'release':
    case 'releasedir':
    case 'flush':
    case 'fsync':
    case 'syncfs':
      return Buffer.alloc(0);
    default:
      return undefined;
  }
}

/** struct fuse_entry_out up to its attributes: valid for no time, so that every access asks. */
function entry(): Buffer {
  const out = Buffer.alloc(40);
  out.writeBigUInt64LE(FILE, 0);
  return out;
}

/** struct fuse_attr. */
function attributes(node: bigint): Buffer {
  const out = Buffer.alloc(88);
  out.writeBigUInt64LE(node, 0);
  out.writeBigUInt64LE(BigInt(node === ROOT ? 0 : content.length), 8);
  out.writeUInt32LE(node === ROOT ? 0o40777 : 0o100666, 60);
  out.writeUInt32LE(1, 64);
  out.writeUInt32LE(4096, 80);
  return out;
}
