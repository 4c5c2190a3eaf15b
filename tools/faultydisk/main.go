// Command faultydisk mounts a directory at another place through FUSE, as a file server would be mounted, and does on
// command what file servers do when they are not well. It stands between one client and the disk, so the same directory
// may be well for others.
//
//	faultydisk DIRECTORY MOUNT_POINT
//
// It says {"mounted":true}, then obeys one JSON object a line on its standard input, and answers each with the same id:
//
//	{"id": 1, "fault": "slow", "ms": 200}
//
// It ends, and the mount is dead (ENOTCONN), when its standard input does.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

type command struct {
	ID    int    `json:"id"`
	Fault fault  `json:"fault"`
	Ms    uint32 `json:"ms"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("Usage: faultydisk DIRECTORY MOUNT_POINT")
	}
	syscall.Umask(0) // the kernel has applied the caller's
	disk, err := mount(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatalf("Cannot mount %s: %v", os.Args[2], err)
	}
	say(map[string]any{"mounted": true})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var wish command
		if err := json.Unmarshal(lines.Bytes(), &wish); err != nil {
			log.Fatalf("Cannot read %q: %v", lines.Text(), err)
		}
		if err := disk.set(wish.Fault, time.Duration(wish.Ms)*time.Millisecond); err != nil {
			say(map[string]any{"id": wish.ID, "error": err.Error()})
			continue
		}
		say(map[string]any{"id": wish.ID})
	}
}

func say(answer map[string]any) {
	line, err := json.Marshal(answer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}

func mount(directory, point string) (*faulty, error) {
	root, err := fs.NewLoopbackRoot(directory)
	if err != nil {
		return nil, err
	}
	// Nothing is remembered between two calls: whatever the other server has done is seen at once.
	none := time.Duration(0)
	options := &fs.Options{
		EntryTimeout:    &none,
		AttrTimeout:     &none,
		NegativeTimeout: &none,
		MountOptions: fuse.MountOptions{
			AllowOther:         true,
			Options:            []string{"default_permissions"},
			DirectMount:        true,
			DirectMountStrict:  true,
			FsName:             "faultydisk",
			Name:               "faultydisk",
			EnableLocks:        true,
			DisableReadDirPlus: true,
			// Reads and writes that pass this process by could not be made to fail.
			DisabledCapabilities: fuse.CAP_PASSTHROUGH,
		},
	}
	disk := newFaulty(fs.NewNodeFS(root, options))
	server, err := fuse.NewServer(disk, point, &options.MountOptions)
	if err != nil {
		return nil, err
	}
	go server.Serve()
	return disk, server.WaitMount()
}
