package calc

import (
	"fmt"
	"math/big"

	"github.com/shopspring/decimal"
)

// layDays makes room for the parameters that have a value for each day of a vintage:
// 0 to be added to where a meter gives it, nothing where a person must.
func (b *builder) layDays(in *inputs, s Span) {
	in.days, in.first = daysOf(s), s.Start
	in.daily = make(map[string]map[string][]*big.Rat)
	for i := range b.methodology.Parameters {
		a := &b.methodology.Parameters[i]
		if !a.Monitored || !a.daily() {
			continue
		}
		owners := []string{""}
		if a.each() {
			owners = owners[:0]
			for k := range in.units {
				owners = append(owners, in.units[k].name)
			}
		}
		for _, unit := range owners {
			if in.daily[unit] == nil {
				in.daily[unit] = make(map[string][]*big.Rat)
			}
			list := make([]*big.Rat, in.days)
			if b.project.metered(a.Symbol, unit) {
				for d := range list {
					list[d] = new(big.Rat)
				}
			}
			in.daily[unit][a.Symbol] = list
		}
	}
}

// on returns the value of a day of a parameter that has one for each.
func (in *inputs) on(a *Parameter, unit string, day Date) **big.Rat {
	if a.Per == PerDay {
		unit = ""
	}
	return &in.daily[unit][a.Symbol][daysOf(Span{in.first, day})-1]
}

// measureDays adds what a meter measured on each day of a vintage.
func (b *builder) measureDays(in *inputs, m *Meter, c *Curve, s Span) {
	a := b.methodology.parameter(m.Parameter)
	from := c.Total(s.Start)
	for d := s.Start; !s.End.Before(d); d = d.Next() {
		to := c.Total(d.Next())
		if v := *in.on(a, m.UnitName(), d); !to.Equal(from) {
			v.Add(v, b.convert(m, difference(from, to)))
		}
		from = to
	}
}

// holdDays takes off each day what is held back of it.
func (b *builder) holdDays(in *inputs, m *Meter, lines []Deduction, year int) {
	a := b.methodology.parameter(m.Parameter)
	for k := range lines {
		if d := &lines[k]; d.year == year && !d.KWh.IsZero() {
			v := *in.on(a, m.UnitName(), d.day)
			v.Sub(v, b.convert(m, d.KWh))
		}
	}
}

// sayDays gives the days of an input its value.
func (x *Input) sayDays(in *inputs, a *Parameter) {
	for d := x.From; !x.To.Before(d); d = d.Next() {
		*in.on(a, x.UnitName, d) = x.Value.Rat()
	}
}

// fillDays gives a day that nobody has given a value the one, of the limits of its
// parameter, with which there is less ER: not to have said must not pay.
func (b *builder) fillDays(in *inputs) error {
	type gap struct {
		at       **big.Rat
		min, max *Number
	}
	var gaps []gap
	for i := range b.methodology.Parameters {
		a := &b.methodology.Parameters[i]
		if !a.Monitored || !a.daily() {
			continue
		}
		for unit, symbols := range in.daily {
			list := symbols[a.Symbol]
			for k, d := 0, in.first; k < len(list); k, d = k+1, d.Next() {
				if list[k] != nil {
					continue
				}
				if a.Min == nil || a.Max == nil {
					return fmt.Errorf("%s%s has no value on %v, and its parameter has no min and max to take the worse of", a.Symbol, of(unit), d)
				}
				gaps = append(gaps, gap{&list[k], a.Min, a.Max})
				if key := a.Symbol + of(unit); d.startMs(b.zone) < b.newest {
					if b.report.NoValue == nil {
						b.report.NoValue = make(map[string][]string)
					}
					b.report.NoValue[key] = append(b.report.NoValue[key], d.String())
				}
			}
		}
	}
	if len(gaps) == 0 {
		return nil
	}
	with := func(limit func(gap) *Number) (*big.Rat, error) {
		for _, g := range gaps {
			*g.at = limit(g).Rat()
		}
		out, err := b.formulas.eval(in)
		return out.er, err
	}
	least := func(g gap) *Number { return g.min }
	most := func(g gap) *Number { return g.max }
	high, err := with(most)
	if err != nil {
		return err
	}
	low, err := with(least)
	if err == nil && high.Cmp(low) < 0 {
		_, err = with(most)
	}
	return err
}

// perDay reports whether a meter feeds a parameter that has a value for each day.
func (b *builder) perDay(m *Meter) bool {
	a := b.methodology.parameter(m.Parameter)
	return m.Role == RoleCounts && a != nil && a.daily()
}

// spot returns the number that more of a meter on a day is added to.
func (b *builder) spot(in *inputs, m *Meter, day Date) *big.Rat {
	if a := b.methodology.parameter(m.Parameter); a.daily() {
		return *in.on(a, m.UnitName(), day)
	}
	return b.valueOf(in, m.Parameter, m.UnitName())
}

// with returns ER with so much more of a meter on a day.
func (b *builder) with(in *inputs, m *Meter, kWh decimal.Decimal, day Date) (*big.Rat, error) {
	v := b.spot(in, m, day)
	was := new(big.Rat).Set(v)
	v.Add(v, b.convert(m, kWh))
	out, err := b.formulas.eval(in)
	v.Set(was)
	return out.er, err
}
