package calc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func numberOf(s string) *Number { return &Number{num(s)} }

// TestFaults spoils a good methodology in every way that a file can be wrong: it is
// refused with what is wrong, and with its place in the file.
func TestFaults(t *testing.T) {
	if err := solar().Validate(); err != nil {
		t.Fatalf("a good methodology: %v", err)
	}
	term := func(symbol, unit, formula string) Term { return Term{symbol, "a part", unit, formula} }
	for _, tt := range []struct {
		path, want string
		spoil      func(*Methodology)
	}{
		{"$", "needs number, version and title", func(m *Methodology) { m.Version = "" }},
		{"$.status", `status "final"`, func(m *Methodology) { m.Status = "final" }},
		{"$.extends", "it extends X 1, whose parts are not at hand", func(m *Methodology) { m.Extends = &Pin{"X", "1"} }},
		{"$", "sources are missing; name at least one document", func(m *Methodology) { m.Sources = nil }},
		{"$.sources", "no source is published (tag P or S); name one, or set the status to unverified", func(m *Methodology) { m.Sources[0].Tag = "R" }},
		{"$.sources[0]", "source 1: want document, and tag P", func(m *Methodology) { m.Sources[0].Tag = "S+" }},
		{"$.rounding", `rounding of ER "round"`, func(m *Methodology) { m.Rounding.ER = "round" }},
		{"$", "examples are missing; give at least one", func(m *Methodology) { m.Examples = nil }},
		{"$.parameters[0].symbol", `symbol "E G"`, func(m *Methodology) { m.Parameters[0].Symbol = "E G" }},
		{"$.parameters[0].symbol", `symbol "MWh"`, func(m *Methodology) { m.Parameters[0].Symbol = "MWh" }},
		{"$.parameters[0].symbol", `symbol "sum_d"`, func(m *Methodology) { m.Parameters[0].Symbol = "sum_d" }},
		{"$.parameters[1].symbol", "EG stands twice", func(m *Methodology) { m.Parameters[1].Symbol = "EG" }},
		{"$.terms[0].symbol", "EG stands twice", func(m *Methodology) { m.Terms = []Term{term("EG", "1", "1")} }},
		{"$.parameters[0]", "EG has no description", func(m *Methodology) { m.Parameters[0].Description = "" }},
		{"$.parameters[0].per", `per "plant"`, func(m *Methodology) { m.Parameters[0].Per = "plant" }},
		{"$.parameters[0]", "EG: monitoring options", func(m *Methodology) { m.Parameters[0].Options = nil }},
		{"$.parameters[1]", "EF_RE: monitoring options", func(m *Methodology) { m.Parameters[1].Options = []string{"A"} }},
		{"$.parameters[1]", "EF_RE: what is fixed ex ante is the same every day", func(m *Methodology) { m.Parameters[1].Per = PerDay }},
		{"$.parameters[1]", "EF_RE: the calendar gives days", func(m *Methodology) { m.Parameters[1].Calendar = true }},
		{"$.parameters[0].options", `option "D"`, func(m *Methodology) { m.Parameters[0].Options = []string{"D"} }},
		{"$.parameters[0].unit", `"MWH" is not known`, func(m *Methodology) { m.Parameters[0].Unit = "MWH" }},
		{"$.parameters[1].unit", `"%" is not known`, func(m *Methodology) { m.Parameters[1].Unit = "%" }},
		{"$.parameters[1].max", "max 0 is below min 1", func(m *Methodology) { m.Parameters[1].Min, m.Parameters[1].Max = numberOf("1"), numberOf("0") }},
		{"$.formulas.RE", "formula RE = sum(EG * EF_RE): comes out in kWh*tCO2/MWh, want tCO2", func(m *Methodology) { m.Parameters[0].Unit = "kWh" }},
		{"$.formulas.RE", "formula RE = sum(EG * EF): column 10: EF is no parameter; known are EF_RE, EG", func(m *Methodology) { m.Formulas.RE = "sum(EG * EF)" }},
		{"$.formulas.PE", "formula PE = 1: comes out in 1, want tCO2", func(m *Methodology) { m.Formulas.PE = "1" }},
		{"$.formulas.RE", "formula RE = PE: column 1: PE is no parameter", func(m *Methodology) { m.Formulas.PE, m.Formulas.RE = "RE", "PE" }},
		{"$.formulas.ER", "formula ER = : is empty", func(m *Methodology) { m.Formulas.ER = "" }},
		{"$.parameters[1]", "EF_RE is used by no formula", func(m *Methodology) { m.Formulas.RE = "sum(EG) * 0" }},
		{"$.terms[1].formula", "term B = 2 * A: A needs B needs A: a term cannot be made of itself", func(m *Methodology) {
			m.Terms = []Term{term("A", "1", "B + 1"), term("B", "1", "2 * A")}
		}},
		{"$.terms[10].formula", "parts with its terms written out, at most 5000", func(m *Methodology) {
			m.Terms = []Term{term("T0", "1", "1 + 1")}
			for i := range 40 { // a number of 10^12 digits
				m.Terms = append(m.Terms, term(fmt.Sprintf("T%d", i+1), "1", fmt.Sprintf("T%d * T%d", i, i)))
			}
		}},
		{"$.terms[0].formula", "term A = A: A needs A", func(m *Methodology) { m.Terms = []Term{term("A", "1", "A")} }},
		{"$.terms[0].formula", "term ED = EG: comes out in MWh, the file says kWh", func(m *Methodology) { m.Terms = []Term{term("ED", "kWh", "EG")} }},
		{"$.terms[0]", "ED is used by no formula", func(m *Methodology) { m.Terms = []Term{term("ED", "MWh", "EG")} }},
		{"$.tables[0]", "table T needs a description and a source", func(m *Methodology) { m.Tables = []Table{{Symbol: "T", By: "1", Unit: "1", Rows: []Row{{}}}} }},
		{"$.tables[0].rows[1]", "table T, row 2: below 3 comes after below 5", func(m *Methodology) {
			m.Tables = []Table{{"T", "t", "kW", "1", "s", []Row{{numberOf("5"), Number{}}, {numberOf("3"), Number{}}, {}}}}
		}},
		{"$.tables[0].rows[0]", "every row but the last has a limit", func(m *Methodology) {
			m.Tables = []Table{{"T", "t", "kW", "1", "s", []Row{{}, {}}}}
		}},
		{"$.examples[0].result.RE", "example 1 (x): RE comes out as 500.25 tCO2, the file says 500.2", func(m *Methodology) { m.Examples[0].Result.RE = Number{num("500.2")} }},
		{"$.examples[0].result.ER", "example 1 (x): ER comes out as 500 tCO2, the file says 501", func(m *Methodology) { m.Examples[0].Result.ER = Number{num("501")} }},
		{"$.examples[0].terms.T", "example 1 (x): T comes out as 2.5 tCO2, the file says 2", func(m *Methodology) {
			m.Terms = []Term{term("T", "tCO2", "sum(EG * EF_RE) / 200.1")}
			m.Formulas.RE = "T * 200.1"
			m.Examples[0].Terms = Numbers{"T": {num("2")}}
		}},
		{"$.examples[0]", "example 1 (x): has no source", func(m *Methodology) { m.Examples[0].Source = "" }},
		{"$.examples[0].units.a.XX", "example 1 (x): unit a: XX is no parameter", func(m *Methodology) { m.Examples[0].Units["a"]["XX"] = Number{num("1")} }},
		{"$.examples[0].units.a.EG", "example 1 (x): unit a: EG has more than 30 digits", func(m *Methodology) { m.Examples[0].Units["a"]["EG"] = Number{num("1e9999")} }},
		{"$.examples[0]", "example 1 (x): formula RE: unit a: column 10: EF_RE has no value", func(m *Methodology) { delete(m.Examples[0].Parameters, "EF_RE") }},
		{"$.examples[0]", "example 1 (x): formula RE: unit a: column 8: division by zero", func(m *Methodology) {
			m.Formulas.RE = "sum(EG / (EG - EG) * EG * EF_RE)"
		}},
		{"$.examples[0].parameters.EF_RE", "EF_RE is 92 tCO2/MWh, it cannot be above 1", func(m *Methodology) {
			m.Parameters[1].Max = numberOf("1")
			m.Examples[0].Parameters["EF_RE"] = Number{num("92")}
		}},
		{"$.examples[0].units.a.EG", "EG is 1000.5 MWh, it cannot be below 2000", func(m *Methodology) { m.Parameters[0].Min = numberOf("2000") }},
		{"$.examples[0].units.a.EG", "EG is per unit-day; what is per day stands under days", func(m *Methodology) {
			m.Parameters[0].Per = PerUnitDay
			m.Formulas.RE = "sum(sum_d(EG) * EF_RE)"
		}},
		{"$.formulas.RE", "EG has a value per day; add it up with sum_d(...)", func(m *Methodology) { m.Parameters[0].Per = PerUnitDay }},
	} {
		m := solar()
		tt.spoil(m)
		err := m.Validate()
		var f *Fault
		if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &f) || f.Path != tt.path {
			t.Errorf("%v, want %q at %s", err, tt.want, tt.path)
		}
	}
}

