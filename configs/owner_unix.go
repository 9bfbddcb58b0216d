//go:build unix

package configs

import (
	"os"
	"syscall"
)

// giveTo gives a file or folder to the owner of the folder it is in, when we are
// root: what an administrator writes for a service, the service must read as its
// own user.
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
