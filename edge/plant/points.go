package plant

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kenshin/edge/device"
)

// Point is a value in the registers of a unit, as far as a fault of values must
// know it. Scale factors, states and what identifies a device are no points.
type Point struct {
	Function uint8    // 3 or 4
	Address  uint16   // first register
	Words    uint16   // registers
	Type     string   // as SunSpec names it: int16, acc32, float32 ...
	LowFirst bool     // order of the registers
	ScaleAt  int32    // register of its scale factor, NoScale for none
	Absent   []uint16 // contents that mean "not available", nil for what the type has
	Counter  bool     // energy counts up in it
	Modulus  uint64   // raw count at which it starts again; 0 for what its width has
}

// NoScale is the ScaleAt of a point without a scale factor register.
const NoScale = -1

// Mapped is a Unit that says what its registers mean, so that their values can
// go wrong. SunSpec units need not: they are asked.
type Mapped interface {
	Unit
	Points() []Point
}

// As returns the unit as one whose registers mean what a valid profile says:
// a register dump of such a device.
func As(u Unit, p *device.Profile) (Mapped, error) {
	meaning, err := NewProfile(ProfileConfig{Profile: p})
	if err != nil {
		return nil, err
	}
	return &mapped{u, meaning.(*profiled).known}, nil
}

type mapped struct {
	Unit
	known []Point
}

func (m *mapped) Points() []Point { return m.known }

// width returns the registers of a type, 0 for a text.
func width(kind string) uint16 {
	switch kind {
	case "int16", "uint16", "acc16", "enum16", "bitfield16":
		return 1
	case "int32", "uint32", "acc32", "float32", "enum32", "bitfield32":
		return 2
	case "int64", "uint64", "acc64", "float64":
		return 4
	}
	return 0
}

// sentinel returns the raw content that means "not available".
// Source: SunSpec Information Model Specification, basic types; accumulators as
// SMA's inverters answer at night, all ones.
func (p *Point) sentinel() uint64 {
	switch {
	case p.Absent != nil:
		return join(p.Absent, p.LowFirst)
	case p.Type == "float32":
		return 0x7FC0_0000
	case p.Type == "float64":
		return 0x7FF8_0000_0000_0000
	case strings.HasPrefix(p.Type, "int"):
		return 1 << (16*p.Words - 1)
	}
	return p.ones()
}

// ones returns the raw content of all bits set.
func (p *Point) ones() uint64 { return 1<<(16*p.Words) - 1 }

// isFloat tells whether the point is in binary floating point.
func (p *Point) isFloat() bool { return strings.HasPrefix(p.Type, "float") }

// join makes a raw content of words.
func join(words []uint16, lowFirst bool) (raw uint64) {
	for i := range words {
		if lowFirst {
			i = len(words) - 1 - i
		}
		raw = raw<<16 | uint64(words[i])
	}
	return raw
}

// split makes words of a raw content.
func split(raw uint64, words uint16, lowFirst bool) []uint16 {
	out := make([]uint16, words)
	for i := range out {
		at := i
		if !lowFirst {
			at = len(out) - 1 - i
		}
		out[at] = uint16(raw >> (16 * i))
	}
	return out
}

// isEnergy tells whether a unit is one that counters count in.
func isEnergy(unit string) bool {
	switch unit {
	case "Wh", "kWh", "MWh", "VAh", "kVAh", "varh", "kvarh", "m3", "h":
		return true
	}
	return false
}

// pointsOf returns the points of a unit, found out by its SunSpec chain unless
// it knows them.
func pointsOf(u Unit) ([]Point, error) {
	if m, ok := u.(Mapped); ok {
		return m.Points(), nil
	}
	if s, ok := u.(*sunspecInverter); ok { // at night it may have nothing to say
		u = &sunspecInverter{s.plate, func() (Output, bool) { return Output{MicroWatts: 1, WattHours: 1}, true }}
	}
	chain, err := device.Discover(context.Background(), direct{u}, 1)
	if err != nil {
		return nil, fmt.Errorf("what its registers mean is not known, so their values cannot go wrong; give it a profile: %w", err)
	}
	d, err := chain.Declare("plant", 1)
	if err != nil {
		return nil, fmt.Errorf("what its registers mean: %w", err)
	}
	var out []Point
	for i := range d.Points {
		p := &d.Points[i]
		if p.Unit == "" { // identities and states stay as they are
			continue
		}
		out = append(out, Point{
			Function: p.Function, Address: p.Address, Words: p.Words, Type: p.Type.String(),
			ScaleAt: p.ScaleAt, Counter: isEnergy(p.Unit),
		})
	}
	if len(out) == 0 {
		return nil, errors.New("its SunSpec chain has no values that could go wrong")
	}
	return out, nil
}

// direct reads a unit without a line between, as a device.Reader.
type direct struct{ unit Unit }

func (d direct) Read(_ context.Context, _, function uint8, address, count uint16) ([]uint16, error) {
	words, exception := d.unit.Read(function, address, count)
	if exception != 0 {
		return nil, refusal(exception)
	}
	return words, nil
}

// refusal is an exception as an error that edge/device understands.
type refusal uint8

func (r refusal) Error() string    { return fmt.Sprintf("refused with exception %d", uint8(r)) }
func (r refusal) Exception() uint8 { return uint8(r) }
