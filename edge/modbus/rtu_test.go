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
	for _, tt := range []struct {
		count   uint16
		late    int // tenths of the timeout after the request
		inOrder bool
		lost    int // of twelve polls
	}{
		{2, 14, true, 1},
		{2, 23, true, 1},
		{2, 35, true, 2},
		{2, 14, false, 1},
		{2, 21, false, 1},
		{2, 35, false, 1},
		{125, 14, true, 1},
		{125, 14, false, 1},
	} {
		for _, transport := range []string{"rtu", "rtutcp"} {
			t.Run(fmt.Sprintf("%d registers late by %d tenths in order %v %s", tt.count, tt.late-10, tt.inOrder, transport), func(t *testing.T) {
				t.Parallel()
				var lost int
				for timeout := 150 * time.Millisecond; timeout < 5*time.Second; timeout *= 2 { // a busy machine may lose a request more
					var stood bool
					lost, stood = loseOne(t, transport, tt.count, timeout*time.Duration(tt.late)/10, tt.inOrder, timeout)
					if lost <= tt.lost && !stood || t.Failed() {
						return
					}
				}
				t.Errorf("%d requests lost, want at most %d", lost, tt.lost)
			})
		}
	}
}

// loseOne polls the two units while one answer is late, and returns how many
// requests were lost, and whether the machine was too slow for the test. A wrong
// value fails the test unless it was.
func loseOne(t *testing.T, transport string, count uint16, by time.Duration, inOrder bool, timeout time.Duration) (lost int, stood bool) {
	t.Helper()
	var late atomic.Bool
	r := newRig(t, transport, func(c *call) {
		switch {
		case c.unit != 1 || c.nr < 5 || late.Swap(true):
			plainly(c)
		case inOrder:
			due := time.Now().Add(by)
			<-time.After(by)
			plainly(c)
			c.rig.was(due)
		default:
			c.later(by, c.answer())
		}
	})
	b := r.bus(t, modbus.Config{Timeout: timeout})
	var wrongs []string
	for poll := range 12 {
		for _, address := range []uint16{100, 400} {
			unit := uint8(1 + poll%2)
			before, _ := r.seen()
			words, err := b.Read(t.Context(), unit, 3, address, count)
			if err != nil {
				lost++
			} else if wrong := check(words, unit, address, before); wrong > 0 || len(words) != int(count) {
				wrongs = append(wrongs, fmt.Sprintf("poll %d unit %d: %d wrong values of %d: %d", poll, unit, wrong, len(words), words))
			}
		}
	}
	if stood = r.stood(timeout); !stood && len(wrongs) > 0 {
		t.Error(wrongs)
	}
	return lost, stood
}

// TestReadsOnEveryTransport asks for all there is to ask: every function, from
// 0 registers to more than there are, of units that answer, refuse and are silent.
// What reaches the wire are whole requests of functions 3 and 4 and nothing else,
// too short to carry a value.
func TestReadsOnEveryTransport(t *testing.T) {
	const mute, refuses = 77, 78
	for _, transport := range transports {
		r := newRig(t, transport, func(c *call) {
			switch c.unit {
			case refuses:
				c.say(c.exception(1))
			case mute:
			default:
				plainly(c)
			}
		})
		b := r.bus(t, modbus.Config{Timeout: 3 * time.Second, Units: map[uint8]modbus.Unit{mute: {Timeout: 20 * time.Millisecond}}})
		sent := 0
		for function := range 256 {
			for _, unit := range []uint8{0, 1, 247, 255, refuses, mute, mute} { // the second time a register more
				for _, address := range []uint16{0, 40, 0x1006, 65411, 65535} {
					for _, count := range []uint16{0, 1, 3, 125, 126, 0x1006, 65535} {
						if unit == mute && (address != 40 || count != 3) {
							continue // costs a timeout each
						}
						if count == 125 && address != 65411 {
							continue // there is no other length, so each costs a pause
						}
						before, _ := r.seen()
						words, err := b.Read(t.Context(), unit, uint8(function), address, count)
						legal := (function == 3 || function == 4) && count >= 1 && count <= 125 && int(address)+int(count) <= 1<<16
						if legal {
							sent++
						}
						if read := legal && unit != mute && unit != refuses; read != (err == nil) || check(words, unit, address, before) > 0 {
							t.Errorf("%s unit %d function %d registers %d+%d: %d %v", transport, unit, function, address, count, words, err)
						}
					}
				}
			}
		}
		r.stop() // what is under way has come
		for _, adu := range r.adus {
			pdu := adu[1:6]
			whole := string(adu) == string(crc(adu[:6]))
			if transport == "tcp" {
				pdu = adu[7:]
				whole = string(adu[2:6]) == "\x00\x00\x00\x06" // protocol, and the length of such a request
			}
			if !whole || len(pdu) != 5 || pdu[0] != 3 && pdu[0] != 4 || pdu[3] != 0 || pdu[4] < 1 || pdu[4] > 125 {
				t.Errorf("%s: % x was sent", transport, adu)
			}
		}
		if len(r.adus) != sent {
			t.Errorf("%s: %d requests were sent, want %d", transport, len(r.adus), sent)
		}
	}
}
