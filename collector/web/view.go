package web

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// maxAge is how old a momentary power may be and still stand for now.
const maxAge = 30 * time.Minute

// view is what the page shows, ready to be written: no number is formatted in the
// template or the browser. Cells are what changes while the page is open.
type view struct {
	Version  string
	Projects []link
	Periods  []link
	Nothing  bool // no project is in force

	Reference, Title, Country, Zone, Methodology string
	Illustration                                 bool
	N                                            int // period, from 1
	Period, State                                string
	At                                           cell

	Power, PowerUnit, PowerNote, Today  cell
	Measured, Claimable, Held, HeldNote cell
	Claimed                             cell // share of the bar
	ER, RE, PE                          cell
	Columns                             []string
	Vintages                            []vintage
	Meters                              []meterRow
	Deductions                          []deduction
	Days                                chart
	Long                                *longChart // nil while the chart of days shows the whole period
	Sealed                              *sealed    // nil while nobody has sealed the period
	Forecast                            *forecast  // nil without an estimate of the design document
	Splits                              []split
	Edges                               []edgeRow
	Copies                              []copyRow
	Records, Checkpoint, Stalled        cell

	start calc.Date // of the period
	cells map[string]cell
	Shape string // changes when the page has other cells than before
}

type link struct {
	Text, URL string
	Current   bool
}

// cell is a text that follows the collector, or a bar of the chart.
type cell struct {
	Key   string `json:"-"`
	Text  string `json:"t,omitempty"`
	State string `json:"s,omitempty"` // "bad" when a value may not be used
	Y     string `json:"y,omitempty"`
	H     string `json:"h,omitempty"`
	W     string `json:"w,omitempty"`
}

type vintage struct {
	Year  string
	Cells []cell
}

type meterRow struct {
	Title, Key, Register, Role          string
	Complete                            cell
	Reading, Unit, Age, Quality, Record cell
	Power, PowerAge                     cell
	Today, Measured, Claimable          cell
}

type deduction struct {
	Meter, Cause, Rule, From, To, Note string
	KWh, TCO2                          string
}

type edgeRow struct {
	ID                     string
	Through, Received, Age cell
}

type copyRow struct {
	Name                  string
	Health, Words, Behind cell
}

// builder fills in a view.
type builder struct {
	*view
	now    time.Time
	zone   *time.Location
	today  calc.Date
	latest map[string]*wire.Sample
}

func (b *builder) cell(key, text string) cell { return b.add(cell{Key: key, Text: text}) }

func (b *builder) bad(key, text string) cell { return b.add(cell{Key: key, Text: text, State: "bad"}) }

func (b *builder) add(c cell) cell {
	b.cells[c.Key] = c
	return c
}

// gather reads everything a page shows. An empty reference stands for the first
// project, period 0 for the one that runs now.
func (p *Page) gather(ctx context.Context, reference string, period int) (*view, error) {
	projects, err := p.cfg.Figures.Projects(ctx)
	if err != nil {
		return nil, err
	}
	b := &builder{view: &view{Version: p.cfg.Version, cells: make(map[string]cell)}, now: p.cfg.Now(), zone: time.UTC}
	if err := b.project(projects, reference, period); err != nil {
		return nil, err
	}
	if project := find(projects, b.Reference); project != nil {
		r, err := p.cfg.Figures.Recent(ctx, b.Reference, b.N-1, b.shown(project.Periods[b.N-1])[0])
		if err != nil {
			return nil, err
		}
		samples, err := p.cfg.Figures.Latest(ctx)
		if err != nil {
			return nil, err
		}
		b.latest = make(map[string]*wire.Sample, len(samples))
		for i := range samples {
			b.latest[samples[i].Key()] = &samples[i]
		}
		b.totals(r)
		b.state(r)
		b.meters(project, r)
		b.days(project, r)
	}
	err = p.cfg.Deliveries.Edges(ctx, func(id string, _ wire.Epoch, through uint64, received int64) {
		b.edge(id, through, received)
	})
	if err != nil {
		return nil, err
	}
	if p.cfg.Copies != nil {
		for _, c := range p.cfg.Copies() {
			b.copy(c)
		}
	}
	b.At = b.cell("at", b.now.In(b.zone).Format(time.DateTime))
	b.Stalled = b.cell("stalled", "")
	if err := p.cfg.Figures.Stalled(); err != nil {
		b.Stalled = b.bad("stalled", err.Error())
	}
	b.Records = b.cell("records", groupedText(fmt.Sprint(p.cfg.Book.Size())))
	b.Checkpoint = b.cell("checkpoint", cmp.Or(p.cfg.Book.LastCheckpoint(), "none yet"))
	b.Shape = b.shapeOf()
	return b.view, nil
}

