package calc

import (
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// Report holds the figures of one monitoring period. Every number is exact and
// is written to JSON as a string.
type Report struct {
	Project      string                       `json:"project"`            // reference
	Zone         string                       `json:"zone"`               // IANA
	Methodology  string                       `json:"methodology"`        // "number version"
	Hash         string                       `json:"methodology_sha256"` // Methodology.Hash: of its rules, not of its prose
	Rules        int                          `json:"counter_rules"`
	Period       Span                         `json:"period"`
	State        string                       `json:"state"`                // of the period: open, closing, sealed or revised
	Seal         *Seal                        `json:"seal,omitempty"`       // the newest: what was handed over
	Differences  []Difference                 `json:"since_seal,omitempty"` // the figures of this report that are not as they were sealed
	MeasuredKWh  decimal.Decimal              `json:"measured_kWh"`
	ClaimableKWh decimal.Decimal              `json:"claimable_kWh"`
	Months       map[string]decimal.Decimal   `json:"months"`                              // measured kWh by local month of the period, from the first to the last reading
	Vintages     map[string]map[string]string `json:"vintages"`                            // by year: what is claimable of each monitored parameter (EG_MWh), RE_tCO2, PE_tCO2, ER_tCO2
	ER           string                       `json:"ER_tCO2"`                             // sum of the whole tonnes of the vintages
	Meters       map[string]MeterReport       `json:"meters"`                              // by Meter.Key, check meters included
	Counters     map[string]CounterReport     `json:"counters,omitempty"`                  // by Meter.Key: meters that count something else than kWh
	Units        map[string]map[string]string `json:"units,omitempty"`                     // by unit i: what is claimable of each of its monitored parameters in the period (EG_MWh)
	Deductions   []Deduction                  `json:"deductions"`                          // all that lies between measured and claimable; never nil
	NoValue      map[string][]string          `json:"days_without_value,omitempty"`        // by parameter that has a value for each day: days that nobody gave one, taken against the project
	NotGiven     map[string][]string          `json:"parameters_without_amount,omitempty"` // by vintage: parameters that come as inputs and have none in it; 0 stands for them in the formulas, and the period cannot be sealed
	Odd          []string                     `json:"odd,omitempty"`                       // what a person should look at: a unit that may be off by 1,000
	Fixed        []FixedReport                `json:"fixed,omitempty"`                     // parameters fixed ex ante, with source and evidence
	Inputs       []InputReport                `json:"inputs,omitempty"`
	Comparisons  []Comparison                 `json:"comparisons,omitempty"`
	Splits       map[string]SplitReport       `json:"split,omitempty"`    // by vintage, when the project has an allocation
	Forecast     *Forecast                    `json:"forecast,omitempty"` // when the project has estimates
}

// MeterReport holds the figures of one meter.
type MeterReport struct {
	Role         string                     `json:"role,omitempty"` // RoleCheck: not in any total
	Kind         string                     `json:"kind,omitempty"` // "calculated" when it is integrated from a power
	MeasuredKWh  decimal.Decimal            `json:"measured_kWh"`
	ClaimableKWh decimal.Decimal            `json:"claimable_kWh"`
	Days         map[string]decimal.Decimal `json:"days"`                           // measured kWh by local day from the first to the last reading
	Unread       []string                   `json:"days_without_reading,omitempty"` // of Days: those in which nothing was read; what was made on them is part of the day of the next reading
	First        *Standing                  `json:"first"`                          // in force where the period begins; nil when nothing was read by its end
	Last         *Standing                  `json:"last"`                           // in force where it ends, or now
	Readings     int                        `json:"readings,omitempty"`
	Imported     int                        `json:"imported,omitempty"`     // of them, how many an operator brought in
	Completeness *Completeness              `json:"completeness,omitempty"` // when the project says how often it is read
	Events       []MeterEvent               `json:"events,omitempty"`       // what takes nothing away but a verifier will ask about
}

// CounterReport holds the figures of a meter that counts something else than kWh, in
// its unit.
type CounterReport struct {
	Role         string                     `json:"role,omitempty"`
	Kind         string                     `json:"kind,omitempty"`
	Unit         string                     `json:"unit"` // GJ, m3, Nm3 or t
	Measured     decimal.Decimal            `json:"measured"`
	Claimable    decimal.Decimal            `json:"claimable"`
	Days         map[string]decimal.Decimal `json:"days"`
	Unread       []string                   `json:"days_without_reading,omitempty"`
	First        *Count                     `json:"first"`
	Last         *Count                     `json:"last"`
	Readings     int                        `json:"readings,omitempty"`
	Imported     int                        `json:"imported,omitempty"`
	Completeness *Completeness              `json:"completeness,omitempty"`
	Events       []CounterEvent             `json:"events,omitempty"`
}

// Count is a Standing of such a meter, CounterEvent an event of its register.
type (
	Count struct {
		At    time.Time       `json:"at"` // UTC
		Value decimal.Decimal `json:"value"`
	}
	CounterEvent struct {
		Cause  string          `json:"cause"`
		Rule   string          `json:"rule"`
		From   int64           `json:"from"` // ms UTC
		To     int64           `json:"to"`
		Amount decimal.Decimal `json:"amount"`
		Note   string          `json:"note"`
	}
)

// counter is the report of a meter in its own unit.
func (r *MeterReport) counter(unit string) CounterReport {
	count := func(s *Standing) *Count {
		if s == nil {
			return nil
		}
		return &Count{s.At, s.KWh}
	}
	c := CounterReport{Role: r.Role, Kind: r.Kind, Unit: unit, Measured: r.MeasuredKWh, Claimable: r.ClaimableKWh, Days: r.Days, Unread: r.Unread,
		First: count(r.First), Last: count(r.Last), Readings: r.Readings, Imported: r.Imported, Completeness: r.Completeness}
	for _, e := range r.Events {
		c.Events = append(c.Events, CounterEvent{e.Cause, e.Rule, e.From, e.To, e.KWh, e.Note})
	}
	return c
}

// Of returns the figures of a meter, in the unit that it counts.
func (r *Report) Of(m *Meter) MeterReport {
	c, ok := r.Counters[m.Key]
	if !ok {
		return r.Meters[m.Key]
	}
	standing := func(s *Count) *Standing {
		if s == nil {
			return nil
		}
		return &Standing{s.At, s.Value}
	}
	return MeterReport{Role: c.Role, Kind: c.Kind, MeasuredKWh: c.Measured, ClaimableKWh: c.Claimable, Days: c.Days, Unread: c.Unread,
		First: standing(c.First), Last: standing(c.Last), Readings: c.Readings, Imported: c.Imported, Completeness: c.Completeness}
}

// Completeness says how many readings came of those expected while the meter was
// installed, percent with two decimals, cut off. More than expected is 100.
type Completeness struct {
	Percent string            `json:"percent"` // of the period, from its first day to its end or the newest reading of any meter, whichever is earlier
	Short   map[string]string `json:"short"`   // days below 95 %, with their percent
}

// MeterEvent is an event of a counter that holds nothing back.
type MeterEvent struct {
	Cause string          `json:"cause"`
	Rule  string          `json:"rule"`
	From  int64           `json:"from"` // ms UTC
	To    int64           `json:"to"`
	KWh   decimal.Decimal `json:"kWh"` // what the register counted across it
	Note  string          `json:"note"`
}

// Standing is a reading as a report shows it.
type Standing struct {
	At  time.Time       `json:"at"` // UTC
	KWh decimal.Decimal `json:"kWh"`
}

// Forecast sets what the period comes to, at the pace so far, beside the design
// document. It is a forecast: nothing of it can be claimed.
type Forecast struct {
	Note       string `json:"note"`
	Days       int    `json:"days"`          // from the start of the period to the newest reading
	PeriodDays int    `json:"period_days"`   // of the whole period
	SoFar      string `json:"so_far_tCO2"`   // RE − PE, not rounded
	Expected   string `json:"expected_tCO2"` // at the same pace to the end, 3 decimals
	Estimate   string `json:"estimate_tCO2"` // of the design document for these days of these years, 3 decimals
}

// Deduction is one line of what lies between measured and claimable. Lines of 0
// kWh hold nothing back: they tell of energy that was not measured. A line below
// 0 adds to what counts against the project.
type Deduction struct {
	Meter  string          `json:"meter"`
	Cause  string          `json:"cause"`
	Rule   string          `json:"rule"`
	From   int64           `json:"from"` // ms UTC
	To     int64           `json:"to"`
	KWh    decimal.Decimal `json:"kWh"`             // 0 for a meter that counts something else
	Amount decimal.Decimal `json:"amount,omitzero"` // of such a meter, in Unit
	Unit   string          `json:"unit,omitempty"`
	TCO2   string          `json:"tCO2"` // by how much ER would be higher with it, before rounding
	// Unbounded says that nobody can say how much at most was not measured: the period cannot be sealed.
	Unbounded bool   `json:"unbounded,omitempty"`
	Note      string `json:"note"`

	year int  // vintage it belongs to
	day  Date // of a line that holds something back
}

// extent says what a report itemises.
type extent int

const (
	figures extent = iota // no days, no events
	recent                // days from one on, completeness
	all
)

// Report computes the figures of a monitoring period, counted from 0 in the
// order of the file. curve returns the curve of a register, nil when nothing is
// known of it. Where nothing was read nothing is claimed: that is no error.
func (p *Project) Report(m *Methodology, period int, curve func(key string) *Curve) (*Report, error) {
	return p.report(m, period, curve, all, Date{})
}

// Recent is Report without events and without the days before one: what a page that
// follows a plant can pay for.
func (p *Project) Recent(m *Methodology, period int, from Date, curve func(key string) *Curve) (*Report, error) {
	return p.report(m, period, curve, recent, from)
}

// Totals is Report without what it says of each day and each event.
func (p *Project) Totals(m *Methodology, period int, curve func(key string) *Curve) (*Report, error) {
	return p.report(m, period, curve, figures, Date{})
}

func (p *Project) report(m *Methodology, period int, curve func(key string) *Curve, e extent, from Date) (*Report, error) {
	b, err := p.build(m, period, curve, e, from)
	if err != nil {
		return nil, err
	}
	return b.report, nil
}

func (p *Project) build(m *Methodology, period int, curve func(key string) *Curve, e extent, from Date) (*builder, error) {
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
	if err := p.CheckDecided(m); err != nil {
		return nil, err
	}
	f, err := m.compile()
	if err != nil {
		return nil, err
	}
	r := &Report{
		Project: p.Reference, Zone: p.Zone, Methodology: p.Methodology.String(), Hash: m.Hash(), Rules: RulesVersion, Period: p.Periods[period],
		Months: make(map[string]decimal.Decimal), Vintages: make(map[string]map[string]string),
		Meters: make(map[string]MeterReport), Deductions: []Deduction{}, Units: make(map[string]map[string]string),
	}
	b := &builder{project: p, methodology: m, formulas: f, zone: zone, report: r, extent: e, from: from, units: make(map[string]int), total: new(big.Rat), factors: make(map[counts]*big.Rat), meters: make(map[string]MeterReport), raising: make(map[string]bool)}
	b.lay()
	for i := range p.Meters {
		c := curve(p.Meters[i].Register)
		if c == nil {
			c = NewCurve(Register{}, zone)
		}
		b.curves = append(b.curves, c)
		if len(c.days) > 0 {
			b.newest = max(b.newest, c.last().Newest.At)
		}
	}
	for i, c := range b.curves {
		b.meter(&p.Meters[i], c)
	}
	b.months()
	r.Fixed = p.fixed()
	b.inputsOf()
	b.notGiven()
	er := new(big.Int)
	for _, v := range r.Period.Vintages() {
		n, err := b.vintage(v)
		if err != nil {
			return nil, fmt.Errorf("project %s, period %v, vintage %d: %w%s", p.Reference, r.Period, v.Start.Year, err, m.zeroRemedy(err))
		}
		b.split(v.Start.Year, n)
		er.Add(er, n)
	}
	r.ER = er.String()
	b.finish()
	return b, nil
}

// builder fills in a report.
type builder struct {
	project     *Project
	methodology *Methodology
	formulas    *formulas
	zone        *time.Location
	report      *Report
	extent      extent
	from        Date            // first day to itemise
	curves      []*Curve        // beside Project.Meters
	lines       [][]Deduction   // beside Project.Meters
	units       map[string]int  // place among the units of the inputs
	total       *big.Rat        // ER of the vintages before rounding
	claimed     map[feed]*tally // what is claimable in the period
	fed         map[feed]bool
	steps       []step
	raising     map[string]bool        // what raises reported
	factors     map[counts]*big.Rat    // what meters count in → unit of the parameter
	newest      int64                  // ms UTC of the newest sample of any meter
	meters      map[string]MeterReport // all of them, those that count something else than kWh in their unit
	calendar    []dayOf                // of the period and the day after
}

// meter adds what one meter measured.
func (b *builder) meter(m *Meter, c *Curve) {
	period := b.report.Period
	r := MeterReport{Role: m.Role, MeasuredKWh: c.Energy(period.Start, period.End.Next())}
	r.ClaimableKWh = r.MeasuredKWh
	if m.Calculated() {
		r.Kind = "calculated"
	}
	if c.First().At != 0 && !period.End.Before(ClosingDay(c.First().At, b.zone)) {
		r.First, r.Last = c.InForce(period.Start).standing(), c.InForce(period.End.Next()).standing()
	}
	if b.extent >= recent {
		b.days(c, &r)
		b.completeness(m, c, &r)
	}
	if b.extent == all {
		r.Events = b.events(m, c)
	}
	b.meters[m.Key] = r
	b.lines = append(b.lines, b.deductions(m, c))
}

// finish fills in what follows from deductions and vintages.
func (b *builder) finish() {
	for i := range b.project.Meters {
		m := &b.project.Meters[i]
		r := b.meters[m.Key]
		for k := range b.lines[i] {
			r.ClaimableKWh = r.ClaimableKWh.Sub(b.lines[i][k].KWh)
		}
		b.meters[m.Key] = r
		if m.Role != RoleCounts {
			continue
		}
		for _, d := range b.lines[i] {
			if m.Counts != "" {
				d.Amount, d.Unit, d.KWh = d.KWh, m.Counts, decimal.Zero
			}
			b.report.Deductions = append(b.report.Deductions, d)
		}
		if m.Counts == "" {
			b.report.MeasuredKWh = b.report.MeasuredKWh.Add(r.MeasuredKWh)
			b.report.ClaimableKWh = b.report.ClaimableKWh.Add(r.ClaimableKWh)
		}
	}
	for f, v := range b.claimed {
		if b.report.Units[f.unit] == nil {
			b.report.Units[f.unit] = make(map[string]string)
		}
		b.report.Units[f.unit][f.symbol+"_"+b.methodology.parameter(f.symbol).Unit] = numberText(v.rat())
	}
	b.report.Odd = b.odd()
	b.compare()
	b.counters()
	b.forecast()
	b.seal()
}

// counters takes the meters that count something else than kWh apart.
func (b *builder) counters() {
	for i := range b.project.Meters {
		m := &b.project.Meters[i]
		r := b.meters[m.Key]
		if m.Counts == "" {
			b.report.Meters[m.Key] = r
			continue
		}
		if b.report.Counters == nil {
			b.report.Counters = make(map[string]CounterReport)
		}
		b.report.Counters[m.Key] = r.counter(m.Counts)
	}
}

// days fills in what was measured on each day of the period from the first to the
// newest accepted reading. Outside of that nothing was measured, not even 0. A day
// inside without a reading of its own is named: its 0 says where energy was
// attributed, not that none was made.
func (b *builder) days(c *Curve, r *MeterReport) {
	r.Days = make(map[string]decimal.Decimal)
	if c.First().At == 0 {
		return
	}
	d, end := b.report.Period.Start, b.report.Period.End
	if first := CalendarDay(c.First().At, b.zone); d.Before(first) {
		d = first
	}
	if last := ClosingDay(c.Last().At, b.zone); last.Before(end) {
		end = last
	}
	if d.Before(b.from) {
		d = b.from
	}
	i, from := c.index(d), c.Total(d)
	for n := b.place(d); !end.Before(d); n++ {
		label := b.calendar[n].label
		if i == len(c.days) || c.days[i].Day != d {
			r.Days[label] = decimal.Zero
			r.Unread = append(r.Unread, label)
		} else {
			to := from
			if c.days[i].InForce.At != 0 {
				to = c.days[i].Total()
			}
			r.Days[label] = difference(from, to)
			if c.days[i].Readings == 0 {
				r.Unread = append(r.Unread, label)
			}
			i, from = i+1, to
		}
		d = b.calendar[n+1].day
	}
}

// dayOf is a day of the period, or the one after it.
type dayOf struct {
	day   Date
	label string
	start int64 // ms UTC
}

// lay makes the calendar of the period.
func (b *builder) lay() {
	for d := b.report.Period.Start; ; d = d.Next() {
		b.calendar = append(b.calendar, dayOf{d, d.String(), d.startMs(b.zone)})
		if b.report.Period.End.Before(d) {
			return
		}
	}
}

// place returns where a day of the period is in the calendar.
func (b *builder) place(d Date) int {
	i, _ := slices.BinarySearchFunc(b.calendar, d, func(x dayOf, d Date) int { return x.day.Compare(d) })
	return i
}

// reached reports whether a span holds a day from the first to the newest reading
// of a counting meter. In any other nothing was measured, not even 0.
func (b *builder) reached(s Span) bool {
	for i, c := range b.curves {
		if m := &b.project.Meters[i]; m.Role == RoleCounts && m.Counts == "" && c.First().At != 0 &&
			!s.End.Before(CalendarDay(c.First().At, b.zone)) && !ClosingDay(c.Last().At, b.zone).Before(s.Start) {
			return true
		}
	}
	return false
}

// months fills in what the counting meters measured in each month, kWh.
func (b *builder) months() {
	months := b.report.Period.Months()
	sums := make([]sum, len(months))
	for i, c := range b.curves {
		if m := &b.project.Meters[i]; m.Role != RoleCounts || m.Counts != "" {
			continue
		}
		from := c.Total(b.report.Period.Start)
		for k, month := range months {
			to := c.Total(month.End.Next())
			sums[k].add(from, to)
			from = to
		}
	}
	for k, month := range months {
		if b.reached(month) {
			b.report.Months[month.Start.String()[:len("2020-05")]] = sums[k].kWh()
		}
	}
}
