package modbus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kenshin/edge/modbus"
)

// faultTimeout is short, so that the table is soon done, and long against what a
// busy machine adds to an answer. What costs more than it may is tried again with
// one twice as long, up to faultTries times.
const (
	faultTimeout = 200 * time.Millisecond
	faultTries   = 5
)

// fault is what goes wrong with requests to unit 1, and what that may cost.
type fault struct {
	name  string
	times int // requests of unit 1 it meets
	do    func(*call)
	// restart takes the endpoint away and brings it back before the first request it meets.
	restart bool
	// lost and others are the most requests lost of unit 1, and of unit 2 on the same line.
	lost, others int
	skip         string // transports that do not have it
}

func change(at int, to byte) func(*call) {
	return func(c *call) {
		pdu := []byte{c.function, byte(2 * c.count)}
		for range 2 * c.count {
			pdu = append(pdu, 0xEE)
		}
		pdu[at] = to
		c.say(c.frame(c.unit, pdu))
	}
}

// faults are those of devices and links that were found to make other clients
// read wrong values or none for ever.
var faults = []fault{
	{name: "late by 0.3 timeouts", times: 1, do: func(c *call) { c.later(c.tenths(13), c.answer()) }, lost: 1},
	{name: "late by 0.9 timeouts", times: 3, do: func(c *call) { c.later(c.tenths(19), c.answer()) }, lost: 3},
	{name: "late by 1.3 timeouts", times: 3, do: func(c *call) { c.later(c.tenths(23), c.answer()) }, lost: 3},
	{name: "late by 2.5 timeouts", times: 3, do: func(c *call) { c.later(c.tenths(35), c.answer()) }, lost: 3},
	{name: "slow but in time", times: 3, do: func(c *call) { c.later(c.tenths(5), c.answer()) }},
	{name: "silence", times: 3, do: func(*call) {}, lost: 3},
	{name: "half-open", times: 4, do: func(c *call) {
		if c.connection > 1 {
			plainly(c)
		}
	}, lost: 1, others: 1, skip: "rtu"},
	{name: "drop instead of an answer", times: 1, do: (*call).hangUp, lost: 1, others: 1, skip: "rtu"},
	{name: "drop after half an answer", times: 1, do: func(c *call) { c.say(c.answer()[:6]); c.hangUp() }, lost: 1, others: 1, skip: "rtu"},
	{name: "drop after the answer", times: 3, do: func(c *call) { plainly(c); c.hangUp() }, lost: 1, others: 1, skip: "rtu"},
	{name: "restart or unplugged", times: 1, restart: true, do: plainly, lost: 1, others: 1},
	{name: "split: one byte at a time", times: 3, do: func(c *call) {
		for _, b := range c.answer() {
			c.say([]byte{b})
		}
	}},
	{name: "short: half a frame", times: 3, do: func(c *call) { a := c.answer(); c.say(a[:len(a)/2]) }, lost: 3},
	{name: "short: one register less", times: 3, do: func(c *call) { c.count--; plainly(c) }, lost: 3},
	{name: "one register more", times: 3, do: func(c *call) { c.count++; plainly(c) }, lost: 3},
	{name: "wrong transaction", times: 3, do: func(c *call) { c.transaction += 7; plainly(c) }, lost: 3, skip: "rtutcp rtu"},
	{name: "wrong unit", times: 3, do: func(c *call) { c.unit = 2; plainly(c) }, lost: 3},
	{name: "wrong unit nobody has", times: 3, do: func(c *call) { c.unit = 77; plainly(c) }, lost: 3},
	{name: "the other function", times: 3, do: func(c *call) { c.function = 4; plainly(c) }, lost: 3},
	{name: "byte count does not fit", times: 3, do: change(1, 4), lost: 3},
	{name: "exception 2", times: 3, do: func(c *call) { c.say(c.exception(2)) }, lost: 3},
	{name: "exception 6, busy", times: 3, do: func(c *call) { c.say(c.exception(6)) }, lost: 3},
	{name: "exception 11 in two reads", times: 3, do: func(c *call) {
		b := c.exception(11)
		c.say(b[:len(b)-3])
		c.later(5*time.Millisecond, b[len(b)-3:])
	}, lost: 3},
	{name: "exception after a timeout", times: 3, do: func(c *call) { c.later(c.tenths(23), c.exception(11)) }, lost: 4},
	{name: "garbage", times: 3, do: func(c *call) { c.say([]byte("\xAA\x55Login: \r\n\x00\xFF")) }, lost: 3},
	{name: "garbage behind the answer", times: 3, do: func(c *call) { c.say(append(c.answer(), "\x00\xFFLogin"...)) }, lost: 3},
	{name: "answers twice", times: 3, do: func(c *call) { c.say(append(c.answer(), c.answer()...)) }, lost: 3},
	{name: "answers again after 30 ms", times: 3, do: func(c *call) { plainly(c); c.later(30*time.Millisecond, c.answer()) }, lost: 1, others: 1},
	{name: "exception 6, then an answer", times: 3, do: func(c *call) { c.say(c.exception(6)); c.later(30*time.Millisecond, c.answer()) }, lost: 3, others: 1},
	{name: "crc", times: 3, do: func(c *call) { a := c.answer(); a[5] ^= 4; c.say(a) }, lost: 3, skip: "tcp"},
}

