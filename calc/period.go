package calc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Span is a run of local days, both ends included, as monitoring periods are
// written in verification reports.
type Span struct {
	Start Date `yaml:"start" json:"start"`
	End   Date `yaml:"end" json:"end"`
}

// String returns "2020-05-15..2020-06-17".
func (s Span) String() string { return s.Start.String() + ".." + s.End.String() }

// Validate reports a span without days.
func (s Span) Validate() error {
	switch {
	case s.Start == Date{} || s.End == Date{}:
		return fmt.Errorf("period %v: give both start and end, as 2020-05-15", s)
	case s.End.Before(s.Start):
		return fmt.Errorf("period %v ends before it starts; both days belong to it", s)
	}
	return nil
}

// Contains reports whether a day belongs to the span.
func (s Span) Contains(d Date) bool { return !d.Before(s.Start) && !s.End.Before(d) }

// Vintages cuts the span at the turn of the local year: credits carry the
// calendar year of the reductions.
func (s Span) Vintages() []Span {
	return s.cut(func(d Date) Date { return Date{d.Year, time.December, 31} })
}

// Months cuts the span at the turn of the local month.
func (s Span) Months() []Span {
	return s.cut(func(d Date) Date { return Date{d.Year, d.Month + 1, 0}.add(0) })
}

// cut splits the span after the days that last gives for the first of each part.
func (s Span) cut(last func(Date) Date) []Span {
	var out []Span
	for d := s.Start; !s.End.Before(d); {
		end := last(d)
		if s.End.Before(end) {
			end = s.End
		}
		out = append(out, Span{d, end})
		d = end.Next()
	}
	return out
}

// checkPeriods reports spans that hold no day or share one. Gaps are legal: a
// heating project stands still in summer.
func checkPeriods(periods []Span) error {
	at := func(i int) string { return fmt.Sprintf("$.periods[%d]", i) }
	for i, p := range periods {
		if err := p.Validate(); err != nil {
			return faultAt(at(i), err)
		}
		if p.Start.Year < 1970 || p.End.Year > 2199 || p.End.Year-p.Start.Year > 100 {
			return faultAt(at(i), fmt.Errorf("period %v: want days from 1970 to 2199 and at most 100 years; is a digit wrong?", p))
		}
	}
	order := make([]int, len(periods))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(periods[a].Start.Compare(periods[b].Start), periods[a].End.Compare(periods[b].End))
	})
	for k := 1; k < len(order); k++ {
		if a, b := periods[order[k-1]], periods[order[k]]; !a.End.Before(b.Start) {
			return faultAt(at(max(order[k-1], order[k])), fmt.Errorf("periods %v and %v share %v; a day can be monitored once, start the later one on %v", a, b, b.Start, a.End.Next()))
		}
	}
	return nil
}

// location returns the zone of an IANA name. "Local" and "" are refused: a
// figure must not depend on the machine it is computed on.
func location(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "Local") {
		return nil, fmt.Errorf("zone %q: name the zone of the site as IANA does, like Asia/Bangkok", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("zone %q is not an IANA zone known here (%w); write it like Asia/Bangkok", name, err)
	}
	return zone, nil
}

// local writes an instant as it is read on the calendar of a project.
func local(ms int64, zone *time.Location) string {
	return time.UnixMilli(ms).In(zone).Format("2006-01-02 15:04:05 -07:00")
}
