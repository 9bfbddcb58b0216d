package calc

import (
	"strings"
	"testing"
)

func TestMethodologyValidate(t *testing.T) {
	if err := solar().Validate(); err != nil {
		t.Fatalf("a good methodology: %v", err)
	}
	for _, tt := range []struct {
		want  string
		spoil func(*Methodology)
	}{
		{"needs number, version and title", func(m *Methodology) { m.Version = "" }},
		{`status "final"`, func(m *Methodology) { m.Status = "final" }},
		{"name at least one document", func(m *Methodology) { m.Sources = nil }},
		{"source 1: want document, and tag P", func(m *Methodology) { m.Sources[0].Tag = "R" }},
		{`rounding of ER "round"`, func(m *Methodology) { m.Rounding.ER = "round" }},
		{"examples: give at least one", func(m *Methodology) { m.Examples = nil }},
		{`symbol "E G"`, func(m *Methodology) { m.Parameters[0].Symbol = "E G" }},
		{`symbol "MWh"`, func(m *Methodology) { m.Parameters[0].Symbol = "MWh" }},
		{`symbol "sum"`, func(m *Methodology) { m.Parameters[0].Symbol = "sum" }},
		{"EG stands twice", func(m *Methodology) { m.Parameters[1].Symbol = "EG" }},
		{"EG has no description", func(m *Methodology) { m.Parameters[0].Description = "" }},
		{`per "plant"`, func(m *Methodology) { m.Parameters[0].Per = "plant" }},
		{"EG: monitoring options", func(m *Methodology) { m.Parameters[0].Options = nil }},
		{"EF_RE: monitoring options", func(m *Methodology) { m.Parameters[1].Options = []string{"A"} }},
		{`option "D"`, func(m *Methodology) { m.Parameters[0].Options = []string{"D"} }},
		{`"MWH" is not known`, func(m *Methodology) { m.Parameters[0].Unit = "MWH" }},
		{"formula RE = sum(EG * EF_RE): comes out in kWh*tCO2/MWh, want tCO2", func(m *Methodology) { m.Parameters[0].Unit = "kWh" }},
		{"formula RE = sum(EG * EF): column 10: EF is no parameter; known are EF_RE, EG", func(m *Methodology) { m.Formulas.RE = "sum(EG * EF)" }},
		{"formula PE = 1: comes out in 1, want tCO2", func(m *Methodology) { m.Formulas.PE = "1" }},
		{"formula RE = PE: column 1: PE is no parameter", func(m *Methodology) { m.Formulas.PE, m.Formulas.RE = "RE", "PE" }},
		{"formula ER = : is empty", func(m *Methodology) { m.Formulas.ER = "" }},
		{"example 1 (x): RE comes out as 500.25 tCO2, the file says 500.2", func(m *Methodology) { m.Examples[0].Result.RE = Number{num("500.2")} }},
		{"example 1 (x): ER comes out as 500 tCO2, the file says 501", func(m *Methodology) { m.Examples[0].Result.ER = Number{num("501")} }},
		{"example 1 (x): has no source", func(m *Methodology) { m.Examples[0].Source = "" }},
		{"example 1 (x): unit a: XX is no parameter", func(m *Methodology) { m.Examples[0].Units["a"]["XX"] = Number{num("1")} }},
		{"example 1 (x): unit a: EG has more than 30 digits", func(m *Methodology) { m.Examples[0].Units["a"]["EG"] = Number{num("1e9999")} }},
		{"example 1 (x): formula RE: unit a: column 10: EF_RE has no value", func(m *Methodology) { delete(m.Examples[0].Parameters, "EF_RE") }},
		{"example 1 (x): formula RE: unit a: column 8: division by zero", func(m *Methodology) {
			m.Formulas.RE = "sum(EG / (EG - EG) * EG * EF_RE)"
		}},
	} {
		m := solar()
		tt.spoil(m)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}
