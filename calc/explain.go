package calc

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// step is one vintage with all that went into it.
type step struct {
	span Span
	in   *inputs
	out  outcome
}

// Explain writes how the figures of a period come about, so that a person can
// follow them with a pocket calculator: readings, lines that hold back, the
// numbers of each vintage, formulas, rounding.
func (p *Project) Explain(w io.Writer, m *Methodology, period int, curve func(key string) *Curve) error {
	b, err := p.build(m, period, curve, all, Date{})
	if err != nil {
		return err
	}
	e := explainer{builder: b, w: &strings.Builder{}}
	e.head()
	for i := range p.Meters {
		e.meter(i)
	}
	e.lists()
	for i := range b.steps {
		e.vintage(&b.steps[i])
	}
	e.end()
	_, err = io.WriteString(w, e.w.String())
	return err
}

type explainer struct {
	*builder
	w *strings.Builder
}

func (e *explainer) print(format string, args ...any) { fmt.Fprintf(e.w, format+"\n", args...) }

// line writes a text and a number in a column of its own.
func (e *explainer) line(text string, number any, unit string) {
	e.print("  %-66s %20s %s", text, fmt.Sprint(number), unit)
}

func (e *explainer) local(ms int64) string { return local(ms, e.zone) }

func (e *explainer) head() {
	r, p := e.report, e.project
	e.print("%s: %s", p.Reference, p.Title)
	e.print("monitoring period %v, both days included, on the calendar of %s", r.Period, r.Zone)
	e.print("methodology %s: %s", r.Methodology, e.methodology.Title)
	e.print("counter rules version %d", r.Rules)
	e.seal()
	if p.Status != "" {
		e.print("status: %s; its numbers are invented", p.Status)
	}
	if e.methodology.Status != Published {
		e.print("status of the methodology file: %s", e.methodology.Status)
	}
}

// seal writes what was handed over, and what is not as it was then.
func (e *explainer) seal() {
	r, s := e.report, e.report.Seal
	e.print("state of the period: %s", r.State)
	if s == nil {
		return
	}
	e.print("  revision %d sealed %s by %s: %s", s.Revision, e.local(s.At), s.Who, s.Why)
	e.print("  it rests on the first %d records of the book; methodology %s, SHA-256 of its rules %s; counter rules version %d", s.Records, s.Methodology, s.Hash, s.Rules)
	for _, l := range s.Late {
		e.print("  new in this revision: %v", l)
	}
	e.line("sealed emission reductions", s.Figures.ER, "tCO2")
	if len(r.Differences) > 0 {
		e.print("  what is below follows the book as it is now and differs from what was sealed:")
	}
	for _, d := range r.Differences {
		e.print("    %s: sealed %s, now %s", d.Figure, cmp.Or(d.Sealed, "nothing"), cmp.Or(d.Now, "nothing"))
	}
}

// meter writes what a meter measured and what of it can be claimed.
func (e *explainer) meter(i int) {
	m, c := &e.project.Meters[i], e.curves[i]
	r, unit := e.meters[m.Key], m.Base()
	role := "feeds " + m.Parameter
	if a := e.methodology.parameter(m.Parameter); a != nil && a.each() {
		role += of(m.UnitName())
	}
	if m.Role == RoleCheck {
		role = "check meter, in no total"
	}
	e.print("\nmeter %s (%s), register %s", m.Key, role, m.Register)
	if m.Counts != "" {
		e.print("  counts %s, not kWh", unit)
	}
	if m.Calculated() {
		of := "power"
		if m.Counts != "" && m.Heat == nil {
			of = "flow"
		}
		e.print("  calculated, not measured: integral of a %s, each value holds until the next, %v at most", of, m.Hold)
		if h := m.Heat; h != nil {
			e.print("  which is flow × (%s − %s) × %s kg/m3 × %s kJ/(kg K), of readings taken together (%s)", h.Warm, h.Cold, h.Density, h.Capacity, h.Source)
		}
	}
	if rated, _, _ := m.rating(); !rated.IsZero() {
		e.print("  rated %s %s (%s)", rated, strings.Replace(unit+"/h", "kWh/h", "kW", 1), m.RatedSource)
	}
	for k := range m.Records {
		x := &m.Records[k]
		text := fmt.Sprintf("  serial %s, class %s, installed %v", x.Serial, x.Class, x.Installed.Format(time.RFC3339))
		if !x.Removed.IsZero() {
			text += ", removed " + x.Removed.Format(time.RFC3339)
		}
		if !x.Ratio.IsZero() {
			text += ", ratio " + x.Ratio.String()
		}
		e.print("%s", text)
	}
	if r.First == nil {
		e.print("  nothing was read")
		e.deducted(i)
		e.complete(&r)
		return
	}
	from, to := e.report.Period.Start, e.report.Period.End.Next()
	a, b := c.InForce(from), c.InForce(to)
	e.line("reading in force at the end,       "+e.local(b.At), b.KWh, unit)
	e.line("reading in force at the beginning, "+e.local(a.At), a.KWh.Neg(), unit)
	if base := c.Total(to).Sub(b.KWh).Sub(c.Total(from).Sub(a.KWh)); !base.IsZero() {
		e.line("registers that ended between, less where the next ones began", base, unit)
	}
	e.line("measured", r.MeasuredKWh, unit)
	e.deducted(i)
	e.print("  readings %d, brought in by an operator %d", r.Readings, r.Imported)
	e.complete(&r)
	if n := len(r.Unread); n > 0 {
		e.print("  days without a reading of their own, their energy is in the next that has one: %d, the first %s", n, r.Unread[0])
	}
	for _, v := range r.Events {
		e.print("  %s (%s), %s to %s, %s %s by the register: %s", v.Cause, v.Rule, e.local(v.From), e.local(v.To), v.KWh, unit, v.Note)
	}
}

