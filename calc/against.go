package calc

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// against turns every line of a vintage against the project: what raises ER is
// taken low, what lowers it is taken high. Which of the two a meter does is seen
// by giving the formulas one kWh more of it than was measured.
func (b *builder) against(s Span, in *inputs) error {
	var base *big.Rat
	for i := range b.project.Meters {
		m, c := &b.project.Meters[i], b.curves[i]
		b.lines[i] = append(b.lines[i], b.uncalibrated(m, c, s)...)
		if m.Role != RoleCounts || b.raises(m.Parameter) {
			continue
		}
		unmeasured := slices.Concat(b.unread(m, c, s), b.unheld(m, c, s), b.doubts(m, c, s), b.later(m, c, s))
		if !has(b.lines[i], s.Start.Year) && len(unmeasured) == 0 {
			continue
		}
		if b.perDay(m) {
			return fmt.Errorf("meter %s: more of %s on a day may mean less ER: such a parameter cannot come from a meter, enter it day by day", m.Key, m.Parameter)
		}
		if base == nil {
			out, err := b.formulas.eval(in)
			if err != nil {
				return err
			}
			base = out.er
		}
		lowers, err := b.lowers(in, m, c, s, base)
		if err != nil {
			return err
		}
		if !lowers {
			continue
		}
		b.lines[i] = slices.DeleteFunc(b.lines[i], func(d Deduction) bool { return d.Cause == CauseStart && d.year == s.Start.Year }) // nothing is held back
		for k := range b.lines[i] {
			if d := &b.lines[i][k]; d.year == s.Start.Year {
				b.turn(d, c)
			}
		}
		b.lines[i] = append(b.lines[i], unmeasured...)
	}
	return nil
}

// lowers reports whether more of a meter is less ER. Where one kWh more changes
// nothing, all that can have flowed in the vintage may: a formula has limits.
func (b *builder) lowers(in *inputs, m *Meter, c *Curve, s Span, base *big.Rat) (bool, error) {
	more, err := b.with(in, m, decimal.New(1, 0), s.Start)
	if err != nil {
		return false, err
	}
	if n := more.Cmp(base); n != 0 {
		return n < 0, nil
	}
	most := c.spec.RatedKW
	if !most.IsPositive() {
		most = maxRatedKW
	}
	if more, err = b.with(in, m, most.Mul(decimal.New(int64(24*daysOf(s)), 0)), s.Start); err != nil {
		return false, err
	}
	return more.Cmp(base) < 0, nil
}

// plainly is a formula in which more of anything is more of the whole, when no
// number is below 0.
var plainly = regexp.MustCompile(`^[A-Za-z0-9_\s*+().,]*$`)

var identifier = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

// raises reports whether it can be read off the formulas that more of a parameter
// is never less ER. Where it cannot, that is tried for each meter, which costs the
// square of the units.
func (b *builder) raises(symbol string) bool {
	if known, ok := b.raising[symbol]; ok {
		return known
	}
	f := b.methodology.Formulas
	ok := strings.ReplaceAll(f.ER, " ", "") == "RE-PE" && plainly.MatchString(f.RE) && !slices.Contains(identifier.FindAllString(f.PE, -1), symbol)
	for _, name := range identifier.FindAllString(f.RE, -1) {
		ok = ok && (name == "sum" || name == "sum_d" || b.methodology.parameter(name) != nil)
	}
	for _, name := range identifier.FindAllString(f.PE, -1) {
		ok = ok && (name == "sum" || name == "sum_d" || b.methodology.parameter(name) != nil)
	}
	for i := range b.methodology.Parameters {
		ok = ok && !b.methodology.Parameters[i].Signed
	}
	for _, v := range b.project.Parameters {
		ok = ok && !v.Value.IsNegative()
	}
	for _, u := range b.project.Units {
		for _, v := range u.Parameters {
			ok = ok && !v.Value.IsNegative()
		}
	}
	b.raising[symbol] = ok
	return ok
}

func has(lines []Deduction, year int) bool {
	return slices.ContainsFunc(lines, func(d Deduction) bool { return d.year == year })
}

const moreIsLess = "; more of it means less ER: "

// turn makes a line one of a meter that counts against the project: nothing of
// what it shows is held back, and what it did not measure is taken to be all
// that rated power makes.
func (b *builder) turn(d *Deduction, c *Curve) {
	switch {
	case d.Cause == CauseCalibration:
		d.KWh = d.KWh.Neg()
		d.Note += moreIsLess + "the error is added"
	case d.Cause == CauseJump:
		d.KWh = decimal.Zero
		d.Note += moreIsLess + "nothing is held back"
	case d.Cause == CauseUnit || d.Cause == CauseOut || d.Cause == CauseExcluded:
		d.Note += moreIsLess + "a gap that they leave is measured by the register or stands on a line of its own"
	default:
		d.most(c, d.To-d.From)
	}
}

