package calc

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/shopspring/decimal"
)

// Report holds the figures of one monitoring period. Every number is exact and
// is written to JSON as a string.
type Report struct {
	Project      string                       `json:"project"`     // reference
	Zone         string                       `json:"zone"`        // IANA
	Methodology  string                       `json:"methodology"` // "number version"
	Rules        int                          `json:"counter_rules"`
	Period       Span                         `json:"period"`
	MeasuredKWh  decimal.Decimal              `json:"measured_kWh"`
	ClaimableKWh decimal.Decimal              `json:"claimable_kWh"`
	Months       map[string]decimal.Decimal   `json:"months"`     // measured kWh by local month of the period, from the first to the last reading
	Vintages     map[string]map[string]string `json:"vintages"`   // by year: what is claimable of each monitored parameter (EG_MWh), RE_tCO2, PE_tCO2, ER_tCO2
	Meters       map[string]MeterReport       `json:"meters"`     // by Meter.Key, check meters included
	Deductions   []Deduction                  `json:"deductions"` // all that lies between measured and claimable; never nil
}

// MeterReport holds the figures of one meter.
type MeterReport struct {
	Role         string                     `json:"role,omitempty"` // RoleCheck: not in any total
	MeasuredKWh  decimal.Decimal            `json:"measured_kWh"`
	ClaimableKWh decimal.Decimal            `json:"claimable_kWh"`
	Days         map[string]decimal.Decimal `json:"days"`  // measured kWh by local day from the first to the last reading
	First        *Standing                  `json:"first"` // in force where the period begins; nil when nothing was read by its end
	Last         *Standing                  `json:"last"`  // in force where it ends, or now
}

// Standing is a reading as a report shows it.
type Standing struct {
	At  time.Time       `json:"at"` // UTC
	KWh decimal.Decimal `json:"kWh"`
}

// Deduction is one line of what lies between measured and claimable. Lines of 0
// kWh hold nothing back: they tell of energy that was not measured.
type Deduction struct {
	Meter string          `json:"meter"`
	Cause string          `json:"cause"`
	Rule  string          `json:"rule"`
	From  int64           `json:"from"` // ms UTC
	To    int64           `json:"to"`
	KWh   decimal.Decimal `json:"kWh"`
	TCO2  string          `json:"tCO2"` // by how much ER would be higher with it, before rounding
	Note  string          `json:"note"`

	year int // vintage it belongs to
}

// Report computes the figures of a monitoring period, counted from 0 in the
// order of the file. curve returns the curve of a register, nil when nothing is
// known of it. Where nothing was read nothing is claimed: that is no error.
func (p *Project) Report(m *Methodology, period int, curve func(key string) *Curve) (*Report, error) {
	if period < 0 || period >= len(p.Periods) {
		return nil, fmt.Errorf("project %s has no period %d", p.Reference, period)
	}
	zone, err := p.Location()
	if err != nil {
		return nil, err
	}
	if err := p.Fits(m); err != nil {
		return nil, err
	}
	f, err := m.compile()
	if err != nil {
		return nil, err
	}
	r := &Report{
		Project: p.Reference, Zone: p.Zone, Methodology: p.Methodology.String(), Rules: RulesVersion, Period: p.Periods[period],
		Months: make(map[string]decimal.Decimal), Vintages: make(map[string]map[string]string),
		Meters: make(map[string]MeterReport), Deductions: []Deduction{},
	}
	b := builder{project: p, methodology: m, formulas: f, zone: zone, report: r}
	for i := range p.Meters {
		c := curve(p.Meters[i].Register)
		if c == nil {
			c = NewCurve(Register{}, zone)
		}
		b.curves = append(b.curves, c)
		b.meter(&p.Meters[i], c)
	}
	for _, month := range r.Period.Months() {
		if !b.reached(month) {
			continue
		}
		r.Months[month.Start.String()[:len("2020-05")]] = b.measured(month)
	}
	for _, v := range r.Period.Vintages() {
		if err := b.vintage(v); err != nil {
			return nil, fmt.Errorf("project %s, vintage %d: %w", p.Reference, v.Start.Year, err)
		}
	}
	return r, nil
}

// builder fills in a report.
type builder struct {
	project     *Project
	methodology *Methodology
	formulas    *formulas
	zone        *time.Location
	report      *Report
	curves      []*Curve // beside Project.Meters
}

