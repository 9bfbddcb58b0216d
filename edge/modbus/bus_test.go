package modbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kenshin/edge/modbus"
)

// short is a timeout that ends a test soon, for answers that never come; long is
// one no test should wait for. Unit hasty of a bus that hurry opens has the short one.
const (
	short = 200 * time.Millisecond
	long  = 20 * time.Second
	hasty = 7
)

// TestFaults polls through each of the faults on which Go libraries were found
// to read on wrongly or never again. A dot is a right answer, x an error; a wrong
// value would fail the test.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name    string
		polls   int
		asked   int // requests that reached the server
		script  func() func(net.Conn, request) bool
		between func(s *server, poll int) // before a poll
		want    string
	}{
		{"one answer late", 10, 10, lateAnswer, nil, "..x......."},
		{"closes instead of answering", 10, 11, func() func(net.Conn, request) bool {
			return func(c net.Conn, r request) bool { return r.nr != 3 && right(c, r) }
		}, nil, ".........."},
		{"restarts between polls", 10, 10, func() func(net.Conn, request) bool { return right }, func(s *server, poll int) {
			if poll == 3 || poll == 7 {
				s.stop()
				s.start(t)
			}
		}, ".........."},
		{"half-open: the old connection stays and never answers, a new one would", 12, 12, func() func(net.Conn, request) bool {
			return func(c net.Conn, r request) bool { return r.connection == 1 && r.nr > 2 || right(c, r) }
		}, nil, "..x........."},
		{"hangs up after every answer", 10, 10, func() func(net.Conn, request) bool {
			return func(c net.Conn, r request) bool { right(c, r); return false }
		}, nil, ".........."},
		{"resets after every answer", 10, 10, func() func(net.Conn, request) bool {
			return func(c net.Conn, r request) bool {
				right(c, r)
				c.(*net.TCPConn).SetLinger(0)
				return false
			}
		}, nil, ".........."},
		{"always hangs up: a new connection is not tried twice", 3, 3, func() func(net.Conn, request) bool {
			return func(net.Conn, request) bool { return false }
		}, nil, "xxx"},
		{"answers twice: the second answer is no answer to the next request", 4, 4, func() func(net.Conn, request) bool {
			return func(c net.Conn, r request) bool {
				if r.nr == 2 {
					c.Write(append(r.answer(), r.answer()...))
					return true
				}
				return right(c, r)
			}
		}, nil, ".x.."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.script())
			b := hurry(t, s)
			var got strings.Builder
			for poll := 1; poll <= tt.polls; poll++ {
				if tt.between != nil {
					tt.between(s, poll)
				}
				address, unit := uint16(1000*poll), uint8(1)
				if tt.want[poll-1] == 'x' {
					unit = hasty
				}
				words, err := b.Read(t.Context(), unit, 3, address, 8)
				if err != nil {
					got.WriteByte('x')
					continue
				}
				holds(t, words, address, 8)
				got.WriteByte('.')
			}
			if got.String() != tt.want {
				t.Errorf("polls %s, want %s", got.String(), tt.want)
			}
			if requests, _ := s.seen(); len(requests) != tt.asked {
				t.Errorf("%d requests reached the server, want %d", len(requests), tt.asked)
			}
		})
	}
}

// lateAnswer keeps back the third answer until the client's next move on that
// connection, so that a client which goes on with it reads the old answer.
func lateAnswer() func(net.Conn, request) bool {
	var late []byte
	return func(c net.Conn, r request) bool {
		if r.nr == 3 {
			late = r.answer()
			return true
		}
		if r.connection == 1 && late != nil {
			c.Write(late)
			late = nil
		}
		return right(c, r)
	}
}

