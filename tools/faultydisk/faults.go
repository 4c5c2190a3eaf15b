package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

type fault string

const (
	none fault = "none"
	// No answer until it is over. Whoever is killed meanwhile dies, and what it asked for is not done, as on a hard
	// mount of NFS (nfs(5)).
	hang fault = "hang"
	// The same for all that changes anything, but not even SIGKILL ends who waits (state D), and what was asked for is
	// done when it is over: the late writes of the dead. What only looks is answered, as from a client's cache.
	stuck fault = "stuck"
	// What changes anything is done, and no answer comes back until it is over.
	mute fault = "mute"
	// EIO.
	fail fault = "fail"
	// ESTALE, as from NFS when the export has gone.
	stale fault = "stale"
	// ENOSPC for what needs space.
	full fault = "full"
	// EROFS for what changes anything.
	readOnly fault = "readOnly"
	// Each call takes longer.
	slow fault = "slow"
)

var known = []fault{none, hang, stuck, mute, fail, stale, full, readOnly, slow}

// What a call does to the disk.
type effect int

const (
	looks   effect = iota
	changes        // a name, an attribute
	grows          // needs space
)

// How often a call that waits looks whether its caller is being killed.
const lookEvery = 20 * time.Millisecond

type state struct {
	fault fault
	ms    time.Duration
	// Closed when the next state is there.
	over chan struct{}
}

type faults struct {
	mutex sync.Mutex
	now   state
}

func newFaults() *faults {
	return &faults{now: state{fault: none, over: make(chan struct{})}}
}

func (f *faults) set(wanted fault, ms time.Duration) error {
	for _, one := range known {
		if one == wanted {
			f.mutex.Lock()
			defer f.mutex.Unlock()
			close(f.now.over)
			f.now = state{fault: wanted, ms: ms, over: make(chan struct{})}
			return nil
		}
	}
	return fmt.Errorf("there is no fault %q; choose one of %v", wanted, known)
}

func (f *faults) current() state {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.now
}

// Runs a call as the present fault lets it.
func (f *faults) pass(does effect, caller *fuse.InHeader, call func() fuse.Status) fuse.Status {
	for {
		now := f.current()
		switch now.fault {
		case stuck:
			if does != looks {
				wait(now, caller)
				continue // perhaps into the next fault
			}
		case hang:
			if !wait(now, caller) {
				return fuse.Status(syscall.EINTR)
			}
			continue // perhaps into the next fault
		case fail:
			return fuse.EIO
		case stale:
			return fuse.Status(syscall.ESTALE)
		case full:
			if does == grows {
				return fuse.Status(syscall.ENOSPC)
			}
		case readOnly:
			if does != looks {
				return fuse.EROFS
			}
		case slow:
			time.Sleep(now.ms)
		}
		break
	}
	status := call()
	for now := f.current(); now.fault == mute && does != looks; now = f.current() {
		if !wait(now, caller) {
			break
		}
	}
	return status
}

// Until the state changes. False: the caller is being killed, and the fault lets it go.
func wait(now state, caller *fuse.InHeader) bool {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-now.over:
			return true
		case <-ticker.C:
			if now.fault != stuck && dying(caller.Pid) {
				return false
			}
		}
	}
}

// Whether SIGKILL is pending for a thread, or it is ending already. FUSE_INTERRUPT does not tell: it comes for every
// signal, and Go's runtime sends itself many (SIGURG). 0 stands for the kernel's own calls, such as readahead.
func dying(tid uint32) bool {
	if tid == 0 {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return true
	}
	for _, line := range bytes.Split(status, []byte("\n")) {
		name, value, _ := strings.Cut(string(line), ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if pending, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil && pending&(1<<(syscall.SIGKILL-1)) != 0 {
			return true
		}
	}
	return ending(tid)
}

// PF_EXITING in the flags of proc_pid_stat(5): it closes its files on the way out.
func ending(tid uint32) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", tid))
	if err != nil {
		return true
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&0x4 != 0
}
