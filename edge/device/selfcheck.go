package device

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/edge/wire"
)

// Verdict is what a self-check found.
type Verdict uint8

const (
	TooLittle  Verdict = iota // not enough energy, time or readings to tell
	Fits                      // the counter counts what power says
	WrongScale                // the counter or power is wrong by a power of ten
	WordOrder                 // the words of the counter, of power or of both stand in the other order
	Swapped                   // import and export, or the sign of power, are the other way round
	TooSlow                   // the counter hardly moves while power says it should
	Unclear                   // they do not fit, and no simple mistake explains it
)

var verdicts = [...]string{"too little to tell", "fits", "wrong scale", "word order", "import and export swapped", "counter too slow", "does not fit"}

// String returns the verdict in a few words.
func (v Verdict) String() string {
	if int(v) < len(verdicts) {
		return verdicts[v]
	}
	return "unknown"
}

// Observation is one reading of a device, decoded by its declaration.
type Observation struct {
	At     time.Time
	Values []wire.Value
}

// Check is the outcome of a self-check.
type Check struct {
	Verdict       Verdict
	Energy, Power string          // the points compared; "" when the device lacks one
	Counted       decimal.Decimal // what the counter of the direction that flows rose by, Wh
	Integrated    decimal.Decimal // what power makes over the same time, Wh; as it fits if Verdict is WordOrder
	Factor        int             // WrongScale: the counter times 10^Factor would fit
	Text          string          // for people: what was found, and what to do
}

// The counter and integrated power agree within 5 % and two steps of the
// counter, and nothing is said below ten steps.
// Source: probe rule (c) of the project's device notes.
const (
	tolerancePercent = 5
	toleranceSteps   = 2
	enoughSteps      = 10
	leastTime        = time.Minute
	leastReadings    = 3
	mostPower10      = 6
)

// SelfCheck compares what the energy counter of a device rose by with what its
// power makes over the same minutes, and says in plain words whether they fit or
// which mistake of a profile explains it. Readings come in time order; five to
// fifteen minutes of them under load tell. It believes only the longest part
// over which the counter does not fall. The arithmetic is exact; power is taken
// to go in straight lines from reading to reading.
//
// The counter is d.Energy, power the first momentary value in W or kW beside it
// that is no rating, and positive power is what the counter counts. Where there
// is a counter of the other direction (import and export, TotWhImp and
// TotWhExp, TotWhInj and TotWhAbs) negative power is compared with that.
func SelfCheck(d *wire.Declaration, readings []Observation) Check {
	t := newTrial(d)
	c := Check{Energy: t.name(t.energy), Power: t.name(t.power)}
	if t.energy < 0 || t.power < 0 {
		c.Text = "this device has no energy counter with a power beside it to compare"
		return c
	}
	plain := t.run(readings, false, false)
	c.Counted, c.Integrated = plain.counted, plain.flow
	t.judge(&c, &plain)
	if c.Verdict != Swapped {
		t.turn(&c, readings)
	}
	return c
}

// turn looks whether the words of counter, power or both stand in the other
// order. Of several readings that fit the one of the least power is taken: words
// in the wrong order make every watt 65,536 of them, on both sides alike.
func (t *trial) turn(c *Check, readings []Observation) {
	const far = 1000 // times less power: what a device that fits as it is would never be by chance
	for _, w := range [...]struct {
		energy, power bool
		which         string
	}{{true, false, c.Energy}, {false, true, c.Power}, {true, true, c.Energy + " and " + c.Power}} {
		other := t.run(readings, w.energy, w.power)
		o := Check{Energy: c.Energy, Power: c.Power}
		if t.judge(&o, &other); o.Verdict != Fits || !other.different {
			continue
		}
		if (c.Verdict == Fits || c.Verdict == WordOrder) && !o.Integrated.Mul(decimal.NewFromInt(far)).LessThan(c.Integrated) {
			continue
		}
		c.Verdict, c.Factor, c.Counted, c.Integrated = WordOrder, 0, o.Counted, o.Integrated
		c.Text = fmt.Sprintf("the words of %s stand in the other order: read so, %s Wh were counted where power makes %s Wh; change the word order in the profile",
			w.which, o.Counted.Round(1), o.Integrated.Round(1))
	}
}

// trial knows the points to compare.
type trial struct {
	d                    *wire.Declaration
	energy, power, other int // indices of points, -1 for none
}