// outcome is what a fault did on one transport.
type outcome struct {
	timeout             time.Duration
	wrong, lost, others int
	recovered           time.Duration // from the end of the fault to the next right answer of unit 1; -1: never
	stood               bool          // the machine stood still, and the fault was another one
}

// recovery is the longest: the timeout of a request that met the end of the fault,
// the time the line is left alone, a timeout of another, the first wait to connect.
func (o outcome) recovery() time.Duration { return 3*o.timeout + time.Second }

func (f fault) allows(o outcome) bool {
	return o.wrong == 0 && o.lost <= f.lost && o.others <= f.others && o.recovered >= 0 && o.recovered <= o.recovery() && !o.stood
}

// tenths returns so many of them of the timeout of the bus.
func (c *call) tenths(n time.Duration) time.Duration { return n * c.rig.timeout / 10 }

// TestFaultTable polls two units of one line in turn, two blocks of equal length
// each, through every fault on every transport.
func TestFaultTable(t *testing.T) {
	results := make(map[string]outcome)
	var mu sync.Mutex
	var wg sync.WaitGroup
	room := make(chan struct{}, 24) // rows at a time; they mostly wait
	for _, f := range faults {
		for _, transport := range transports {
			if slices.Contains(strings.Fields(f.skip), transport) {
				continue
			}
			wg.Go(func() {
				room <- struct{}{}
				defer func() { <-room }()
				o := f.meet(t, transport, faultTimeout)
				mu.Lock()
				defer mu.Unlock()
				results[f.name+transport] = o
			})
		}
	}
	wg.Wait()
	for _, f := range faults {
		for _, transport := range transports {
			o, ok := results[f.name+transport]
			for try := 1; ok && !f.allows(o) && (o.wrong == 0 || o.stood) && try < faultTries; try++ {
				t.Logf("%s on %s: %+v; once more alone, in case the machine was busy", f.name, transport, o)
				o = f.meet(t, transport, faultTimeout<<try)
				results[f.name+transport] = o
			}
			if ok && !f.allows(o) {
				t.Errorf("%s on %s: %+v; want no wrong value, at most %d and %d requests lost, recovery within %v",
					f.name, transport, o, f.lost, f.others, o.recovery())
			}
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "wrong values / requests lost of the unit / of its neighbour / time to recover; timeout %v\n%-28s", faultTimeout, "")
	for _, transport := range transports {
		fmt.Fprintf(&table, "%-22s", transport)
	}
	for _, f := range faults {
		fmt.Fprintf(&table, "\n%-28s", f.name)
		for _, transport := range transports {
			cell := "-"
			if o, ok := results[f.name+transport]; ok {
				cell = fmt.Sprintf("%d / %d / %d / %v", o.wrong, o.lost, o.others, o.recovered.Round(time.Millisecond))
			}
			fmt.Fprintf(&table, "%-22s", cell)
		}
	}
	t.Log(table.String())
}

// meet polls until the fault is over and unit 1 was right four times.
func (f fault) meet(t *testing.T, transport string, timeout time.Duration) (o outcome) {
	o.timeout = timeout
	var mu sync.Mutex
	met, active := 0, false
	var over time.Time
	r := newRig(t, transport, func(c *call) {
		mu.Lock()
		faulty := active && c.unit == 1 && met < f.times
		if f.name == "half-open" { // of the connection, so it meets both
			faulty = active && met < f.times
		}
		if faulty {
			met++
			over = time.Now()
		}
		mu.Unlock()
		if faulty {
			f.do(c)
		} else {
			plainly(c)
		}
	})
	r.timeout = timeout
	b := r.bus(t, modbus.Config{Timeout: timeout})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second+10*timeout)
	defer cancel()
	good := 0
	for cycle := 0; good < 4 && ctx.Err() == nil; cycle++ {
		if cycle == 2 {
			mu.Lock()
			active = true
			mu.Unlock()
			if f.restart {
				r.stop()
				r.start(t)
				mu.Lock()
				over = time.Now()
				mu.Unlock()
			}
		}
		for _, k := range []struct {
			unit    uint8
			address uint16
		}{{1, 100}, {2, 100}, {1, 300}, {2, 300}} {
			before, _ := r.seen()
			words, err := b.Read(ctx, k.unit, 3, k.address, 4)
			o.wrong += check(words, k.unit, k.address, before)
			mu.Lock()
			ended := active && met == f.times
			switch {
			case err != nil && k.unit == 1:
				o.lost++
			case err != nil:
				o.others++
			case ended && k.unit == 1:
				if good++; good == 1 {
					o.recovered = time.Since(over)
				}
			}
			mu.Unlock()
			var refused *modbus.ExceptionError
			if err != nil && !errors.Is(err, modbus.ErrTimeout) && !errors.Is(err, modbus.ErrMalformed) && !errors.Is(err, modbus.ErrUnreachable) && !errors.As(err, &refused) {
				t.Errorf("%v is of no known kind", err)
			}
		}
	}
	if good < 4 {
		o.recovered = -1
	}
	o.stood = r.stood(timeout)
	return o
}