// meter adds the figures of one meter.
func (b *builder) meter(m *Meter, c *Curve) {
	period := b.report.Period
	measured := c.Energy(period.Start, period.End.Next())
	var held decimal.Decimal
	lines := b.lines(m, c)
	for i := range lines {
		held = held.Add(lines[i].KWh)
	}
	r := MeterReport{
		Role: m.Role, MeasuredKWh: measured, ClaimableKWh: measured.Sub(held), Days: b.days(c),
	}
	if c.First().At != 0 && !period.End.Before(ClosingDay(c.First().At, b.zone)) {
		r.First, r.Last = standing(c.InForce(period.Start)), standing(c.InForce(period.End.Next()))
	}
	b.report.Meters[m.Key] = r
	if m.Role != RoleCounts {
		return
	}
	b.report.MeasuredKWh = b.report.MeasuredKWh.Add(r.MeasuredKWh)
	b.report.ClaimableKWh = b.report.ClaimableKWh.Add(r.ClaimableKWh)
	b.report.Deductions = append(b.report.Deductions, lines...)
}

func standing(r Reading) *Standing { return &Standing{time.UnixMilli(r.At).UTC(), r.KWh} }

// days returns what was measured on each day of the period from the first to the
// newest accepted reading. Outside of that nothing was measured, not even 0.
func (b *builder) days(c *Curve) map[string]decimal.Decimal {
	out := make(map[string]decimal.Decimal)
	if c.First().At == 0 {
		return out
	}
	d, end := b.report.Period.Start, b.report.Period.End
	if first := CalendarDay(c.First().At, b.zone); d.Before(first) {
		d = first
	}
	if last := ClosingDay(c.Last().At, b.zone); last.Before(end) {
		end = last
	}
	from := c.InForce(d)
	for ; !end.Before(d); d = d.Next() {
		to := c.InForce(d.Next())
		out[d.String()] = to.KWh.Sub(from.KWh)
		from = to
	}
	return out
}

// lines returns the deductions of a meter, in the order of their time.
func (b *builder) lines(m *Meter, c *Curve) []Deduction {
	var out []Deduction
	spec := c.Spec()
	c.Events(b.report.Period, func(day Date, e *Event) {
		if e.Cause != CauseDip {
			out = append(out, Deduction{Meter: m.Key, Cause: e.Cause, Rule: ruleOf(e.Cause), From: e.From, To: e.To,
				KWh: e.Held, TCO2: "0", Note: e.note(&spec), year: day.Year})
		}
	})
	if f := c.Pending(b.report.Period.End); f != nil {
		stands := c.InForce(b.report.Period.End.Next())
		out = append(out, Deduction{Meter: m.Key, Cause: CauseFall, Rule: ruleOf(CauseFall), From: stands.At, To: f.Last.At,
			TCO2: "0", Note: f.note(stands), year: b.report.Period.End.Year})
	}
	slices.SortStableFunc(out, func(x, y Deduction) int { return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.To, y.To)) })
	return out
}

// reached reports whether a span holds a day from the first to the newest reading
// of a counting meter. In any other nothing was measured, not even 0.
func (b *builder) reached(s Span) bool {
	for i, c := range b.curves {
		if b.project.Meters[i].Role == RoleCounts && c.First().At != 0 &&
			!s.End.Before(CalendarDay(c.First().At, b.zone)) && !ClosingDay(c.Last().At, b.zone).Before(s.Start) {
			return true
		}
	}
	return false
}

// measured returns what the counting meters measured in a span, kWh.
func (b *builder) measured(s Span) decimal.Decimal {
	var sum decimal.Decimal
	for i, c := range b.curves {
		if b.project.Meters[i].Role == RoleCounts {
			sum = sum.Add(c.Energy(s.Start, s.End.Next()))
		}
	}
	return sum
}

// vintage computes RE, PE and ER of one calendar year, and what each deduction
// in it comes to.
func (b *builder) vintage(s Span) error {
	in := b.inputs()
	energy := make(map[string]*big.Rat)
	for i := range b.project.Meters {
		m := &b.project.Meters[i]
		if m.Role != RoleCounts {
			continue
		}
		e := b.claimable(i, s)
		v := b.value(in, m)
		v.Add(v, e)
		sum := energy[m.Parameter]
		if sum == nil {
			sum = new(big.Rat)
			energy[m.Parameter] = sum
		}
		sum.Add(sum, e)
	}
	out, err := b.formulas.eval(in)
	if err != nil {
		return err
	}
	v := map[string]string{"RE_tCO2": numberText(out.re), "PE_tCO2": numberText(out.pe), "ER_tCO2": floor(out.er).String()}
	for symbol, e := range energy {
		v[symbol+"_"+b.methodology.parameter(symbol).Unit] = numberText(e)
	}
	b.report.Vintages[strconv.Itoa(s.Start.Year)] = v
	return b.weigh(s.Start.Year, in, out.er)
}