func newTrial(d *wire.Declaration) trial {
	t := trial{d: d, energy: -1, power: -1, other: -1}
	for i := range d.Points {
		p := &d.Points[i]
		switch {
		case p.Name == d.Energy && d.Energy != "" && energyPower(p.Unit) >= 0:
			t.energy = i
		case t.power < 0 && p.Kind == wire.Gauge && (p.Unit == "W" || p.Unit == "kW") && !strings.HasPrefix(p.Name, "rated"):
			t.power = i
		}
	}
	if t.energy < 0 {
		return t
	}
	for i := range d.Points {
		if p := &d.Points[i]; i != t.energy && p.Kind == wire.Counter && energyPower(p.Unit) >= 0 && opposite(d.Energy) == p.Name {
			t.other = i
		}
	}
	return t
}

// opposite returns the name of the counter of the other direction.
func opposite(name string) string {
	for _, p := range [...][2]string{{"import", "export"}, {"Imp", "Exp"}, {"Inj", "Abs"}} {
		if strings.Contains(name, p[0]) {
			return strings.Replace(name, p[0], p[1], 1)
		}
		if strings.Contains(name, p[1]) {
			return strings.Replace(name, p[1], p[0], 1)
		}
	}
	return ""
}

// energyPower returns n for a unit of 10^n Wh, -1 for another unit.
func energyPower(unit string) int32 {
	switch unit {
	case "Wh":
		return 0
	case "kWh":
		return 3
	case "MWh":
		return 6
	}
	return -1
}

func (t *trial) name(i int) string {
	if i < 0 {
		return ""
	}
	return t.d.Points[i].Name
}

// outcome is what a run over the readings gives, in Wh.
type outcome struct {
	counted, other decimal.Decimal // rise of the counter, and of the one of the other direction
	hasOther       bool
	in, out        decimal.Decimal // what positive and negative power make, both positive
	flow           decimal.Decimal // the larger of the two
	step           decimal.Decimal // the smallest rise seen, as far as readings tell
	span           time.Duration
	readings       int
	fell           bool // the counter fell; only a part of the readings was used
	different      bool // other words gave other values
}

// moment is one usable reading.
type moment struct {
	at                   time.Time
	energy, power, other decimal.Decimal // Wh, W, Wh
	step                 decimal.Decimal
}

// run integrates, with the words of counter or power in the other order if asked.
func (t *trial) run(readings []Observation, swapEnergy, swapPower bool) outcome {
	var all []moment
	var out outcome
	out.hasOther = t.other >= 0
	for _, r := range readings {
		m, changed, ok := t.moment(&r, swapEnergy, swapPower)
		if ok {
			all = append(all, m)
			out.different = out.different || changed
		}
	}
	all, out.fell = longest(all)
	out.readings = len(all)
	if len(all) < 2 {
		return out
	}
	first, last := all[0], all[len(all)-1]
	out.span = last.at.Sub(first.at)
	out.counted, out.other = last.energy.Sub(first.energy), last.other.Sub(first.other)
	var rises []decimal.Decimal
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		ms := decimal.NewFromInt(b.at.Sub(a.at).Milliseconds())
		out.in = out.in.Add(positive(a.power).Add(positive(b.power)).Mul(ms))
		out.out = out.out.Add(positive(a.power.Neg()).Add(positive(b.power.Neg())).Mul(ms))
		rises = append(rises, b.energy.Sub(a.energy), b.other.Sub(a.other))
	}
	perWh := decimal.NewFromInt(2 * 3_600_000)
	out.in, out.out = out.in.Div(perWh), out.out.Div(perWh)
	out.flow = decimal.Max(out.in, out.out)
	out.step = decimal.Max(last.step, common(rises))
	return out
}

