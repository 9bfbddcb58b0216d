package calc_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"kenshin/calc"
)

func forest(t testing.TB, pin calc.Pin, periods ...calc.Span) (*calc.Project, *calc.Methodology) {
	t.Helper()
	all := resolved(t)
	i := slices.IndexFunc(all, func(m *calc.Methodology) bool { return m.Number == pin.Number && m.Version == pin.Version })
	if i < 0 {
		t.Fatalf("no methodology %v", pin)
	}
	n := func(v string) *calc.Number { return &calc.Number{Decimal: decimal.RequireFromString(v)} }
	p := &calc.Project{Reference: "f-1", Title: "Forest", Zone: "Asia/Phnom_Penh", Methodology: pin, Periods: periods,
		Parameters: map[string]calc.Value{"EF": {Value: n("450"), Unit: "tCO2/ha", Source: "invented"}},
		Units:      map[string]calc.Unit{"t-1": {Parameters: map[string]calc.Value{"A_RL": {Value: n("200"), Unit: "ha/a", Source: "invented"}}}},
		Inputs:     []calc.InputDecl{{Parameter: "A_PJ", Unit: "t-1", Option: "A"}, {Parameter: "E_disp", Option: "A"}},
	}
	return p, all[i]
}

func span(from, to string) calc.Span {
	a, _ := calc.ParseDate(from)
	b, _ := calc.ParseDate(to)
	return calc.Span{Start: a, End: b}
}

// TestReferencePerYear: a reference level per year counts each day of a period once,
// over the end of a year and in a leap year too, exactly.
func TestReferencePerYear(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		re       map[string]string // by vintage
	}{
		{"2026-01-01", "2026-12-31", map[string]string{"2026": "90000"}},
		{"2028-01-01", "2028-12-31", map[string]string{"2028": "90000"}},
		{"2026-03-15", "2026-05-26", map[string]string{"2026": "18000"}},                  // 73 of 365 days
		{"2026-10-20", "2027-03-14", map[string]string{"2026": "18000", "2027": "18000"}}, // 73 and 73
		{"2027-10-20", "2028-03-01", map[string]string{"2027": "18000", "2028": "15000"}}, // 73, and 61 of 366
	} {
		p, m := forest(t, calc.Pin{Number: "KS-A1", Version: "1.1"}, span(tt.from, tt.to))
		r, err := p.Report(m, 0, func(string) *calc.Curve { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Vintages) != len(tt.re) {
			t.Errorf("%s..%s: vintages %v", tt.from, tt.to, r.Vintages)
		}
		for year, want := range tt.re {
			if got := r.Vintages[year]["RE_tCO2"]; got != want {
				t.Errorf("%s..%s: RE of %s is %s, want %s", tt.from, tt.to, year, got, want)
			}
		}
	}
}

// TestFixedPartOverNewYear: what is fixed ex ante by itself would count in each
// calendar year; a period over the end of one is refused, with its place in the file.
func TestFixedPartOverNewYear(t *testing.T) {
	for _, tt := range []struct{ re, pe, want string }{
		{"sum(A_RL * EF) * Y", "sum(A_PJ * EF) + E_disp", ""},
		{"sum(A_RL * EF * Y)", "sum(A_PJ * EF) + E_disp", ""},
		{"sum((A_RL - A_PJ / 1) * EF)", "E_disp", "RE is fixed ex ante by itself: (A_RL,i - A_PJ,i,p ÷ 1) × EF_i"},
		{"sum(A_RL * EF)", "sum(A_PJ * EF) + E_disp", "RE is fixed ex ante by itself: Σ_i (A_RL,i × EF_i)"},
		{"sum(A_PJ * EF)", "min(E_disp, sum(A_RL * EF))", "PE is fixed ex ante by itself"},
		{"max(0, sum(A_PJ * EF) - E_disp)", "0", ""},
	} {
		p, m := forest(t, calc.Pin{Number: "KS-A1", Version: "1.1"}, span("2026-01-01", "2026-12-31"), span("2027-12-31", "2028-01-01"))
		m.Formulas.RE, m.Formulas.PE = tt.re, tt.pe
		if tt.want != "" && strings.Contains(tt.re+tt.pe, "Y") == false { // the level is for the period
			for i := range m.Parameters {
				if a := &m.Parameters[i]; a.Symbol == "A_RL" {
					a.Unit = "ha"
					v := p.Units["t-1"].Parameters["A_RL"]
					v.Unit = "ha"
					p.Units["t-1"].Parameters["A_RL"] = v
				}
			}
		}
		err := p.Fits(m)
		var f *calc.Fault
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s, %s: %v", tt.re, tt.pe, err)
		case tt.want != "" && (!errors.As(err, &f) || f.Path != "$.periods[1]" || !strings.Contains(f.Problem, "2027-12-31..2028-01-01") || !strings.Contains(f.Problem, tt.want) || f.Remedy == ""):
			t.Errorf("%s, %s: %v, want %q of the second period", tt.re, tt.pe, err, tt.want)
		}
		if p.Periods = p.Periods[:1]; p.Fits(m) != nil {
			t.Errorf("%s, %s: refused within a year: %v", tt.re, tt.pe, p.Fits(m))
		}
	}
	for _, m := range resolved(t) {
		if part := calc.FixedPart(m); part != "" {
			t.Errorf("%s %s: %s would count whole in each calendar year; a period over New Year is refused", m.Number, m.Version, part)
		}
	}
}