// TestMalformed: what is not an answer to the request is an error, and costs the
// connection; the next request is answered on a new one.
func TestMalformed(t *testing.T) {
	change := func(at int, value byte) func(request) []byte {
		return func(r request) []byte { a := r.answer(); a[at] = value; return a }
	}
	for _, tt := range []struct {
		name   string
		answer func(request) []byte
		want   error
	}{
		{"wrong transaction", func(r request) []byte { a := r.answer(); a[1]++; return a }, modbus.ErrMalformed},
		{"wrong protocol", change(3, 1), modbus.ErrMalformed},
		{"wrong unit", change(6, 2), modbus.ErrMalformed},
		{"the other function", change(7, 4), modbus.ErrMalformed},
		{"exception to the other function", func(r request) []byte { return r.frame([]byte{0x84, 2}) }, modbus.ErrMalformed},
		{"exception without a code", func(r request) []byte { return r.frame([]byte{0x83}) }, modbus.ErrMalformed},
		{"exception 0", func(r request) []byte { return r.exception(0) }, modbus.ErrMalformed},
		{"byte count too small", change(8, 6), modbus.ErrMalformed},
		{"byte count too large", change(8, 10), modbus.ErrMalformed},
		{"one register less", func(r request) []byte { return r.frame([]byte{3, 6, 0, 1, 0, 2, 0, 3}) }, modbus.ErrMalformed},
		{"one register more", func(r request) []byte { return r.frame([]byte{3, 10, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5}) }, modbus.ErrMalformed},
		{"half a register", func(r request) []byte { return r.frame([]byte{3, 7, 0, 1, 0, 2, 0, 3, 0}) }, modbus.ErrMalformed},
		{"no function", func(r request) []byte { return r.frame(nil) }, modbus.ErrMalformed},
		{"no byte count", func(r request) []byte { return r.frame([]byte{3}) }, modbus.ErrMalformed},
		{"length beyond a frame", change(4, 1), modbus.ErrMalformed},
		{"bytes behind the frame", func(r request) []byte { return append(r.answer(), 0) }, modbus.ErrMalformed},
		{"garbage", func(request) []byte { return bytes.Repeat([]byte{0xAA}, 300) }, modbus.ErrMalformed},
		{"cut and silent", func(r request) []byte { return r.answer()[:12] }, modbus.ErrTimeout},
		{"nothing", func(request) []byte { return nil }, modbus.ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func(c net.Conn, r request) bool {
				if r.nr > 1 {
					return right(c, r)
				}
				c.Write(tt.answer(r))
				return true
			})
			b := hurry(t, s)
			unit := uint8(1)
			if tt.want == modbus.ErrTimeout {
				unit = hasty
			}
			if words, err := b.Read(t.Context(), unit, 3, 100, 4); !errors.Is(err, tt.want) {
				t.Errorf("Read = %d, %v; want %v", words, err, tt.want)
			} else if !strings.Contains(err.Error(), fmt.Sprintf("unit %d function 3 registers 100+4", unit)) || !strings.Contains(err.Error(), s.addr) {
				t.Errorf("error %q does not say what was asked of whom", err)
			}
			words, err := b.Read(t.Context(), 1, 3, 200, 4)
			if err != nil {
				t.Fatal(err)
			}
			holds(t, words, 200, 4)
			if _, n := s.seen(); n != 2 {
				t.Errorf("%d connections, want a second one", n)
			}
		})
	}
}

