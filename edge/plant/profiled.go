package plant

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/edge/device"
)

// ProfileConfig says how a device with a profile answers. The profile must be
// valid.
type ProfileConfig struct {
	Profile *device.Profile
	// Vector is the test vector whose registers it holds, from 1; 0 gives each
	// point what the first vector has that gives it a value.
	Vector int
	// Energy is what its energy counter counts and its power shows. Nil leaves
	// both as the vector has them.
	Energy Energy
	Clock  Clock // not needed without Energy
}

// profiled is a unit that answers by a profile. It holds the words of the test
// vectors, 0 in registers between them.
type profiled struct {
	cfg    ProfileConfig
	known  []Point
	regs   map[uint32]uint16 // by function and address
	span   map[uint8][2]int  // by function, first register and the one behind the last
	gaps   bool              // registers between the known ones can be read
	most   uint16            // registers in one request
	energy *quantity
	power  *quantity // nil when the profile has none
}

// quantity is a point that moves, and how its raw content is made.
type quantity struct {
	Point
	shift int32 // raw = Wh or W × 10^shift
}

// NewProfile returns a unit that answers as a device of a kind does: with the
// words of its test vectors. An energy that moves needs a point for it.
func NewProfile(c ProfileConfig) (Unit, error) {
	u := &profiled{cfg: c, regs: make(map[uint32]uint16), span: make(map[uint8][2]int), gaps: true, most: maxCount}
	p := c.Profile
	if l := p.Limits; l.Registers > 0 {
		u.most = l.Registers
	}
	if b := p.Limits.Bridge; b != nil && *b == 0 {
		u.gaps = false
	}
	if c.Vector < 0 || c.Vector > len(p.Vectors) {
		return nil, fmt.Errorf("profile %q has no vector %d; want 1 to %d, or 0 for all", p.Name, c.Vector, len(p.Vectors))
	}
	for i := range p.Points {
		q, err := u.add(&p.Points[i])
		if err != nil {
			return nil, fmt.Errorf("profile %q: point %q: %w", p.Name, p.Points[i].Name, err)
		}
		if err := u.fill(&p.Points[i], q); err != nil {
			return nil, fmt.Errorf("profile %q: point %q: %w", p.Name, p.Points[i].Name, err)
		}
	}
	for _, id := range p.Identity {
		words := id.Words
		if words == "" && len(id.AnyOf) > 0 {
			words = id.AnyOf[0]
		}
		if err := u.set(id.Function, id.Address, string(words)); err != nil {
			return nil, fmt.Errorf("profile %q: identity at %d: %w", p.Name, id.Address, err)
		}
	}
	if c.Energy != nil && u.energy == nil {
		return nil, fmt.Errorf("profile %q counts no energy, so none can be replayed in it; take another profile", p.Name)
	}
	return u, nil
}

// add takes a point of the profile into the unit's map.
func (u *profiled) add(q *device.Point) (*Point, error) {
	p := u.cfg.Profile
	k := Point{
		Function: q.Function, Address: q.Address, Words: width(q.Type), Type: q.Type, ScaleAt: NoScale,
		LowFirst: cmp.Or(q.Order, p.WordOrder) == "low-first", Counter: q.Kind == "counter",
	}
	if k.Function == 0 {
		k.Function = p.Function
	}
	if k.Words == 0 {
		k.Words = q.Words
	}
	if len(q.Absent) > 0 {
		var err error
		if k.Absent, err = hexWords(string(q.Absent[0])); err != nil {
			return nil, err
		}
	}
	if q.Modulus != "" {
		n, err := strconv.ParseUint(string(q.Modulus), 10, 64)
		if err != nil && string(q.Modulus) != "18446744073709551616" {
			return nil, fmt.Errorf("modulus %s: want a whole number", q.Modulus)
		}
		k.Modulus = n
		if err != nil || k.Words < 4 && n == k.ones()+1 {
			k.Modulus = 0 // what its width has by itself
		}
	}
	if q.Kind != "state" && q.Kind != "label" {
		u.known = append(u.known, k)
	}
	s, ok := u.span[k.Function]
	if !ok {
		s[0] = int(k.Address)
	}
	u.span[k.Function] = [2]int{min(s[0], int(k.Address)), max(s[1], int(k.Address)+int(k.Words))}
	digits, energy := map[string]int32{"Wh": 0, "W": 0, "kWh": 3, "kW": 3, "MWh": 6}[q.Unit]
	m := &quantity{k, -digits - int32(q.Scale)}
	switch {
	case q.Name == p.Energy:
		u.energy = m
	case energy && u.power == nil && !k.Counter && (q.Unit == "W" || q.Unit == "kW"):
		u.power = m
	}
	return &k, nil
}

// fill gives a point its words: of the vector asked for, or of the first that
// gives it a value.
func (u *profiled) fill(q *device.Point, k *Point) error {
	for i, v := range u.cfg.Profile.Vectors {
		function := v.Function
		if function == 0 {
			function = u.cfg.Profile.Function
		}
		want, named := v.Values[q.Name]
		if u.cfg.Vector > 0 && u.cfg.Vector != i+1 || u.cfg.Vector == 0 && (!named || want == "not available") || function != k.Function {
			continue
		}
		regs := make(map[uint16]uint16)
		for at, text := range v.Registers {
			words, err := hexWords(string(text))
			if err != nil {
				return err
			}
			for j, w := range words {
				regs[at+uint16(j)] = w
			}
		}
		for j := range k.Words {
			u.regs[key(k.Function, k.Address+j)] = regs[k.Address+j]
		}
		return nil
	}
	for j := range k.Words {
		u.regs[key(k.Function, k.Address+j)] = 0
	}
	return nil
}

