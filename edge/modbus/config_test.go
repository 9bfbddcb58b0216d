package modbus

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestEstimate(t *testing.T) {
	ms := func(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
	for _, tt := range []struct {
		config Config
		count  uint16
		bytes  int
		time   time.Duration
	}{
		{Config{Endpoint: "tcp://h:502"}, 125, 12 + 259, ms(20)},
		{Config{Endpoint: "tcp://h:502", Gap: ms(50)}, 2, 12 + 13, ms(70)},
		{Config{Endpoint: "rtu:///dev/x"}, 10, 8 + 25, ms(33*10/9.6 + 20 + 35/9.6)},
		{Config{Endpoint: "rtu:///dev/x?baud=19200&parity=even"}, 10, 8 + 25, ms(33*11/19.2 + 20 + 3.5*11/19.2)},
		{Config{Endpoint: "rtu:///dev/x?baud=115200", Gap: ms(50), Units: map[uint8]Unit{1: {Gap: ms(5)}}}, 10, 8 + 25, ms(33*10/115.2 + 20 + 5)},
		{Config{Endpoint: "rtutcp://h:1?baud=115200"}, 10, 8 + 25, ms(33*10/115.2 + 20 + 1.75)},
		{Config{Endpoint: "h:502"}, 10, 0, 0},
	} {
		got := tt.config.Estimate(Request{1, 3, 0, tt.count})[0]
		if got.Bytes != tt.bytes || (got.Time-tt.time).Abs() > time.Microsecond {
			t.Errorf("%+v: %+v, want %d in %v", tt.config, got, tt.bytes, tt.time)
		}
	}
}

// TestEstimateIsKept: blocks of one length cost on an RTU line what was said, with
// what keeps their answers apart.
func TestEstimateIsKept(t *testing.T) {
	for name, u := range map[string]Unit{"any length": {}, "exact": {Exact: true}, "a limit": {Most: 5}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := Config{Endpoint: "rtu:///dev/tty", Units: map[uint8]Unit{1: u}}
				s := &slave{answer: func(s *slave, q question) {
					s.say(nine600.wire(rtuRequest+rtuAnswer(q.count))+turnaround, words(q))
				}}
				b := rtuBus(c, s, schemeRTU)
				defer b.Close()
				var requests []Request
				for i := range uint16(4) {
					requests = append(requests, Request{1, 3, 100 * i, 4})
				}
				bytes, want := 0, time.Duration(0)
				for _, e := range c.Estimate(requests...) {
					bytes, want = bytes+e.Bytes, want+e.Time
				}
				start, sent := time.Now(), 0
				for _, r := range requests {
					if err := ask(t, b, 1, r.Address, r.Count); err != nil {
						t.Error(err)
					}
				}
				for _, n := range s.counts() {
					sent += rtuRequest + rtuAnswer(n)
				}
				took := time.Since(start) + nine600.silence() // the last is not waited for
				if sent != bytes || (took-want).Abs() > 20*time.Millisecond {
					t.Errorf("%d bytes in %v; %d in %v were estimated", sent, took, bytes, want)
				}
			})
		})
	}
}

func TestBridge(t *testing.T) {
	for endpoint, want := range map[string]uint16{
		"tcp://h:502": 20, "rtu:///dev/x?baud=1200": 10, "rtu:///dev/x": 10, "rtu:///dev/x?baud=19200": 10,
		"rtu:///dev/x?baud=38400": 15, "rtu:///dev/x?baud=115200": 32, "rtutcp://h:1": 20, "rtutcp://h:1?baud=1200": 11,
	} {
		if n, err := Bridge(endpoint); n != want || err != nil {
			t.Errorf("%s: %d %v, want %d", endpoint, n, err, want)
		}
	}
	if _, err := Bridge("com1"); err == nil {
		t.Error("com1 was taken")
	}
}
