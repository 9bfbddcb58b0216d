package device

import (
	"context"
	"fmt"
	"strings"

	"kenshin/edge/wire"
)

// The profile of a declaration made here. Its version changes when the points or
// names that Declare gives a chain change.
const (
	sunspecProfile = "sunspec"
	sunspecVersion = "1"
)

// role is what a model measures. Two models of one role measure the same thing.
type role uint8

const (
	noRole role = iota // not polled
	inverter
	meter
)

// choice is what is polled of a model.
type choice struct {
	role   role
	points []string
	energy string // the counter that can stand for the device's energy
	rank   int    // of that counter; the lowest of a chain is taken
}

// choose returns what is polled of a model. Counters of 64 bits come before
// those of 32, which start again within years on a large plant, and those
// before float32, whose steps grow with the reading. A meter's own counter is
// import, whatever way it was wired: a project that counts its export says so.
func choose(model uint16) choice {
	switch model {
	case 101, 102, 103:
		return choice{inverter, []string{"W", "WH", "A", "PhVphA", "Hz", "DCW", "TmpCab", "St"}, "WH", 3}
	case 111, 112, 113:
		return choice{inverter, []string{"W", "WH", "A", "PhVphA", "Hz", "DCW", "TmpCab", "St"}, "WH", 4}
	case 122:
		return choice{inverter, []string{"ActWh"}, "ActWh", 2}
	case 701:
		return choice{inverter, []string{"W", "TotWhInj", "TotWhAbs", "A", "LNV", "Hz", "TmpCab", "InvSt"}, "TotWhInj", 1}
	case 201, 202, 203, 204:
		return choice{meter, []string{"W", "TotWhImp", "TotWhExp", "A", "PhV", "Hz"}, "TotWhImp", 5}
	case 211, 212, 213, 214:
		return choice{meter, []string{"W", "TotWhImp", "TotWhExp", "A", "PhV", "Hz"}, "TotWhImp", 6}
	}
	return choice{}
}

// candidate is a counter that can stand for the device's energy.
type candidate struct {
	point string
	rank  int
}

// Declare returns what is polled of the device and what the readings mean. Each
// model that is polled is one block from its ID word on, so that a value and
// its scale factor are always read together, and its ID word is the point
// "m<ID>.ID": see Verify.
//
// Points have SunSpec's names. Where two models offer one name the first in the
// chain has it; a momentary value of a model that measures the same thing is
// then left out, anything else is called "m<ID>.<name>". Energy is the best
// counter of 701 TotWhInj, 122 ActWh, 10x WH, 11x WH, 20x and 21x TotWhImp, in
// that order, that Discover saw to count; all of them are points.
func (c *Chain) Declare(id string, unit uint8) (wire.Declaration, error) {
	d, counters, err := c.plan(id, unit)
	if err != nil {
		return wire.Declaration{}, err
	}
	d.Energy = c.energy
	if d.Energy == "" {
		d.Energy = best(counters)
	}
	return d, nil
}

// best returns the point of the lowest rank, "" when there is none.
func best(counters []candidate) string {
	var b candidate
	for _, c := range counters {
		if b.point == "" || c.rank < b.rank {
			b = c
		}
	}
	return b.point
}

func (c *Chain) plan(id string, unit uint8) (wire.Declaration, []candidate, error) {
	d := wire.Declaration{Device: id, Manufacturer: c.Manufacturer, Model: c.Model, Firmware: c.Firmware, Serial: c.Serial,
		Profile: sunspecProfile, ProfileVersion: sunspecVersion, Unit: unit}
	table, err := models()
	if err != nil {
		return d, nil, err
	}
	p := planner{d: &d, names: make(map[string]role), done: make(map[uint16]bool)}
	for _, m := range c.Models {
		if err := p.add(m, table[m.ID]); err != nil {
			return d, nil, fmt.Errorf("device %q: model %d: %w", id, m.ID, err)
		}
	}
	if len(d.Points) == 0 {
		return d, nil, fmt.Errorf("device %q: its SunSpec map at %d has no inverter or meter model, only %v; use a profile", id, c.Base, c.ids())
	}
	return d, p.counters, nil
}

func (c *Chain) ids() []uint16 {
	var out []uint16
	for _, m := range c.Models {
		out = append(out, m.ID)
	}
	return out
}

// planner turns the models of a chain into blocks and points.
type planner struct {
	d        *wire.Declaration
	names    map[string]role // of the points so far
	done     map[uint16]bool // models so far; a second one of an id is left out
	counters []candidate
}

func (p *planner) add(m Model, entries []entry) error {
	ch := choose(m.ID)
	if ch.role == noRole || p.done[m.ID] {
		return nil
	}
	p.done[m.ID] = true
	head := wire.Point{Name: headName(m.ID), Function: readHolding, Address: m.Address, Type: wire.Uint16, Words: 1, ScaleAt: wire.NoScale, Kind: wire.State}
	points, count := []wire.Point{head}, uint16(2)
	for _, name := range ch.points {
		e := find(entries, name)
		if e == nil {
			return fmt.Errorf("the table of models has no point %s", name)
		}
		point, end, ok, err := place(m, e, entries)
		if err != nil {
			return err
		}
		if !ok {
			continue // the model is shorter than its definition
		}
		if taken, clash := p.names[name]; clash {
			if point.Kind != wire.Counter && taken == ch.role {
				continue
			}
			point.Name = fmt.Sprintf("m%d.%s", m.ID, name)
		}
		p.names[point.Name] = ch.role
		if name == ch.energy {
			p.counters = append(p.counters, candidate{point.Name, ch.rank})
		}
		points, count = append(points, point), max(count, end)
	}
	if len(points) == 1 {
		return nil
	}
	p.d.Blocks = append(p.d.Blocks, wire.Block{Function: readHolding, Address: m.Address, Count: count})
	p.d.Points = append(p.d.Points, points...)
	return nil
}