func find(projects []*calc.Project, reference string) *calc.Project {
	i := slices.IndexFunc(projects, func(p *calc.Project) bool { return p.Reference == reference })
	if i < 0 {
		return nil
	}
	return projects[i]
}

// project chooses project and period.
func (b *builder) project(projects []*calc.Project, reference string, period int) error {
	if reference == "" && len(projects) > 0 {
		reference = projects[0].Reference
	}
	p := find(projects, reference)
	if p == nil && reference != "" {
		return notFound(fmt.Sprintf("there is no project %q", reference))
	}
	for _, other := range projects {
		b.Projects = append(b.Projects, link{other.Reference, "/projects/" + other.Reference, other == p})
	}
	if p == nil {
		b.Nothing = true
		return nil
	}
	zone, err := p.Location()
	if err != nil {
		return err
	}
	b.zone, b.today = zone, calc.CalendarDay(b.now.UnixMilli(), zone)
	if period == 0 {
		period = running(p.Periods, b.today)
	}
	if period > len(p.Periods) {
		return notFound(fmt.Sprintf("project %s has no period %d", p.Reference, period))
	}
	b.Reference, b.Title, b.Country, b.Zone = p.Reference, p.Title, p.Country, p.Zone
	b.Methodology, b.Illustration = p.Methodology.String(), p.Status == calc.Illustration
	span := p.Periods[period-1]
	b.start = span.Start
	b.N, b.Period, b.State = period, span.Start.String()+" to "+span.End.String(), stateOf(span, b.today)
	for i, s := range p.Periods {
		b.Periods = append(b.Periods, link{fmt.Sprintf("%d: %s to %s", i+1, s.Start, s.End), fmt.Sprintf("/projects/%s?period=%d", p.Reference, i+1), i+1 == period})
	}
	return nil
}

// running returns the period that a day lies in, else the last one that began
// before it, else the first; counted from 1.
func running(periods []calc.Span, today calc.Date) int {
	best := 1
	for i, s := range periods {
		if s.Contains(today) {
			return i + 1
		}
		if s.Start.Before(today) && !s.Start.Before(periods[best-1].Start) {
			best = i + 1
		}
	}
	return best
}

func stateOf(s calc.Span, today calc.Date) string {
	switch {
	case today.Before(s.Start):
		return "not begun"
	case s.End.Before(today):
		return "over"
	}
	return "open"
}

// totals fills in the figures of the period.
func (b *builder) totals(r *calc.Report) {
	held := r.MeasuredKWh.Sub(r.ClaimableKWh)
	b.Measured = b.cell("measured", grouped(r.MeasuredKWh))
	b.Claimable = b.cell("claimable", grouped(r.ClaimableKWh))
	b.Held = b.cell("held", grouped(held))
	note := "nothing is held back"
	if n := len(r.Deductions); n == 1 {
		note = "1 item below"
	} else if n > 1 {
		note = fmt.Sprintf("%d items below", n)
	}
	b.HeldNote = b.cell("held-note", note)
	share := 0.0
	if r.MeasuredKWh.IsPositive() {
		share = max(0, min(100, r.ClaimableKWh.Div(r.MeasuredKWh).InexactFloat64()*100)) // of a drawing
	}
	b.Claimed = b.add(cell{Key: "claimed", W: fmt.Sprintf("%.3f", share)})
	for key, at := range map[string]*cell{"ER": &b.ER, "RE": &b.RE, "PE": &b.PE} {
		*at = b.cell(key, sum(r.Vintages, key+"_tCO2"))
	}
	b.vintages(r)
	for i := range r.Deductions {
		d := &r.Deductions[i]
		kWh := grouped(d.KWh)
		if d.Unit != "" {
			kWh = grouped(d.Amount) + " " + d.Unit
		}
		tonnes := groupedText(d.TCO2)
		if d.Unbounded {
			kWh, tonnes = "unbounded", "unbounded"
		}
		b.Deductions = append(b.Deductions, deduction{
			Meter: d.Meter, Cause: d.Cause, Rule: d.Rule, From: clock(d.From, b.zone), To: clock(d.To, b.zone), Note: d.Note,
			KWh: kWh, TCO2: tonnes,
		})
	}
}

