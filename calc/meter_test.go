package calc

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// What a person may write wrongly about meters, inputs and splits, and what the
// message must name.
func TestMeterAndInputsRefused(t *testing.T) {
	for want, spoil := range map[string]func(*Project){
		"is it a factor? write percent":          func(p *Project) { p.Meters[0].Records[0].MPE = Number{num("0.005")} },
		"at most 20":                             func(p *Project) { p.Meters[0].Records[0].MPE = Number{num("50")} },
		"mpe_percent and mpe_source go together": func(p *Project) { p.Meters[0].Records[0].MPESource = "" },
		"is installed before the one before it":  func(p *Project) { p.Meters[0].Records[1].Installed = inst("2026-12-19T00:00:00+07:00") },
		"is not after installed":                 func(p *Project) { p.Meters[0].Records[0].Removed = inst("2026-11-01T00:00:00+07:00") },
		"give the serial number":                 func(p *Project) { p.Meters[0].Records[0].Serial = "" },
		"from, through":                          func(p *Project) { p.Meters[0].Records[0].Calibrations[0].Through = day("2020-01-01") },
		"cannot be told from a restart":          func(p *Project) { p.Meters[4].ModulusKWh = Number{num("1000000")} },
		"durations like 15m":                     func(p *Project) { p.Meters[0].Every = -time.Minute },
		"would count twice":                      func(p *Project) { p.Inputs[1].Role = RoleCounts },
		"want A, B or C":                         func(p *Project) { p.Inputs[0].Option = "D" },
		"add up to 90":                           func(p *Project) { p.Allocation[0].Percent = Number{num("40")} },
		"tCO2 by calendar year":                  func(p *Project) { p.Estimates[26] = Number{num("1")} },
	} {
		p, _, _ := everything(t)
		spoil(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for want, spoil := range map[string]func(*Decided){
		"has none of that key":            func(d *Decided) { d.Rulings[0].Meter = "x" },
		"not before its beginning":        func(d *Decided) { d.Rulings[0].To = inst("2026-12-01T00:00:00+07:00") },
		"say who rules and why":           func(d *Decided) { d.Rulings[0].Who = "" },
		"the project expects none":        func(d *Decided) { d.Inputs[0].Parameter = "EG" },
		"nothing is converted silently":   func(d *Decided) { d.Inputs[2].Unit = "kWh" },
		"64 hexadecimal digits":           func(d *Decided) { d.Inputs[0].Evidence = "abc" },
		"count twice":                     func(d *Decided) { d.Inputs[1].From, d.Inputs[1].Document = day("2026-12-31"), d.Inputs[0].Document },
		"ends before it starts":           func(d *Decided) { d.Inputs[0].To = day("2026-11-01") },
		"has no period":                   func(d *Decided) { d.Splits[0].Period.End = day("2027-02-01") },
		"has no vintage":                  func(d *Decided) { d.Splits[0].Vintage = 2030 },
		"gets -1 tCO2; want 0 or more":    func(d *Decided) { d.Splits[0].Accounts["Host"] = -1 },
		`has no account "Mars"`:           func(d *Decided) { d.Splits[0].Accounts["Mars"] = 1 },
		"WA can be negative":              func(d *Decided) { d.Inputs[0].Value = num("-100") },
		"say who puts it in":              func(d *Decided) { d.Inputs[0].Who = "" },
		"name the document that shows it": func(d *Decided) { d.Inputs[0].Document = "" },
	} {
		p, m, _ := everything(t)
		spoil(&p.Decided)
		if err := p.CheckDecided(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestNetAmounts: emissions less removals can be below 0 and lower PE. A meter's line is
// then not taken to raise ER without a look.
func TestNetAmounts(t *testing.T) {
	p, m, curve := everything(t)
	m.parameter("WA").Signed = true
	p.Decided.Inputs[0].Value = num("-100")
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Vintages["2026"]; got["WA_t"] != "-100" || got["RE_tCO2"] != "-0.16" { // 39.68 x 0.5 - 100 x 0.2
		t.Errorf("vintage 2026 with an input of -100 t: %v", got)
	}
	b := builder{project: p, methodology: m, raising: make(map[string]bool)}
	if b.raises("EG") {
		t.Error("whether EG raises ER is read off the formulas although a number in them may be below 0")
	}
}

// TestFloorOncePerVintage: 0.99 t and 1.00 t are 0 and 1, never 2 nor floor(1.99)
// of the sum put into one year.
func TestFloorOncePerVintage(t *testing.T) {
	p, m, _ := trial(t)
	p.Meters = p.Meters[2:3]
	ef := Number{num("1")}
	p.Parameters["EF_RE"] = Value{Value: &ef, Unit: "tCO2/MWh", Source: "x"}
	z := zone(t, p.Zone)
	c := NewCurve(Register{}, z)
	for _, s := range []struct {
		day string
		kWh string
	}{{"2026-12-30", "0"}, {"2027-01-01", "990"}, {"2027-01-02", "1990"}} { // 990 at midnight local time is still of 2026
		if err := c.Add(Sample{At: day(s.day).Start(z).UnixMilli(), Value: num(s.kWh), Unit: "kWh", Good: true}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := p.Report(m, 0, func(string) *Curve { return c })
	if err != nil {
		t.Fatal(err)
	}
	if a, b := r.Vintages["2026"]["ER_tCO2"], r.Vintages["2027"]["ER_tCO2"]; a != "0" || b != "1" || r.ER != "1" {
		t.Errorf("vintages %s and %s, in all %s; want 0, 1 and 1", a, b, r.ER)
	}
}

// What can be read off the formulas must be what trying shows.
func TestRaises(t *testing.T) {
	p, m, curve := everything(t)
	b, err := p.build(m, 0, curve, figures, Date{})
	if err != nil {
		t.Fatal(err)
	}
	for symbol, want := range map[string]bool{"EG": true, "EC": false} {
		b.raising = make(map[string]bool)
		if got := b.raises(symbol); got != want {
			t.Errorf("more of %s never lowers ER: %v, want %v", symbol, got, want)
		}
	}
	for name, spoil := range map[string]func(){
		"a factor below 0":  func() { v := Number{num("-1")}; p.Parameters["EF"] = Value{Value: &v, Unit: "tCO2/MWh", Source: "x"} },
		"a difference":      func() { m.Formulas.RE = "sum(EG) * EF - EG" },
		"a quotient":        func() { m.Formulas.RE = "EF / sum(EG)" },
		"another function":  func() { m.Formulas.RE = "min(sum(EG), EF)" },
		"ER of another way": func() { m.Formulas.ER = "RE - 2 * PE" },
	} {
		p, m, _ = everything(t)
		spoil()
		b.project, b.methodology, b.raising = p, m, make(map[string]bool)
		if b.raises("EG") {
			t.Errorf("%s: read off the formulas all the same", name)
		}
	}
}

// TestNothingGivenIsNoZero: what comes as inputs and nobody gave, or gave for days that
// reach over a year's end, keeps a period from being sealed.
func TestNothingGivenIsNoZero(t *testing.T) {
	seal := func(spoil func(*Decided)) error {
		p, m, curve := everything(t)
		spoil(&p.Decided)
		r, err := p.Report(m, 0, curve)
		if err != nil {
			t.Fatal(err)
		}
		r.State, r.Seal = StateClosing, nil
		r.Deductions = nil // what the fan has not measured keeps it from being sealed too
		return p.CanSeal(m, r, time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	given := func(d *Decided) { // an amount of 0 is one; w-2 reaches over the year's end
		d.Inputs = slices.DeleteFunc(d.Inputs, func(x Input) bool { return x.ID == "w-2" })
		x := d.Inputs[0]
		x.ID, x.Document, x.Value, x.From, x.To = "zero", "no waste came", num("0"), day("2027-01-10"), day("2027-01-31")
		d.Inputs = append(d.Inputs, x)
	}
	if err := seal(func(*Decided) {}); err == nil || !strings.Contains(err.Error(), "nobody gave an amount of WA in 2027") {
		t.Errorf("a vintage without WA: %v", err)
	}
	if err := seal(given); err != nil {
		t.Errorf("with an amount in each vintage: %v", err)
	}
	if err := seal(func(d *Decided) {
		given(d)
		x := d.Inputs[0]
		x.ID, x.Document, x.From, x.To = "over", "list of the winter", day("2026-12-31"), day("2027-01-05")
		d.Inputs = append(d.Inputs, x)
	}); err == nil || !strings.Contains(err.Error(), "counts nowhere") {
		t.Errorf("an input over the year's end: %v", err)
	}
}