// deducted writes the lines of a meter and what they leave.
func (e *explainer) deducted(i int) {
	m := &e.project.Meters[i]
	for k := range e.lines[i] {
		d := &e.lines[i][k]
		amount, tonnes := d.KWh.Neg().String(), d.TCO2
		if d.Unbounded {
			amount, tonnes = "unbounded", "unbounded"
		}
		e.line(fmt.Sprintf("%s (%s) in %d, %s tCO2", d.Cause, d.Rule, d.year, tonnes), amount, m.Base())
		e.print("      %s to %s", e.local(d.From), e.local(d.To))
		e.print("      %s", d.Note)
	}
	r, label := e.meters[m.Key], "claimable"
	switch {
	case m.Role == RoleCheck:
		label = "with its lines, in no total"
	case r.ClaimableKWh.GreaterThan(r.MeasuredKWh):
		label = "taken, as more of it means less ER"
	}
	e.line(label, r.ClaimableKWh, m.Base())
}

func (e *explainer) complete(r *MeterReport) {
	if q := r.Completeness; q != nil {
		e.print("  completeness %s %%, days below 95 %%: %d", q.Percent, len(q.Short))
	}
}

// lists writes dated inputs and comparisons.
func (e *explainer) lists() {
	if len(e.report.Inputs) > 0 {
		e.print("\ninputs that no meter gave")
	}
	for _, x := range e.report.Inputs {
		counts := "vintage " + x.Counts
		if x.Counts == "" {
			counts = "counts nowhere: " + x.Note
		} else if x.Note != "" {
			counts += "; " + x.Note
		}
		if x.Role == RoleCheck {
			counts = "only compared"
		}
		e.print("  %s: %s%s, %v..%v, option %s: %s %s, %s", x.ID, x.Parameter, of(x.UnitName), x.From, x.To, x.Option, x.Value, x.Unit, counts)
		e.print("      %s, SHA-256 %s, by %s", x.Document, x.Evidence, x.Who)
	}
	for _, year := range slices.Sorted(maps.Keys(e.report.NotGiven)) {
		e.print("\nnobody gave an amount in %s of %s: 0 stands for it below, and the period cannot be sealed", year, strings.Join(e.report.NotGiven[year], ", "))
	}
	if len(e.report.Odd) > 0 {
		e.print("\nodd; look at it before you believe the figures")
	}
	for _, text := range e.report.Odd {
		e.print("  %s", text)
	}
	if len(e.report.Comparisons) > 0 {
		e.print("\ncomparisons; what is counted is used, always")
	}
	for _, c := range e.report.Comparisons {
		flag := ""
		if c.Flag {
			flag = ", more than 3 %: explain it"
		}
		days := ""
		if c.From != (Date{}) {
			days = fmt.Sprintf(" on %v..%v", c.From, c.To)
		}
		if c.Note != "" {
			flag += "; " + c.Note
		}
		e.print("  %s%s%s: counted %s %s, %s says %s: %s %%%s", c.Parameter, of(c.UnitName), days, c.Counted, c.Unit, c.With, c.Compared, cmp.Or(c.Percent, "no"), flag)
	}
}