// place returns the point of an entry and the registers its block must have, or
// false when the model does not reach so far.
func place(m Model, e *entry, entries []entry) (p wire.Point, end uint16, ok bool, err error) {
	p = wire.Point{Name: e.name, Function: readHolding, Address: m.Address + e.offset, Words: e.size, ScaleAt: wire.NoScale, Unit: e.unit}
	if p.Type, err = wire.ParseType(e.kind); err != nil {
		return p, 0, false, err
	}
	switch p.Type {
	case wire.Enum16, wire.Enum32, wire.Bits16, wire.Bits32:
		p.Kind = wire.State
	}
	switch p.Unit {
	case "Wh":
		p.Kind = wire.Counter
	case "C":
		p.Unit = "Cel"
	}
	if p.Type == wire.Acc32 {
		p.Modulus = "4294967296"
	}
	end = e.offset + e.size
	if e.scale != "" {
		sf := find(entries, e.scale)
		if sf == nil {
			return p, 0, false, fmt.Errorf("the table of models has no scale factor %s", e.scale)
		}
		p.ScaleAt = int32(m.Address) + int32(sf.offset)
		end = max(end, sf.offset+1)
	}
	return p, end, end <= m.Length+2 && end <= wire.MaxCount, nil
}

// chooseEnergy finds out which of several energy counters count.
func (c *Chain) chooseEnergy(ctx context.Context, r Reader, unit uint8) error {
	d, counters, err := c.plan("energy", unit)
	if err != nil || len(counters) < 2 {
		return nil // nothing to choose; Declare returns the error
	}
	reading := wire.Reading{Blocks: make([]wire.BlockResult, len(d.Blocks))}
	for i, k := range d.Blocks {
		words, err := r.Read(ctx, unit, k.Function, k.Address, k.Count)
		switch {
		case err == nil:
			reading.Blocks[i] = wire.BlockResult{Status: wire.OK, Words: words}
		case noSuchRegister(err):
			reading.Blocks[i] = wire.BlockResult{Status: wire.Exception}
		default:
			return fmt.Errorf("energy counters: %w", err)
		}
	}
	var counting []candidate
	for i, v := range d.Values(&reading) {
		for _, k := range counters {
			if d.Points[i].Name == k.point && v.Quality == wire.Good {
				counting = append(counting, k)
			}
		}
	}
	c.energy = best(counting)
	return nil
}

func headName(model uint16) string { return fmt.Sprintf("m%d.ID", model) }

func isHead(name string) bool {
	return strings.HasPrefix(name, "m") && strings.HasSuffix(name, ".ID")
}

// marks tells whether a point is the ID word of a SunSpec model.
func marks(d *wire.Declaration, p *wire.Point) bool {
	return d.Profile == sunspecProfile && isHead(p.Name)
}

// Head returns the block that has the mark by which Verify finds out whether
// block k is where it was: k itself, or the first part of a SunSpec model whose
// block was split. Words of a block are to be believed only when those of its
// head, read before them in the same cycle, were.
func Head(d *wire.Declaration, k int) int {
	head := k
	for i := range d.Points {
		if p := &d.Points[i]; marks(d, p) && p.Address <= d.Blocks[k].Address && (head == k || p.Address > d.Blocks[head].Address) {
			if at := d.BlockOf(p); at >= 0 {
				head = at
			}
		}
	}
	return head
}

// reach returns the register behind the last that is used of the model whose ID
// word is at.
func reach(d *wire.Declaration, at uint16) int {
	next, end := 1<<16, 0
	for i := range d.Points {
		if p := &d.Points[i]; marks(d, p) && p.Address > at {
			next = min(next, int(p.Address))
		}
	}
	for i := range d.Points {
		if p := &d.Points[i]; p.Address >= at && int(p.Address) < next {
			end = max(end, int(p.Address)+int(p.Words), int(p.ScaleAt)+1)
		}
	}
	return end
}

// Verify says whether the words of block k of a SunSpec device are still where d
// found them: a point "m<ID>.ID" must read <ID>, and the length behind it must
// reach over the points of that model. A device whose map has moved, as an update
// of its firmware can do, has to be discovered again; until then its words mean
// something else. Blocks of a profile have no such mark, and of a model whose
// block was split only the first part has it: see Head.
//
// The serial number is not looked at again while polling: it stands in model 1,
// 16 registers that would be read with every cycle. An exchanged device shows by
// its counter, and by its serial number at the next discovery. A profile that
// has the serial number as a point has it in every reading.
func Verify(d *wire.Declaration, k int, words []uint16) error {
	for i := range d.Points {
		p := &d.Points[i]
		if !marks(d, p) || p.Address != d.Blocks[k].Address || d.BlockOf(p) != k {
			continue
		}
		if len(words) < 2 || p.Name != headName(words[0]) {
			return fmt.Errorf("device %q: register %d is not %s any more, as when the device was discovered; its map has moved", d.Device, p.Address, p.Name)
		}
		if need := reach(d, p.Address) - int(p.Address) - 2; int(words[1]) < need {
			return fmt.Errorf("device %q: the model at register %d has %d registers, and had %d at least when the device was discovered; its map has moved", d.Device, p.Address, words[1], need)
		}
	}
	return nil
}

// Undiscovered declares a device that has not said yet what it is: the marker of
// a SunSpec map and no points, so that a failure to read it can be recorded.
func Undiscovered(id string, unit uint8, profile string) wire.Declaration {
	return wire.Declaration{Device: id, Profile: profile, Unit: unit,
		Blocks: []wire.Block{{Function: readHolding, Address: bases[0], Count: 2}}}
}
