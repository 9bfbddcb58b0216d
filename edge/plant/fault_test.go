package plant

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// heard is what came over a pipe in answer to something: bytes, and how long
// after the request the last of them came.
type heard struct {
	bytes []byte
	after time.Duration
	ended bool // the connection was closed
}

// rig is a server's end of a pipe in a bubble of false time, and the client's.
type rig struct {
	t      *testing.T
	s      *Server
	client net.Conn
	stop   context.CancelFunc
	ended  chan struct{}
}

func newRig(t *testing.T, f framing, online bool, units map[uint8]Unit) *rig {
	r := &rig{t: t, s: &Server{units: units, framing: f}}
	r.connect(online)
	return r
}

// connect makes a new connection to the same server.
func (r *rig) connect(online bool) {
	server, client := net.Pipe()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer server.Close()
		defer context.AfterFunc(ctx, func() { server.Close() })()
		r.s.converse(ctx, server, online)
	}()
	r.client, r.stop, r.ended = client, stop, ended
}

func (r *rig) close() {
	r.stop()
	r.client.Close()
	<-r.ended
}

// ask sends bytes and listens for a second.
func (r *rig) ask(adu []byte) heard {
	r.t.Helper()
	begin := time.Now()
	if _, err := r.client.Write(adu); err != nil {
		return heard{ended: true}
	}
	var h heard
	buf := make([]byte, 600)
	r.client.SetReadDeadline(begin.Add(time.Second))
	for {
		n, err := r.client.Read(buf)
		if n > 0 {
			h.bytes, h.after = append(h.bytes, buf[:n]...), time.Since(begin)
		}
		if err != nil {
			h.ended = errors.Is(err, io.EOF)
			if !h.ended && !errors.Is(err, os.ErrDeadlineExceeded) {
				r.t.Fatal(err)
			}
			return h
		}
	}
}

// question is a request for registers 10 and 11 of unit 1 in a framing.
func question(f framing) []byte {
	q := frame{0x0102, 1, request(3, 10, 2)}
	if f == framingRTU {
		return q.encodeRTU()
	}
	return q.encode()
}

