package calc

import (
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/shopspring/decimal"
)

// oddShare is the part of rated power × time below which something is odd about a unit:
// a value that is off by 1,000 of what plants make is below it, and standing still most
// of the time is not.
var oddShare = decimal.New(1, -3)

// TooLittle says that an amount is so far below what rated power makes in a time that its
// unit, or that of the rated power, may be off by 1,000; "" when nothing is odd. Rated
// power is in base per hour. Too much needs no word: it is held back (rule 7).
func TooLittle(amount, rated, hours decimal.Decimal, base string) string {
	most := rated.Mul(hours)
	if !amount.IsPositive() || hours.LessThan(decimal.New(24, 0)) || !amount.LessThan(most.Mul(oddShare)) {
		return ""
	}
	per := base + "/h"
	if base == "kWh" {
		per = "kW"
	}
	return fmt.Sprintf("%s %s in %s h are %s %% of what rated power of %s %s makes (%s %s): is a unit off by 1,000?",
		amount, base, hours.StringFixed(1), amount.Shift(2).DivRound(most, 4), rated, per, most.StringFixed(0), base)
}

// odd lists what a person should look at before the figures are believed.
func (b *builder) odd() (out []string) {
	if b.extent == figures {
		return nil
	}
	for i := range b.project.Meters {
		m := &b.project.Meters[i]
		r := b.meters[m.Key]
		rated, _, _ := m.rating()
		if r.First == nil || r.Last == nil {
			continue
		}
		hours := decimal.New(r.Last.At.Sub(r.First.At).Milliseconds(), 0).Div(decimal.New(3_600_000, 0))
		if text := TooLittle(r.MeasuredKWh, rated.Decimal, hours, m.Base()); text != "" {
			out = append(out, "meter "+m.Key+": "+text)
		}
	}
	return out
}

// Oddities compares the estimates of the design document with what the meters can
// measure in a year at rated power: an estimate above that, or below a thousandth of it,
// is written in another unit, or the rated power is. It says nothing of a project
// whose meters are not all rated, or that needs inputs. The project fits its methodology.
func (p *Project) Oddities(m *Methodology) (out []string) {
	most := p.most(m)
	if most == nil || most.Sign() <= 0 {
		return nil
	}
	for _, year := range slices.Sorted(maps.Keys(p.Estimates)) {
		estimate := p.Estimates[year].Rat()
		thousand := new(big.Rat).Mul(estimate, big.NewRat(1000, 1))
		if estimate.Cmp(most) > 0 || estimate.Sign() > 0 && thousand.Cmp(most) < 0 {
			out = append(out, fmt.Sprintf("pdd_estimate of %d is %s tCO2; all meters at rated power for a whole year come to %s tCO2: a rated power or the estimate may be off by 1,000", year, p.Estimates[year], most.FloatString(1)))
		}
	}
	return out
}

// most returns the reductions of a year of 8,784 hours at rated power, tCO2; nil when
// that is not known.
func (p *Project) most(m *Methodology) *big.Rat {
	f, err := m.compile()
	if err != nil || len(p.Estimates) == 0 || slices.ContainsFunc(m.Parameters, func(a Parameter) bool { return a.daily() }) ||
		slices.ContainsFunc(p.Inputs, func(d InputDecl) bool { return d.Role == RoleCounts }) {
		return nil
	}
	in := p.supposed(m, 1)
	m.count(in, Span{Date{2024, 1, 1}, Date{2024, 12, 31}})
	at := make(map[string]int, len(in.units))
	for k := range in.units {
		at[in.units[k].name] = k
	}
	value := func(k *Meter) *big.Rat {
		a := m.parameter(k.Parameter)
		if a.Per == PerProject {
			return in.project[a.Symbol]
		}
		return in.units[at[k.UnitName()]].values[a.Symbol]
	}
	er := func() *big.Rat {
		out, err := f.eval(in)
		if err != nil {
			return nil
		}
		return out.er
	}
	var meters []*Meter
	for i := range p.Meters {
		if k := &p.Meters[i]; k.Role == RoleCounts {
			meters = append(meters, k)
			value(k).SetInt64(0)
		}
	}
	full := make([]*big.Rat, len(meters))
	for i, k := range meters {
		rated, _, _ := k.rating()
		factor, err := conversion(unit{k.Base(): 1}, m.parameter(k.Parameter).Unit)
		if err != nil || rated.IsZero() {
			return nil
		}
		full[i] = factor.Mul(factor, rated.Mul(decimal.New(8784, 0)).Rat())
		value(k).Add(value(k), full[i])
	}
	best := er()
	for i, k := range meters { // one that lowers the reductions stands still
		if best == nil {
			return nil
		}
		value(k).Sub(value(k), full[i])
		if without := er(); without != nil && without.Cmp(best) > 0 {
			best = without
			continue
		}
		value(k).Add(value(k), full[i])
	}
	return best
}
