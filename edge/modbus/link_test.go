package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// device is an endpoint without a network: its connections are pipes, and time
// is the test's.
type device struct {
	release chan struct{} // when not nil a request waits for it

	mu     sync.Mutex              // guards the rest
	refuse error                   // a dial fails with it
	hang   bool                    // a dial takes for ever
	answer func(adu []byte) []byte // nil bytes for none
	dials  []time.Time             // when it was dialled
	asked  []time.Time             // when a request arrived
	units  []byte                  // of the requests
}

func (d *device) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *device) dial(ctx context.Context) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dials = append(d.dials, time.Now())
	if d.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if d.refuse != nil {
		return nil, d.refuse
	}
	near, far := net.Pipe()
	go d.converse(far)
	return near, nil
}

func (d *device) converse(conn net.Conn) {
	defer conn.Close()
	for {
		adu := make([]byte, 12)
		if _, err := io.ReadFull(conn, adu); err != nil {
			return
		}
		var answer []byte
		d.set(func() {
			d.asked, d.units = append(d.asked, time.Now()), append(d.units, adu[6])
			answer = d.answer(adu)
		})
		if d.release != nil {
			<-d.release
		}
		if answer != nil {
			conn.Write(answer)
		}
	}
}

func silent([]byte) []byte { return nil }

// zeros answers with registers that hold 0.
func zeros(adu []byte) []byte {
	n := 2 * int(adu[11])
	a := append(slices.Clone(adu[:8]), byte(n))
	binary.BigEndian.PutUint16(a[4:], uint16(3+n))
	return append(a, make([]byte, n)...)
}

// bus returns one with the defaults New gives, but for what c says.
func bus(t *testing.T, c Config, d *device) *Bus {
	t.Helper()
	c.Endpoint = "tcp://device:502"
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.link.(*tcp).dial = d.dial
	return b
}

func read(b *Bus, unit uint8) error {
	_, err := b.Read(context.Background(), unit, 3, 0, 2)
	return err
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("connection refused")
		d := &device{refuse: refused, answer: zeros}
		b := bus(t, Config{}, d)
		defer b.Close()
		start := time.Now()
		for time.Since(start) < 10*time.Minute { // polled every 100 ms
			if err := read(b, 1); !errors.Is(err, ErrUnreachable) || !errors.Is(err, refused) {
				t.Fatalf("Read = %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(start); took > 10*time.Minute+100*time.Millisecond {
			t.Errorf("a dead endpoint cost %v", took-10*time.Minute)
		}
		want := firstRetry
		for i, at := range d.dials[1:] {
			wait := at.Sub(d.dials[i])
			if wait < want*3/4 || wait > want+100*time.Millisecond {
				t.Errorf("attempt %d came %v after the one before, want %v to %v", i+2, wait, want*3/4, want)
			}
			want = min(2*want, lastRetry)
		}
		if n := len(d.dials); n < 12 || n > 20 {
			t.Errorf("%d attempts in ten minutes", n)
		}

		// It comes back: found at the next attempt, and after the next failure
		// the waits begin at one second again.
		d.set(func() { d.refuse = nil })
		time.Sleep(lastRetry)
		if err := read(b, 1); err != nil {
			t.Fatal(err)
		}
		d.set(func() { d.refuse, d.answer = refused, silent })
		if err := read(b, 1); !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		if err := read(b, 1); !errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
		d.set(func() { d.refuse, d.answer = nil, zeros })
		time.Sleep(firstRetry)
		if err := read(b, 1); err != nil {
			t.Errorf("a device that was away for a moment: %v after %v", err, firstRetry)
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{hang: true}
		b := bus(t, Config{}, d)
		defer b.Close()
		start := time.Now()
		if err := read(b, 1); !errors.Is(err, ErrUnreachable) || time.Since(start) != defaultConnectTimeout {
			t.Errorf("Read = %v after %v, want %v after %v", err, time.Since(start), ErrUnreachable, defaultConnectTimeout)
		}
		if err := read(b, 1); !errors.Is(err, ErrUnreachable) || time.Since(start) != defaultConnectTimeout {
			t.Errorf("Read = %v after %v; the second must not wait again", err, time.Since(start))
		}
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := b.Read(ctx, 1, 3, 0, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that waits less: %v", err)
		}
		d.set(func() { d.hang, d.answer = false, zeros })
		if err := read(b, 1); err != nil {
			t.Errorf("an attempt a caller gave up on counts against the endpoint: %v", err)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, timeout := range []time.Duration{0, 700 * time.Millisecond} {
			b := bus(t, Config{Timeout: timeout}, &device{answer: silent})
			want, start := timeout, time.Now()
			if want == 0 {
				want = defaultTimeout
			}
			if err := read(b, 1); !errors.Is(err, ErrTimeout) || time.Since(start) != want {
				t.Errorf("timeout %v: %v after %v, want %v", timeout, err, time.Since(start), want)
			}
			b.Close()
		}
	})
}

// TestUnits: what is said of a unit goes before what is said of the bus, and a
// request to another unit waits longer.
func TestUnits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gap, change, own, quiet, patience = 10 * time.Millisecond, 40 * time.Millisecond, 90 * time.Millisecond, 200 * time.Millisecond, 5 * time.Second
		d := &device{answer: zeros}
		b := bus(t, Config{Gap: gap, SwitchGap: change, Units: map[uint8]Unit{3: {Gap: own, Timeout: patience}, 4: {SwitchGap: quiet}}}, d)
		defer b.Close()
		start, after := time.Now(), time.Duration(0)
		for _, tt := range []struct {
			unit uint8
			wait time.Duration
		}{{1, 0}, {1, gap}, {2, change}, {2, gap}, {3, own}, {3, own}, {1, change}, {4, quiet}, {4, gap}, {1, change}} {
			if err := read(b, tt.unit); err != nil {
				t.Fatal(err)
			}
			if after += tt.wait; time.Since(start) != after {
				t.Errorf("unit %d after %v, want %v", tt.unit, time.Since(start), after)
			}
		}
		d.set(func() { d.answer = silent })
		for unit, want := range map[uint8]time.Duration{1: defaultTimeout, 3: patience} {
			time.Sleep(time.Minute) // no gap any more
			start = time.Now()
			if err := read(b, unit); !errors.Is(err, ErrTimeout) || time.Since(start) != want {
				t.Errorf("unit %d: %v after %v, want %v", unit, err, time.Since(start), want)
			}
		}
	})
}

