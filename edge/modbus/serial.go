package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/goburrow/serial"
)

// portSlice is how long one Read of the library waits. It cannot be interrupted:
// closing a port takes so long at most. Bytes wake it at once.
const portSlice = 100 * time.Millisecond

// dialRTU returns the dialer of an endpoint that speaks RTU.
func (e endpoint) dialRTU() dialer[*ear] {
	if e.scheme == schemeRTUTCP {
		dial := dialNet(e.address)
		return func(ctx context.Context) (*ear, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return newEar(conn, e.stated), nil
		}
	}
	return func(context.Context) (*ear, error) {
		p, err := openPort(e.address, e.line)
		if err != nil {
			return nil, err
		}
		return newEar(p, !isPseudo(e.address)), nil
	}
}

// isPseudo reports whether a device file is a pseudo terminal, on which bytes
// take no time.
func isPseudo(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	return err == nil && strings.HasPrefix(real, "/dev/pts/")
}

// port is a serial port of the library as the transports use it. One goroutine
// may read while another writes and closes.
type port struct {
	lib     serial.Port
	release func()     // gives up the claim
	reading sync.Mutex // held while the library reads; its Close would race
	closing atomic.Bool
	until   time.Time // of writing
}

func openPort(path string, l serialLine) (*port, error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; plug in the adapter, and see in /dev/serial/by-id/ how it is called", err)
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeCharDevice == 0:
		return nil, fmt.Errorf("%s is not a serial port", path)
	}
	if err := fewDescriptors(); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	release, err := claim(path)
	if err != nil {
		return nil, permitted(err)
	}
	p, err := serial.Open(&serial.Config{Address: path, BaudRate: l.baud, DataBits: 8, StopBits: l.stop,
		Parity: strings.ToUpper(l.parity[:1]), Timeout: portSlice})
	if err != nil {
		release()
		return nil, permitted(fmt.Errorf("open %s: %w", path, err))
	}
	return &port{lib: p, release: release}, nil
}

// permitted says what to do where a port may not be opened.
func permitted(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; add the user to the group of the file, mostly dialout", err)
	}
	return err
}

// fewDescriptors fails when the next descriptor may be one the library cannot
// wait for: it uses select(2), whose sets end at 1024, and does not check.
func fewDescriptors() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer f.Close()
	const most, margin = 1024, 64
	if f.Fd() >= most-margin {
		return fmt.Errorf("descriptor %d: serial ports need one below %d; this process has too many files open", f.Fd(), most)
	}
	return nil
}

// Read returns what came, at least one byte, and net.ErrClosed after Close.
func (p *port) Read(b []byte) (int, error) {
	p.reading.Lock()
	defer p.reading.Unlock()
	// A port whose adapter was unplugged is always ready and never has anything.
	const gone = 3
	for empty := 0; empty < gone; {
		if p.closing.Load() {
			return 0, net.ErrClosed
		}
		n, err := p.lib.Read(b)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			empty++
		case errors.Is(err, serial.ErrTimeout):
			empty = 0
		case !again(err):
			return 0, err
		}
	}
	return 0, io.EOF
}

// again reports whether a call is to be made again: the port has no room or
// nothing to read at the moment, or a signal came.
func again(err error) bool { return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) }

// Write returns when the bytes are with the driver. The library writes what there
// is room for.
func (p *port) Write(b []byte) (int, error) {
	for have := 0; ; {
		n, err := p.lib.Write(b[have:])
		have += max(n, 0) // it is -1 with an error
		switch {
		case have == len(b):
			return have, nil
		case err != nil && !again(err):
			return have, err
		case time.Now().After(p.until):
			return have, os.ErrDeadlineExceeded
		}
		time.Sleep(time.Millisecond) // the driver's buffer is full, which holds thousands
	}
}

// SetWriteDeadline says how long Write may try.
func (p *port) SetWriteDeadline(t time.Time) error { p.until = t; return nil }

// Close ends a Read and closes the port.
func (p *port) Close() error {
	p.closing.Store(true)
	p.reading.Lock()
	defer p.reading.Unlock()
	defer p.release()
	return p.lib.Close()
}
