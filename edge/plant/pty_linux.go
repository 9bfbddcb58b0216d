package plant

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// pty is a pseudo terminal: this end is the devices, the slave is what a client
// opens in place of a serial port.
type pty struct {
	*os.File        // the master
	slave    string // path that clients open
	link     string // made here, "" when none
	held     *os.File
	once     sync.Once
	err      error
}

// openPTY makes a pseudo terminal in raw mode. link, when not "", becomes a
// symbolic link to it; one that is already there is replaced, anything else is
// not touched.
func openPTY(link string) (*pty, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	p := &pty{File: os.NewFile(uintptr(fd), "/dev/ptmx")}
	if err := p.prepare(fd, link); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *pty) prepare(fd int, link string) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock the pseudo terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("number of the pseudo terminal: %w", err)
	}
	p.slave = fmt.Sprintf("/dev/pts/%d", n)
	// The slave stays open here: without anybody on it the master reads an error,
	// and its raw mode would be lost from one client to the next.
	slave, err := unix.Open(p.slave, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: p.slave, Err: err}
	}
	p.held = os.NewFile(uintptr(slave), p.slave)
	if err := makeRaw(slave); err != nil {
		return fmt.Errorf("raw mode of %s: %w", p.slave, err)
	}
	if link == "" {
		return nil
	}
	if old, err := os.Lstat(link); err == nil && old.Mode()&os.ModeSymlink != 0 {
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	if err := os.Symlink(p.slave, link); err != nil {
		return err
	}
	p.link = link
	return nil
}

// makeRaw lets every byte through as it is, as cfmakeraw of termios(3) does.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// Close ends the terminal and takes its link away. It may be called again.
func (p *pty) Close() error {
	p.once.Do(func() {
		p.err = p.File.Close()
		if p.held != nil {
			p.err = errors.Join(p.err, p.held.Close())
		}
		if p.link != "" {
			p.err = errors.Join(p.err, os.Remove(p.link))
		}
	})
	return p.err
}
