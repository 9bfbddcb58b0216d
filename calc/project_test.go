package calc

import (
	"strings"
	"testing"
)

// chiller is the shape of F3, with a factor per project.
func chiller() *Methodology {
	m := solar()
	m.Number = "KS-F3"
	m.Parameters = []Parameter{
		{Symbol: "EC", Description: "electricity", Unit: "MWh", Monitored: true, Per: PerUnit, Options: []string{"C"}},
		{Symbol: "EI_grid", Description: "grid power", Unit: "MWh", Monitored: true, Per: PerProject, Options: []string{"B", "C"}},
		{Symbol: "COP_PJ", Description: "project", Unit: "1", Per: PerUnit},
		{Symbol: "COP_RE", Description: "reference", Unit: "1", Per: PerUnit},
		{Symbol: "EF", Description: "factor", Unit: "tCO2/MWh", Per: PerProject},
	}
	m.Formulas = Formulas{RE: "sum(EC * COP_PJ / COP_RE * EF)", PE: "sum(EC * EF) + 0 * EI_grid * EF", ER: "RE - PE"}
	m.Examples = []Example{{Title: "x", Source: "invented", Parameters: Numbers{"EF": {num("0.5")}, "EI_grid": {num("7")}},
		Units: map[string]Numbers{"a": {"EC": {num("100")}, "COP_PJ": {num("6")}, "COP_RE": {num("5")}}}, Result: ExampleResult{Number{num("60")}, Number{num("50")}, Number{num("10")}}}}
	return m
}

func value(v, unit string) Value {
	d := Number{num(v)}
	return Value{Value: &d, Unit: unit, Source: "table 2"}
}

// plant is a project that fits chiller.
func plant() *Project {
	return &Project{
		Reference: "P1", Title: "T", Zone: "Asia/Bangkok", Methodology: Pin{"KS-F3", "1.0"},
		Periods:    []Span{{day("2026-01-01"), day("2026-12-31")}},
		Parameters: map[string]Value{"EF": value("0.5", "tCO2/MWh"), "COP_RE": value("5", "1")},
		Units:      map[string]Unit{"c1": {"One", map[string]Value{"COP_PJ": value("6", "1")}}, "c2": {"Two", map[string]Value{"COP_PJ": value("7", "1"), "COP_RE": value("5.5", "1")}}},
		Meters: []Meter{
			{Key: "m1", Register: "edge-1/m1/kWh", Power: "edge-1/m1/W", Parameter: "EC", Unit: "c1", RatedKW: Number{num("120")}, RatedSource: "nameplate", StepKWh: Number{num("1")}},
			{Key: "m2", Register: "edge-1/m2/kWh", Parameter: "EC", Unit: "c2"},
			{Key: "m3", Register: "edge-1/m3/kWh", Parameter: "EI_grid"},
			{Key: "sum", Register: "edge-1/sum/kWh", Role: RoleCheck},
		},
	}
}

