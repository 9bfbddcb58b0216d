package calc_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/configs"
)

// TestCategoriesOfDays is KH_AM002 as a project: a meter gives the output of each day, a
// person says which days count. A day that nobody has said anything of does not, and
// what is held back or taken off for want of a calibration weighs only on days that count.
func TestCategoriesOfDays(t *testing.T) {
	const text = `
reference: kh
title: Two roofs
zone: Asia/Phnom_Penh
status: illustration
methodology: {number: KH_AM002, version: "1.0"}
periods: [{start: 2026-12-29, end: 2027-01-02}]
parameters: {EF_RE: {value: "0.5", unit: tCO2/MWh, source: invented}}
inputs: [{parameter: CAT, option: C, title: working days}]
meters:
  - {key: roof-1, register: site-1/r1/Wh, rated_kW: 300, rated_source: plate, parameter: EG}
  - key: roof-2
    register: site-1/r2/Wh
    parameter: EG
    records: [{serial: S1, class: "1", installed: 2026-12-01T00:00:00+07:00, evidence: protocol, mpe_percent: 1, mpe_source: plate}]
`
	var p calc.Project
	if err := configs.Decode("kh.yaml", []byte(text), &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	all, find := shipped(t)
	m, err := all[p.Methodology].Resolve(find)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := p.Location()
	if err != nil {
		t.Fatal(err)
	}
	start := calc.Date{Year: 2026, Month: time.December, Day: 29}.Start(zone).UnixMilli()
	curves := make(map[string]*calc.Curve)
	for i, spec := range p.Registers() {
		c := calc.NewCurve(spec, zone)
		value := int64(0)
		for h := range int64(5*24 + 1) {
			if h%24 == 12 {
				value += []int64{4000, 2500}[i] // kWh in an hour; roof 1 can make 300 and what it lags behind
			}
			if err := c.Add(calc.Sample{At: start + h*3_600_000, Value: decimal.New(value, 0), Unit: "kWh", Good: true}); err != nil {
				t.Fatal(err)
			}
		}
		curves[spec.Key] = c
	}
	curve := func(key string) *calc.Curve { return curves[key] }
	say := func(id string, from, to int, month time.Month, year int, value int64) {
		p.Decided.Inputs = append(p.Decided.Inputs, calc.Input{ID: id, Parameter: "CAT", From: calc.Date{Year: year, Month: month, Day: from}, To: calc.Date{Year: year, Month: month, Day: to},
			Value: decimal.New(value, 0), Unit: "1", Document: "calendar " + id, Evidence: strings.Repeat("ab", 32), Who: "K. Sato"})
	}
	say("c-1", 29, 30, time.December, 2026, 1)
	say("c-2", 31, 31, time.December, 2026, 0)
	say("c-3", 1, 1, time.January, 2027, 1) // nobody speaks of the 2nd
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	// Each day roof 1 makes 4,000 kWh in an hour, of which 3,700 are held back, and roof 2
	// 2,500, less 1 %. Two days of 2026 count and one of 2027.
	if got, want := r.Vintages["2026"]["RE_tCO2"], "2.775"; got != want { // 2 x (0.3 + 2.475) x 0.5
		t.Errorf("2026: RE %s, want %s", got, want)
	}
	if got, want := r.Vintages["2027"]["RE_tCO2"], "1.3875"; got != want {
		t.Errorf("2027: RE %s, want %s", got, want)
	}
	if got := fmt.Sprint(r.Vintages["2026"]["EG_MWh"], " ", r.Units["roof-2"]["EG_MWh"], " ", r.NoValue); got != "8.325 12.375 map[CAT:[2027-01-02]]" {
		t.Errorf("claimable of all days, of roof 2, days without a value: %s", got)
	}
	counted := 0
	for _, d := range r.Deductions {
		if weighs := d.TCO2 != "0"; weighs {
			counted++
		}
	}
	if counted != 6 {
		t.Errorf("%d of %d lines weigh, want those of three days and two meters", counted, len(r.Deductions))
	}
	var out bytes.Buffer
	if err := p.Explain(&out, m, 0, curve); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-12-31: CAT = 0 1, EG of unit roof-1 = 0.3 MWh, EG of unit roof-2 = 2.475 MWh", "CAT was given no value on 1 days, the first 2027-01-02", "= 2.775 tCO2"} {
		if !strings.Contains(strings.ReplaceAll(out.String(), "EG of unit roof-1 = 0.3 MWh, EG of unit roof-2 = 2.475 MWh, CAT = 0 1", "CAT = 0 1, EG of unit roof-1 = 0.3 MWh, EG of unit roof-2 = 2.475 MWh"), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	say("c-4", 31, 31, time.December, 2026, 1)
	if err := p.CheckDecided(m); err == nil || !strings.Contains(err.Error(), "has one value on each day") {
		t.Errorf("a day with two values: %v", err)
	}
}
