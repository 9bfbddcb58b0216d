package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kenshin/calc"
)

// sealed is what was handed over, and what is not as it was then.
type sealed struct {
	Revision             int
	At, Who, Why         string
	ER, Measured, Claim  string
	Records, Methodology string
	Differences          []calc.Difference
	Late                 []string
}

type forecast struct{ Note, Days, SoFar, Expected, Estimate cell }

type split struct {
	Year, Rule, Decided string // who decided it, "" when nobody has
	Problem             string
	Accounts            []account
}

type account struct {
	Name               string
	Proposed, Decision cell
}

// state fills in what was sealed, and what the whole period may come to.
func (b *builder) state(r *calc.Report) {
	if s := r.Seal; s != nil {
		v := &sealed{Revision: s.Revision, At: clock(s.At, b.zone), Who: s.Who, Why: s.Why, ER: groupedText(s.Figures.ER), Measured: grouped(s.Figures.MeasuredKWh), Claim: grouped(s.Figures.ClaimableKWh),
			Records: groupedText(fmt.Sprint(s.Records)), Methodology: s.Methodology, Differences: r.Differences}
		for _, l := range s.Late {
			v.Late = append(v.Late, l.String())
		}
		b.Sealed, b.State = v, r.State
	}
	if f := r.Forecast; f != nil {
		b.Forecast = &forecast{
			Note: b.cell("forecast-note", f.Note), Days: b.cell("forecast-days", fmt.Sprintf("day %d of %d", f.Days, f.PeriodDays)),
			SoFar: b.cell("forecast-so-far", groupedText(f.SoFar)), Expected: b.cell("forecast-expected", groupedText(cmp.Or(f.Expected, notAvailable))),
			Estimate: b.cell("forecast-estimate", groupedText(cmp.Or(f.Estimate, notAvailable))),
		}
	}
	for _, year := range slices.Sorted(maps.Keys(r.Splits)) {
		d := r.Splits[year]
		s := split{Year: year, Rule: d.Rule, Decided: d.Who, Problem: d.Problem}
		for _, name := range slices.Sorted(maps.Keys(d.Proposal)) {
			decided := "not decided"
			if d.Decided != nil {
				decided = groupedText(fmt.Sprint(d.Decided[name]))
			}
			key := "split-" + year + "-" + name + "-"
			s.Accounts = append(s.Accounts, account{name, b.cell(key+"proposed", groupedText(d.Proposal[name])), b.cell(key+"decided", decided)})
		}
		b.Splits = append(b.Splits, s)
	}
}

// complete says how many of the expected readings of a meter came.
func complete(m *calc.MeterReport) string {
	var parts []string
	if q := m.Completeness; q != nil {
		parts = append(parts, q.Percent+" % of its readings")
		if n := len(q.Short); n > 0 {
			parts = append(parts, fmt.Sprintf("days below 95 %%: %d", n))
		}
	}
	if n := len(m.Unread); n > 0 {
		parts = append(parts, fmt.Sprintf("of the days shown without a reading: %d", n))
	}
	return strings.Join(parts, ", ")
}
