package calc

import (
	"bufio"
	"compress/gzip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

// dataFile opens a file of measured data and returns its lines. The data is not
// part of the repository: KENSHIN_DATA names its folder.
func dataFile(t testing.TB, name string) []string {
	t.Helper()
	dir := os.Getenv("KENSHIN_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	} else if !filepath.IsAbs(dir) {
		dir = filepath.Join("..", dir)
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v; set KENSHIN_DATA to the folder with the measured data", err)
		}
		t.Skipf("%v; set KENSHIN_DATA to the folder with the measured data", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	s := bufio.NewScanner(z)
	for s.Scan() {
		lines = append(lines, strings.TrimRight(s.Text(), "\r"))
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := location(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func day(text string) Date {
	d, err := ParseDate(text)
	if err != nil {
		panic(err)
	}
	return d
}

func num(text string) decimal.Decimal { return decimal.RequireFromString(text) }

// thousandths reads a decimal with at most three decimals as an integer, for
// the independent computations.
func thousandths(t testing.TB, text string) int64 {
	t.Helper()
	whole, frac, _ := strings.Cut(text, ".")
	for len(frac) < 3 {
		frac += "0"
	}
	n, err := strconv.ParseInt(whole+frac, 10, 64)
	if err != nil || len(frac) > 3 {
		t.Fatalf("%q is no number with at most three decimals", text)
	}
	return n
}

type plantRow struct {
	inverter string
	minute   int64 // since the Unix epoch, of the local clock
	yield    string
}

// plantRows returns the readings of pv-plant1 in the order of the file.
func plantRows(t testing.TB) []plantRow {
	var rows []plantRow
	for _, line := range dataFile(t, "pv-plant1/Plant_1_Generation_Data.csv.gz")[1:] {
		f := strings.Split(line, ",")
		at, err := time.Parse("02-01-2006 15:04", f[0])
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, plantRow{f[2], at.Unix() / 60, f[6]})
	}
	return rows
}

const indiaMinutes = 330 // +05:30, no daylight saving time

// plantCurves settles pv-plant1.
func plantCurves(t testing.TB, rows []plantRow) map[string]*Curve {
	z := zone(t, "Asia/Kolkata")
	curves := make(map[string]*Curve)
	for _, r := range rows {
		c := curves[r.inverter]
		if c == nil {
			c = NewCurve(Register{Key: "site/" + r.inverter + "/ActWh"}, z)
			curves[r.inverter] = c
		}
		if err := c.Add(Sample{At: (r.minute - indiaMinutes) * 60_000, Value: num(r.yield), Unit: "kWh", Good: true}); err != nil {
			t.Fatal(err)
		}
	}
	return curves
}

// plantProject is pv-plant1 with one meter per inverter.
func plantProject(curves map[string]*Curve) (*Project, *Methodology, func(string) *Curve) {
	ef := Number{num("0.533")}
	p := &Project{
		Reference: "pv-plant1", Title: "Replayed plant", Zone: "Asia/Kolkata", Methodology: Pin{"KS-F1", "1.0"},
		Periods:    []Span{{day("2020-05-15"), day("2020-06-17")}},
		Parameters: map[string]Value{"EF_RE": {Value: &ef, Unit: "tCO2/MWh", Source: "illustration"}},
	}
	for key := range curves {
		p.Meters = append(p.Meters, Meter{Key: key, Title: key, Register: "site/" + key + "/ActWh", Parameter: "EG"})
	}
	return p, solar(), func(key string) *Curve { return curves[strings.Split(key, "/")[1]] }
}

// solar is the shape of F1.
func solar() *Methodology {
	return &Methodology{
		Number: "KS-F1", Version: "1.0", Title: "Solar", Status: Template,
		Sources: []Source{{Document: "d", Tag: "S"}},
		Parameters: []Parameter{
			{Symbol: "EG", Description: "electricity", Unit: "MWh", Monitored: true, Per: PerUnit, Options: []string{"C"}},
			{Symbol: "EF_RE", Description: "factor", Unit: "tCO2/MWh", Per: PerUnit},
		},
		Formulas: Formulas{RE: "sum(EG * EF_RE)", PE: "0", ER: "RE - PE"},
		Rounding: Rounding{Floor},
		Examples: []Example{{
			Title: "x", Source: "invented", Parameters: Numbers{"EF_RE": {num("0.5")}},
			Units: map[string]Numbers{"a": {"EG": {num("1000.5")}}}, Result: ExampleResult{Number{num("500.25")}, Number{num("0")}, Number{num("500")}},
		}},
	}
}

// TestPlantOfTwentyTwoInverters compares every inverter-day with a plain
// computation from the file: the last TOTAL_YIELD at or before the end of the day
// less the last at or before its beginning, or the first of all.
func TestPlantOfTwentyTwoInverters(t *testing.T) {
	rows := plantRows(t)
	curves := plantCurves(t, rows)
	p, m, curve := plantProject(curves)
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.MeasuredKWh.String(); got != "5381113" {
		t.Errorf("measured %s kWh, want 5381113", got)
	}
	if got := r.ClaimableKWh.String(); got != "5381113" {
		t.Errorf("claimable %s kWh, want 5381113", got)
	}
	if may, june := r.Months["2020-05"].String(), r.Months["2020-06"].String(); may != "2757838" || june != "2623275" || len(r.Months) != 2 {
		t.Errorf("May %s, June %s of %d months; want 2757838, 2623275 of 2", may, june, len(r.Months))
	}
	want := map[string]string{"EG_MWh": "5381.113", "RE_tCO2": "2868.133229", "PE_tCO2": "0", "ER_tCO2": "2868"}
	for k, v := range want {
		if r.Vintages["2020"][k] != v {
			t.Errorf("vintage 2020: %s = %q, want %q", k, r.Vintages["2020"][k], v)
		}
	}
	if len(r.Deductions) != 0 {
		t.Errorf("%d deductions, want none", len(r.Deductions))
	}
	n := 0
	for inverter := range curves {
		atOrBefore := func(minute int64) int64 {
			best, first := int64(-1), int64(-1)
			bestAt, firstAt := int64(-1<<62), int64(1<<62)
			for _, x := range rows {
				if x.inverter != inverter {
					continue
				}
				if x.minute <= minute && x.minute > bestAt {
					best, bestAt = thousandths(t, x.yield), x.minute
				}
				if x.minute < firstAt {
					first, firstAt = thousandths(t, x.yield), x.minute
				}
			}
			if best < 0 {
				return first
			}
			return best
		}
		from := atOrBefore(18397 * 1440) // 2020-05-15 is day 18397 of the epoch
		for i := range int64(34) {
			to := atOrBefore((18397 + i + 1) * 1440)
			label := time.Unix((18397+i)*86400, 0).UTC().Format("2006-01-02")
			got, ok := r.Meters[inverter].Days[label]
			if !ok || !got.Equal(decimal.New(to-from, -3)) {
				t.Errorf("%s %s: %v kWh (%v), want %v", inverter, label, got, ok, decimal.New(to-from, -3))
			}
			from, n = to, n+1
		}
		if len(r.Meters[inverter].Days) != 34 {
			t.Errorf("%s: %d days, want 34", inverter, len(r.Meters[inverter].Days))
		}
	}
	if n != 748 {
		t.Errorf("%d inverter-days, want 748", n)
	}
}

// With a rating the quarter hours in which the counters caught up are shown;
// what the file's author counted as more than 1,450 kW is within what a register
// may lag behind, or held back, and never more than seven lines.
func TestPlantCatchUps(t *testing.T) {
	rows := plantRows(t)
	z := zone(t, "Asia/Kolkata")
	jumps := 0
	for inverter := range plantCurves(t, rows) {
		c := NewCurve(Register{RatedKW: num("1450")}, z)
		for _, r := range rows {
			if r.inverter != inverter {
				continue
			}
			if err := c.Add(Sample{At: (r.minute - indiaMinutes) * 60_000, Value: num(r.yield), Unit: "kWh", Good: true}); err != nil {
				t.Fatal(err)
			}
		}
		c.Events(Span{day("2020-05-01"), day("2020-07-01")}, func(d Date, e *Event) {
			if e.Cause == CauseGap {
				return
			}
			jumps += e.Count
			made := num("1450").Mul(decimal.New(e.To-e.From, 0)).Div(num("3600000"))
			if e.Cause != CauseJump || !e.Held.Equal(e.After.Sub(e.Before).Sub(made)) {
				t.Errorf("%s %v: %+v, want a jump that holds back what is beyond %v kWh", inverter, d, e, made)
			}
		})
	}
	if jumps < 1 || jumps > 7 {
		t.Errorf("%d jumps, want 1 to 7", jumps)
	}
}

// The days of meter-building are compared by the local labels in the file: the
// reading labelled 00:00 of the next day less that of the day. On 2025-03-30 there
// are 92 quarter hours between them, on 2025-10-26 there are 100.
func TestBuildingAcrossDaylightSaving(t *testing.T) {
	z := zone(t, "Europe/Amsterdam")
	curves := map[string]*Curve{"ellm": NewCurve(Register{}, z), "eltm": NewCurve(Register{}, z)}
	midnight := map[string]int64{} // thousandths of kWh by code and label
	for _, line := range dataFile(t, "meter-building/elec_2025.csv.gz")[2:] {
		f := strings.Split(line, ";")
		at, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if err := curves[f[2]].Add(Sample{At: at * 1000, Value: num(f[5]).Mul(num(f[6]).Abs()), Unit: "kWh", Good: true}); err != nil {
			t.Fatal(err)
		}
		if label, ok := strings.CutSuffix(f[4], " 00:00:00"); ok {
			if midnight[f[2]+label], err = strconv.ParseInt(f[5], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	compared := 0
	for d := day("2025-01-01"); d.Before(day("2025-12-30")); d = d.Next() {
		want := decimal.New(midnight["ellm"+d.Next().String()]-midnight["ellm"+d.String()], -3)
		if got := curves["ellm"].Energy(d, d.Next()); !got.Equal(want) {
			t.Errorf("%v: %v kWh, want %v", d, got, want)
		}
		compared++
	}
	if compared != 363 {
		t.Errorf("%d days compared, want 363", compared)
	}
	if got := curves["ellm"].Energy(day("2025-01-01"), day("2026-01-01")); got.String() != "7523.9" {
		t.Errorf("year %s kWh, want 42613.802 - 35089.902 = 7523.9", got)
	}
	if got := curves["eltm"].Energy(day("2025-01-01"), day("2026-01-01")); !got.IsZero() {
		t.Errorf("constant export register: %s kWh", got)
	}
	for label, hours := range map[string]float64{"2025-03-30": 23, "2025-10-26": 25, "2025-06-01": 24} {
		if got := day(label).Next().Start(z).Sub(day(label).Start(z)).Hours(); got != hours {
			t.Errorf("%s has %v h, want %v", label, got, hours)
		}
	}
}

// The counters of meter-house fall 11 and 101 times, by up to 77 kWh. Without
// rulings the reading in force is the highest so far: falls cost energy at worst,
// they never make any.
func TestHouseWithCorrections(t *testing.T) {
	z := zone(t, "Europe/Amsterdam")
	for _, tt := range []struct {
		file  string
		falls int
	}{{"meter-house/elec_nt_hours.csv.gz", 11}, {"meter-house/elec_lt_hours.csv.gz", 101}} {
		free, rated := NewCurve(Register{}, z), NewCurve(Register{RatedKW: num("17")}, z)
		var first, high, before, falls, steps int64
		for i, line := range dataFile(t, tt.file) {
			a, b, _ := strings.Cut(line, ",")
			at, err1 := strconv.ParseInt(a, 10, 64)
			wh, err2 := strconv.ParseInt(b, 10, 64)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if i == 0 {
				first, before = wh, wh
			}
			if wh < before {
				falls++
			} else {
				steps += wh - before
			}
			before, high = wh, max(high, wh)
			for _, c := range []*Curve{free, rated} {
				if err := c.Add(Sample{At: at * 1000, Value: decimal.New(wh, 0), Unit: "Wh", Good: true}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if falls != int64(tt.falls) {
			t.Errorf("%s: %d falls in the file, want %d", tt.file, falls, tt.falls)
		}
		all := Span{day("2018-01-01"), day("2024-01-01")}
		want := decimal.New(high-first, -3)
		if got := free.Energy(all.Start, all.End); !got.Equal(want) || !got.LessThan(decimal.New(steps, -3)) {
			t.Errorf("%s: %v kWh, want %v, less than the sum of rises %v", tt.file, got, want, decimal.New(steps, -3))
		}
		causes := map[string]int{}
		free.Events(all, func(_ Date, e *Event) { causes[e.Cause] += e.Count })
		if causes[CauseDip] == 0 || causes[CauseGap] == 0 || len(causes) > 3 || len(causes) == 3 && causes[CauseFrozen] == 0 {
			t.Errorf("%s: events %v, want dips, gaps and at most frozen ones", tt.file, causes)
		}
		causes = map[string]int{}
		held := decimal.Zero
		rated.Events(all, func(_ Date, e *Event) { causes[e.Cause] += e.Count; held = held.Add(e.Held) })
		if causes[CauseCorrection] == 0 || causes[CauseJump] == 0 || causes[CauseRestart] != 0 || held.LessThan(num("60")) || held.GreaterThan(num("600")) {
			t.Errorf("%s: with a rating: events %v, held back %v kWh; want corrections, no restart, and jumps of 2018-05-31 held back", tt.file, causes, held)
		}
		if got := rated.Energy(all.Start, all.End); !got.Equal(want) {
			t.Errorf("%s: a rating changed what is measured: %v kWh, want %v", tt.file, got, want)
		}
	}
}

// At night pv-sma writes NaN for most columns, once (2025-07-03 03:05) for the counter.
func TestSMAWithNaN(t *testing.T) {
	z := zone(t, "Europe/Amsterdam")
	c := NewCurve(Register{RatedKW: num("8")}, z)
	var first, last int64
	bad, good := 0, 0
	for _, line := range dataFile(t, "pv-sma/stp8_5min.csv.gz")[9:] {
		f := strings.Split(line, ",")
		at, err := time.ParseInLocation("02.01.2006 15:04:05", f[0], z)
		if err != nil {
			t.Fatal(err)
		}
		s := Sample{At: at.UnixMilli(), Unit: "Wh", Good: f[1] != "NaN", Reason: f[1]}
		if s.Good {
			last = thousandths(t, f[1]) / 1000
			if first == 0 {
				first = last
			}
			s.Value, good = num(f[1]), good+1
		} else {
			bad++
		}
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if bad != 1 || good != 4031 {
		t.Errorf("%d NaN and %d numbers, want 1 and 4031", bad, good)
	}
	if got, want := c.Energy(day("2025-06-30"), day("2025-07-14")), decimal.New(last-first, -3); !got.Equal(want) || !got.IsPositive() {
		t.Errorf("%v kWh, want %v", got, want)
	}
	c.Events(Span{day("2025-06-30"), day("2025-07-14")}, func(d Date, e *Event) { t.Errorf("%v: %+v, want no event", d, e) })
}
