package collector

import (
	"kenshin/calc"
	"kenshin/collector/series"
	"kenshin/edge/wire"
)

// route leads a point of a declaration to the register that counts it.
type route struct {
	point    int
	block    int
	register *register
	heat     heatPoints
}

// routed returns the points of a declaration that registers count.
func (s *settle) routed(edge string, d *wire.Declaration, h wire.Hash) []route {
	key := declared{edge, h}
	list, ok := s.routes[key]
	if !ok {
		for i := range d.Points {
			if r := s.registers[edge+"/"+d.Device+"/"+d.Points[i].Name]; r != nil {
				list = append(list, route{i, d.BlockOf(&d.Points[i]), r, findHeat(r.spec.Heat, d)})
			}
		}
		s.routes[key] = list
	}
	return list
}

// samples is how many samples an update has, about.
func samples(u *series.Update) int {
	n := len(u.Samples)
	for i := range u.Readings {
		n += len(u.Readings[i].Declaration.Points)
	}
	return n
}

func blockDelta(d *wire.Declaration, p *wire.Point, r *wire.Reading) int32 {
	if k := d.BlockOf(p); k >= 0 && k < len(r.Blocks) {
		return r.Blocks[k].Delta
	}
	return 0
}

// reading is a sample as calc takes it.
func reading(x *wire.Sample) calc.Sample {
	return calc.Sample{At: x.At, Value: x.Number, Unit: x.Unit, Good: x.Quality == wire.Good, Reason: x.Reason, Imported: isImport(x.Epoch)}
}
