package device

import (
	"cmp"
	"fmt"
	"slices"

	"kenshin/edge/wire"
)

// defaultBridge is how many unused registers are read along rather than asked
// around: on TCP a request costs more than 20 registers do.
const defaultBridge = 20

// Declare returns what is polled of a device by the profile. hash is that of
// the profile's file and goes into the declaration, so that anyone can find the
// very text a value was read by.
func (p *Profile) Declare(id string, unit uint8, hash wire.Hash) (wire.Declaration, error) {
	d, err := p.declare(id, unit, hash)
	if err != nil {
		return wire.Declaration{}, fmt.Errorf("profile %q: %w", p.Name, err)
	}
	return d, nil
}

func (p *Profile) declare(id string, unit uint8, hash wire.Hash) (wire.Declaration, error) {
	d := wire.Declaration{Device: id, Manufacturer: p.Manufacturer, Model: p.Model, Profile: p.Name, ProfileVersion: p.Version,
		ProfileHash: hash, Unit: unit, Energy: p.Energy}
	for i := range p.Points {
		q, err := p.wirePoint(&p.Points[i])
		if err != nil {
			return d, fmt.Errorf("point %q: %w", p.Points[i].Name, err)
		}
		d.Points = append(d.Points, q)
	}
	var err error
	if d.Blocks, err = p.blocks(d.Points); err != nil {
		return d, err
	}
	return d, d.Validate()
}

// blocks plans the requests: as few as the limits allow, no value in two of them.
func (p *Profile) blocks(points []wire.Point) ([]wire.Block, error) {
	most, bridge := p.Limits.Registers, uint16(defaultBridge)
	if most == 0 {
		most = wire.MaxCount
	}
	if p.Limits.Bridge != nil {
		bridge = *p.Limits.Bridge
	}
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b wire.Point) int {
		return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Address, b.Address))
	})
	var out []wire.Block
	for _, q := range sorted {
		if q.Words > most {
			return nil, fmt.Errorf("point %q: %d registers, but the device takes requests of %d at most; raise limits.registers", q.Name, q.Words, most)
		}
		end := int(q.Address) + int(q.Words)
		if end > 1<<16 {
			return nil, fmt.Errorf("point %q: registers %d+%d; 65535 is the last there is", q.Name, q.Address, q.Words)
		}
		if n := len(out); n > 0 && out[n-1].Function == q.Function {
			b := &out[n-1]
			have := int(b.Address) + int(b.Count)
			if whole := max(end, have) - int(b.Address); int(q.Address) <= have+int(bridge) && whole <= int(most) {
				b.Count = uint16(whole)
				continue
			}
		}
		out = append(out, wire.Block{Function: q.Function, Address: q.Address, Count: q.Words})
	}
	return out, nil
}
