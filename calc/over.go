package calc

import (
	"fmt"

	"github.com/shopspring/decimal"
)

// rose returns what a register counted over a time in which it was not read, or showed
// one value: all of that is booked on the day of its end. It is negative when the event
// says nothing of it.
func (e *Event) rose(spec *Register) decimal.Decimal {
	switch e.Cause {
	case CauseRollover:
		return spec.Modulus.Sub(e.Before).Add(e.After)
	case CauseGap, CauseFrozen, CauseDip, CauseCorrection:
		return e.After.Sub(e.Before)
	}
	return decimal.New(-1, 0)
}

// within returns how much at most, of kWh that a register counted in some time, it can
// have counted in ms of that.
func (c *Curve) within(kWh decimal.Decimal, ms int64) decimal.Decimal {
	if c.rated == 0 {
		return kWh
	}
	return decimal.Min(kWh, c.possible(ms).kWh())
}

func (c *Curve) atMost() string {
	if c.rated == 0 {
		return "which without rated power is all of it"
	}
	return "at most what " + c.spec.RatedKW.String() + " kW makes in this time"
}

// early returns a line for what a register counted over the start of the period and was
// booked in it: as much of it as rated power makes by the start is from before. Several
// events over the start are about one rise of the register, and the largest counts.
func (b *builder) early(m *Meter, c *Curve) []Deduction {
	if m.Role != RoleCounts {
		return nil
	}
	start := b.report.Period.Start.startMs(b.zone)
	var most Deduction
	c.Events(b.report.Period, func(day Date, e *Event) {
		rose := e.rose(&c.spec)
		if e.From >= start || e.To <= start || !rose.IsPositive() {
			return
		}
		if kWh := c.within(rose, start-e.From); kWh.GreaterThan(most.KWh) {
			most = Deduction{Meter: m.Key, Cause: CauseStart, Rule: "report rule 7", From: e.From, To: start, KWh: kWh, TCO2: "0", year: day.Year, day: day,
				Note: inUnit(fmt.Sprintf("%s; it rose by %s kWh from %s to %s: what may be from before the start of the period is held back, %s",
					e.note(&c.spec), rose, local(e.From, b.zone), local(e.To, b.zone), c.atMost()), m)}
		}
	})
	if most.KWh.IsPositive() {
		return []Deduction{most}
	}
	return nil
}

// later returns a line for what a register counted over the end of a vintage and is booked
// behind it: as much of it as rated power makes up to the end is added, of a meter that
// lowers ER.
func (b *builder) later(m *Meter, c *Curve, s Span) []Deduction {
	end := s.End.Next().startMs(b.zone)
	var most Deduction
	c.across(s.End, end, func(e *Event) {
		rose := e.rose(&c.spec)
		if e.To <= end || !rose.IsPositive() {
			return
		}
		from := max(e.From, s.Start.startMs(b.zone))
		if kWh := c.within(rose, end-from); kWh.GreaterThan(most.KWh.Neg()) {
			most = Deduction{Meter: m.Key, Cause: CauseEnd, Rule: "report rule 7", From: from, To: end, KWh: kWh.Neg(), TCO2: "0", year: s.Start.Year,
				Note: inUnit(fmt.Sprintf("%s; it rose by %s kWh from %s to %s, which is booked on %v: what may have been up to the end is added, %s",
					e.note(&c.spec), rose, local(e.From, b.zone), local(e.To, b.zone), ClosingDay(e.To, b.zone), c.atMost()), m)}
		}
	})
	if most.KWh.IsNegative() {
		return []Deduction{most}
	}
	return nil
}
