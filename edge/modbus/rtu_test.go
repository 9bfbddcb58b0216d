package modbus_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"kenshin/edge/modbus"
)

// TestLateAnswer is the fault on which three Go libraries gave values of another
// register for ever: two units of a line polled in turn, two blocks of equal
// length each, and one answer that comes after the timeout. A device that answers
// in order has the next answers behind it. Blocks of 125 registers cannot be
// lengthened, so there the time the line is left alone stands by itself.
func TestLateAnswer(t *testing.T) {
	const timeout = 150 * time.Millisecond
	for _, tt := range []struct {
		count   uint16
		late    time.Duration // after the request
		inOrder bool
		lost    int // of twelve polls
	}{
		{2, timeout * 14 / 10, true, 1},
		{2, timeout * 23 / 10, true, 1},
		{2, timeout * 35 / 10, true, 2},
		{2, timeout * 14 / 10, false, 1},
		{2, timeout*2 + 10*time.Millisecond, false, 1},
		{2, timeout * 35 / 10, false, 1},
		{125, timeout * 14 / 10, true, 1},
		{125, timeout * 14 / 10, false, 1},
	} {
		for _, transport := range []string{"rtu", "rtutcp"} {
			t.Run(fmt.Sprintf("%d registers %v late in order %v %s", tt.count, tt.late-timeout, tt.inOrder, transport), func(t *testing.T) {
				t.Parallel()
				var late atomic.Bool
				r := newRig(t, transport, func(c *call) {
					switch {
					case c.unit != 1 || c.nr < 5 || late.Swap(true):
						plainly(c)
					case tt.inOrder:
						<-time.After(tt.late)
						plainly(c)
					default:
						c.later(tt.late, c.answer())
					}
				})
				b := r.bus(t, modbus.Config{Timeout: timeout})
				lost := 0
				for poll := range 12 {
					for _, address := range []uint16{100, 400} {
						unit := uint8(1 + poll%2)
						before, _ := r.seen()
						words, err := b.Read(t.Context(), unit, 3, address, tt.count)
						if err != nil {
							lost++
						} else if wrong := check(words, unit, address, before); wrong > 0 || len(words) != int(tt.count) {
							t.Errorf("poll %d unit %d: %d wrong values of %d: %d", poll, unit, wrong, len(words), words)
						}
					}
				}
				if lost > tt.lost {
					t.Errorf("%d requests lost, want at most %d", lost, tt.lost)
				}
			})
		}
	}
}

// TestReadsOnEveryTransport asks for every function there is: none but 3 and 4
// may reach the wire, and those as requests too short to carry a value.
func TestReadsOnEveryTransport(t *testing.T) {
	for _, transport := range transports {
		r := newRig(t, transport, plainly)
		b := r.bus(t, modbus.Config{Timeout: long})
		for function := range 256 {
			before, _ := r.seen()
			words, err := b.Read(t.Context(), 9, uint8(function), 40, 3)
			if read := function == 3 || function == 4; read != (err == nil) || check(words, 9, 40, before) > 0 {
				t.Errorf("%s function %d: %d %v", transport, function, words, err)
			}
		}
		for _, adu := range r.adus {
			want := []byte{9, 0, 0, 40, 0, 3}
			got := adu
			if transport == "tcp" {
				got = adu[6:]
			}
			want[1] = got[1]
			if got[1] != 3 && got[1] != 4 || string(got[:6]) != string(want) || transport != "tcp" && string(got) != string(crc(want)) {
				t.Errorf("%s: request % x was sent", transport, adu)
			}
		}
		if len(r.adus) != 2 {
			t.Errorf("%s: %d requests were sent, want 2", transport, len(r.adus))
		}
	}
}
