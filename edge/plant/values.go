package plant

import "math"

// image is what a unit's registers of one function hold at one moment, as far
// as a request needs them: the registers asked for, and all of every value and
// of every group with a common scale factor that they touch.
type image struct {
	function uint8
	regs     map[uint16]uint16
	points   []Point
	touched  []int // indices in points of those whose registers are all there
}

// look reads the image for a request. It wants mu held.
func (f *Faulty) look(function uint8, address, count uint16) *image {
	im := &image{function: function, regs: make(map[uint16]uint16), points: f.known}
	from, to := int(address), int(address)+int(count)
	for { // a value may draw in a scale factor, and that another value
		low, high := from, to
		for _, p := range f.known {
			if p.Function != function {
				continue
			}
			begin, end := int(p.Address), int(p.Address)+int(p.Words)
			if p.ScaleAt != NoScale {
				begin, end = min(begin, int(p.ScaleAt)), max(end, int(p.ScaleAt)+1)
			}
			if begin < high && end > low {
				low, high = min(low, begin), max(high, end)
			}
		}
		if low == from && high == to {
			break
		}
		from, to = low, high
	}
	if !im.load(f.unit, uint16(from), to-from) {
		// A map with holes is one that was taken once: it stands still, and can
		// be put together.
		im.load(f.unit, address, int(count))
		for _, p := range f.known {
			if p.Function == function && int(p.Address) < to && int(p.Address)+int(p.Words) > from {
				im.load(f.unit, p.Address, int(p.Words))
				if p.ScaleAt != NoScale {
					im.load(f.unit, uint16(p.ScaleAt), 1)
				}
			}
		}
	}
	for i, p := range f.known {
		if im.holds(&p) {
			im.touched = append(im.touched, i)
		}
	}
	return im
}

// load reads registers into the image and tells whether the unit has them.
func (im *image) load(u Unit, from uint16, n int) bool {
	words, exception := u.Read(im.function, from, uint16(n))
	if exception != 0 || len(words) != n {
		return false
	}
	for i, w := range words {
		im.regs[from+uint16(i)] = w
	}
	return true
}

func (im *image) holds(p *Point) bool {
	if p.Function != im.function {
		return false
	}
	for i := range p.Words {
		if _, ok := im.regs[p.Address+i]; !ok {
			return false
		}
	}
	if p.ScaleAt != NoScale {
		_, ok := im.regs[uint16(p.ScaleAt)]
		return ok
	}
	return true
}

func (im *image) words(address, count uint16) []uint16 {
	out := make([]uint16, count)
	for i := range out {
		out[i] = im.regs[address+uint16(i)]
	}
	return out
}

func (im *image) raw(p *Point) uint64 { return join(im.words(p.Address, p.Words), p.LowFirst) }

func (im *image) put(p *Point, raw uint64) {
	for i, w := range split(raw, p.Words, p.LowFirst) {
		im.regs[p.Address+uint16(i)] = w
	}
}

// apply lets a fault change the image.
func (i *injected) apply(im *image) {
	switch i.Name {
	case "frozen":
		for at, w := range im.regs {
			key := uint32(im.function)<<16 | uint32(at)
			if _, ok := i.held[key]; !ok {
				i.held[key] = w
			}
			im.regs[at] = i.held[key]
		}
		return
	case "scale-change":
		if i.asked%2 == 1 {
			im.rescale()
		}
		return
	}
	for _, k := range im.touched {
		p := &im.points[k]
		switch i.Name {
		case "sentinel-night":
			im.put(p, p.sentinel())
		case "zero-at-dawn":
			im.put(p, 0)
		default:
			if p.Counter && im.raw(p) != p.sentinel() {
				im.put(p, i.count(k, p, im.raw(p)))
			}
		}
	}
}

// count returns what a counter shows instead of raw. Where it stood when it was
// first read in this occurrence is kept.
func (i *injected) count(k int, p *Point, raw uint64) uint64 {
	if _, ok := i.base[k]; !ok {
		i.base[k] = raw
	}
	if p.isFloat() {
		return i.countFloat(p, raw, i.base[k])
	}
	end := p.Modulus // 0 is 2^64, which arithmetic has by itself
	if end == 0 && p.Words < 4 {
		end = p.ones() + 1
	}
	since := raw - i.base[k] // of a counter that fell meanwhile: as if it had gone round
	if end != 0 {
		since = (raw + end - i.base[k]%end) % end
	}
	switch i.Name {
	case "dip":
		return raw - min(raw, i.Steps)
	case "restart":
		return since
	case "rollover":
		if end == 0 {
			return since - i.Steps
		}
		return (since + end - i.Steps%end) % end
	}
	return raw
}

// countFloat is count for a float. One has no end by its width: it starts again
// only where the device says so.
func (i *injected) countFloat(p *Point, raw, base uint64) uint64 {
	value, from := p.float(raw), p.float(base)
	switch i.Name {
	case "dip":
		value = max(0, value-float64(i.Steps))
	case "restart":
		value -= from
	case "rollover":
		if end := float64(p.Modulus); end > 0 {
			value = math.Mod(value-from+end-float64(i.Steps), end)
		}
	}
	return p.bits(value)
}

// float returns the number that a raw content of a float point stands for.
func (p *Point) float(raw uint64) float64 {
	if p.Type == "float32" {
		return float64(math.Float32frombits(uint32(raw)))
	}
	return math.Float64frombits(raw)
}

// bits returns the raw content for a number.
func (p *Point) bits(v float64) uint64 {
	if p.Type == "float32" {
		return uint64(math.Float32bits(float32(v)))
	}
	return math.Float64bits(v)
}

// rescale gives every scale factor of the image its neighbour and the values
// under it the words that go with it: a digit more where all of them have room,
// else a digit less, which is then lost as on the real device.
func (im *image) rescale() {
	groups := make(map[int32][]*Point)
	for _, k := range im.touched {
		if p := &im.points[k]; p.ScaleAt != NoScale && !p.isFloat() && im.raw(p) != p.sentinel() {
			groups[p.ScaleAt] = append(groups[p.ScaleAt], p)
		}
	}
	for at, group := range groups {
		sf := int16(im.regs[uint16(at)])
		up := sf > -10
		for _, p := range group {
			up = up && p.number(im.raw(p)*10) == p.number(im.raw(p))*10 && im.raw(p)*10&p.ones() != p.sentinel() &&
				p.number(im.raw(p)) < math.MaxInt64/10 && p.number(im.raw(p)) > math.MinInt64/10
		}
		if !up && (sf < -10 || sf >= 10) {
			continue // not implemented, or there is no larger factor
		}
		for _, p := range group {
			if n := p.number(im.raw(p)); up {
				im.put(p, uint64(n*10))
			} else {
				im.put(p, uint64(n/10))
			}
		}
		if up {
			sf--
		} else {
			sf++
		}
		im.regs[uint16(at)] = uint16(sf)
	}
}

// number returns the raw content of an integer point as a number. Unsigned ones
// of 64 bits beyond the signed range come out negative.
func (p *Point) number(raw uint64) int64 {
	unused := 64 - 16*p.Words
	if p.Type[0] == 'i' {
		return int64(raw<<unused) >> unused
	}
	return int64(raw << unused >> unused)
}