func (u *profiled) set(function uint8, at uint16, text string) error {
	words, err := hexWords(text)
	if err != nil {
		return err
	}
	for i, w := range words {
		if _, ok := u.regs[key(function, at+uint16(i))]; !ok { // the vector knows better
			u.regs[key(function, at+uint16(i))] = w
		}
	}
	return nil
}

func key(function uint8, address uint16) uint32 { return uint32(function)<<16 | uint32(address) }

func hexWords(text string) ([]uint16, error) {
	var out []uint16
	for _, f := range strings.Fields(text) {
		w, err := strconv.ParseUint(f, 16, 16)
		if err != nil {
			return nil, fmt.Errorf("%q: want four hexadecimal digits", f)
		}
		out = append(out, uint16(w))
	}
	if len(out) == 0 {
		return nil, errors.New("no register words")
	}
	return out, nil
}

// Points implements Mapped.
func (u *profiled) Points() []Point { return u.known }

// Read implements Unit.
func (u *profiled) Read(function uint8, address, count uint16) ([]uint16, uint8) {
	span, ok := u.span[function]
	switch {
	case !ok:
		return nil, illegalFunction
	case count > u.most && count <= maxCount: // more is a look at the map from inside
		return nil, illegalValue
	}
	moved := make(map[uint32]uint16)
	if u.cfg.Energy != nil {
		mWh, watts, ok := u.cfg.Energy(u.cfg.Clock.Now())
		if !ok {
			return nil, noResponse
		}
		u.energy.put(moved, decimal.New(mWh, -3))
		if u.power != nil {
			u.power.put(moved, decimal.NewFromInt(watts))
		}
	}
	out := make([]uint16, count)
	for i := range out {
		at := int(address) + i
		w, here := u.regs[key(function, uint16(at))]
		if m, ok := moved[key(function, uint16(at))]; ok {
			w, here = m, true
		}
		if !here && (!u.gaps || at < span[0] || at >= span[1]) {
			return nil, illegalAddress
		}
		out[i] = w
	}
	return out, 0
}

// put writes a quantity in Wh or W, what is below its register's step cut off.
func (q *quantity) put(regs map[uint32]uint16, v decimal.Decimal) {
	for i, w := range split(q.encode(v), q.Words, q.LowFirst) {
		regs[key(q.Function, q.Address+uint16(i))] = w
	}
}

func (q *quantity) encode(v decimal.Decimal) uint64 {
	v = v.Shift(q.shift)
	if q.isFloat() {
		f, _ := v.Float64() // the nearest is what the register can hold
		return q.bits(f)
	}
	n := v.Truncate(0).BigInt()
	if q.Modulus != 0 {
		return n.Uint64() % q.Modulus // no file counts to 2^64
	}
	if n.Sign() < 0 {
		return uint64(n.Int64())
	}
	return n.Uint64()
}

// Fits tells whether the counter of a profile can show every reading exactly,
// and which it cannot. A float32 shows the nearest number it has, a step of up
// to 2^-24 of the reading away; that fits.
func (c *Counter) Fits(p *device.Profile) error {
	u, err := NewProfile(ProfileConfig{Profile: p, Energy: c.Energy, Clock: nil})
	if err != nil {
		return err
	}
	q := u.(*profiled).energy
	for i, mWh := range c.values {
		if v := decimal.New(mWh, -3).Shift(q.shift); !q.isFloat() && !v.IsInteger() {
			return fmt.Errorf("reading of %s, %s Wh: the energy register of profile %q counts in steps of %s Wh; take a profile with smaller ones",
				time.UnixMilli(c.times[i]).UTC().Format(time.RFC3339), decimal.New(mWh, -3), p.Name, decimal.New(1, -q.shift))
		}
	}
	return nil
}

// VectorEnergy is what a profile's vectors say of its energy and power, going on
// from start: with the power of the vectors, 1 kW where they have none, as Wh
// from whole ones on.
func VectorEnergy(p *device.Profile, start time.Time) (Energy, error) {
	unit, err := NewProfile(ProfileConfig{Profile: p})
	if err != nil {
		return nil, err
	}
	u := unit.(*profiled)
	if u.energy == nil {
		return nil, nil
	}
	wh := u.energy.decode(u.regs).IntPart()
	watts := int64(1000)
	if u.power != nil {
		if w := u.power.decode(u.regs).Abs().IntPart(); w > 0 {
			watts = w
		}
	}
	return Steady(start, wh, watts), nil
}

// decode returns the quantity in Wh or W, 0 when it is not available.
func (q *quantity) decode(regs map[uint32]uint16) decimal.Decimal {
	words := make([]uint16, q.Words)
	for i := range words {
		words[i] = regs[key(q.Function, q.Address+uint16(i))]
	}
	raw := join(words, q.LowFirst)
	switch {
	case raw == q.sentinel():
		return decimal.Zero
	case q.isFloat():
		f := q.float(raw)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return decimal.Zero
		}
		return decimal.NewFromFloat(f).Shift(-q.shift)
	}
	return decimal.NewFromInt(q.number(raw)).Shift(-q.shift)
}