// TestPauses: the delay after every connect and the gap between requests, also
// after a request that failed.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay, gap, timeout = 1500 * time.Millisecond, 50 * time.Millisecond, 2 * time.Second
		d := &device{answer: zeros}
		b := bus(t, Config{ConnectDelay: delay, Gap: gap, Timeout: timeout}, d)
		defer b.Close()
		start := time.Now()
		for i := range 4 {
			if i == 2 {
				d.set(func() { d.answer = silent })
			}
			if err := read(b, 1); (err == nil) != (i != 2) {
				t.Fatal(err)
			}
			d.set(func() { d.answer = zeros })
		}
		synctest.Wait() // the device has noted what it was asked
		want := []time.Duration{delay, delay + gap, delay + 2*gap, delay + 2*gap + timeout + delay}
		for i, at := range d.asked {
			if at.Sub(start) != want[i] {
				t.Errorf("request %d after %v, want %v", i+1, at.Sub(start), want[i])
			}
		}
		// A caller that cannot wait for a pause leaves the connection as it is.
		ctx, cancel := context.WithTimeout(context.Background(), gap/2)
		defer cancel()
		if _, err := b.Read(ctx, 1, 3, 0, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read = %v", err)
		}
		if err := read(b, 1); err != nil || len(d.dials) != 2 {
			t.Errorf("Read = %v, %d connections; want 2", err, len(d.dials))
		}
	})
}

// TestOrder: who came first is served first.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{answer: zeros, release: make(chan struct{})}
		b := bus(t, Config{Timeout: time.Hour}, d)
		defer b.Close()
		done := make(chan error)
		var want []byte
		for unit := range uint8(20) {
			go func() { done <- read(b, unit) }()
			synctest.Wait() // it is in the queue now
			want = append(want, unit)
		}
		for range want {
			d.release <- struct{}{}
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if !slices.Equal(d.units, want) {
			t.Errorf("served %v, want %v", d.units, want)
		}
	})
}

// TestCloseWhileDialling returns at once.
func TestCloseWhileDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus(t, Config{}, &device{hang: true})
		start, done := time.Now(), make(chan error)
		go func() { done <- read(b, 1) }()
		synctest.Wait()
		b.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("Read = %v after %v, want %v at once", err, time.Since(start), net.ErrClosed)
		}
	})
}

// oversleeps is a connection of a program that does not run for a while when an
// answer is there.
type oversleeps struct {
	net.Conn
	by time.Duration
}

func (c oversleeps) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	time.Sleep(c.by)
	return n, err
}

// TestOverslept: of an answer that is looked at after the timeout nobody knows
// when it came, so its values have no time and it counts as late.
func TestOverslept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for by, want := range map[time.Duration]error{defaultTimeout: nil, defaultTimeout + 1: ErrTimeout} {
			d := &device{answer: zeros}
			b := bus(t, Config{}, d)
			b.link.(*tcp).dial = func(ctx context.Context) (net.Conn, error) {
				conn, err := d.dial(ctx)
				return oversleeps{conn, by}, err
			}
			if err := read(b, 1); !errors.Is(err, want) {
				t.Errorf("looked at after %v: %v, want %v", by, err, want)
			}
			b.Close()
		}
	})
}
