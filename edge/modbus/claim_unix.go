//go:build unix

package modbus

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// claim takes the lock of a serial port until release is called: of two clients
// on one line each would take the answers of the other for its own. Other
// programs that use flock(2) on ports see it.
func claim(path string) (release func(), err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%s is in use by another program, such as a running agent; two on one line take each other's answers", path)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return func() { unix.Close(fd) }, nil
}