// TestAllFaultsAtOnce: a person who mends a file wants to know of everything.
func TestAllFaultsAtOnce(t *testing.T) {
	m := solar()
	m.Status, m.Formulas.RE, m.Formulas.PE = "final", "EG", "1"
	var got []string
	for _, f := range m.Faults() {
		got = append(got, f.Path)
	}
	if want := "$.status $.formulas.RE $.formulas.PE"; strings.Join(got, " ") != want {
		t.Errorf("faults at %v, want %s", got, want)
	}
	m = solar()
	m.Examples = append(m.Examples, m.Examples[0], m.Examples[0])
	m.Examples[0].Result.RE, m.Examples[2].Result.PE = Number{num("1")}, Number{num("1")}
	if f := m.Faults(); len(f) != 2 || f[1].Path != "$.examples[2].result.PE" {
		t.Errorf("%v, want one fault in the first example and one in the third", f)
	}
}

// A percent typed as a factor is refused where the project gives it too, and what the
// calendar gives is not the project's.
func TestProjectValuesWithinLimits(t *testing.T) {
	p, m, curve := trial(t)
	m.Parameters[1].Unit, m.Parameters[1].Max = "1", numberOf("1")
	m.Formulas.RE = "sum(EG * EF_RE) * 0"
	v := p.Parameters["EF_RE"]
	v.Unit, v.Value = "1", numberOf("92")
	p.Parameters["EF_RE"] = v
	if _, err := p.Report(m, 0, curve); err == nil || !strings.Contains(err.Error(), "parameter EF_RE is 92, it cannot be above 1; if 92 % is meant, write 0.92") {
		t.Errorf("92 for a share: %v", err)
	}
	p, m, curve = trial(t)
	p.Units = map[string]Unit{"a": {}, "ghost": {}}
	if _, err := p.Report(m, 0, curve); err == nil || !strings.Contains(err.Error(), "unit ghost has no meter") {
		t.Errorf("a unit without a meter: %v", err)
	}
	p, m, curve = trial(t)
	m.Parameters = append(m.Parameters, Parameter{Symbol: "S", Description: "share", Unit: "1", Monitored: true, Per: PerProject, Options: []string{"A"}, Max: numberOf("1")})
	m.Formulas.PE = "RE * S"
	p.Inputs = []InputDecl{{Parameter: "S", Option: "A"}}
	p.Decided.Inputs = []Input{{ID: "s", Parameter: "S", From: day("2026-12-30"), To: day("2026-12-31"), Value: num("5"), Unit: "1", Document: "d", Evidence: strings.Repeat("ab", 32), Who: "w"}}
	if _, err := p.Report(m, 0, curve); err == nil || !strings.Contains(err.Error(), "input s: S is 5, it cannot be above 1; if 5 % is meant, write 0.05") {
		t.Errorf("an input of 5 for a share: %v", err)
	}
	p, m, curve = trial(t)
	m.Parameters = append(m.Parameters, Parameter{Symbol: "D", Description: "days", Unit: "d", Calendar: true, Per: PerProject},
		Parameter{Symbol: "P_CAP", Description: "own use", Unit: "kW", Per: PerProject})
	m.Formulas.PE = "MWh(P_CAP * D) * max(0, EF)"
	m.Parameters = append(m.Parameters, Parameter{Symbol: "EF", Description: "factor", Unit: "tCO2/MWh", Per: PerProject})
	p.Parameters["P_CAP"], p.Parameters["EF"] = Value{Value: numberOf("10"), Unit: "kW", Source: "invented"}, Value{Value: numberOf("0.5"), Unit: "tCO2/MWh", Source: "invented"}
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	// 2026-12-30 and 31, 2027-01-01 and 02: 48 h x 10 kW x 0.5 in each.
	if a, b := r.Vintages["2026"]["PE_tCO2"], r.Vintages["2027"]["PE_tCO2"]; a != "0.24" || b != "0.24" {
		t.Errorf("own use of two days each comes to %s and %s tCO2, want 0.24", a, b)
	}
	p.Parameters["D"] = Value{Value: numberOf("1"), Unit: "d", Source: "invented"}
	if _, err := p.Report(m, 0, curve); err == nil || !strings.Contains(err.Error(), "D is none that methodology") {
		t.Errorf("a project that gives the days: %v", err)
	}
}

