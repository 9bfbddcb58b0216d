package calc

import (
	"math/big"
	"strconv"
	"time"

	"github.com/shopspring/decimal"
)

// vintage computes RE, PE and ER of one calendar year and what each deduction in
// it comes to, and returns the whole tonnes.
func (b *builder) vintage(s Span) (*big.Int, error) {
	in, amounts, counted := b.inputs(s), make(map[string]*big.Rat), make(map[counts]*sum)
	b.methodology.count(in, s)
	energy := make([]decimal.Decimal, len(b.curves))
	for i := range b.project.Meters {
		if m := &b.project.Meters[i]; m.Role == RoleCounts {
			from, to := b.curves[i].Total(s.Start), b.curves[i].Total(s.End.Next())
			energy[i] = difference(from, to)
			if counted[m.feeds()] == nil {
				counted[m.feeds()] = new(sum)
			}
			counted[m.feeds()].add(from, to)
			if b.perDay(m) {
				b.measureDays(in, m, b.curves[i], s)
				continue
			}
			v := b.valueOf(in, m.Parameter, m.UnitName())
			v.Add(v, b.convert(m, energy[i]))
		}
	}
	b.addInputs(s, in, amounts)
	if err := b.fillDays(in); err != nil {
		return nil, err
	}
	if err := b.against(s, in); err != nil {
		return nil, err
	}
	for i := range b.project.Meters {
		m := &b.project.Meters[i]
		if m.Role != RoleCounts {
			continue
		}
		held := heldIn(b.lines[i], s.Start.Year)
		if b.perDay(m) {
			b.holdDays(in, m, b.lines[i], s.Start.Year)
			counted[m.feeds()].add(held, decimal.Zero)
		} else if !held.IsZero() {
			v := b.valueOf(in, m.Parameter, m.UnitName())
			v.Sub(v, b.convert(m, held))
			counted[m.feeds()].add(held, decimal.Zero)
		}
	}
	for of, amount := range counted {
		if amounts[of.symbol] == nil {
			amounts[of.symbol] = new(big.Rat)
		}
		amounts[of.symbol].Add(amounts[of.symbol], b.converted(of, amount.kWh()))
	}
	out, err := b.formulas.eval(in)
	if err != nil {
		return nil, err
	}
	er := floor(out.er)
	v := map[string]string{"RE_tCO2": numberText(out.re), "PE_tCO2": numberText(out.pe), "ER_tCO2": er.String()}
	for symbol, e := range amounts {
		v[symbol+"_"+b.methodology.parameter(symbol).Unit] = numberText(e)
	}
	b.report.Vintages[strconv.Itoa(s.Start.Year)] = v
	b.total.Add(b.total, out.er)
	b.steps = append(b.steps, step{s, in, out})
	b.claim(in)
	return er, b.weigh(s.Start.Year, in, out.er)
}

// claim adds what is claimable of each unit i in a vintage to that of the period.
func (b *builder) claim(in *inputs) {
	if b.claimed == nil {
		b.claimed = make(map[feed]*tally)
	}
	if b.fed == nil {
		b.fed = b.project.fed()
	}
	for f := range b.fed {
		a := b.methodology.parameter(f.symbol)
		if f.unit == "" || !a.each() {
			continue
		}
		if b.claimed[f] == nil {
			b.claimed[f] = new(tally)
		}
		if a.daily() {
			for _, v := range in.daily[f.unit][f.symbol] {
				b.claimed[f].add(v)
			}
			continue
		}
		b.claimed[f].add(b.valueOf(in, f.symbol, f.unit))
	}
}

