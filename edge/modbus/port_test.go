package modbus

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/goburrow/serial"
)

// driver is a port of the library that takes and gives what it is told.
type driver struct {
	room []int // how many bytes each Write takes, -1 for none at the moment; then none
	fail error // of Write and Read, when not nil
	got  []byte
	give []error // of each Read, which gives a byte when it is nil; then nothing
}

func (d *driver) Open(*serial.Config) error { return nil }
func (d *driver) Close() error              { return nil }

func (d *driver) Write(b []byte) (int, error) {
	if d.fail != nil {
		return -1, d.fail
	}
	n := -1
	if len(d.room) > 0 {
		n, d.room = d.room[0], d.room[1:]
	}
	if n < 0 {
		return -1, syscall.EAGAIN
	}
	d.got = append(d.got, b[:n]...)
	return n, nil
}

func (d *driver) Read(b []byte) (int, error) {
	if len(d.give) == 0 {
		return 0, nil // as a port does whose adapter was pulled
	}
	err := d.give[0]
	d.give = d.give[1:]
	if err != nil {
		return -1, err
	}
	b[0] = 'x'
	return 1, nil
}

// TestFullPort: a driver that takes a part, or nothing for a while, gets the rest
// later; one that takes nothing for ever ends in a timeout.
func TestFullPort(t *testing.T) {
	d := &driver{room: []int{3, -1, -1, 2, 3}}
	p := &port{lib: d, release: func() {}}
	p.SetWriteDeadline(time.Now().Add(time.Minute))
	if n, err := p.Write([]byte("12345678")); n != 8 || err != nil || string(d.got) != "12345678" {
		t.Errorf("%d %v %q", n, err, d.got)
	}
	p.SetWriteDeadline(time.Now())
	if n, err := p.Write([]byte("12345678")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d %v", n, err)
	}
	d.fail = syscall.EIO
	if n, err := p.Write([]byte("12345678")); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Errorf("%d %v", n, err)
	}
}

// TestPortReads: waiting goes on over what is no error, and ends when the port
// has gone.
func TestPortReads(t *testing.T) {
	b := make([]byte, 8)
	for _, tt := range []struct {
		give []error
		n    int
		err  error
	}{
		{[]error{nil}, 1, nil},
		{[]error{serial.ErrTimeout, syscall.EAGAIN, syscall.EINTR, serial.ErrTimeout, nil}, 1, nil},
		{[]error{serial.ErrTimeout, syscall.EIO}, 0, syscall.EIO},
		{nil, 0, io.EOF},
	} {
		p := &port{lib: &driver{give: tt.give}, release: func() {}}
		if n, err := p.Read(b); n != tt.n || !errors.Is(err, tt.err) {
			t.Errorf("%v: %d %v, want %d %v", tt.give, n, err, tt.n, tt.err)
		}
	}
}
