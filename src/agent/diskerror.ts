import { constants } from 'node:os';

/**
 * What a failed access to a disk means and what to do about it, by its errno (errno(3), and for NFS nfs(5) and the
 * troubleshooting pages of EFS). The errno stays in the text: people search for it.
 */
export function explainDiskError(error: unknown, path?: string): string {
  const { message } = error as NodeJS.ErrnoException;
  const code = codeOf(error as NodeJS.ErrnoException);
  const known = code === undefined ? undefined : MEANINGS[code];
  if (known === undefined) return error instanceof Error ? message : String(error);
  const { syscall, path: failed } = error as NodeJS.ErrnoException;
  const did = DEEDS[syscall ?? ''] ?? 'use';
  const { is, so } = known;
  return `Cannot ${did} ${path ?? failed ?? 'the disk'}: ${is} (${code}); ${so}`;
}

/** libuv has no name for some of those that a file server gives: then only the number is there. */
function codeOf({ code, errno }: NodeJS.ErrnoException): string | undefined {
  if (errno === undefined || !/^(UNKNOWN$|Unknown system error)/.test(code ?? '')) return code;
  return Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0] ?? code;
}

interface Meaning {
  /** What is the matter. */
  readonly is: string;
  /** What a person can do. */
  readonly so: string;
}

const MEANINGS: Readonly<Record<string, Meaning>> = {
  ENOSPC: { is: 'the disk is full', so: 'delete files, or make the file system larger' },
  EDQUOT: { is: 'the quota there is used up', so: 'delete files, or raise the quota' },
  EFBIG: { is: 'the file would be larger than the file system allows', so: 'make the size of the monitor smaller' },
  EROFS: {
    is: 'the file system is read-only',
    so: 'see in dmesg whether the kernel made it so after an error; then mount it read-write',
  },
  ESTALE: {
    is: 'the file server does not know the file any more (a stale handle)',
    so: 'unmount it (umount --lazy) and mount it again',
  },
  EIO: { is: 'the disk or its server failed', so: 'see dmesg, and whether the file server can be reached' },
  ENOTCONN: {
    is: 'the program that serves the mount has ended',
    so: 'unmount it (umount --lazy) and mount it again',
  },
  ECONNABORTED: {
    is: 'the program that serves the mount has ended',
    so: 'unmount it (umount --lazy) and mount it again',
  },
  ETIMEDOUT: { is: 'the file server does not answer', so: 'look at the network and the mount target' },
  EHOSTDOWN: { is: 'the file server does not answer', so: 'look at the network and the mount target' },
  EHOSTUNREACH: { is: 'the file server cannot be reached', so: 'look at the network and the mount target' },
  ENETUNREACH: { is: 'the file server cannot be reached', so: 'look at the network and the mount target' },
  ECONNREFUSED: { is: 'the file server refuses the connection', so: 'look at the mount target' },
  EACCES: {
    is: 'root is not permitted to',
    so: "let root in: the file system's policy, access point or export (root_squash) forbids it, or a mode does",
  },
  EPERM: { is: 'it is not permitted', so: "look at the file system's policy and at the file's attributes (lsattr)" },
  ENOENT: { is: 'there is no such file or directory', so: 'create it, or correct the path' },
  ENOTDIR: { is: 'a part of the path is no directory', so: 'correct the path' },
  EISDIR: { is: 'it is a directory', so: 'name a file in it' },
  ELOOP: { is: 'its symbolic links lead nowhere', so: 'correct the path' },
};

const DEEDS: Readonly<Record<string, string>> = {
  ...{ open: 'open', read: 'read', write: 'write', fsync: 'write', close: 'write', mkdir: 'make', link: 'make' },
};
