package calc

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// boiler is a project whose meters count gas in Nm3, heat in GJ and water in m3, the last
// as a flow that is integrated.
func boiler(t testing.TB) (*Project, *Methodology, func(string) *Curve) {
	t.Helper()
	n := func(v string) *Number { return &Number{num(v)} }
	fixed := func(symbol, unit string) Parameter {
		return Parameter{Symbol: symbol, Description: "d", Unit: unit, Per: PerProject}
	}
	metered := func(symbol, unit string) Parameter {
		return Parameter{Symbol: symbol, Description: "d", Unit: unit, Monitored: true, Per: PerProject, Options: []string{"B", "C"}}
	}
	m := &Methodology{Number: "T-B", Version: "1", Title: "Boiler", Status: Template, Sources: []Source{{Document: "d", Tag: "S"}},
		Parameters: []Parameter{metered("PH", "GJ"), metered("FC", "kNm3"), metered("V", "m3"), fixed("ETA", "1"), fixed("NCV", "GJ/kNm3"), fixed("EF", "tCO2/GJ"), fixed("SEC", "tCO2/m3")},
		Formulas:   Formulas{RE: "PH / ETA * EF + V * SEC", PE: "FC * NCV * EF", ER: "RE - PE"}, Rounding: Rounding{Floor},
		Examples: []Example{{Title: "x", Source: "invented", Parameters: Numbers{"PH": {num("90")}, "FC": {num("1")}, "V": {num("10")}, "ETA": {num("0.9")}, "NCV": {num("40")}, "EF": {num("0.05")}, "SEC": {num("0.1")}},
			Result: ExampleResult{Number{num("6")}, Number{num("2")}, Number{num("4")}}}},
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	hash := strings.Repeat("ab", 32)
	p := &Project{Reference: "boiler", Title: "Boiler", Zone: "UTC", Status: Illustration, Methodology: Pin{"T-B", "1"}, Periods: []Span{{day("2026-03-01"), day("2026-03-10")}},
		Parameters: map[string]Value{"ETA": {Value: n("0.9"), Unit: "1", Source: "invented"}, "NCV": {Value: n("40"), Unit: "GJ/kNm3", Source: "invented"}, "EF": {Value: n("0.05"), Unit: "tCO2/GJ", Source: "invented"}, "SEC": {Value: n("0.1"), Unit: "tCO2/m3", Source: "invented"}},
		Meters: []Meter{
			{Key: "heat", Register: "site-1/heat/GJ", Parameter: "PH", Counts: "GJ", RatedPerH: *n("36"), RatedSource: "plate"},
			{Key: "gas", Register: "site-1/gas/Nm3", Parameter: "FC", Counts: "Nm3", RatedPerH: *n("500"), RatedSource: "plate", Modulus: *n("100000"),
				Records: []MeterRecord{{Serial: "G1", Class: "1", Installed: inst("2026-02-01T00:00:00Z"), Evidence: "protocol 1", MPE: *n("1"), MPESource: "plate", InstalledVal: n("90000")}}},
			{Key: "water", Register: "site-1/water/flow", Parameter: "V", Counts: "m3", Hold: 2 * time.Hour},
		},
		Inputs:  []InputDecl{{Parameter: "FC", Option: "B", Role: RoleCheck}},
		Decided: Decided{Inputs: []Input{{ID: "inv", Parameter: "FC", From: day("2026-03-01"), To: day("2026-03-04"), Value: num("20"), Unit: "kNm3", Document: "invoice", Evidence: hash, Who: "K. Sato"}}},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	sample := func(h float64, v, unit string) Sample {
		return Sample{At: hour(h), Value: num(v), Unit: unit, Good: true}
	}
	samples := map[string][]Sample{
		"heat":  {sample(0, "1", "TJ"), sample(24, "1360", "GJ"), sample(48, "1500000", "MJ"), sample(72, "430000", "kWh"), sample(73, "500", "m3")}, // 430 MWh are 1548 GJ
		"gas":   {sample(-1, "95000", "Nm3"), sample(24, "99.9", "kNm3"), sample(48, "300", "Nm3"), sample(49, "750", "Nm3"), sample(72, "10900", "Nm3"), sample(96, "20000", "Nm3"), sample(97, "20600", "Nm3")},
		"water": {sample(0, "1500", "L/h"), sample(1, "2", "m3/h"), sample(4, "0", "m3/h")},
	}
	curves := make(map[string]*Curve)
	for _, spec := range p.Registers() {
		c := NewCurve(spec, time.UTC)
		for _, s := range samples[strings.Split(spec.Key, "/")[1]] {
			if err := c.Add(s); err != nil {
				t.Fatal(err)
			}
		}
		curves[spec.Key] = c
	}
	return p, m, func(key string) *Curve { return curves[key] }
}

// TestMetersOfOtherThings: heat, gas and water are followed by the same rules, in their own
// unit to the last digit; no figure in kWh is theirs.
func TestMetersOfOtherThings(t *testing.T) {
	p, m, curve := boiler(t)
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Meters) != 0 || !r.MeasuredKWh.IsZero() || len(r.Months) != 0 {
		t.Errorf("kWh of a project that measures none: meters %v, %v kWh, months %v", r.Meters, r.MeasuredKWh, r.Months)
	}
	heat, gas, water := r.Counters["heat"], r.Counters["gas"], r.Counters["water"]
	if got := heat.Measured.String() + " " + heat.Claimable.String() + " " + heat.Unit + " " + heat.Days["2026-03-02"].String(); got != "548 548 GJ 140" {
		t.Errorf("heat: %s", got) // 1000 to 1360, 1500 and 1548
	}
	if got := gas.Measured.String() + " " + gas.Unit; got != "25600 Nm3" { // 95,000 by way of 100,000 to 20,600
		t.Errorf("gas: %s", got)
	}
	if got := water.Measured.String() + " " + water.Unit + " " + water.Kind; got != "5.5 m3 calculated" { // 1.5 x 1 + 2 x 2
		t.Errorf("water: %s", got)
	}
	v := r.Vintages["2026"]
	// Gas lowers ER: nothing of it is held back, and 1 % is added for want of a calibration.
	if v["PH_GJ"] != "548" || v["FC_kNm3"] != "25.856" || v["V_m3"] != "5.5" || v["PE_tCO2"] != "51.712" || v["RE_tCO2"] != "30.994444444" || v["ER_tCO2"] != "-21" {
		t.Errorf("vintage %v", v)
	}
	if len(r.Comparisons) != 1 || r.Comparisons[0].Unit != "Nm3" || r.Comparisons[0].Counted.String() != "25000" || r.Comparisons[0].Compared.String() != "20000" || !r.Comparisons[0].Flag {
		t.Errorf("comparisons %+v", r.Comparisons)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Deductions {
		if !d.KWh.IsZero() || d.Unit == "" || strings.Contains(d.Note, "kWh") {
			t.Errorf("line in kWh: %+v", d)
		}
	}
	if !strings.Contains(string(text), `"cause":"calibration","rule":"report rule 1","from":1772323200000,"to":1773187200000,"kWh":"0","amount":"-256","unit":"Nm3"`) {
		t.Errorf("the line of the calibration is not in Nm3: %s", text)
	}
	sealed := Seal{Methodology: r.Methodology, Hash: r.Hash, Rules: r.Rules, Figures: r.Figures()}
	if d := sealed.Differences(r); len(d) != 0 {
		t.Errorf("differs from itself: %v", d)
	}
	sealed.Figures.Counters["gas"] = CounterFigures{"Nm3", num("1"), num("28949")}
	if d := sealed.Differences(r); len(d) != 2 || d[0] != (Difference{"meter gas measured", "1 Nm3", "25600 Nm3"}) {
		t.Errorf("another count of gas: %v", d)
	}
	var out bytes.Buffer
	if err := p.Explain(&out, m, 0, curve); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"counts GJ, not kWh", "548 GJ\n", "went from 99900 Nm3 by way of 100000 to 300 Nm3", "rose by 600 Nm3, more than 500 Nm3/h makes in 1h0m0s",
		`unit "m3" is no unit of GJ: what is in it is no reading`, "meter gas: 25600 measured and 256 by its lines = 25856 Nm3", "invoice"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(strings.ReplaceAll(out.String(), ", not kWh", ""), "kWh") {
		t.Errorf("kWh of a project that measures none:\n%s", out.String())
	}
}

// What a meter counts must be what the methodology asks for, and no key in kWh may stand
// beside one that counts something else.
func TestMetersOfOtherThingsRefused(t *testing.T) {
	for want, spoil := range map[string]func(*Project){
		"want GJ, m3, Nm3 or t":         func(p *Project) { p.Meters[0].Counts = "MMBtu" },
		"not the keys in kW and kWh":    func(p *Project) { p.Meters[0].RatedKW = Number{num("10")} },
		"write rated_kW, step_kWh":      func(p *Project) { p.Meters[0].Counts = "" },
		"counts Nm3: write rated_per_h": func(p *Project) { p.Meters[1].Records[0].InstalledKWh = &Number{num("1")} },
		"rated_kW and rated_source":     func(p *Project) { p.Meters[0].RatedSource = "" },
		"write installed_kWh and removed_kWh": func(p *Project) {
			p.Meters[1] = Meter{Key: "gas", Register: "site-1/gas/Nm3", Parameter: "FC", Records: p.Meters[1].Records}
		},
		"a meter that counts m3 cannot give it":   func(p *Project) { p.Meters[1].Counts = "m3" },
		"a meter that counts GJ cannot give it":   func(p *Project) { p.Meters[2].Counts = "GJ" },
		"a meter that counts kWh cannot give it;": func(p *Project) { p.Meters[2].Counts = "" },
	} {
		p, m, _ := boiler(t)
		spoil(p)
		err := p.Validate()
		if err == nil {
			err = p.Fits(m)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
