package modbus_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// pty is a pair of pseudo terminals: the far end, and the path of a device file
// that a serial port can be opened on. The near end is held open and raw, so
// that nothing is echoed or changed, whoever opens and closes the path.
type pty struct {
	far  *os.File
	near *os.File
	path string
}

func openPTY(t testing.TB) *pty {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := far.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	control(t, raw.Control, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	p := &pty{far: far, path: fmt.Sprint("/dev/pts/", number)}
	if p.near, err = os.OpenFile(p.path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	if raw, err = p.near.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	control(t, raw.Control, func(fd int) error {
		tio, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		tio.Iflag, tio.Oflag, tio.Lflag = 0, 0, 0
		tio.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B9600
		return unix.IoctlSetTermios(fd, unix.TCSETS, tio)
	})
	return p
}

func control(t testing.TB, with func(func(fd uintptr)) error, f func(fd int) error) {
	t.Helper()
	var inner error
	if err := with(func(fd uintptr) { inner = f(int(fd)) }); err != nil || inner != nil {
		t.Fatal(err, inner)
	}
}

// unplug takes both ends away, as when a USB adapter is pulled.
func (p *pty) unplug() {
	p.far.Close()
	p.near.Close()
}
