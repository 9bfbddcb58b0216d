package modbus_test

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"kenshin/edge/modbus"
)

// TestNoPort: a serial port that cannot be opened is named with what to do.
func TestNoPort(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{t.TempDir() + "/tty", "plug in the adapter"},
		{t.TempDir(), "is not a serial port"},
		{"/dev/null", "inappropriate ioctl"},
	} {
		b, err := modbus.New(modbus.Config{Endpoint: "rtu://" + tt.path})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range 2 { // the second attempt is not due yet, and says the same
			if _, err = b.Read(t.Context(), 1, 3, 0, 1); !errors.Is(err, modbus.ErrUnreachable) || !contains(err, tt.want) || !contains(err, tt.path) {
				t.Errorf("%v; want %q", err, tt.want)
			}
		}
	}
}

// TestOneClient: a second client on a line would take answers to the first for its
// own, so it is refused until the first lets go.
func TestOneClient(t *testing.T) {
	p := openPTY(t)
	defer p.unplug()
	read := func(b *modbus.Bus) error { _, err := b.Read(t.Context(), 1, 3, 0, 1); return err }
	open := func() *modbus.Bus {
		b, err := modbus.New(modbus.Config{Endpoint: "rtu://" + p.path, Timeout: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := open()
	if err := read(first); !errors.Is(err, modbus.ErrTimeout) {
		t.Errorf("the first client: %v, want no answer", err)
	}
	second := open()
	if err := read(second); !errors.Is(err, modbus.ErrUnreachable) || !contains(err, "in use by another program") {
		t.Errorf("the second client: %v, want that the port is in use", err)
	}
	second.Close()
	first.Close()
	third := open()
	defer third.Close()
	if err := read(third); !errors.Is(err, modbus.ErrTimeout) {
		t.Errorf("after the first has closed: %v, want no answer", err)
	}
}

// TestManyFiles: the serial library waits with select, which writes past its set
// for descriptors from 1024 on.
func TestManyFiles(t *testing.T) {
	p := openPTY(t)
	defer p.unplug()
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for len(open) == 0 || open[len(open)-1].Fd() < 1000 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Skip(err) // the system allows fewer, so there is no danger either
		}
		open = append(open, f)
	}
	b, err := modbus.New(modbus.Config{Endpoint: "rtu://" + p.path})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err = b.Read(t.Context(), 1, 3, 0, 1); !errors.Is(err, modbus.ErrUnreachable) || !contains(err, "too many files open") {
		t.Error(err)
	}
}

// TestNothingLeft: buses that met every kind of fault leave no goroutine and no
// descriptor behind.
func TestNothingLeft(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	use := func(transport string) {
		r := newRig(t, transport, func(c *call) {
			switch {
			case c.nr%4 == 0 && transport != "rtu":
				c.hangUp()
			case c.nr%4 == 1:
				c.say([]byte("garbage"))
			case c.nr%4 == 2:
				plainly(c)
			}
		})
		b := r.bus(t, modbus.Config{Timeout: 3 * time.Millisecond, CloseAfterPoll: true})
		for i := range 40 {
			b.Read(t.Context(), 1, 3, 0, 2)
			if i%8 == 0 {
				b.Rest()
			}
		}
		b.Close()
		r.stop()
	}
	for _, transport := range transports {
		use(transport) // what is made once is made now
		files, routines := descriptors(), runtime.NumGoroutine()
		for range 3 {
			use(transport)
		}
		for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > routines && time.Now().Before(end); {
			runtime.Gosched() // the last have done all they do, and end
		}
		if n := descriptors(); n > files {
			t.Errorf("%s: %d descriptors before, %d after", transport, files, n)
		}
		if n := runtime.NumGoroutine(); n > routines {
			stacks := make([]byte, 1<<16)
			t.Errorf("%s: %d goroutines before, %d after\n%s", transport, routines, n, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestCloseSerial ends a request although a read of the port cannot be interrupted.
func TestCloseSerial(t *testing.T) {
	asked := make(chan struct{}, 1)
	r := newRig(t, "rtu", func(*call) { asked <- struct{}{} })
	b := r.bus(t, modbus.Config{Timeout: 2 * time.Second})
	done := make(chan error, 1)
	go func() { _, err := b.Read(t.Context(), 1, 3, 0, 1); done <- err }()
	<-asked
	b.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want %v", err, net.ErrClosed)
	}
}