func TestCutAndClosed(t *testing.T) {
	s := serve(t, func(c net.Conn, r request) bool {
		if r.nr > 2 {
			return right(c, r)
		}
		if r.nr == 2 {
			c.Write(r.answer()[:9])
			return false
		}
		return right(c, r)
	})
	b := dial(t, s, long)
	if _, err := b.Read(t.Context(), 1, 3, 0, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(t.Context(), 1, 3, 0, 4); !errors.Is(err, modbus.ErrUnreachable) {
		t.Errorf("an answer that ends in the middle: %v, want %v", err, modbus.ErrUnreachable)
	}
	if requests, _ := s.seen(); len(requests) != 2 {
		t.Errorf("%d requests; one that was answered in part must not be sent again", len(requests))
	}
	if _, err := b.Read(t.Context(), 1, 3, 0, 4); err != nil {
		t.Error(err)
	}
}

// TestPieces: an answer may come in any pieces, on one connection.
func TestPieces(t *testing.T) {
	for _, size := range []int{1, 2, 6, 7, 8, 100} {
		s := serve(t, func(c net.Conn, r request) bool {
			for piece := range slices.Chunk(r.answer(), size) {
				if _, err := c.Write(piece); err != nil {
					return false
				}
			}
			return true
		})
		b := dial(t, s, long)
		for _, count := range []uint16{1, 2, 125} {
			words, err := b.Read(t.Context(), 1, 4, 65535-124, count)
			if err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			holds(t, words, 65535-124, count)
		}
		if _, n := s.seen(); n != 1 {
			t.Errorf("pieces of %d: %d connections, want one", size, n)
		}
	}
}

func TestException(t *testing.T) {
	s := serve(t, func(c net.Conn, r request) bool {
		_, err := c.Write(r.exception(byte(r.address())))
		return err == nil
	})
	b := dial(t, s, long)
	for code, name := range map[uint8]string{1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "server device failure",
		5: "acknowledge", 6: "server device busy", 8: "memory parity error", 10: "gateway path unavailable", 11: "gateway target device failed to respond", 99: "unknown"} {
		for _, function := range []uint8{3, 4} {
			_, err := b.Read(t.Context(), 1, function, uint16(code), 2)
			var e *modbus.ExceptionError
			if !errors.As(err, &e) || e.Code != code || e.Exception() != code || e.Function != function || !strings.Contains(err.Error(), name) {
				t.Errorf("function %d exception %d: %v", function, code, err)
			}
		}
	}
	if _, n := s.seen(); n != 1 {
		t.Errorf("%d connections; an exception is an answer and keeps the connection", n)
	}
}

func TestRange(t *testing.T) {
	s := serve(t, right)
	b := dial(t, s, long)
	for _, tt := range []struct {
		address, count uint16
		ok             bool
	}{
		{0, 0, false}, {0, 1, true}, {0, 125, true}, {0, 126, false}, {0, 65535, false},
		{65535, 1, true}, {65535, 2, false}, {65411, 125, true}, {65412, 125, false},
	} {
		if _, err := b.Read(t.Context(), 1, 3, tt.address, tt.count); (err == nil) != tt.ok {
			t.Errorf("registers %d+%d: %v", tt.address, tt.count, err)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for _, tt := range []struct{ endpoint, wrong string }{ // wrong: what the error names, "" for none
		{"tcp://127.0.0.1:502", ""}, {"tcp://meter.example:1502", ""}, {"tcp://[::1]:502", ""},
		{"", "want tcp://host:port"}, {"127.0.0.1:502", "want tcp://host:port"}, {"tcp://127.0.0.1", "port"}, {"tcp://:502", "host"},
		{"tcp://h:99999", "port"}, {"tcp://h:502/x", "more than is read"}, {"tcp://u@h:502", "more than is read"},
		{"tcp://h:502?x", "more than is read"}, {"tcp://h:502?baud=9600", "more than is read"}, {"tcp://h:502#x", "more than is read"},
		{"udp://h:502", "want tcp://host:port"}, {"TCP://h:502", "more than is read"},
		{"rtutcp://127.0.0.1:4001", ""}, {"rtutcp://h:4001?baud=19200&parity=even", ""}, {"rtutcp://h", "port"}, {"rtutcp://h:1/x", "more than is read"},
		{"rtu:///dev/ttyUSB0", ""}, {"rtu:///dev/serial/by-id/usb-FTDI?baud=115200&parity=odd&stop=2&data=8", ""},
		{"rtu://dev/ttyUSB0", "three slashes"}, {"rtu:///", "three slashes"}, {"rtu:/dev/ttyUSB0", "more than is read"}, {"rtu:///dev/ttyUSB0#x", "more than is read"},
		{"rtu:///dev/ttyUSB0?baud=9601", "one of [300"}, {"rtu:///dev/ttyUSB0?baud=", "one of [300"}, {"rtu:///dev/ttyUSB0?parity=E", "none, even or odd"},
		{"rtu:///dev/ttyUSB0?stop=3", "1 or 2"}, {"rtu:///dev/ttyUSB0?data=7", "8, since"}, {"rtu:///dev/ttyUSB0?speed=9600", "none of baud"},
		{"rtu:///dev/ttyUSB0?baud=9600&baud=9600", "once"}, {"rtu:///dev/ttyUSB0?baud=96%zz", "more than is read"},
	} {
		b, err := modbus.New(modbus.Config{Endpoint: tt.endpoint})
		_, bridge := modbus.Bridge(tt.endpoint)
		if (err == nil) != (tt.wrong == "") || (bridge == nil) != (err == nil) {
			t.Errorf("%q: New %v, Bridge %v", tt.endpoint, err, bridge)
		}
		if err != nil && (!strings.Contains(err.Error(), fmt.Sprintf("%q", tt.endpoint)) || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%q: error %q does not say %q", tt.endpoint, err, tt.wrong)
		}
		if b != nil {
			b.Close()
		}
	}
	for _, c := range []modbus.Config{{Timeout: -1}, {ConnectTimeout: -1}, {ConnectDelay: -1}, {Gap: -1}, {SwitchGap: -1},
		{Units: map[uint8]modbus.Unit{7: {Timeout: -1}}}, {Units: map[uint8]modbus.Unit{7: {Gap: -1}}}} {
		c.Endpoint = "tcp://127.0.0.1:502"
		if _, err := modbus.New(c); err == nil || !strings.Contains(err.Error(), "negative") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestConcurrent: many readers share one connection and each gets its own words.
func TestConcurrent(t *testing.T) {
	s := serve(t, right)
	b := dial(t, s, long)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 50 {
				address, count := uint16(1000*g+i), uint16(1+(g+i)%125)
				words, err := b.Read(t.Context(), uint8(g), uint8(3+i%2), address, count)
				if err != nil {
					t.Error(err)
					return
				}
				holds(t, words, address, count)
			}
		})
	}
	wg.Wait()
	if requests, n := s.seen(); n != 1 || len(requests) != 16*50 {
		t.Errorf("%d requests on %d connections, want 800 on one", len(requests), n)
	}
}

// TestCancel ends the context while the device is thinking, and while the caller
// waits for the bus.
func TestCancel(t *testing.T) {
	asked := make(chan struct{}, 1)
	s := serve(t, func(c net.Conn, r request) bool {
		if r.connection > 1 {
			return right(c, r)
		}
		asked <- struct{}{}
		return true // and never an answer
	})
	b := dial(t, s, long)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := b.Read(ctx, 1, 3, 0, 1); first <- err }()
	<-asked
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := b.Read(ended, 1, 3, 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller in the queue whose context ended: %v", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("a request whose context ended: %v", err)
	}
	words, err := b.Read(t.Context(), 1, 3, 7, 1)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, words, 7, 1)
}

// TestClose ends a request under way and one in the queue.
func TestClose(t *testing.T) {
	asked := make(chan struct{}, 1)
	s := serve(t, func(net.Conn, request) bool { asked <- struct{}{}; return true })
	b := dial(t, s, long)
	errs := make(chan error, 2)
	for range 2 {
		go func() { _, err := b.Read(t.Context(), 1, 3, 0, 1); errs <- err }()
	}
	<-asked
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read = %v, want %v", err, net.ErrClosed)
		}
	}
	if _, err := b.Read(t.Context(), 1, 3, 0, 1); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close = %v, want %v", err, net.ErrClosed)
	}
}