// vintage writes the numbers of a calendar year, the formulas and what they give.
func (e *explainer) vintage(s *step) {
	e.print("\nvintage %d: %v", s.span.Start.Year, s.span)
	for i := range e.project.Meters {
		m := &e.project.Meters[i]
		if m.Role != RoleCounts {
			continue
		}
		measured := e.curves[i].Energy(s.span.Start, s.span.End.Next())
		held := heldIn(e.lines[i], s.span.Start.Year)
		sign := "less"
		if held.IsNegative() {
			sign = "and"
		}
		e.print("  meter %s: %s measured %s %s by its lines = %s %s", m.Key, measured, sign, held.Abs(), measured.Sub(held), m.Base())
		if len(e.steps) > 1 && e.curves[i].First().At != 0 {
			e.course(e.curves[i], s.span)
		}
	}
	for i := range e.methodology.Parameters {
		a := &e.methodology.Parameters[i]
		if a.Per == PerProject {
			e.value(a, "", s.in.project[a.Symbol])
		}
		for k := range s.in.units {
			if a.Per == PerUnit {
				e.value(a, s.in.units[k].name, s.in.of(&s.in.units[k], a.Symbol))
			}
		}
	}
	e.daily(s)
	x := e.methodology.explanation(e.w, e.formulas, s.in)
	x.out.indent = "  "
	x.formulas()
	d, ok := e.report.Splits[strconv.Itoa(s.span.Start.Year)]
	if !ok {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(d.Proposal)) {
		decided := "not decided"
		if d.Decided != nil {
			decided = fmt.Sprintf("decided %d by %s", d.Decided[name], d.Who)
		}
		e.print("    %s: proposed %s (%s); %s", name, d.Proposal[name], d.Rule, decided)
	}
	if d.Problem != "" {
		e.print("    %s", d.Problem)
	}
}

// course writes the readings between which something was measured in a vintage.
func (e *explainer) course(c *Curve, s Span) {
	a, z := c.InForce(s.Start), c.InForce(s.End.Next())
	text := fmt.Sprintf("measured: %s at %s less %s at %s", z.KWh, e.local(z.At), a.KWh, e.local(a.At))
	if base := c.Energy(s.Start, s.End.Next()).Sub(z.KWh).Add(a.KWh); !base.IsZero() {
		text += fmt.Sprintf(", and %s of registers that ended between, less where the next ones began", base)
	}
	e.print("      %s", text)
}

// daily writes the parameters that have a value for each day, a day on each line.
func (e *explainer) daily(s *step) {
	d := s.span.Start
	for n := range s.in.days {
		var parts []string
		for i := range e.methodology.Parameters {
			a := &e.methodology.Parameters[i]
			for _, unit := range slices.Sorted(maps.Keys(s.in.daily)) {
				if list := s.in.daily[unit][a.Symbol]; n < len(list) {
					parts = append(parts, fmt.Sprintf("%s%s = %s %s", a.Symbol, of(unit), numberText(list[n]), a.Unit))
				}
			}
		}
		if len(parts) > 0 {
			e.print("  %v: %s", d, strings.Join(parts, ", "))
		}
		d = d.Next()
	}
	for _, key := range slices.Sorted(maps.Keys(e.report.NoValue)) {
		e.print("  %s was given no value on %d days, the first %s: taken against the project", key, len(e.report.NoValue[key]), e.report.NoValue[key][0])
	}
}

func (e *explainer) value(a *Parameter, unit string, v *big.Rat) {
	if v == nil {
		return
	}
	from := "monitored"
	switch {
	case a.Calendar:
		if from = "calendar"; a.Unit == "a" {
			from = fmt.Sprintf("calendar: days of the vintage by days of the year, %s exactly", v.RatString())
		}
	case !a.Monitored:
		x, ok := e.project.Units[unit].Parameters[a.Symbol]
		if !ok {
			x = e.project.Parameters[a.Symbol]
		}
		from = "fixed ex ante: " + strings.Join(strings.Fields(x.Source), " ")
		if x.Evidence != "" {
			from += ", SHA-256 " + x.Evidence
		}
		if x.RangeChecked != "" {
			from += "; outside of the methodology's range, checked by " + x.RangeChecked
		}
	}
	e.print("  %s%s = %s %s (%s)", a.Symbol, of(unit), numberText(v), a.Unit, from)
}

func (e *explainer) end() {
	e.print("")
	e.line("emission reductions of the period, sum of the vintages", e.report.ER, "tCO2")
	if f := e.report.Forecast; f != nil {
		e.print("  %s: day %d of %d, so far %s tCO2, expected %s, design document %s", f.Note, f.Days, f.PeriodDays, f.SoFar, cmp.Or(f.Expected, "nothing yet"), cmp.Or(f.Estimate, "says nothing"))
	}
}

func heldIn(lines []Deduction, year int) (sum decimal.Decimal) {
	for i := range lines {
		if lines[i].year == year {
			sum = sum.Add(lines[i].KWh)
		}
	}
	return sum
}