// TestFaultsInBytes: each fault that befalls an answer, to the byte and to the
// millisecond, on a connection of Modbus TCP, one of RTU, and a serial line.
func TestFaultsInBytes(t *testing.T) {
	tcp := []byte{1, 2, 0, 0, 0, 7, 1, 3, 4, 0, 10, 0, 11}
	rtu := frame{unit: 1, pdu: []byte{3, 4, 0, 10, 0, 11}}.encodeRTU()
	crc := func(b ...byte) []byte { return frame{unit: b[0], pdu: b[1:]}.encodeRTU() }
	for _, tt := range []struct {
		fault          string
		tcp, net, line heard
	}{
		{"late 300ms", heard{tcp, 300 * time.Millisecond, false}, heard{rtu, 300 * time.Millisecond, false}, heard{rtu, 300 * time.Millisecond, false}},
		{"slow 200ms", heard{tcp, 200 * time.Millisecond, false}, heard{rtu, 200 * time.Millisecond, false}, heard{rtu, 200 * time.Millisecond, false}},
		{"silence", heard{}, heard{}, heard{}},
		{"half-open", heard{}, heard{}, heard{}},
		{"drop", heard{ended: true}, heard{ended: true}, heard{}},
		{"split 40ms", heard{tcp, 80 * time.Millisecond, false}, heard{rtu, 80 * time.Millisecond, false}, heard{rtu, 80 * time.Millisecond, false}},
		{"short", heard{bytes: tcp[:6]}, heard{bytes: rtu[:4]}, heard{bytes: rtu[:4]}},
		{"fewer", heard{bytes: []byte{1, 2, 0, 0, 0, 5, 1, 3, 2, 0, 10}}, heard{bytes: crc(1, 3, 2, 0, 10)}, heard{bytes: crc(1, 3, 2, 0, 10)}},
		{"wrong-transaction", heard{bytes: []byte{1, 3, 0, 0, 0, 7, 1, 3, 4, 0, 10, 0, 11}}, heard{bytes: rtu}, heard{bytes: rtu}},
		{"wrong-unit", heard{bytes: []byte{1, 2, 0, 0, 0, 7, 2, 3, 4, 0, 10, 0, 11}}, heard{bytes: crc(2, 3, 4, 0, 10, 0, 11)}, heard{bytes: crc(2, 3, 4, 0, 10, 0, 11)}},
		{"exception-2", heard{bytes: []byte{1, 2, 0, 0, 0, 3, 1, 0x83, 2}}, heard{bytes: crc(1, 0x83, 2)}, heard{bytes: crc(1, 0x83, 2)}},
		{"busy", heard{bytes: []byte{1, 2, 0, 0, 0, 3, 1, 0x83, 6}}, heard{bytes: crc(1, 0x83, 6)}, heard{bytes: crc(1, 0x83, 6)}},
		{"crc", heard{bytes: []byte{1, 2, 0, 1, 0, 7, 1, 3, 4, 0, 10, 0, 11}}, heard{bytes: append(rtu[:8:8], rtu[8]^0x55)}, heard{bytes: append(rtu[:8:8], rtu[8]^0x55)}},
		{"restart", heard{ended: true}, heard{ended: true}, heard{}},
	} {
		for i, want := range []heard{tt.tcp, tt.net, tt.line} {
			synctest.Test(t, func(t *testing.T) {
				f, online := []framing{framingTCP, framingRTU, framingRTU}[i], i < 2
				u := NewFaulty(counting{}, 1)
				r := newRig(t, f, online, map[uint8]Unit{1: u, 2: registers{}})
				defer func() { r.close() }()
				time.Sleep(time.Millisecond) // so that the connection is older than the fault
				inject(t, u, tt.fault)
				got := r.ask(question(f))
				if !bytes.Equal(got.bytes, want.bytes) || got.after != want.after || got.ended != want.ended {
					t.Errorf("%s, way %d: heard % x after %v, ended %v; want % x after %v, ended %v",
						tt.fault, i, got.bytes, got.after, got.ended, want.bytes, want.after, want.ended)
				}
				// After the fault the unit answers as before, on a new connection
				// where the old one was spoilt.
				if u.Clear() != 1 {
					t.Errorf("%s: was not there to be cleared", tt.fault)
				}
				if got.ended || tt.fault == "half-open" && online {
					r.close()
					r.connect(online)
				}
				if got, want := r.ask(question(f)), [][]byte{tcp, rtu, rtu}[i]; !bytes.Equal(got.bytes, want) {
					t.Errorf("%s, way %d: after it % x, want % x", tt.fault, i, got.bytes, want)
				}
			})
		}
	}
}

// counting is a unit with registers that hold their address, one of them a
// counter, so that every fault can be injected.
type counting struct{ registers }

func (counting) Points() []Point {
	return []Point{{Function: readHolding, Address: 10, Words: 1, Type: "uint16", ScaleAt: NoScale, Counter: true}}
}

func inject(t *testing.T, u *Faulty, text string) {
	t.Helper()
	_, f, err := ParseFault("x " + text)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Inject(f); err != nil {
		t.Fatal(err)
	}
}

// TestLateAnswerComesAmongOthers: while an answer is late the other unit of the
// connection is asked and answers; then the late one comes, with its own ids.
func TestLateAnswerComesAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := NewFaulty(registers{}, 1)
		r := newRig(t, framingTCP, true, map[uint8]Unit{1: u, 2: registers{}})
		defer r.close()
		inject(t, u, "late 500ms times 1")
		r.client.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		go r.client.Write(frame{7, 1, request(3, 10, 1)}.encode())
		if n, err := r.client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes within 100ms, %v", n, err)
		}
		got := r.ask(frame{8, 2, request(3, 11, 1)}.encode())
		want := append(frame{8, 2, []byte{3, 2, 0, 11}}.encode(), frame{7, 1, []byte{3, 2, 0, 10}}.encode()...)
		if !bytes.Equal(got.bytes, want) || got.after != 400*time.Millisecond {
			t.Errorf("heard % x after %v, want % x after 400ms", got.bytes, got.after, want)
		}
		if got := r.ask(frame{9, 1, request(3, 10, 1)}.encode()); got.after != 0 || len(got.bytes) != 11 {
			t.Errorf("the next answer came after %v, want at once: times 1", got.after)
		}
	})
}

