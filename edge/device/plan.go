package device

import (
	"cmp"
	"fmt"
	"slices"

	"kenshin/edge/wire"
)

// defaultBridge is how many unused registers are read along rather than asked
// around when the link does not say: on TCP a request costs more than 20
// registers do.
const defaultBridge = 20

// Declare returns what is polled of a device by the profile. hash is that of
// the profile's file and goes into the declaration, so that anyone can find the
// very text a value was read by.
//
// bridge is how many unused registers between two points are cheaper to read
// along than to ask around on the link at hand, 0 for what holds on TCP; the
// profile's own limits bound it. No block touches a forbidden register.
func (p *Profile) Declare(id string, unit uint8, hash wire.Hash, bridge uint16) (wire.Declaration, error) {
	d, err := p.declare(id, unit, hash, bridge)
	if err != nil {
		return wire.Declaration{}, p.in(err)
	}
	return d, nil
}

func (p *Profile) declare(id string, unit uint8, hash wire.Hash, bridge uint16) (wire.Declaration, error) {
	d := wire.Declaration{Device: id, Manufacturer: p.Manufacturer, Model: p.Model, Profile: p.Name, ProfileVersion: p.Version,
		ProfileHash: hash, Unit: unit, Energy: p.Energy}
	for i := range p.Points {
		q, err := p.wirePoint(&p.Points[i])
		if err == nil {
			err = p.readable(&q)
		}
		if err != nil {
			return d, inPoint(i, p.Points[i].Name, err)
		}
		d.Points = append(d.Points, q)
	}
	d.Blocks = p.blocks(d.Points, cmp.Or(bridge, defaultBridge))
	return d, d.Validate()
}

// readable says why the device must not, or would not, be asked for a point.
func (p *Profile) readable(q *wire.Point) error {
	if most := p.Limits.most(); q.Words > most {
		return fault("", fmt.Sprintf("%d registers, but the device takes requests of %d at most", q.Words, most), "raise limits.registers, or leave the point out")
	}
	end := int(q.Address) + int(q.Words)
	if end > 1<<16 {
		return fault("", fmt.Sprintf("registers %d+%d; 65535 is the last there is", q.Address, q.Words), "correct address or words")
	}
	if f := p.Limits.forbids(q.Function, int(q.Address), end); f != nil {
		return fault("", fmt.Sprintf("registers %d+%d are in limits.forbidden %d to %d (%s)", q.Address, q.Words, f.From, f.To, f.Why), "leave the point out, or correct the range")
	}
	return nil
}

// most is the longest request the device takes, in registers.
func (l *Limits) most() uint16 { return cmp.Or(l.Registers, wire.MaxCount) }

// forbids returns the first forbidden range that has a register in [from, end).
func (l *Limits) forbids(function uint8, from, end int) *Forbidden {
	for i := range l.Forbidden {
		f := &l.Forbidden[i]
		if (f.Function == 0 || f.Function == function) && from <= int(f.To) && end > int(f.From) {
			return f
		}
	}
	return nil
}

// blocks plans the requests: as few as the limits allow, no value in two of
// them, and none that is about as long as can be of the length of another. Every
// point is readable.
func (p *Profile) blocks(points []wire.Point, bridge uint16) []wire.Block {
	if p.Limits.Bridge != nil {
		bridge = min(bridge, *p.Limits.Bridge)
	}
	most := int(p.Limits.most())
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b wire.Point) int {
		return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Address, b.Address))
	})
	var out []wire.Block
	for _, q := range sorted {
		if n := len(out); n > 0 && out[n-1].Function == q.Function {
			b := &out[n-1]
			have := int(b.Address) + int(b.Count)
			whole := max(int(q.Address)+int(q.Words), have) - int(b.Address)
			if int(q.Address) <= have+int(bridge) && whole <= room(out[:n-1], b.Function, most) && p.Limits.forbids(q.Function, have, int(q.Address)) == nil {
				b.Count = uint16(whole)
				continue
			}
		}
		out = append(out, wire.Block{Function: q.Function, Address: q.Address, Count: q.Words})
	}
	return out
}

// room returns how long a block of a function may be, behind those there are,
// where none may be longer than most. Over RTU only the length tells answers
// apart, and a block about as long as can be is not made longer by much for that.
func room(blocks []wire.Block, function uint8, most int) int {
	n, least := most, most-min(8, most/8)
	for _, b := range blocks {
		if b.Function == function && int(b.Count) > least && n > least {
			n--
		}
	}
	return n
}