// sum adds a figure up over the vintages.
func sum(vintages map[string]map[string]string, key string) string {
	var total decimal.Decimal
	for _, v := range vintages {
		d, err := decimal.NewFromString(v[key])
		if err != nil {
			return notAvailable
		}
		total = total.Add(d)
	}
	if len(vintages) == 0 {
		return notAvailable
	}
	return grouped(total)
}

// vintages fills in the table: what was monitored, then RE, PE and ER.
func (b *builder) vintages(r *calc.Report) {
	last := []string{"RE_tCO2", "PE_tCO2", "ER_tCO2"}
	columns := make(map[string]bool)
	for _, v := range r.Vintages {
		for c := range v {
			columns[c] = true
		}
	}
	for _, c := range last {
		delete(columns, c)
	}
	all := append(slices.Sorted(maps.Keys(columns)), last...)
	for _, c := range all {
		i := strings.LastIndexByte(c, '_')
		b.Columns = append(b.Columns, c[:max(i, 0)]+", "+strings.ReplaceAll(c[i+1:], "CO2", "CO₂"))
	}
	for _, year := range slices.Sorted(maps.Keys(r.Vintages)) {
		v := vintage{Year: year}
		for _, c := range all {
			text := r.Vintages[year][c]
			if text == "" {
				text = notAvailable
			}
			v.Cells = append(v.Cells, b.cell("vintage-"+year+"-"+c, groupedText(text)))
		}
		b.Vintages = append(b.Vintages, v)
	}
}

// edge adds a row to the table of deliveries.
func (b *builder) edge(id string, through uint64, received int64) {
	row := edgeRow{ID: id, Through: b.cell("edge-"+id+"-through", groupedText(fmt.Sprint(through)))}
	if received == 0 {
		row.Received, row.Age = b.cell("edge-"+id+"-received", "nothing yet"), b.cell("edge-"+id+"-age", "")
	} else {
		row.Received, row.Age = b.cell("edge-"+id+"-received", clock(received, b.zone)), b.cell("edge-"+id+"-age", age(b.now, received))
	}
	b.Edges = append(b.Edges, row)
}

func (b *builder) copy(c Copy) {
	health := b.cell
	if c.Health != "up" {
		health = b.bad
	}
	key := "copy-" + c.Name
	b.Copies = append(b.Copies, copyRow{c.Name, health(key+"-health", c.Health), b.cell(key+"-words", c.Words), b.cell(key+"-behind", groupedText(fmt.Sprint(c.Behind)))})
}

// sealedText is what the page says of a seal, which is in no cell.
func (b *builder) sealedText() string {
	if b.Sealed == nil {
		return ""
	}
	return fmt.Sprint(*b.Sealed)
}

// shapeOf identifies everything about the page that is not in a cell.
func (b *builder) shapeOf() string {
	h := fnv.New64a()
	for _, key := range slices.Sorted(maps.Keys(b.cells)) {
		fmt.Fprintln(h, key)
	}
	fmt.Fprint(h, b.Version, b.Reference, b.Title, b.Period, b.State, b.Deductions, b.sealedText(), len(b.Periods), len(b.Projects))
	return fmt.Sprintf("%016x", h.Sum64())
}