func TestProjectValidate(t *testing.T) {
	if err := plant().Validate(); err != nil {
		t.Fatalf("a good project: %v", err)
	}
	if err := plant().Fits(chiller()); err != nil {
		t.Fatalf("a project that fits: %v", err)
	}
	huge := Number{num("1e9999")}
	for _, tt := range []struct {
		want  string
		spoil func(*Project)
	}{
		{`reference "a/b"`, func(p *Project) { p.Reference = "a/b" }},
		{"has no title", func(p *Project) { p.Title = "" }},
		{`leave it out, or write "illustration"`, func(p *Project) { p.Status = "draft" }},
		{`zone "Local"`, func(p *Project) { p.Zone = "Local" }},
		{`zone "Asia/Bankok" is not an IANA zone`, func(p *Project) { p.Zone = "Asia/Bankok" }},
		{"give both number and version", func(p *Project) { p.Methodology.Version = "" }},
		{"at least one monitoring period", func(p *Project) { p.Periods = nil }},
		{"share 2026-12-31", func(p *Project) { p.Periods = append(p.Periods, Span{day("2026-12-31"), day("2027-12-31")}) }},
		{"at most 100 years; is a digit wrong", func(p *Project) { p.Periods = []Span{{day("2026-01-01"), day("2926-12-31")}} }},
		{"meters: give at least one", func(p *Project) { p.Meters = nil }},
		{"parameter EF has no value", func(p *Project) { p.Parameters["EF"] = Value{Unit: "1", Source: "x"} }},
		{"more than 30 digits", func(p *Project) { p.Parameters["EF"] = Value{Value: &huge, Unit: "1", Source: "x"} }},
		{"parameter EF has no unit; write 1", func(p *Project) { p.Parameters["EF"] = value("1", "") }},
		{`"t/MWh/%": "%" is not known`, func(p *Project) { p.Parameters["EF"] = value("1", "t/MWh/%") }},
		{"parameter EF has no source", func(p *Project) { v := value("1", "1"); v.Source = ""; p.Parameters["EF"] = v }},
		{`parameter "E F" is no symbol`, func(p *Project) { p.Parameters["E F"] = value("1", "1") }},
		{"unit c1: parameter COP_PJ has no unit", func(p *Project) { p.Units["c1"].Parameters["COP_PJ"] = value("1", "") }},
		{`unit "c 3"`, func(p *Project) { p.Units["c 3"] = Unit{} }},
		{"two meters have this key", func(p *Project) { p.Meters[1].Key = "m1" }},
		{`meter "": its key`, func(p *Project) { p.Meters[1].Key = "" }},
		{"is already that of meter m1; its energy would count twice", func(p *Project) { p.Meters[1].Register = p.Meters[0].Register }},
		{"want edge/device/point", func(p *Project) { p.Meters[1].Register = "edge-1/m2" }},
		{"want edge/device/point", func(p *Project) { p.Meters[1].Register = "edge-1/m2/a/b" }},
		{`edge id "Edge": want 3 to 40 small letters`, func(p *Project) { p.Meters[1].Register = "Edge/m2/kWh" }},
		{`edge id "e1": want 3 to 40 small letters`, func(p *Project) { p.Meters[1].Register = "e1/g/kWh" }},
		{`device "m 2": want letters`, func(p *Project) { p.Meters[1].Power = "edge-1/m 2/W" }},
		{"power \"x\"", func(p *Project) { p.Meters[1].Power = "x" }},
		{`role "main"`, func(p *Project) { p.Meters[1].Role = "main" }},
		{"name the symbol", func(p *Project) { p.Meters[1].Parameter = "" }},
		{`unit "c9" is not among the units`, func(p *Project) { p.Meters[1].Unit = "c9" }},
		{"rated_kW and rated_source go together", func(p *Project) { p.Meters[0].RatedSource = "" }},
		{"rated_kW and rated_source go together", func(p *Project) { p.Meters[1].RatedSource = "guess" }},
		{"rated_kW 100000000", func(p *Project) { p.Meters[0].RatedKW = Number{num("100000000")} }},
		{"rated_kW -1", func(p *Project) { p.Meters[0].RatedKW = Number{num("-1")} }},
		{"at most 6 decimals", func(p *Project) { p.Meters[0].RatedKW = Number{num("1.0000001")} }},
		{"rated_kW", func(p *Project) { p.Meters[0].RatedKW = huge }},
		{"step_kWh -1", func(p *Project) { p.Meters[0].StepKWh = Number{num("-1")} }},
		{"step_kWh only matters beside rated_kW", func(p *Project) { p.Meters[1].StepKWh = Number{num("1")} }},
	} {
		p := plant()
		tt.spoil(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

func TestProjectFits(t *testing.T) {
	for _, tt := range []struct {
		want  string
		spoil func(*Project, *Methodology)
	}{
		{"registered under methodology KS-F3 1.0, this is KS-F3 2.0", func(_ *Project, m *Methodology) { m.Version = "2.0" }},
		{"EF of methodology KS-F3 1.0 is missing; give it with value, unit (tCO2/MWh) and source", func(p *Project, _ *Methodology) { delete(p.Parameters, "EF") }},
		{"COP_RE of unit c1 of methodology KS-F3 1.0 is missing", func(p *Project, _ *Methodology) { delete(p.Parameters, "COP_RE") }},
		{"EF is given in kgCO2/kWh, methodology KS-F3 1.0 wants tCO2/MWh", func(p *Project, _ *Methodology) { p.Parameters["EF"] = value("0.5", "kgCO2/kWh") }},
		{"unit c1: parameter COP_PJ is given in kW", func(p *Project, _ *Methodology) { p.Units["c1"].Parameters["COP_PJ"] = value("0.5", "kW") }},
		{"unit c1: parameter EF is one number for the whole project", func(p *Project, _ *Methodology) { p.Units["c1"].Parameters["EF"] = value("0.5", "tCO2/MWh") }},
		{"XX is none that methodology KS-F3 1.0 fixes ex ante; it fixes COP_PJ, COP_RE, EF", func(p *Project, _ *Methodology) { p.Parameters["XX"] = value("1", "1") }},
		{"EC is none that methodology", func(p *Project, _ *Methodology) { p.Parameters["EC"] = value("1", "MWh") }},
		{"meter m1 feeds EG, which methodology KS-F3 1.0 does not monitor; it monitors EC, EI_grid", func(p *Project, _ *Methodology) { p.Meters[0].Parameter = "EG" }},
		{"meter m1 feeds EF, which", func(p *Project, _ *Methodology) { p.Meters[0].Parameter = "EF" }},
		{"EI_grid of methodology KS-F3 1.0 has no meter", func(p *Project, _ *Methodology) { p.Meters = p.Meters[:2] }},
		{"EI_grid of methodology KS-F3 1.0 has no meter", func(p *Project, _ *Methodology) { p.Meters[2].Role = RoleCheck }},
		{"a meter that counts kWh cannot give it", func(_ *Project, m *Methodology) { m.parameter("EI_grid").Unit = "t" }},
		{"feeds COP_X", func(p *Project, _ *Methodology) { p.Meters[3].Parameter = "COP_X" }},
	} {
		p, m := plant(), chiller()
		tt.spoil(p, m)
		if err := p.Fits(m); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
		if _, err := p.Report(m, 0, func(string) *Curve { return nil }); err == nil {
			t.Errorf("%s: there is a report all the same", tt.want)
		}
	}
}

// Two chillers with their own coefficients, and a parameter of the whole project.
func TestUnitsHaveTheirOwnNumbers(t *testing.T) {
	p, m := plant(), chiller()
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	z := zone(t, p.Zone)
	rise := map[string]string{"edge-1/m1/kWh": "100", "edge-1/m2/kWh": "2000", "edge-1/m3/kWh": "30", "edge-1/sum/kWh": "7"}
	r, err := p.Report(m, 0, func(key string) *Curve {
		c := NewCurve(Register{Key: key}, z)
		for i, v := range []string{"0", rise[key]} {
			if err := c.Add(at(1000+float64(i), v)); err != nil {
				t.Fatal(err)
			}
		}
		return c
	})
	if err != nil {
		t.Fatal(err)
	}
	// RE = 0.1×6/5×0.5 + 2×7/5.5×0.5 = 0.06 + 1.2727.. ; PE = 2.1×0.5
	want := map[string]string{"EC_MWh": "2.1", "EI_grid_MWh": "0.03", "RE_tCO2": "1.332727273", "PE_tCO2": "1.05", "ER_tCO2": "0"}
	for k, v := range want {
		if r.Vintages["2026"][k] != v {
			t.Errorf("%s = %s, want %s", k, r.Vintages["2026"][k], v)
		}
	}
	if len(r.Vintages["2026"]) != len(want) || r.MeasuredKWh.String() != "2130" {
		t.Errorf("vintage %v, measured %v kWh; want 2130 without the check meter", r.Vintages["2026"], r.MeasuredKWh)
	}
}