// moment returns the usable part of a reading.
func (t *trial) moment(r *Observation, swapEnergy, swapPower bool) (m moment, changed, ok bool) {
	if len(r.Values) != len(t.d.Points) || r.Values[t.energy].Quality != wire.Good || r.Values[t.power].Quality != wire.Good {
		return m, false, false
	}
	e, p := &t.d.Points[t.energy], &t.d.Points[t.power]
	m = moment{at: r.At, energy: r.Values[t.energy].Number, power: r.Values[t.power].Number}
	if swapEnergy {
		m.energy, ok = turned(e, m.energy)
		if !ok {
			return m, false, false
		}
	}
	if swapPower {
		if m.power, ok = turned(p, m.power); !ok {
			return m, false, false
		}
	}
	changed = swapEnergy && !m.energy.Equal(r.Values[t.energy].Number) || swapPower && !m.power.Equal(r.Values[t.power].Number)
	m.step = stepOf(e, m.energy).Shift(energyPower(e.Unit))
	m.energy = m.energy.Shift(energyPower(e.Unit))
	if p.Unit == "kW" {
		m.power = m.power.Shift(3)
	}
	if t.other >= 0 {
		if v := &r.Values[t.other]; v.Quality == wire.Good {
			m.other = v.Number.Shift(energyPower(t.d.Points[t.other].Unit))
		}
	}
	return m, changed, true
}

// stepOf returns the least the counter can rise by at a reading.
func stepOf(p *wire.Point, n decimal.Decimal) decimal.Decimal {
	f := n.Shift(-int32(p.Scale)).InexactFloat64()
	switch p.Type {
	case wire.Float32:
		next := math.Nextafter32(float32(f), math.MaxFloat32)
		return decimal.NewFromFloat(float64(next) - float64(float32(f))).Shift(int32(p.Scale))
	case wire.Float64:
		return decimal.NewFromFloat(math.Nextafter(f, math.MaxFloat64) - f).Shift(int32(p.Scale))
	}
	if p.ScaleAt != wire.NoScale {
		return decimal.New(1, n.Exponent()) // the scale factor is the exponent of the value
	}
	return decimal.New(1, int32(p.Scale))
}

// turned returns what a value would be if the words of its register stood in the
// other order; ok is false where the type has one word or the value is none of it.
func turned(p *wire.Point, n decimal.Decimal) (decimal.Decimal, bool) {
	if p.Words < 2 || p.Type == wire.String || p.ScaleAt != wire.NoScale {
		return n, false
	}
	words, ok := wordsOf(p, n.Shift(-int32(p.Scale)))
	if !ok {
		return n, false
	}
	q := *p
	if p.Order == wire.HighFirst {
		q.Order = wire.LowFirst
	} else {
		q.Order = wire.HighFirst
	}
	d := wire.Declaration{Device: "turned", Blocks: []wire.Block{{Function: q.Function, Address: q.Address, Count: q.Words}}, Points: []wire.Point{q}}
	v := d.Values(&wire.Reading{Blocks: []wire.BlockResult{{Status: wire.OK, Words: words}}})[0]
	return v.Number, v.Quality == wire.Good
}

// wordsOf returns the register words that hold a raw value.
func wordsOf(p *wire.Point, raw decimal.Decimal) ([]uint16, bool) {
	var bits uint64
	switch p.Type {
	case wire.Float32:
		bits = uint64(math.Float32bits(float32(raw.InexactFloat64())))
	case wire.Float64:
		bits = math.Float64bits(raw.InexactFloat64())
	default:
		n := raw.BigInt()
		if !raw.IsInteger() || n.BitLen() > 64 {
			return nil, false
		}
		if bits = n.Uint64(); n.Sign() < 0 {
			bits = -new(big.Int).Neg(n).Uint64()
		}
	}
	words := make([]uint16, p.Words)
	for i := range words {
		words[i] = uint16(bits >> (16 * (len(words) - 1 - i)))
	}
	if p.Order == wire.LowFirst {
		slices.Reverse(words)
	}
	return words, true
}

// longest returns the longest part, in time, over which no counter falls.
func longest(all []moment) ([]moment, bool) {
	var best []moment
	fell, from := false, 0
	for i := 1; i <= len(all); i++ {
		if i < len(all) && !all[i].energy.LessThan(all[i-1].energy) && !all[i].other.LessThan(all[i-1].other) && all[i].at.After(all[i-1].at) {
			continue
		}
		fell = fell || i < len(all)
		if part := all[from:i]; len(best) == 0 || part[len(part)-1].at.Sub(part[0].at) > best[len(best)-1].at.Sub(best[0].at) {
			best = part
		}
		from = i
	}
	return best, fell
}

func positive(d decimal.Decimal) decimal.Decimal { return decimal.Max(d, decimal.Zero) }

