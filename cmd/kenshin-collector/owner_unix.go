//go:build unix

package main

import (
	"os"
	"syscall"
)

// giveTo gives a file to the owner of a folder, when that is another and we may:
// a service reads its keys as its own user.
func giveTo(path, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && os.Getuid() == 0 {
		return os.Chown(path, int(s.Uid), int(s.Gid))
	}
	return nil
}
