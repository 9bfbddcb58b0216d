package calc_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
)

// TestExamplesAsProjects enters every worked example as a project: what is fixed ex
// ante with its source, what is monitored as dated inputs, the days from the calendar.
// The report of the period is the result of the example, to the last digit.
func TestExamplesAsProjects(t *testing.T) {
	done := 0
	for _, m := range resolved(t) {
		if slices.ContainsFunc(m.Parameters, func(p calc.Parameter) bool { return p.Per == calc.PerDay || p.Per == calc.PerUnitDay }) {
			continue // TestCategoriesOfDays has one
		}
		for i := range m.Examples {
			p := asProject(m, &m.Examples[i])
			name := fmt.Sprintf("%s %s, example %d", m.Number, m.Version, i+1)
			if err := p.Validate(); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			r, err := p.Report(m, 0, func(string) *calc.Curve { return nil })
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			v, want := r.Vintages["2024"], m.Examples[i].Result
			if v["RE_tCO2"] != want.RE.String() || v["PE_tCO2"] != want.PE.String() || v["ER_tCO2"] != want.ER.String() {
				t.Errorf("%s: as a project RE %s, PE %s, ER %s; want %s, %s, %s", name, v["RE_tCO2"], v["PE_tCO2"], v["ER_tCO2"], want.RE, want.PE, want.ER)
			}
			done++
		}
	}
	if done < 50 {
		t.Errorf("only %d examples could be entered as projects", done)
	}
}

// asProject is a project of the year 2024 with the numbers of an example.
func asProject(m *calc.Methodology, e *calc.Example) *calc.Project {
	period := calc.Span{Start: calc.Date{Year: 2024, Month: time.January, Day: 1}, End: calc.Date{Year: 2024, Month: time.December, Day: 31}}
	if y, ok := e.Parameters["Y"]; ok && m.Number == "KS-A1" {
		period.End = calc.CalendarDay(time.Date(2024, 1, int(y.Mul(decimal.New(366, 0)).IntPart()), 12, 0, 0, 0, time.UTC).UnixMilli(), time.UTC)
	}
	if d, ok := e.Parameters["D"]; ok {
		period.End = calc.CalendarDay(time.Date(2024, 1, int(d.IntPart()), 12, 0, 0, 0, time.UTC).UnixMilli(), time.UTC)
	}
	p := &calc.Project{
		Reference: "x", Title: "Example", Zone: "UTC", Status: calc.Illustration, Methodology: calc.Pin{Number: m.Number, Version: m.Version},
		Periods: []calc.Span{period}, Parameters: make(map[string]calc.Value), Units: make(map[string]calc.Unit),
	}
	for name := range e.Units {
		p.Units[name] = calc.Unit{Title: name, Parameters: make(map[string]calc.Value)}
	}
	for i := range m.Parameters {
		a := &m.Parameters[i]
		units := []string{""}
		if a.Per == calc.PerUnit {
			units = slices.Sorted(maps.Keys(e.Units))
		}
		for _, unit := range units {
			x, ok := e.Units[unit][a.Symbol]
			if !ok {
				x = e.Parameters[a.Symbol]
			}
			switch {
			case a.Calendar:
			case a.Monitored:
				p.Inputs = append(p.Inputs, calc.InputDecl{Parameter: a.Symbol, Unit: unit, Option: a.Options[0], Title: a.Description})
				p.Decided.Inputs = append(p.Decided.Inputs, calc.Input{
					ID: fmt.Sprintf("i-%d", len(p.Inputs)), Parameter: a.Symbol, UnitName: unit, From: period.Start, To: period.End, Value: x.Decimal, Unit: a.Unit,
					Document: "the example", Evidence: strings.Repeat("ab", 32), Who: "the test",
				})
			case unit == "":
				p.Parameters[a.Symbol] = calc.Value{Value: &x, Unit: a.Unit, Source: "the example"}
			default:
				p.Units[unit].Parameters[a.Symbol] = calc.Value{Value: &x, Unit: a.Unit, Source: "the example"}
			}
		}
	}
	return p
}