// TestLateAnswerFindsTheNextConnection: a converter gives what comes from its
// line to whoever is connected then; Modbus TCP answers die with their connection.
func TestLateAnswerFindsTheNextConnection(t *testing.T) {
	for _, f := range []framing{framingTCP, framingRTU} {
		synctest.Test(t, func(t *testing.T) {
			u := NewFaulty(registers{}, 1)
			r := newRig(t, f, true, map[uint8]Unit{1: u, 2: registers{}})
			inject(t, u, "late 500ms times 1")
			r.client.Write(question(f))
			r.client.Close()
			stop, ended := r.stop, r.ended
			r.connect(true)
			defer func() { stop(); <-ended; r.close() }()
			next, answer := frame{8, 2, request(3, 11, 1)}, frame{8, 2, []byte{3, 2, 0, 11}}
			ask, want := next.encode(), answer.encode()
			if f == framingRTU {
				ask, want = next.encodeRTU(), append(answer.encodeRTU(), frame{unit: 1, pdu: []byte{3, 4, 0, 10, 0, 11}}.encodeRTU()...)
			}
			if got := r.ask(ask); !bytes.Equal(got.bytes, want) {
				t.Errorf("framing %d: the next connection heard % x, want % x", f, got.bytes, want)
			}
		})
	}
}

// TestSlowHoldsUpOthers: behind one endpoint a slow unit lets all wait.
func TestSlowHoldsUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := NewFaulty(registers{}, 1)
		r := newRig(t, framingTCP, true, map[uint8]Unit{1: u, 2: registers{}})
		defer r.close()
		inject(t, u, "slow 300ms")
		both := append(frame{1, 1, request(3, 10, 1)}.encode(), frame{2, 2, request(3, 11, 1)}.encode()...)
		got := r.ask(both)
		want := append(frame{1, 1, []byte{3, 2, 0, 10}}.encode(), frame{2, 2, []byte{3, 2, 0, 11}}.encode()...)
		if !bytes.Equal(got.bytes, want) || got.after != 300*time.Millisecond {
			t.Errorf("heard % x after %v, want % x after 300ms", got.bytes, got.after, want)
		}
	})
}

// TestHalfOpenIsOfTheConnection: a connection that was open when it began
// answers nobody any more, the neighbour included; one made later does, while
// the fault is still on.
func TestHalfOpenIsOfTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := NewFaulty(registers{}, 1)
		r := newRig(t, framingTCP, true, map[uint8]Unit{1: u, 2: registers{}})
		defer func() { r.close() }()
		time.Sleep(time.Millisecond)
		inject(t, u, "half-open for 1m")
		for _, unit := range []uint8{1, 2, 1} {
			if got := r.ask(frame{1, unit, request(3, 10, 1)}.encode()); len(got.bytes) > 0 || got.ended {
				t.Errorf("unit %d: heard % x, ended %v; want nothing and an open connection", unit, got.bytes, got.ended)
			}
		}
		r.close()
		r.connect(true)
		if got := r.ask(frame{1, 1, request(3, 10, 1)}.encode()); len(got.bytes) != 11 {
			t.Errorf("a new connection heard % x", got.bytes)
		}
	})
}

