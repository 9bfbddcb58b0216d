package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// stillClock stands.
type stillClock struct{ now time.Time }

func (c stillClock) Now() time.Time                                   { return c.now }
func (c stillClock) Sleep(ctx context.Context, _ time.Duration) error { <-ctx.Done(); return ctx.Err() }

// scripted answers by unit and address; what it has no answer for is illegal.
type scripted map[string]any // "unit/address" -> []uint16 or error

func (s scripted) Read(_ context.Context, unit, _ uint8, address, count uint16) ([]uint16, error) {
	switch a := s[fmt.Sprintf("%d/%d", unit, address)].(type) {
	case []uint16:
		return a[:count], nil
	case error:
		return nil, a
	}
	return nil, &modbus.ExceptionError{Code: 2}
}

// twoBlocks declares a counter at 0 and a gauge at 100, each in a block of its own.
func twoBlocks(id string, unit uint8) *wire.Declaration {
	return &wire.Declaration{
		Device: id, Profile: "test", ProfileVersion: "1", Unit: unit, Energy: "Wh",
		Blocks: []wire.Block{{Function: 3, Address: 0, Count: 2}, {Function: 3, Address: 100, Count: 1}},
		Points: []wire.Point{
			{Name: "Wh", Function: 3, Address: 0, Type: wire.Uint32, Words: 2, ScaleAt: wire.NoScale, Unit: "Wh", Kind: wire.Counter},
			{Name: "W", Function: 3, Address: 100, Type: wire.Int16, Words: 1, ScaleAt: wire.NoScale, Unit: "W"},
		},
	}
}

