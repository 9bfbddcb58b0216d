package calc

import (
	"bytes"
	"math/big"
	"strings"
	"testing"
	"time"
)

func inst(text string) Instant {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return Instant{t}
}

// everything is a project of one year's turn in which each rule takes something
// away: a plant with two meters that raise ER, a meter that lowers it, a power
// that is integrated, and waste that a weighbridge weighs.
func everything(t testing.TB) (*Project, *Methodology, func(string) *Curve) {
	m := &Methodology{
		Number: "T-ALL", Version: "1.0", Title: "All at once", Status: Template, Sources: []Source{{Document: "d", Tag: "S"}},
		Parameters: []Parameter{
			{Symbol: "EG", Description: "electricity made", Unit: "MWh", Monitored: true, Per: PerUnit, Options: []string{"C"}},
			{Symbol: "EC", Description: "electricity used", Unit: "MWh", Monitored: true, Per: PerProject, Options: []string{"B", "C"}},
			{Symbol: "WA", Description: "waste", Unit: "t", Monitored: true, Per: PerProject, Options: []string{"B"}},
			{Symbol: "EF", Description: "factor", Unit: "tCO2/MWh", Per: PerProject},
			{Symbol: "EF_W", Description: "avoided", Unit: "tCO2/t", Per: PerProject},
		},
		Formulas: Formulas{RE: "sum(EG) * EF + WA * EF_W", PE: "EC * EF", ER: "RE - PE"},
		Rounding: Rounding{Floor},
		Examples: []Example{{Title: "x", Source: "invented", Parameters: Numbers{"EF": {num("0.5")}, "EC": {num("1")}, "WA": {num("10")}, "EF_W": {num("0.2")}},
			Units: map[string]Numbers{"a": {"EG": {num("10")}}}, Result: ExampleResult{Number{num("7")}, Number{num("0.5")}, Number{num("6")}}}},
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	n := func(v string) *Number { return &Number{num(v)} }
	hash := strings.Repeat("ab", 32)
	p := &Project{
		Reference: "all-1", Title: "Every kind of deduction", Zone: "Asia/Bangkok", Status: Illustration, Methodology: Pin{"T-ALL", "1.0"},
		Periods:    []Span{{day("2026-12-01"), day("2027-01-31")}},
		Parameters: map[string]Value{"EF": {Value: n("0.5"), Unit: "tCO2/MWh", Source: "invented"}, "EF_W": {Value: n("0.2"), Unit: "tCO2/t", Source: "invented"}},
		Meters: []Meter{
			{Key: "pv-1", Register: "site-1/pv-1/Wh", Parameter: "EG", RatedKW: *n("1000"), RatedSource: "plate", ModulusKWh: *n("1000000"), Every: 12 * time.Hour,
				Records: []MeterRecord{
					{Serial: "A1", Class: "0.5S", Installed: inst("2026-11-30T10:00:00+07:00"), Removed: inst("2026-12-20T10:00:00+07:00"), RemovedKWh: n("12500"), Evidence: "protocol 7",
						MPE: *n("0.5"), MPESource: "IEC 62053-22", Calibrations: []Calibration{{day("2025-01-01"), day("2026-12-14"), "C-1"}}},
					{Serial: "A2", Class: "0.5S", Installed: inst("2026-12-20T12:00:00+07:00"), InstalledKWh: n("10"), Evidence: "protocol 8",
						MPE: *n("0.5"), MPESource: "IEC 62053-22", Calibrations: []Calibration{{day("2026-12-20"), day("2030-12-31"), "C-2"}}},
				}},
			{Key: "pv-2", Register: "site-1/pv-2/Wh", Parameter: "EG", RatedKW: *n("1000"), RatedSource: "plate"},
			{Key: "own-use", Register: "site-1/own/Wh", Parameter: "EC", RatedKW: *n("50"), RatedSource: "fuse",
				Records: []MeterRecord{{Serial: "B1", Class: "1", Installed: inst("2026-11-01T00:00:00+07:00"), Evidence: "protocol 9", MPE: *n("1"), MPESource: "IEC 62053-21",
					Calibrations: []Calibration{{day("2026-01-01"), day("2026-12-31"), "C-3"}}}}},
			{Key: "fan", Register: "site-1/fan/W", Parameter: "EC", Hold: 2 * time.Hour},
			{Key: "grid", Register: "site-1/grid/Wh", Parameter: "EG", Role: RoleCheck},
		},
		Inputs:     []InputDecl{{Parameter: "WA", Option: "B"}, {Parameter: "EC", Option: "B", Role: RoleCheck}},
		Estimates:  map[int]Number{2026: *n("365"), 2027: *n("730")},
		Allocation: []Account{{"Japan", *n("50")}, {"Host", *n("50")}},
		Decided: Decided{
			Rulings: []Ruling{
				{Meter: "pv-2", Cause: CauseDip, From: inst("2026-12-10T00:00:00+07:00"), To: inst("2026-12-10T23:59:59+07:00"), Who: "K. Sato", Why: "technician tested the port"},
				{Meter: "pv-2", Cause: CauseRestart, From: inst("2027-01-10T11:00:00+07:00"), Who: "K. Sato", Why: "board exchanged, protocol 10"},
			},
			Inputs: []Input{
				{ID: "w-1", Parameter: "WA", From: day("2026-12-01"), To: day("2026-12-31"), Value: num("100"), Unit: "t", Document: "weighbridge list 12", Evidence: hash, Who: "K. Sato"},
				{ID: "w-2", Parameter: "WA", From: day("2027-01-20"), To: day("2027-02-10"), Value: num("70"), Unit: "t", Document: "weighbridge list 1", Evidence: hash, Who: "K. Sato"},
				{ID: "inv-1", Parameter: "EC", From: day("2026-12-01"), To: day("2026-12-31"), Value: num("1.5"), Unit: "MWh", Document: "invoice 4711", Evidence: hash, Who: "K. Sato"},
			},
			Splits: []Split{{Period: Span{day("2026-12-01"), day("2027-01-31")}, Vintage: 2026, Accounts: map[string]int64{"Japan": 15, "Host": 12}, Who: "both sides"}},
		},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	z := zone(t, p.Zone)
	s := func(at, kWh string) Sample {
		return Sample{At: inst(at + ":00+07:00").UnixMilli(), Value: num(kWh), Unit: "kWh", Good: true}
	}
	watts := func(at, kW string) Sample {
		x := s(at, kW)
		x.Unit = "kW"
		return x
	}
	unit := s("2026-12-03T12:00", "1")
	unit.Unit = "kvarh"
	samples := map[string][]Sample{
		"site-1/pv-1/Wh": {
			s("2026-11-29T12:00", "1"), s("2026-11-30T12:00", "1000"), s("2026-12-01T12:00", "3000"), unit,
			s("2026-12-05T12:00", "5000"), s("2026-12-05T13:00", "7200"), // a jump
			s("2026-12-14T18:00", "9000"), s("2026-12-18T12:00", "12000"), // no calibration after the 14th
			s("2026-12-20T11:00", "3"), s("2026-12-20T18:00", "510"), s("2026-12-31T12:00", "6510"), s("2027-01-31T12:00", "9010"),
		},
		"site-1/pv-2/Wh": {
			s("2026-11-30T12:00", "0"), s("2026-12-01T12:00", "2000"), s("2026-12-01T13:00", "0"), s("2026-12-01T16:00", "2400"), // perhaps exchanged
			s("2026-12-09T12:00", "8000"), s("2026-12-10T12:00", "700"), s("2026-12-11T12:00", "9000"),
			s("2026-12-15T12:00", "70000000"), s("2026-12-15T13:00", "12000"), // a spike
			s("2026-12-20T12:00", "20000"), s("2026-12-20T13:00", "100"), s("2026-12-21T12:00", "4000"), s("2026-12-21T18:00", "4500"), s("2026-12-22T12:00", "5000"), // a restart
			s("2027-01-10T10:00", "9000"), s("2027-01-10T12:00", "50"), s("2027-01-20T12:00", "3000"), s("2027-01-30T12:00", "1800"), // ruled on, and then undecided
		},
		"site-1/own/Wh":  {s("2026-11-30T12:00", "0"), s("2026-12-15T12:00", "700"), s("2026-12-15T13:00", "800"), s("2026-12-31T18:00", "1500"), s("2027-01-20T12:00", "2500"), s("2027-01-20T18:00", "2400")},
		"site-1/fan/W":   {watts("2026-12-01T00:00", "2"), watts("2026-12-01T01:00", "4"), watts("2026-12-01T06:00", "1")},
		"site-1/grid/Wh": {s("2026-11-30T12:00", "0"), s("2027-01-31T12:00", "40000")},
	}
	curves := make(map[string]*Curve)
	for _, spec := range p.Registers() {
		c := NewCurve(spec, z)
		for _, x := range samples[spec.Key] {
			if err := c.Add(x); err != nil {
				t.Fatal(err)
			}
		}
		curves[spec.Key] = c
	}
	return p, m, func(key string) *Curve { return curves[key] }
}

// TestExplainGolden is what a verifier reads. The lines were gone through by hand
// when the file was written; TestExplainedLines does so again.
func TestExplainGolden(t *testing.T) {
	p, m, curve := everything(t)
	var b bytes.Buffer
	if err := p.Explain(&b, m, 0, curve); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/explain.golden", b.Bytes())
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, d := range r.Deductions {
		seen[d.Cause] = true
	}
	for _, cause := range []string{CauseUnit, CauseJump, CauseFall, CauseRecovered, CauseRestart, CauseOut, CauseExcluded, CauseCalibration, CauseUnread} {
		if !seen[cause] {
			t.Errorf("no line of cause %q: the page does not show every kind", cause)
		}
	}
}

// TestTotalsAreTheReport: the short form has the same figures.
func TestTotalsAreTheReport(t *testing.T) {
	p, m, curve := everything(t)
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Totals(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	if !r.ClaimableKWh.Equal(s.ClaimableKWh) || !r.MeasuredKWh.Equal(s.MeasuredKWh) || r.ER != s.ER || len(r.Deductions) != len(s.Deductions) {
		t.Errorf("totals %v %v %v, report %v %v %v", s.MeasuredKWh, s.ClaimableKWh, s.ER, r.MeasuredKWh, r.ClaimableKWh, r.ER)
	}
	sum := new(big.Int)
	for _, v := range r.Vintages {
		n, _ := new(big.Int).SetString(v["ER_tCO2"], 10)
		sum.Add(sum, n)
	}
	if sum.String() != r.ER {
		t.Errorf("vintages add up to %v tCO2, the report says %v", sum, r.ER)
	}
}