// common returns the greatest number that divides all rises, 0 when nothing rose:
// a counter that is written every 100 Wh counts in steps of 100 Wh, whatever its
// scale is.
func common(rises []decimal.Decimal) decimal.Decimal {
	exp := int32(0)
	for _, r := range rises {
		exp = min(exp, r.Exponent())
	}
	g := new(big.Int)
	for _, r := range rises {
		g.GCD(nil, nil, g, r.Shift(-exp).BigInt())
	}
	return decimal.NewFromBigInt(g, exp)
}

// fits tells whether a rise agrees with a flow; step is that of the rise.
func fits(rise, flow, step decimal.Decimal) bool {
	allowed := flow.Mul(decimal.New(tolerancePercent, -2)).Add(step.Mul(decimal.NewFromInt(toleranceSteps)))
	return !rise.Sub(flow).Abs().GreaterThan(allowed)
}

// judge fills in the verdict on an outcome.
func (t *trial) judge(c *Check, o *outcome) {
	enough := o.step.Mul(decimal.NewFromInt(enoughSteps))
	got, against := o.counted, o.other // of the direction that flows, and of the other
	counter, backward := c.Energy, o.out.GreaterThan(o.in)
	if backward && o.hasOther {
		got, against, counter = o.other, o.counted, t.name(t.other)
	}
	c.Counted, c.Integrated = got, o.flow
	part := ""
	if o.fell {
		part = "; the counter fell meanwhile, and only the longest part without a fall was used"
	}
	say := func(v Verdict, format string, a ...any) { c.Verdict, c.Text = v, fmt.Sprintf(format, a...)+part }
	flow := o.flow.Round(1)
	switch {
	case o.readings < leastReadings || o.span < leastTime:
		say(TooLittle, "%d usable readings over %v; want at least %d over %v, better 5 to 15 minutes", o.readings, o.span.Round(time.Second), leastReadings, leastTime)
	case decimal.Max(got, o.flow).LessThan(enough):
		say(TooLittle, "power made %s Wh and the counter steps by %s Wh; wait for more load, or for the sun", flow, o.step)
	case backward && !o.hasOther && got.IsPositive() && fits(got, o.flow, o.step):
		say(Swapped, "%s rises while %s is negative, by as much; the sign of power is the other way round than the profile says", c.Energy, c.Power)
	case backward && !o.hasOther:
		say(TooLittle, "%s is negative, and there is no counter for that direction; wait until power flows the other way", c.Power)
	case fits(got, o.flow, o.step):
		say(Fits, "%s counted %s Wh where %s makes %s Wh in %v", counter, got.Round(1), c.Power, flow, o.span.Round(time.Second))
	case o.hasOther && against.IsPositive() && fits(against, o.flow, o.step) && got.LessThan(against):
		say(Swapped, "%s and %s are swapped, or the sign of %s is: power flows one way and the counter of the other way rises by as much (%s Wh)", c.Energy, t.name(t.other), c.Power, against.Round(1))
	default:
		t.scale(c, o, got, counter, say)
	}
}

// scale looks for a power of ten that makes the counter fit.
func (t *trial) scale(c *Check, o *outcome, got decimal.Decimal, counter string, say func(Verdict, string, ...any)) {
	if !got.LessThan(o.step.Mul(decimal.NewFromInt(enoughSteps))) {
		for n := -mostPower10; n <= mostPower10; n++ {
			if n == 0 || !fits(got.Shift(int32(n)), o.flow, o.step.Shift(int32(n))) {
				continue
			}
			c.Factor = n
			much, times := "little", decimal.New(1, int32(n))
			if n < 0 {
				much, times = "much", decimal.New(1, int32(-n))
			}
			say(WrongScale, "%s counts %s times too %s for %s, or %s is wrong by as much: %s Wh counted, %s Wh by power; correct scale or unit in the profile", counter, times, much, c.Power, c.Power, got, o.flow.Round(1))
			return
		}
	}
	if got.Mul(decimal.NewFromInt(enoughSteps)).LessThan(o.flow) {
		say(TooSlow, "%s rose by %s Wh while %s makes %s Wh: its scale is too small, or it is not the counter of this power", counter, got, c.Power, o.flow.Round(1))
		return
	}
	say(Unclear, "%s rose by %s Wh while %s makes %s Wh, and neither scale, word order nor direction explains it; compare both with the display", counter, got, c.Power, o.flow.Round(1))
}