// TestResolve takes parts over, one after the other.
func TestResolve(t *testing.T) {
	base := solar()
	base.Family = "F1"
	child := &Methodology{
		Number: "XX_AM001", Version: "2.0", Country: "X", Title: "PV", Status: Published, Extends: &Pin{"KS-F1", "1.0"},
		Sources: []Source{{Document: "d", Tag: "S"}}, Examples: base.Examples,
		Parameters: []Parameter{{Symbol: "EG_gross", Description: "gross", Unit: "MWh", Monitored: true, Per: PerUnit, Options: []string{"C"}, Max: numberOf("5")}},
		Terms:      []Term{{"EG", "half of it", "MWh", "EG_gross / 2"}},
	}
	child.Examples = []Example{{Title: "y", Source: "invented", Parameters: Numbers{"EF_RE": {num("0.5")}}, Units: map[string]Numbers{"a": {"EG_gross": {num("4")}}},
		Result: ExampleResult{Number{num("1")}, Number{num("0")}, Number{num("1")}}}}
	grandchild := &Methodology{
		Number: "XX_AM001", Version: "3.0", Title: "PV", Status: Published, Extends: &Pin{"XX_AM001", "2.0"}, Sources: child.Sources, Examples: child.Examples,
		Formulas: Formulas{PE: "RE * 0"},
	}
	known := map[Pin]*Methodology{{"KS-F1", "1.0"}: base, {"XX_AM001", "2.0"}: child, {"XX_AM001", "3.0"}: grandchild}
	find := func(p Pin) *Methodology { return known[p] }
	m, err := grandchild.Resolve(find)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if m.Number != "XX_AM001" || m.Version != "3.0" || m.Family != "F1" || m.Extends != nil || m.Formulas.RE != "sum(EG * EF_RE)" || m.Formulas.PE != "RE * 0" {
		t.Errorf("taken over: %+v", m)
	}
	if m.parameter("EG") != nil || len(m.Parameters) != 2 {
		t.Errorf("the term EG takes the place of the parameter: %+v", m.Parameters)
	}
	if child.Extends == nil || len(base.Parameters) != 2 || base.Extends != nil {
		t.Error("resolving changed what was resolved")
	}
	if h := m.Hash(); h == base.Hash() || len(h) != 64 {
		t.Errorf("hash %s", h)
	}
	if same, err := base.Resolve(find); err != nil || same != base {
		t.Errorf("what extends nothing becomes %p, %v", same, err)
	}

	for want, spoil := range map[string]func(){
		"XX_AM001 2.0 extends KS-F1 1.0, which is not among the methodology files": func() { delete(known, Pin{"KS-F1", "1.0"}) },
		"KS-F1 1.0 extends XX_AM001 3.0, which extends it":                         func() { base.Extends = &Pin{"XX_AM001", "3.0"} },
		"KS-F1 1.0 extends KS-F1 1.0, which extends it":                            func() { base.Extends = &Pin{"KS-F1", "1.0"} },
		"extends KS-F1 1.0, which is unverified":                                   func() { base.Status = Unverified },
	} {
		spoil()
		if _, err := grandchild.Resolve(find); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		base.Extends, base.Status, known[Pin{"KS-F1", "1.0"}] = nil, Template, base
	}
}

// TestSealable: only recall keeps a figure from being final.
func TestSealable(t *testing.T) {
	m := solar()
	if err := m.Sealable(); err != nil {
		t.Error(err)
	}
	m.Status = Unverified
	if err := m.Sealable(); err == nil || !strings.Contains(err.Error(), "KS-F1 1.0 is written from recall") {
		t.Error(err)
	}
}