func openBox(t *testing.T, o outbox.Options) *outbox.Outbox {
	t.Helper()
	o.Edge = "site-1"
	box, _, err := outbox.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

func readAll(t *testing.T, box *outbox.Outbox) []wire.Record {
	t.Helper()
	if box.Last() == 0 {
		return nil
	}
	recs, _, _, err := box.Read(1, 1000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

// TestCycleRecordsFailures: whatever a device does, its reading says what it
// was, and the devices behind it are read as if nothing had happened.
func TestCycleRecordsFailures(t *testing.T) {
	refused := &modbus.ExceptionError{Code: 4}
	for _, tt := range []struct {
		name  string
		reads scripted
		want  []wire.BlockResult // of the first device
	}{
		{"all is well", scripted{"1/0": []uint16{1, 2}, "1/100": []uint16{7}},
			[]wire.BlockResult{{Words: []uint16{1, 2}}, {Words: []uint16{7}}}},
		{"an exception leaves the other block", scripted{"1/0": refused, "1/100": []uint16{7}},
			[]wire.BlockResult{{Status: wire.Exception, Code: 4}, {Words: []uint16{7}}}},
		{"after a timeout the rest is not asked", scripted{"1/0": fmt.Errorf("x: %w", modbus.ErrTimeout), "1/100": []uint16{7}},
			[]wire.BlockResult{{Status: wire.Timeout}, {Status: wire.Skipped}}},
		{"no connection", scripted{"1/0": fmt.Errorf("x: %w", modbus.ErrUnreachable), "1/100": []uint16{7}},
			[]wire.BlockResult{{Status: wire.Unreachable}, {Status: wire.Skipped}}},
		{"garbled", scripted{"1/0": io.ErrUnexpectedEOF, "1/100": []uint16{7}},
			[]wire.BlockResult{{Status: wire.Malformed}, {Status: wire.Skipped}}},
		{"second block times out", scripted{"1/0": []uint16{1, 2}, "1/100": modbus.ErrTimeout},
			[]wire.BlockResult{{Words: []uint16{1, 2}}, {Status: wire.Timeout}}},
	} {
		box := openBox(t, outbox.Options{})
		tt.reads["2/0"], tt.reads["2/100"] = []uint16{0, 9}, []uint16{8}
		a := New(Config{Edge: "site-1", Outbox: box, Clock: stillClock{time.UnixMilli(1_700_000_000_000)}, Log: zap.NewNop()})
		bus := &Bus{Name: "b", Reader: tt.reads, Devices: []Device{{ID: "one", Unit: 1, Declaration: twoBlocks("one", 1)}, {ID: "two", Unit: 2, Declaration: twoBlocks("two", 2)}}}
		states := []deviceState{{cfg: &bus.Devices[0], declaration: bus.Devices[0].Declaration}, {cfg: &bus.Devices[1], declaration: bus.Devices[1].Declaration}}
		a.cycle(t.Context(), bus, states)
		recs := readAll(t, box)
		if len(recs) != 4 || recs[0].Declaration == nil || recs[1].Reading == nil || recs[3].Reading == nil {
			t.Errorf("%s: %d records, want declaration, reading, declaration, reading", tt.name, len(recs))
			continue
		}
		for i, got := range recs[1].Reading.Blocks {
			if want := tt.want[i]; got.Status != want.Status || got.Code != want.Code || fmt.Sprint(got.Words) != fmt.Sprint(want.Words) {
				t.Errorf("%s: block %d = %+v, want %+v", tt.name, i, got, want)
			}
		}
		if got := recs[3].Reading.Blocks[0].Words; fmt.Sprint(got) != "[0 9]" {
			t.Errorf("%s: the device behind it read %v, want [0 9]", tt.name, got)
		}
		if recs[1].Wall != 1_700_000_000_000 {
			t.Errorf("%s: wall %d", tt.name, recs[1].Wall)
		}
		a.cycle(t.Context(), bus, states)
		if n := len(readAll(t, box)); n != 6 {
			t.Errorf("%s: %d records after a second cycle, want 6: a declaration is written once", tt.name, n)
		}
	}
}

// TestStoppingIsNoFailure: a read that the end of the agent cut short says
// nothing about the device.
func TestStoppingIsNoFailure(t *testing.T) {
	box := openBox(t, outbox.Options{})
	a := New(Config{Edge: "site-1", Outbox: box, Clock: stillClock{time.UnixMilli(1)}, Log: zap.NewNop()})
	ctx, cancel := context.WithCancel(t.Context())
	bus := &Bus{Reader: readerFunc(func() ([]uint16, error) { cancel(); return nil, context.Canceled }), Devices: []Device{{ID: "one", Unit: 1, Declaration: twoBlocks("one", 1)}}}
	a.cycle(ctx, bus, []deviceState{{cfg: &bus.Devices[0], declaration: bus.Devices[0].Declaration}})
	for _, r := range readAll(t, box) {
		if r.Reading != nil {
			t.Errorf("a reading was recorded: %+v", r.Reading)
		}
	}
}

type readerFunc func() ([]uint16, error)

func (f readerFunc) Read(context.Context, uint8, uint8, uint16, uint16) ([]uint16, error) { return f() }

// TestLossIsRecorded: readings that could not be kept are counted, and the first
// record that can be kept says how many, from when to when and why.
func TestLossIsRecorded(t *testing.T) {
	box := openBox(t, outbox.Options{})
	a := New(Config{Edge: "site-1", Outbox: box, Clock: stillClock{time.UnixMilli(5000)}, Log: zap.NewNop()})
	d := twoBlocks("one", 1)
	reading := func(wall int64) wire.Record {
		return wire.Record{Wall: wall, Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{{Status: wire.Timeout}, {Status: wire.Skipped}}}}
	}
	bad := reading(1000)
	bad.Reading.Blocks[0].Words = []uint16{1} // words beside a failure: no outbox takes that
	states := []deviceState{{declared: true}}
	a.keep([]wire.Record{bad, reading(2000)}, states)
	if states[0].declared {
		t.Error("the declaration may be lost too and must be written again")
	}
	a.keep([]wire.Record{reading(3000)}, states)
	recs := readAll(t, box)
	if len(recs) != 2 || recs[0].Event == nil || recs[0].Event.Code != wire.EventGap {
		t.Fatalf("records %+v, want a gap and a reading", recs)
	}
	if e := recs[0].Event; e.Count != 2 || e.From != 1000 || e.To != 2000 || e.Detail == "" {
		t.Errorf("gap %+v, want 2 readings from 1000 to 2000 with the cause", e)
	}
	a.keep([]wire.Record{reading(4000)}, states)
	if recs = readAll(t, box); len(recs) != 3 || recs[2].Event != nil {
		t.Errorf("the gap was recorded twice")
	}
}

func TestOutcome(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want wire.Status
	}{
		{nil, wire.OK},
		{&modbus.ExceptionError{Code: 2}, wire.Exception},
		{fmt.Errorf("read: %w", modbus.ErrTimeout), wire.Timeout},
		{context.DeadlineExceeded, wire.Timeout},
		{modbus.ErrUnreachable, wire.Unreachable},
		{errors.New("anything"), wire.Malformed},
	} {
		if got := outcome([]uint16{1}, tt.err); got.Status != tt.want || (got.Words != nil) != (tt.want == wire.OK) {
			t.Errorf("%v: %+v, want status %d", tt.err, got, tt.want)
		}
	}
}

// image is a SunSpec map from 40000 on.
type image []uint16

func (m *image) Read(_ context.Context, _, _ uint8, address, count uint16) ([]uint16, error) {
	from := int(address) - 40000
	if from < 0 || from+int(count) > len(*m) {
		return nil, &modbus.ExceptionError{Code: 2}
	}
	return (*m)[from : from+int(count)], nil
}

// sunspec returns a map of the given models, their registers zero but for an
// energy counter in model 103.
func sunspec(wh uint16, models ...[2]uint16) image {
	m := image{0x5375, 0x6E53}
	for _, x := range models {
		block := make([]uint16, 2+x[1])
		block[0], block[1] = x[0], x[1]
		if x[0] == 103 {
			block[25] = wh
		}
		m = append(m, block...)
	}
	return append(m, 0xFFFF, 0)
}

// TestMovedMapIsNotRead: after an update of its firmware a device has a model
// more. The words at the old place are no reading; the device is discovered
// again and goes on under a new declaration.
func TestMovedMapIsNotRead(t *testing.T) {
	box := openBox(t, outbox.Options{})
	a := New(Config{Edge: "site-1", Outbox: box, Clock: stillClock{time.UnixMilli(1)}, Log: zap.NewNop()})
	dev := sunspec(500, [2]uint16{1, 66}, [2]uint16{103, 50})
	bus := &Bus{Reader: &dev, Devices: []Device{{ID: "inv", Unit: 1}}}
	states := []deviceState{{cfg: &bus.Devices[0]}}
	a.cycle(t.Context(), bus, states)
	dev = sunspec(700, [2]uint16{1, 66}, [2]uint16{11, 13}, [2]uint16{103, 50})
	a.cycle(t.Context(), bus, states)
	a.cycle(t.Context(), bus, states)
	declarations := make(map[wire.Hash]*wire.Declaration)
	var energy []string
	for _, r := range readAll(t, box) {
		if r.Declaration != nil {
			declarations[r.Declaration.Hash()] = r.Declaration
			continue
		}
		d := declarations[r.Reading.Declaration]
		for _, v := range d.Values(r.Reading) {
			if d.Points[v.Point].Name == d.Energy {
				energy = append(energy, fmt.Sprint(v.Quality, " ", v.Number))
			}
		}
	}
	if want := "[good 500 timeout 0 good 700]"; fmt.Sprint(energy) != want || len(declarations) != 2 {
		t.Errorf("energies %v under %d declarations, want %s under 2", energy, len(declarations), want)
	}
}

// TestMovedMapOfParts: of a model whose block was split only the first part tells
// that the map has moved. It is asked first, also after a failure, and without it
// the parts behind it are not asked.
func TestMovedMapOfParts(t *testing.T) {
	a := New(Config{Edge: "site-1", Clock: stillClock{time.UnixMilli(1)}, Log: zap.NewNop()})
	was := sunspec(500, [2]uint16{1, 66}, [2]uint16{103, 50})
	moved := sunspec(500, [2]uint16{1, 66}, [2]uint16{120, 26}, [2]uint16{103, 50})
	for _, tt := range []struct {
		name      string
		registers image
		failures  int
		head      error
		want      [2]wire.Status
	}{
		{"as it was", was, 0, nil, [2]wire.Status{wire.OK, wire.OK}},
		{"as it was, after a failure", was, 1, nil, [2]wire.Status{wire.OK, wire.OK}},
		{"moved", moved, 0, nil, [2]wire.Status{wire.Malformed, wire.Skipped}},
		{"moved, after a failure", moved, 1, nil, [2]wire.Status{wire.Malformed, wire.Skipped}},
		{"the head refused", was, 0, &modbus.ExceptionError{Code: 4}, [2]wire.Status{wire.Exception, wire.Skipped}},
	} {
		bus := &Bus{Reader: &was, Devices: []Device{{ID: "inv", Unit: 1}}}
		s := deviceState{cfg: &bus.Devices[0]}
		a.read(t.Context(), bus, &s)
		d, ok := device.Split(s.declaration, 0)
		if !ok || len(d.Blocks) != 2 {
			t.Fatal(d.Blocks)
		}
		s.adopt(&d)
		s.dead.failures = tt.failures
		bus.Reader = first{d.Blocks[0].Address, tt.head, &tt.registers}
		recs := a.read(t.Context(), bus, &s)
		k := recs[len(recs)-1].Reading.Blocks
		if got := [2]wire.Status{k[0].Status, k[1].Status}; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// first fails what is asked from one address on, if err is not nil.
type first struct {
	address uint16
	err     error
	*image
}

func (f first) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	if f.err != nil && address == f.address {
		return nil, f.err
	}
	return f.image.Read(ctx, unit, function, address, count)
}
