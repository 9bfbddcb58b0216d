package calc

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

// The chiller plant has no counter: its power is integrated, each value holding
// until the next and 20 minutes at most. The plain computation is in tenths of kW
// times minutes. COP and factor are invented.
func TestChillerPlantByIntegration(t *testing.T) {
	z := zone(t, "Asia/Bangkok")
	n := func(v string) *Number { return &Number{num(v)} }
	p := &Project{
		Reference: "chiller", Title: "Chiller plant", Zone: "Asia/Bangkok", Status: Illustration, Methodology: Pin{"F3", "1"},
		Periods:    []Span{{day("2024-03-01"), day("2024-03-31")}},
		Parameters: map[string]Value{"EF": {Value: n("0.5"), Unit: "tCO2/MWh", Source: "invented"}, "COP_PJ": {Value: n("6"), Unit: "1", Source: "invented"}, "COP_RE": {Value: n("5"), Unit: "1", Source: "invented"}},
		Meters:     []Meter{{Key: "plant", Register: "site-1/plant/kW", Parameter: "EC", Hold: 20 * time.Minute, Every: 10 * time.Minute}},
	}
	m := &Methodology{
		Number: "F3", Version: "1", Title: "Chiller", Status: Template, Sources: []Source{{Document: "d", Tag: "S"}},
		Parameters: []Parameter{
			{Symbol: "EC", Description: "electricity", Unit: "MWh", Monitored: true, Per: PerUnit, Options: []string{"C"}},
			{Symbol: "EF", Description: "factor", Unit: "tCO2/MWh", Per: PerProject},
			{Symbol: "COP_PJ", Description: "COP", Unit: "1", Per: PerUnit}, {Symbol: "COP_RE", Description: "COP", Unit: "1", Per: PerUnit},
		},
		Formulas: Formulas{RE: "sum(EC * COP_PJ / COP_RE) * EF", PE: "sum(EC) * EF", ER: "RE - PE"}, Rounding: Rounding{Floor},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	c := NewCurve(p.Registers()[0], z)
	var sum, before, last int64 // tenths of kW × minutes; tenths of kW; minute
	days := make(map[string]int64)
	for i, line := range dataFile(t, "chiller-plant/TableData24_03.csv.gz")[1:] {
		f := strings.Split(line, ",")
		at, err := time.ParseInLocation("2006-01-02T15:04:05", f[0], z)
		if err != nil {
			t.Fatal(err)
		}
		minute := at.Unix() / 60
		if i > 0 {
			sum += before * min(minute-last, 20)
		}
		before, last = thousandths(t, f[2])/100, minute
		days[at.Add(-time.Millisecond).Format("2006-01-02")] = sum // at midnight it is still the day before
		if err := c.Add(Sample{At: at.UnixMilli(), Value: num(f[2]), Unit: "kW", Good: true}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := p.Report(m, 0, func(string) *Curve { return c })
	if err != nil {
		t.Fatal(err)
	}
	cut := func(n int64) decimal.Decimal { q, _ := decimal.New(n, 0).QuoRem(decimal.New(600, 0), 9); return q }
	if !r.MeasuredKWh.Equal(cut(sum)) || r.Meters["plant"].Kind != "calculated" {
		t.Errorf("%s kWh, kind %q; want %s, calculated", r.MeasuredKWh, r.Meters["plant"].Kind, cut(sum))
	}
	was := decimal.Zero
	for d := day("2024-03-01"); !day("2024-03-31").Before(d); d = d.Next() {
		want := cut(days[d.String()]).Sub(was)
		was = was.Add(want)
		if got := r.Meters["plant"].Days[d.String()]; !got.Equal(want) {
			t.Errorf("%v: %s kWh, want %s", d, got, want)
		}
	}
	// ER = EC × (6 ÷ 5 − 1) × 0.5 = EC ÷ 10
	if v := r.Vintages["2024"]; v["ER_tCO2"] != strconv.FormatInt(sum/600/1000/10, 10) {
		t.Errorf("ER %s, want %d", v["ER_tCO2"], sum/600/1000/10)
	}
}

// The daily values of pv-sma stand for the start of their day. On 2021-09-19 the
// counter rises by 219.412 kWh, 8 kW make 192.
func TestSMADaily(t *testing.T) {
	z := zone(t, "Europe/Amsterdam")
	c := NewCurve(Register{RatedKW: num("8"), GapMs: 26 * 3_600_000}, z)
	var first, last int64 = -1, 0
	missing := 0
	for _, line := range dataFile(t, "pv-sma/stp8_daily.csv.gz")[9:] {
		f := strings.Split(line, ",")
		at, err := time.ParseInLocation("02.01.2006 15:04:05", f[0], z)
		if err != nil {
			t.Fatal(err)
		}
		s := Sample{At: at.UnixMilli(), Unit: "Wh", Good: f[1] != "NaN"}
		if s.Good {
			last = thousandths(t, f[1]) / 1000
			if first < 0 {
				first = last
			}
			s.Value = decimal.New(last, 0)
		} else {
			missing++
		}
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	all := Span{day("2020-06-01"), day("2025-07-01")}
	if got, want := c.Energy(all.Start, all.End), decimal.New(last-first, -3); !got.Equal(want) || missing != 11 {
		t.Errorf("%v kWh, %d missing; want %v, 11", got, missing, want)
	}
	held, jumps := decimal.Zero, 0
	c.Events(all, func(_ Date, e *Event) {
		if e.Cause == CauseJump {
			jumps, held = jumps+1, held.Add(e.Held)
		}
		if e.Cause == CauseRestart || e.Cause == CauseSpike || e.Cause == CauseFall {
			t.Errorf("%+v", e)
		}
	})
	if jumps != 1 || held.String() != "27.412" {
		t.Errorf("%d jumps, %s kWh held back; want the one of 2021-09-19 and 27.412", jumps, held)
	}
}

// pv-danfoss has counters of the day, which begin anew every night. Such a
// register is not to be configured as a counter; if it is, the rules measure its
// highest value without a rating, and with one never more than the days add up to.
func TestDanfossCountersOfTheDay(t *testing.T) {
	z := zone(t, "Europe/Rome")
	rated := make(map[string]*Curve)
	curves, first, high, days := make(map[string]*Curve), make(map[string]int64), make(map[string]int64), make(map[string]map[string]int64)
	seen := make(map[string]bool)
	for _, line := range dataFile(t, "pv-danfoss/details.txt.gz")[1:] {
		f := strings.Split(line, "\t")
		at, err := time.ParseInLocation("2006-01-02 15:04:05", f[0], z)
		if err != nil || seen[f[0]+f[1]] || f[4] == "" {
			continue
		}
		seen[f[0]+f[1]] = true
		v := thousandths(t, f[4])
		if curves[f[1]] == nil {
			curves[f[1]], first[f[1]], days[f[1]] = NewCurve(Register{}, z), v, make(map[string]int64)
			rated[f[1]] = NewCurve(Register{RatedKW: num("15")}, z)
		}
		high[f[1]] = max(high[f[1]], v)
		days[f[1]][f[0][:10]] = max(days[f[1]][f[0][:10]], v)
		for _, c := range []*Curve{curves[f[1]], rated[f[1]]} {
			if err := c.Add(Sample{At: at.UnixMilli(), Value: decimal.New(v, -3), Unit: "kWh", Good: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(curves) != 13 {
		t.Fatalf("%d inverters, want 13", len(curves))
	}
	for device, c := range curves {
		sum := int64(0)
		for _, v := range days[device] {
			sum += v
		}
		got, want := c.Energy(day("2019-08-01"), day("2019-10-01")), decimal.New(high[device]-first[device], -3)
		with := rated[device].Energy(day("2019-08-01"), day("2019-10-01"))
		if !got.Equal(want) || with.LessThan(want) || with.GreaterThan(decimal.New(sum, -3)) {
			t.Errorf("inverter %s: %s kWh, with a rating %s; want %s, and from there to %s", device, got, with, want, decimal.New(sum, -3))
		}
	}
}

// The whole plant of pv-danfoss tells only its power: it is integrated, each value
// holding until the next and 10 minutes at most. What the last one holds for counts with
// the next reading. The plain computation is in W × s.
func TestDanfossPlantByIntegration(t *testing.T) {
	z := zone(t, "Europe/Rome")
	c := NewCurve(Register{HoldMs: 600_000}, z)
	var sum, read, held, since int64 // W × s, and by the last reading; W that holds, since when
	rows, empty := 0, 0
	for _, line := range dataFile(t, "pv-danfoss/summary.txt.gz")[1:] {
		f := strings.Split(line, "\t")
		at, err := time.ParseInLocation("2006-01-02 15:04:05", f[0], z)
		if err != nil {
			t.Fatal(err)
		}
		s := Sample{At: at.UnixMilli(), Unit: "W", Good: f[2] != "", Reason: "empty"}
		if rows++; since != 0 {
			sum += held * min(at.Unix()-since, 600)
		}
		held, since = 0, at.Unix()
		if s.Good {
			s.Value, read = num(f[2]), sum
			if held, err = strconv.ParseInt(f[2], 10, 64); err != nil {
				t.Fatal(err)
			}
		} else {
			empty++
		}
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	// The register of an integral is cut off after 10^-9 kWh; 1 kWh is 3,600,000 W × s.
	want := decimal.New(read, 0).DivRound(num("3600000"), 20).Truncate(9)
	if got := c.Energy(day("2019-08-31"), day("2019-10-01")); !got.Equal(want) || !got.IsPositive() || empty == 0 {
		t.Errorf("%s kWh of %d rows, %d without a value; from the file %s", got, rows, empty, want)
	}
}