// TestGarbageIsSeeded: the same seed is the same bytes, another is others, and
// the same fault goes on with others.
func TestGarbageIsSeeded(t *testing.T) {
	hear := func(seed uint64) (out []string) {
		synctest.Test(t, func(t *testing.T) {
			u := NewFaulty(registers{}, seed)
			r := newRig(t, framingRTU, false, map[uint8]Unit{1: u})
			defer r.close()
			inject(t, u, "garbage")
			for range 3 {
				out = append(out, string(r.ask(question(framingRTU)).bytes))
			}
		})
		return out
	}
	a, b, c := hear(1), hear(1), hear(2)
	if strings.Join(a, "|") != strings.Join(b, "|") {
		t.Errorf("seed 1 sent % x and % x", a, b)
	}
	if a[0] == c[0] || a[0] == a[1] || a[0] == "" {
		t.Errorf("random bytes % x and % x", a, c)
	}
}

// TestSchedule: when a fault is on, by after, for, every and times.
func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		fault string
		want  string // x where the request of that second is refused
	}{
		{"busy", "xxxxxxxxxxxxxxxxxxxx"},
		{"busy for 3s", "xxx................."},
		{"busy after 4s for 3s", "....xxx............."},
		{"busy every 10s for 3s", "xxx.......xxx......."},
		{"busy after 2s every 6s for 2s", "..xx....xx....xx...."},
		{"busy times 2", "xx.................."},
		{"busy every 5s times 2", "xx...xx...xx...xx..."},
		{"busy after 18s", "..................xx"},
		{"busy after 1s every 5s for 3s times 1", ".x....x....x....x..."},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := NewFaulty(registers{}, 1)
			r := newRig(t, framingTCP, true, map[uint8]Unit{1: u})
			defer r.close()
			inject(t, u, tt.fault)
			got := ""
			for range len(tt.want) {
				mark := "."
				if h := r.ask(question(framingTCP)); h.bytes[7] == 0x83 { // listens for one second
					mark = "x"
				}
				got += mark
			}
			if got != tt.want {
				t.Errorf("%s: %s, want %s", tt.fault, got, tt.want)
			}
			left, hits := u.Faults()
			if over := strings.Contains(tt.fault, "for 3s") && !strings.Contains(tt.fault, "every"); over && len(left) > 0 {
				t.Errorf("%s: still listed after it is over: %v", tt.fault, left)
			}
			if int(hits) != strings.Count(tt.want, "x") {
				t.Errorf("%s: %d requests hit, want %d", tt.fault, hits, strings.Count(tt.want, "x"))
			}
		})
	}
}

// TestRTUSkipsWhatIsNoRequest: noise before a request, a request with a bad
// checksum and half a request are not answered; what comes after a silence is.
func TestRTUSkipsWhatIsNoRequest(t *testing.T) {
	q := question(framingRTU)
	good := []byte{1, 3, 4, 0, 10, 0, 11}
	for _, tt := range []struct {
		name string
		sent []byte
		want int // answers
	}{
		{"a request", q, 1},
		{"two at once", append(append([]byte(nil), q...), q...), 2},
		{"half a request", q[:4], 0},
		{"bad checksum", append(q[:7:7], q[7]^1), 0},
		{"noise in front", append([]byte{0xFF, 0x03}, q...), 0},
		{"another unit", frame{unit: 9, pdu: request(3, 10, 2)}.encodeRTU(), 0},
		{"a long frame of no known function", frame{unit: 1, pdu: append([]byte{100}, make([]byte, 200)...)}.encodeRTU(), 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, framingRTU, false, map[uint8]Unit{1: registers{}})
			defer r.close()
			h := r.ask(tt.sent)
			if got := bytes.Count(h.bytes, good); got != tt.want {
				t.Errorf("%s: %d answers in % x, want %d", tt.name, got, h.bytes, tt.want)
			}
			if h := r.ask(q); bytes.Count(h.bytes, good) != 1 {
				t.Errorf("%s: the request after a silence heard % x", tt.name, h.bytes)
			}
		})
	}
}