// inputs returns the numbers fixed ex ante, and 0 for those that are monitored.
// Each monitored number is its own, to be added to.
func (b *builder) inputs(s Span) *inputs {
	in := &inputs{project: make(map[string]*big.Rat)}
	for symbol, v := range b.project.Parameters {
		in.project[symbol] = v.Value.Rat()
	}
	for i, name := range b.project.unitNames(b.methodology) {
		u := unitInputs{name, make(map[string]*big.Rat)}
		for symbol, v := range b.project.Units[name].Parameters {
			u.values[symbol] = v.Value.Rat()
		}
		in.units = append(in.units, u)
		b.units[name] = i
	}
	for i := range b.methodology.Parameters {
		if a := &b.methodology.Parameters[i]; a.Monitored && !a.daily() {
			if a.Per == PerProject {
				in.project[a.Symbol] = new(big.Rat)
				continue
			}
			for k := range in.units {
				in.units[k].values[a.Symbol] = new(big.Rat)
			}
		}
	}
	b.layDays(in, s)
	return in
}

// valueOf returns the number of a monitored parameter, of a unit i where it has one for each.
func (b *builder) valueOf(in *inputs, symbol, unit string) *big.Rat {
	if b.methodology.parameter(symbol).Per == PerProject {
		return in.project[symbol]
	}
	return in.units[b.units[unit]].values[symbol]
}

// counts is a parameter with the unit in which a meter of it counts.
type counts struct{ symbol, base string }

func (m *Meter) feeds() counts { return counts{m.Parameter, m.Base()} }

func (b *builder) convert(m *Meter, kWh decimal.Decimal) *big.Rat {
	return b.converted(m.feeds(), kWh)
}

// converted returns what was counted in the unit of the parameter.
func (b *builder) converted(of counts, kWh decimal.Decimal) *big.Rat {
	factor := b.factors[of]
	if factor == nil {
		factor, _ = conversion(unit{of.base: 1}, b.methodology.parameter(of.symbol).Unit) // Fits has seen to it
		b.factors[of] = factor
	}
	r := kWh.Rat()
	return r.Mul(r, factor)
}

// weigh fills in by how much ER would be higher with what a deduction holds back.
func (b *builder) weigh(year int, in *inputs, er *big.Rat) error {
	for i := range b.project.Meters {
		m := &b.project.Meters[i]
		if m.Role != RoleCounts {
			continue
		}
		for k := range b.lines[i] {
			d := &b.lines[i][k]
			if d.year != year || d.KWh.IsZero() {
				continue
			}
			with, err := b.with(in, m, d.KWh, d.day)
			if err != nil {
				return err
			}
			d.TCO2 = numberText(new(big.Rat).Sub(with, er))
		}
	}
	return nil
}

// forecast compares the pace so far with the design document.
func (b *builder) forecast() {
	if len(b.project.Estimates) == 0 {
		return
	}
	period := b.report.Period
	last := Date{}
	for _, c := range b.curves {
		if at := c.Last().At; at != 0 {
			if d := ClosingDay(at, b.zone); last.Before(d) {
				last = d
			}
		}
	}
	f := &Forecast{Note: "forecast: the pace so far to the end of the period; nothing of it is measured", SoFar: numberText(b.total), PeriodDays: daysOf(period)}
	if period.End.Before(last) {
		last = period.End
	}
	if !last.Before(period.Start) {
		f.Days = daysOf(Span{period.Start, last})
		pace := new(big.Rat).Mul(b.total, big.NewRat(int64(f.PeriodDays), int64(f.Days)))
		f.Expected = pace.FloatString(3)
	}
	sum := new(big.Rat)
	for _, v := range period.Vintages() {
		n, ok := b.project.Estimates[v.Start.Year]
		if !ok {
			sum = nil
			break
		}
		year := Span{Date{v.Start.Year, time.January, 1}, Date{v.Start.Year, time.December, 31}}
		sum.Add(sum, new(big.Rat).Mul(n.Rat(), big.NewRat(int64(daysOf(v)), int64(daysOf(year)))))
	}
	if sum != nil {
		f.Estimate = sum.FloatString(3)
	}
	b.report.Forecast = f
}

// daysOf returns how many days a span has.
func daysOf(s Span) int {
	utc := func(d Date) time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC) }
	return int(utc(s.End).Sub(utc(s.Start)).Hours()/24) + 1
}
