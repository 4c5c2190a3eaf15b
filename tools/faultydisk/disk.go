package main

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// faulty lets every call through its faults but those by which the kernel gives back what it holds: Forget, Release.
type faulty struct {
	fuse.RawFileSystem
	*faults
}

func newFaulty(sound fuse.RawFileSystem) *faulty {
	return &faulty{RawFileSystem: sound, faults: newFaults()}
}

// The kernel keeps the page cache out of files opened so (open(2)); what lies underneath need not know of it, and may
// refuse it.
func withoutDirect(flags uint32) uint32 {
	return flags &^ syscall.O_DIRECT
}

func opening(flags uint32) effect {
	if flags&syscall.O_TRUNC != 0 {
		return changes
	}
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return changes // EROFS comes from open already (open(2))
	}
	return looks
}

func (d *faulty) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return d.pass(looks, in, func() fuse.Status { return d.RawFileSystem.Lookup(cancel, in, name, out) })
}

func (d *faulty) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.GetAttr(cancel, in, out) })
}

func (d *faulty) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return d.pass(changes, &in.InHeader, func() fuse.Status { return d.RawFileSystem.SetAttr(cancel, in, out) })
}

func (d *faulty) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return d.pass(grows, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Mknod(cancel, in, name, out) })
}

func (d *faulty) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return d.pass(grows, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Mkdir(cancel, in, name, out) })
}

func (d *faulty) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return d.pass(changes, in, func() fuse.Status { return d.RawFileSystem.Unlink(cancel, in, name) })
}

func (d *faulty) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return d.pass(changes, in, func() fuse.Status { return d.RawFileSystem.Rmdir(cancel, in, name) })
}

func (d *faulty) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from string, to string) fuse.Status {
	return d.pass(changes, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Rename(cancel, in, from, to) })
}

func (d *faulty) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return d.pass(grows, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Link(cancel, in, name, out) })
}

func (d *faulty) Symlink(cancel <-chan struct{}, in *fuse.InHeader, to string, name string, out *fuse.EntryOut) fuse.Status {
	return d.pass(grows, in, func() fuse.Status { return d.RawFileSystem.Symlink(cancel, in, to, name, out) })
}

func (d *faulty) Readlink(cancel <-chan struct{}, in *fuse.InHeader) (out []byte, code fuse.Status) {
	code = d.pass(looks, in, func() (status fuse.Status) {
		out, status = d.RawFileSystem.Readlink(cancel, in)
		return status
	})
	return out, code
}

func (d *faulty) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Access(cancel, in) })
}

func (d *faulty) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, into []byte) (size uint32, code fuse.Status) {
	code = d.pass(looks, in, func() (status fuse.Status) {
		size, status = d.RawFileSystem.GetXAttr(cancel, in, name, into)
		return status
	})
	return size, code
}

func (d *faulty) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, into []byte) (size uint32, code fuse.Status) {
	code = d.pass(looks, in, func() (status fuse.Status) {
		size, status = d.RawFileSystem.ListXAttr(cancel, in, into)
		return status
	})
	return size, code
}

func (d *faulty) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	return d.pass(grows, &in.InHeader, func() fuse.Status { return d.RawFileSystem.SetXAttr(cancel, in, name, data) })
}

func (d *faulty) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return d.pass(changes, in, func() fuse.Status { return d.RawFileSystem.RemoveXAttr(cancel, in, name) })
}

func (d *faulty) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	in.Flags = withoutDirect(in.Flags)
	return d.pass(grows, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Create(cancel, in, name, out) })
}

func (d *faulty) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	in.Flags = withoutDirect(in.Flags)
	return d.pass(grows, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Tmpfile(cancel, in, out) })
}

func (d *faulty) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	in.Flags = withoutDirect(in.Flags)
	return d.pass(opening(in.Flags), &in.InHeader, func() fuse.Status { return d.RawFileSystem.Open(cancel, in, out) })
}

func (d *faulty) Read(cancel <-chan struct{}, in *fuse.ReadIn, into []byte) (result fuse.ReadResult, code fuse.Status) {
	code = d.pass(looks, &in.InHeader, func() (status fuse.Status) {
		result, status = d.RawFileSystem.Read(cancel, in, into)
		return status
	})
	return result, code
}

func (d *faulty) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Lseek(cancel, in, out) })
}

func (d *faulty) GetLk(cancel <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.GetLk(cancel, in, out) })
}

func (d *faulty) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.SetLk(cancel, in) })
}

func (d *faulty) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.SetLkw(cancel, in) })
}

func (d *faulty) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (written uint32, code fuse.Status) {
	code = d.pass(grows, &in.InHeader, func() (status fuse.Status) {
		written, status = d.RawFileSystem.Write(cancel, in, data)
		return status
	})
	return written, code
}

func (d *faulty) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (written uint32, code fuse.Status) {
	code = d.pass(grows, &in.InHeader, func() (status fuse.Status) {
		written, status = d.RawFileSystem.Writev(cancel, in, data)
		return status
	})
	return written, code
}

func (d *faulty) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (written uint32, code fuse.Status) {
	code = d.pass(grows, &in.InHeader, func() (status fuse.Status) {
		written, status = d.RawFileSystem.CopyFileRange(cancel, in)
		return status
	})
	return written, code
}

func (d *faulty) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Flush(cancel, in) })
}

func (d *faulty) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Fsync(cancel, in) })
}

func (d *faulty) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return d.pass(grows, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Fallocate(cancel, in) })
}

func (d *faulty) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.OpenDir(cancel, in, out) })
}

func (d *faulty) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.ReadDir(cancel, in, out) })
}

func (d *faulty) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.FsyncDir(cancel, in) })
}

func (d *faulty) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	status := d.pass(looks, in, func() fuse.Status { return d.RawFileSystem.StatFs(cancel, in, out) })
	if d.current().fault == full {
		out.Bfree, out.Bavail = 0, 0
	}
	return status
}

func (d *faulty) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	return d.pass(looks, &in.InHeader, func() fuse.Status { return d.RawFileSystem.Statx(cancel, in, out) })
}