func TestParseFault(t *testing.T) {
	for _, tt := range []struct{ text, target, want string }{
		{"inv-1 late 300ms for 10s", "inv-1", "late 300ms for 10s"},
		{"unit=2 late=300ms every=60s for=5s", "2", "late 300ms for 5s every 1m0s"},
		{"all exception-2 times 3", "all", "exception 2 times 3"},
		{"m exception=6", "m", "exception 6"},
		{"m exception", "m", "exception 4"},
		{"m busy", "m", "busy"},
		{"m late after 1m", "m", "late 300ms after 1m0s"},
		{"m dip 5", "m", "dip 5"},
		{"m rollover", "m", "rollover 10"},
		{"", "", "want a unit and a fault"},
		{"inv-1", "", "want a unit and a fault"},
		{"inv-1 laet 300ms", "", `fault "laet": want one of late, slow`},
		{"inv-1 late 300", "", `late "300": want a time above 0`},
		{"inv-1 late -3s", "", "want a time above 0"},
		{"inv-1 silence 300ms", "", "silence takes no value"},
		{"inv-1 exception-200", "", "want 1 to 127"},
		{"inv-1 exception-300", "", "want a whole number from 1 to 255"},
		{"inv-1 late for", "", `"for" at the end: want a value`},
		{"inv-1 late for 3s for 4s", "", `"for" stands twice`},
		{"inv-1 late until 3s", "", `late "until": want a time`},
		{"inv-1 drop until 3s", "", `drop takes no value`},
		{"inv-1 drop for 2s until 3s", "", `"until": want after, for, every or times`},
		{"inv-1 drop every 3s", "", "say too how long it lasts"},
		{"inv-1 drop every 3s for 3s", "", "is not less than every"},
	} {
		target, f, err := ParseFault(tt.text)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) || tt.target != "" {
				t.Errorf("%q: error %v, want %q", tt.text, err, tt.want)
			}
			continue
		}
		if target != tt.target || f.String() != tt.want {
			t.Errorf("%q: %q %q, want %q %q", tt.text, target, &f, tt.target, tt.want)
		}
		if _, again, err := ParseFault("x " + f.String()); err != nil || again != f {
			t.Errorf("%q does not survive being written: %+v, %v", tt.text, again, err)
		}
	}
}

func FuzzParseFault(f *testing.F) {
	f.Add("unit=2 late=300ms every=60s for=5s")
	f.Add("inv-1 exception-4 after 1m times 3")
	f.Fuzz(func(t *testing.T, text string) {
		_, fault, err := ParseFault(text)
		if err != nil {
			return
		}
		if _, again, err := ParseFault("x " + fault.String()); err != nil || again != fault {
			t.Errorf("%q became %q: %+v, %v", text, &fault, again, err)
		}
	})
}

func FuzzRTURequest(f *testing.F) {
	f.Add(question(framingRTU))
	f.Add([]byte{1, 43, 14, 1, 0, 0x70, 0x77})
	f.Add(bytes.Repeat([]byte{1, 16, 0, 0, 0, 1}, 60))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := rtuReader{port: &bytesPort{in: b}, gap: time.Millisecond}
		for {
			req, err := r.read()
			if err != nil {
				return
			}
			if !bytes.Contains(b, req.encodeRTU()) {
				t.Fatalf("% x is not in % x", req.encodeRTU(), b)
			}
		}
	})
}

// bytesPort gives its bytes one by one, then a silence, then its end.
type bytesPort struct {
	in     []byte
	silent bool
}

func (p *bytesPort) Read(b []byte) (int, error) {
	switch {
	case len(p.in) > 0 && len(b) > 0:
		n := copy(b[:1], p.in)
		p.in = p.in[n:]
		return n, nil
	case !p.silent:
		p.silent = true
		return 0, os.ErrDeadlineExceeded
	}
	return 0, io.EOF
}

func (p *bytesPort) Write(b []byte) (int, error)      { return len(b), nil }
func (p *bytesPort) Close() error                     { return nil }
func (p *bytesPort) SetReadDeadline(time.Time) error  { return nil }
func (p *bytesPort) SetWriteDeadline(time.Time) error { return nil }