// inputs returns the numbers fixed ex ante, and 0 for those that are monitored.
// Each monitored number is its own, to be added to.
func (b *builder) inputs() *inputs {
	in := &inputs{project: make(map[string]*big.Rat)}
	for symbol, v := range b.project.Parameters {
		in.project[symbol] = v.Value.Rat()
	}
	for _, name := range b.project.unitNames(b.methodology) {
		u := unitInputs{name, maps.Clone(in.project)}
		for symbol, v := range b.project.Units[name].Parameters {
			u.values[symbol] = v.Value.Rat()
		}
		in.units = append(in.units, u)
	}
	for i := range b.methodology.Parameters {
		if a := &b.methodology.Parameters[i]; a.Monitored {
			in.project[a.Symbol] = new(big.Rat)
			for k := range in.units {
				in.units[k].values[a.Symbol] = new(big.Rat)
			}
		}
	}
	return in
}

// value returns the number that a meter feeds.
func (b *builder) value(in *inputs, m *Meter) *big.Rat {
	if b.methodology.parameter(m.Parameter).Per == PerProject {
		return in.project[m.Parameter]
	}
	i := slices.IndexFunc(in.units, func(u unitInputs) bool { return u.name == m.UnitName() })
	return in.units[i].values[m.Parameter]
}

// claimable returns what can be claimed of a meter in a span, in the unit of
// the parameter that it feeds.
func (b *builder) claimable(meter int, s Span) *big.Rat {
	m := &b.project.Meters[meter]
	kWh := b.curves[meter].Energy(s.Start, s.End.Next())
	for i := range b.report.Deductions {
		if d := &b.report.Deductions[i]; d.Meter == m.Key && d.year == s.Start.Year {
			kWh = kWh.Sub(d.KWh)
		}
	}
	return b.convert(m, kWh)
}

func (b *builder) convert(m *Meter, kWh decimal.Decimal) *big.Rat {
	factor, _ := energyFactor(b.methodology.parameter(m.Parameter).Unit) // Fits has seen to it
	return factor.Mul(factor, kWh.Rat())
}

// weigh fills in by how much ER would be higher with what a deduction holds back.
func (b *builder) weigh(year int, in *inputs, er *big.Rat) error {
	for i := range b.report.Deductions {
		d := &b.report.Deductions[i]
		if d.year != year || d.KWh.IsZero() {
			continue
		}
		m := &b.project.Meters[slices.IndexFunc(b.project.Meters, func(m Meter) bool { return m.Key == d.Meter })]
		v := b.value(in, m)
		was := new(big.Rat).Set(v)
		v.Add(v, b.convert(m, d.KWh))
		with, err := b.formulas.eval(in)
		v.Set(was)
		if err != nil {
			return err
		}
		d.TCO2 = numberText(new(big.Rat).Sub(with.er, er))
	}
	return nil
}

func ruleOf(cause string) string {
	switch cause {
	case CauseUnit:
		return "counter rule 2"
	case CauseJump:
		return "counter rule 7"
	}
	return "counter rule 8"
}

// note says in a line what happened.
func (e *Event) note(spec *Register) string {
	switch e.Cause {
	case CauseUnit:
		return fmt.Sprintf("unit %q is none of Wh, kWh, MWh, GWh: what is in it is no reading (samples: %d)", e.Detail, e.Count)
	case CauseRecovered:
		return fmt.Sprintf("fell below %s kWh and counted on to %s kWh as fast as it may: if it was exchanged or restarted, more was made than is measured", e.Before, e.After)
	}
	return fmt.Sprintf("rose by %s kWh, more than %s kW makes in %v", e.After.Sub(e.Before), spec.RatedKW, time.Duration(e.To-e.From)*time.Millisecond)
}

func (f *Fall) note(stands Reading) string {
	return fmt.Sprintf("fell from %s to %s kWh and is at %s kWh now: undecided; what it counted since, %s kWh, is not measured", stands.KWh, f.From.KWh, f.Last.KWh, f.Last.KWh.Sub(f.Low))
}