// most makes a line add all that rated power makes in a time, ms.
func (d *Deduction) most(c *Curve, ms int64) {
	if c.rated == 0 {
		d.Unbounded = true
		d.Note += moreIsLess + "without rated power nobody can say how much at most, and the period cannot be sealed"
		return
	}
	d.KWh = c.possible(ms).kWh().Neg()
	d.Note += fmt.Sprintf("%sall that %s kW makes in %v is added", moreIsLess, c.spec.RatedKW, time.Duration(ms)*time.Millisecond)
}

// unread returns the spans of a vintage in which a meter was not read, up to the
// newest reading of any meter: before its first and after its newest one, and where
// one meter was gone and the next one not yet there. They add all that it may have been.
func (b *builder) unread(m *Meter, c *Curve, s Span) (out []Deduction) {
	start, end := s.Start.startMs(b.zone), min(s.End.Next().startMs(b.zone), b.newest)
	add := func(from, to, least int64, why string) {
		if from, to = max(from, start), min(to, end); to-from > least {
			d := Deduction{Meter: m.Key, Cause: CauseUnread, Rule: "report rule 2", From: from, To: to, TCO2: "0", Note: why, year: s.Start.Year}
			d.most(c, to-from)
			d.Note = inUnit(d.Note, m)
			out = append(out, d)
		}
	}
	const none = "no reading in this time"
	if c.First().At == 0 {
		add(start, end, c.gap, none)
		return out
	}
	add(start, c.First().At, c.gap, none)
	if c.spec.HoldMs == 0 { // where a power is integrated that is time in which no value holds
		gone := int64(0)
		c.Events(Span{c.days[0].Day, c.last().Day}, func(_ Date, e *Event) {
			switch {
			case e.Cause == CauseRemoved:
				gone = e.From
			case gone != 0 && rules[e.Cause] == "12":
				add(gone, e.To, 0, "no meter was there in this time")
				gone = 0
			}
		})
	}
	last := c.Last().At
	if k := c.last(); k.Fall != nil {
		last = k.Fall.Last.At
	} else if k.Opening != nil && !k.Out {
		last = k.Opening.To
	}
	add(last, end, c.gap, none)
	return out
}

// unheld returns a line for the time between the first and the newest reading of a
// vintage in which no value of a power held (counter rule 15).
func (b *builder) unheld(m *Meter, c *Curve, s Span) []Deduction {
	to := c.state(s.End.Next())
	if c.spec.HoldMs == 0 || to == nil || to.Power == nil {
		return nil
	}
	from, held := c.First().At, to.Power.Held
	if k := c.state(s.Start); k != nil && k.Power != nil {
		from, held = k.InForce.At, held-k.Power.Held
	}
	idle := to.InForce.At - from - held
	if idle <= 0 {
		return nil
	}
	d := Deduction{Meter: m.Key, Cause: CauseUnheld, Rule: "report rule 2", From: max(from, s.Start.startMs(b.zone)), To: to.InForce.At, TCO2: "0", year: s.Start.Year,
		Note: fmt.Sprintf("in %v of this time no value held", time.Duration(idle)*time.Millisecond)}
	d.most(c, idle)
	d.Note = inUnit(d.Note, m)
	return []Deduction{d}
}

// doubts returns a line for each dip, correction and spike of a vintage that rules 8 and 11
// were not certain of: what the register counted a second time, or showed between, was not
// measured.
func (b *builder) doubts(m *Meter, c *Curve, s Span) (out []Deduction) {
	c.Events(s, func(_ Date, e *Event) {
		if e.Cause != CauseSpike && (e.Again.IsZero() || e.Cause != CauseDip && e.Cause != CauseCorrection) {
			return
		}
		d := Deduction{Meter: m.Key, Cause: e.Cause, Rule: "report rule 2", From: e.From, To: e.To, TCO2: "0", year: s.Start.Year}
		d.Note = e.note(&c.spec)
		if most := c.possible(e.To - e.From).kWh(); e.Cause != CauseSpike && c.rated > 0 && e.Again.LessThan(most) {
			d.KWh = e.Again.Neg()
			d.Note += fmt.Sprintf("%sthe %s kWh by which it fell, with what %s kW makes from the reading before a fall to the one after, are added", moreIsLess, e.Again, c.spec.RatedKW)
		} else {
			d.most(c, e.To-e.From)
		}
		d.Note = inUnit(d.Note, m)
		out = append(out, d)
	})
	return out
}
