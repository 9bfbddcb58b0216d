package edge

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/modbus"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// handClock moves when it is told to.
type handClock struct{ now time.Time }

func (c *handClock) Now() time.Time                                   { return c.now }
func (c *handClock) Sleep(ctx context.Context, _ time.Duration) error { <-ctx.Done(); return ctx.Err() }
func (c *handClock) State() wire.ClockState                           { return wire.ClockHoldover }

// bench is a bus in a test's hands.
type bench struct {
	t      *testing.T
	clock  *handClock
	agent  *Agent
	bus    *Bus
	states []deviceState
	asked  []string // "unit/address" in the cycle under way
}

func newBench(t *testing.T, reads func(unit uint8, address, count uint16) ([]uint16, error), devices ...Device) *bench {
	b := &bench{t: t, clock: &handClock{now: time.Now()}}
	b.agent = New(Config{Edge: "site-1", Interval: 10 * time.Second, Outbox: openBox(t, outbox.Options{}), Clock: b.clock, Log: zap.NewNop()})
	b.bus = &Bus{Name: "b", Devices: devices, Reader: asking(func(unit uint8, address, count uint16) ([]uint16, error) {
		b.asked = append(b.asked, fmt.Sprintf("%d/%d+%d", unit, address, count))
		return reads(unit, address, count)
	})}
	for i := range devices {
		b.states = append(b.states, deviceState{cfg: &devices[i], declaration: devices[i].Declaration})
	}
	return b
}

type asking func(unit uint8, address, count uint16) ([]uint16, error)

func (f asking) Read(_ context.Context, unit, _ uint8, address, count uint16) ([]uint16, error) {
	return f(unit, address, count)
}

// cycle polls once and returns what was asked; the clock then stands ten seconds later.
func (b *bench) cycle() string {
	b.asked = nil
	b.agent.cycle(b.t.Context(), b.bus, b.states)
	b.clock.now = b.clock.now.Add(10 * time.Second)
	return strings.Join(b.asked, " ")
}

// TestDeadDevices: a device without an answer is asked ever more rarely, behind
// the others, and for one block only; the others lose nothing. It is back with
// its first answer.
func TestDeadDevices(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		dead bool // and left alone
	}{
		{"silence", fmt.Errorf("x: %w", modbus.ErrTimeout), true},
		{"no connection", fmt.Errorf("x: %w", modbus.ErrUnreachable), true},
		{"a gateway says that it is silent", &modbus.ExceptionError{Code: 11}, true},
		{"a gateway has no way to it", &modbus.ExceptionError{Code: 10}, true},
		{"busy", &modbus.ExceptionError{Code: 6}, false},
		{"broken", &modbus.ExceptionError{Code: 4}, false},
	} {
		dead := true
		b := newBench(t, func(unit uint8, _, count uint16) ([]uint16, error) {
			if unit == 1 && dead {
				return nil, tt.err
			}
			return make([]uint16, count), nil
		}, Device{ID: "one", Unit: 1, Declaration: twoBlocks("one", 1)}, Device{ID: "two", Unit: 2, Declaration: twoBlocks("two", 2)})
		asked, living := 0, 0
		for i := range 60 { // ten minutes
			got := b.cycle()
			asked += strings.Count(got, "1/")
			living += strings.Count(got, "2/")
			if tt.dead && i > 0 && strings.Contains(got, "1/") && !strings.HasPrefix(got, "2/0+2 2/100+1 1/") {
				t.Errorf("%s: cycle %d asked %s, want the dead device behind the living one, one block", tt.name, i, got)
			}
		}
		if living != 120 {
			t.Errorf("%s: the living device was asked %d times in 60 cycles, want 120", tt.name, living)
		}
		// 2, 4, 6 ... s apart, less an eighth: 22 to 27 attempts within 600 s when one may start every 10 s.
		if tt.dead && (asked < 15 || asked > 30) || !tt.dead && asked != 120 {
			t.Errorf("%s: asked %d times in ten minutes", tt.name, asked)
		}
		dead = false
		for range 31 { // 5 minutes is the longest it is left alone
			b.cycle()
		}
		if got := b.cycle(); got != "1/0+2 1/100+1 2/0+2 2/100+1" {
			t.Errorf("%s: afterwards a cycle asks %s, want both devices in their order", tt.name, got)
		}
	}
}

// TestSplitIsRemembered: a block that holds a register the device lacks is read
// in smaller ones from then on, under a declaration that says so, and what the
// device has is good.
func TestSplitIsRemembered(t *testing.T) {
	d := &wire.Declaration{Device: "one", Profile: "test", ProfileVersion: "1", Unit: 1, Energy: "Wh",
		Blocks: []wire.Block{{Function: 3, Address: 0, Count: 3}},
		Points: []wire.Point{
			{Name: "Wh", Function: 3, Address: 0, Type: wire.Uint32, Words: 2, ScaleAt: wire.NoScale, Unit: "Wh", Kind: wire.Counter},
			{Name: "W", Function: 3, Address: 2, Type: wire.Int16, Words: 1, ScaleAt: wire.NoScale, Unit: "W"},
		}}
	b := newBench(t, func(_ uint8, address, count uint16) ([]uint16, error) {
		if address+count > 2 {
			return nil, &modbus.ExceptionError{Code: 2}
		}
		return []uint16{0, 7}[:count], nil
	}, Device{ID: "one", Unit: 1, Declaration: d})
	if got := b.cycle(); got != "1/0+3 1/0+2 1/2+1" {
		t.Errorf("the first cycle asks %s, want the block, then its parts", got)
	}
	for range 3 {
		if got := b.cycle(); got != "1/0+2 1/2+1" {
			t.Errorf("a later cycle asks %s, want the parts only", got)
		}
	}
	declarations := make(map[wire.Hash]*wire.Declaration)
	got := ""
	for _, r := range readAll(t, b.agent.cfg.Outbox) {
		if r.Declaration != nil {
			declarations[r.Declaration.Hash()] = r.Declaration
			continue
		}
		got = fmt.Sprint(declarations[r.Reading.Declaration].Values(r.Reading))
	}
	if len(declarations) != 2 || !strings.Contains(got, "7") || !strings.Contains(got, "exception 2") {
		t.Errorf("%d declarations, the last values %s; want 2, with 7 Wh and exception 2", len(declarations), got)
	}
}

// TestClockStep: every reading says how good the clock was, and a wall clock that
// is set is told of in an event; one that is slewed is not.
func TestClockStep(t *testing.T) {
	b := newBench(t, func(_ uint8, _, count uint16) ([]uint16, error) { return make([]uint16, count), nil },
		Device{ID: "one", Unit: 1, Declaration: twoBlocks("one", 1)})
	b.cycle()
	b.agent.startWall = b.agent.startWall.Add(time.Second) // slewed: no time can be made whose two parts differ
	b.cycle()
	b.agent.startWall = b.agent.startWall.Add(time.Hour) // set back
	b.cycle()
	b.cycle()
	var events []string
	for _, r := range readAll(t, b.agent.cfg.Outbox) {
		if r.Event != nil {
			events = append(events, fmt.Sprint(r.Event.Code, " ", r.Event.To-r.Event.From, " ", r.Event.Detail))
		}
		if r.Reading != nil && r.Clock != wire.ClockHoldover {
			t.Errorf("a reading has clock state %d, want that of the clock, %d", r.Clock, wire.ClockHoldover)
		}
	}
	if want := fmt.Sprintf("[%d -3600000 the wall clock moved by -3600.000 s]", wire.EventClockStep); fmt.Sprint(events) != want {
		t.Errorf("events %v, want %s", events, want)
	}
}
