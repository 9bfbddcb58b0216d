package calc_test

import (
	"bufio"
	"compress/gzip"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/configs"
)

// TestChillerPlant computes a month of measured power by the project file that ships,
// and again with whole numbers alone, straight from the measured file: each value
// holds until the next, ten minutes at most.
func TestChillerPlant(t *testing.T) {
	rows := plantRows(t)
	const name = "projects/example-chiller-plant.yaml"
	var p calc.Project
	if err := configs.Decode(name, files(t, name)[name], &p); err != nil {
		t.Fatal(err)
	}
	all, _ := shipped(t)
	zone, err := p.Location()
	if err != nil {
		t.Fatal(err)
	}
	curve := calc.NewCurve(p.Registers()[0], zone)
	var sum int64 // tenths of a kW × minutes
	for i, r := range rows {
		at := time.Date(r.at.Year(), r.at.Month(), r.at.Day(), r.at.Hour(), r.at.Minute(), 0, 0, zone)
		if err := curve.Add(calc.Sample{At: at.UnixMilli(), Value: decimal.New(r.tenths, -1), Unit: "kW", Good: true}); err != nil {
			t.Fatal(err)
		}
		if i+1 < len(rows) {
			sum += r.tenths * min(int64(rows[i+1].at.Sub(r.at)/time.Minute), 10)
		}
	}
	r, err := p.Report(all[p.Methodology], 0, func(string) *calc.Curve { return curve })
	if err != nil {
		t.Fatal(err)
	}
	// kWh is sum / 600, the register is cut off after 10^-9 kWh.
	nano := new(big.Int).Div(new(big.Int).Mul(big.NewInt(sum), big.NewInt(1_000_000_000)), big.NewInt(600))
	if want := decimal.NewFromBigInt(nano, -9); !r.MeasuredKWh.Equal(want) || !r.ClaimableKWh.Equal(want) {
		t.Errorf("measured %s, claimable %s, from the file %s kWh", r.MeasuredKWh, r.ClaimableKWh, want)
	}
	// ER = EC × (6/5 - 1) × 0.5 = EC / 10, and 1 MWh is 600,000 tenths × minutes.
	if got, want := r.Vintages["2024"]["ER_tCO2"], strconv.FormatInt(sum/6_000_000, 10); got != want || want != "15" {
		t.Errorf("ER is %s t, from the file %s t, want 15", got, want)
	}
	if k := r.Meters["chillers"]; k.Kind != "calculated" {
		t.Errorf("energy of a power is marked %q, want calculated", k.Kind)
	}
	t.Logf("EC_PJ %s kWh, RE %s, PE %s, ER %s tCO2", r.ClaimableKWh, r.Vintages["2024"]["RE_tCO2"], r.Vintages["2024"]["PE_tCO2"], r.Vintages["2024"]["ER_tCO2"])
}

// TestChillerPlantCooling integrates flow × temperature difference of the same month by
// rule 16, and again straight from the file with whole numbers alone. The temperatures are
// in degrees Fahrenheit there: the specific heat is taken for such a degree, 2.326 kJ/kg,
// which is what 1 Btu a pound is by definition, and no number is rounded on the way.
func TestChillerPlantCooling(t *testing.T) {
	number := func(text string) calc.Number { return calc.Number{Decimal: decimal.RequireFromString(text)} }
	p := calc.Project{Reference: "x", Title: "x", Zone: "Asia/Jakarta", Methodology: calc.Pin{Number: "x", Version: "1"},
		Periods: []calc.Span{{Start: calc.Date{Year: 2024, Month: 3, Day: 1}, End: calc.Date{Year: 2024, Month: 3, Day: 31}}},
		Meters: []calc.Meter{{Key: "cold", Register: "site-2/plant/flow", Parameter: "CE_PJ", Counts: "GJ", Hold: 10 * time.Minute,
			Heat: &calc.Heat{Warm: "back", Cold: "supply", Density: number("1000"), Capacity: number("2.326"), Source: "definition of the Btu"}}}}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	zone, err := p.Location()
	if err != nil {
		t.Fatal(err)
	}
	spec := p.Registers()[0]
	curve := calc.NewCurve(spec, zone)
	gallon := decimal.RequireFromString("0.22712470704") // m3/h of 1 gal/min: 3.785411784 L × 60
	rows := plantRows(t)
	var sum, tons int64 // tenths of gpm × tenths of a degree × minutes; tenths of a ton × minutes
	for i, r := range rows {
		at := time.Date(r.at.Year(), r.at.Month(), r.at.Day(), r.at.Hour(), r.at.Minute(), 0, 0, zone).UnixMilli()
		value := func(d decimal.Decimal, unit string) calc.Sample {
			return calc.Sample{At: at, Value: d, Unit: unit, Good: true}
		}
		x := spec.Heat.Power(value(decimal.New(r.gpm, -1).Mul(gallon), "m3/h"), value(decimal.New(r.back, -1), "Cel"), value(decimal.New(r.supply, -1), "Cel"))
		if err := curve.Add(x); err != nil {
			t.Fatal(err)
		}
		if i+1 < len(rows) {
			minutes := min(int64(rows[i+1].at.Sub(r.at)/time.Minute), 10)
			sum += r.gpm * max(r.back-r.supply, 0) * minutes
			tons += r.tons * minutes
		}
	}
	// GJ = sum ÷ 100 × 0.22712470704 m3/h × 1000 kg/m3 × 2.326 kJ/kg ÷ 60 min/h ÷ 10^6, cut off
	// after 10^-9: sum × 22712470704 × 2326 ÷ (6 × 10^20) in GJ.
	nano := new(big.Int).Mul(big.NewInt(sum), new(big.Int).Mul(big.NewInt(22_712_470_704), big.NewInt(2326)))
	nano.Div(nano, big.NewInt(600_000_000_000))
	got := curve.Energy(p.Periods[0].Start, p.Periods[0].End.Next())
	if want := decimal.NewFromBigInt(nano, -9); !got.Equal(want) {
		t.Errorf("cooling is %s GJ, from the file %s", got, want)
	}
	// The plant's own tons, 1 of which is 12,000 Btu/h = 12.660670 MJ/h, are of rounded
	// differences: they agree within 1 %.
	if own := decimal.New(tons, -1).Mul(decimal.RequireFromString("0.01266067")).Div(decimal.New(60, 0)); got.Sub(own).Abs().GreaterThan(own.Mul(decimal.New(1, -2))) {
		t.Errorf("cooling is %s GJ, the plant's own computer says %s", got, own)
	}
	t.Logf("cooling %s GJ of %d readings", got, len(rows))
}

// TestHeatNeedsItsThree: without one of flow and temperatures, or in units that do not fit,
// there is no value, and the reason is told.
func TestHeatNeedsItsThree(t *testing.T) {
	h := calc.Heat{Warm: "T1", Cold: "T2", Density: calc.Number{Decimal: decimal.New(1000, 0)}, Capacity: calc.Number{Decimal: decimal.New(42, -1)}}
	s := func(v int64, unit string) calc.Sample {
		return calc.Sample{At: 7, Value: decimal.New(v, 0), Unit: unit, Good: true}
	}
	bad := calc.Sample{Reason: "0x8000"}
	for _, x := range []struct {
		flow, warm, cold calc.Sample
		want             string
	}{
		{s(2, "m3/h"), s(12, "Cel"), s(7, "Cel"), "42000 kJ/h true "},
		{s(2000, "L/h"), s(285, "K"), s(280, "K"), "42000 kJ/h true "},
		{s(2, "m3/h"), s(7, "Cel"), s(12, "Cel"), "-42000 kJ/h true "}, // which rule 15 counts as 0
		{bad, s(12, "Cel"), s(7, "Cel"), "0 kJ/h false flow: 0x8000"},
		{s(2, "m3/h"), bad, s(7, "Cel"), "0 kJ/h false T1: 0x8000"},
		{s(2, "m3/h"), s(12, "Cel"), calc.Sample{}, "0 kJ/h false T2"},
		{s(2, "m3/h"), s(54, "Cel"), s(280, "K"), "0 m3/h × (Cel − K) true "},
		{s(2, "t/h"), s(12, "Cel"), s(7, "Cel"), "0 t/h × (Cel − Cel) true "}, // a unit that no curve knows
	} {
		p := h.Power(x.flow, x.warm, x.cold)
		if got := strings.Join([]string{p.Value.String(), p.Unit, strconv.FormatBool(p.Good), p.Reason}, " "); got != x.want || p.At != 7 && x.flow.Good {
			t.Errorf("%q, want %q", got, x.want)
		}
	}
}

type plantRow struct {
	at     time.Time // local, as written
	tenths int64     // power of the chillers, tenths of a kW
	gpm    int64     // flow of chilled water, tenths of a US gallon a minute
	supply int64     // of chilled water, tenths of a degree Fahrenheit
	back   int64
	tons   int64 // cooling as the plant's own computer has it, tenths of a refrigeration ton
}

// plantRows reads time and power of the chillers from the measured file, which is
// not part of the repository: KENSHIN_DATA names its folder.
func plantRows(t *testing.T) []plantRow {
	t.Helper()
	dir := os.Getenv("KENSHIN_DATA")
	switch {
	case dir == "":
		dir = filepath.Join("..", "..", "shared", "data")
	case !filepath.IsAbs(dir):
		dir = filepath.Join("..", dir)
	}
	f, err := os.Open(filepath.Join(dir, "chiller-plant", "TableData24_03.csv.gz"))
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
	const column = 9
	var rows []plantRow
	s := bufio.NewScanner(z)
	for line := 1; s.Scan(); line++ {
		cells := strings.Split(strings.TrimRight(s.Text(), "\r"), ",")
		if line == 1 {
			if cells[column] != "kW_CHH" {
				t.Fatalf("column %d is %s", column, cells[column])
			}
			continue
		}
		at, err1 := time.Parse("2006-01-02T15:04:05", cells[0])
		if err1 != nil {
			t.Fatalf("line %d: %v", line, err1)
		}
		tenths := func(column int) int64 {
			whole, part, _ := strings.Cut(cells[column], ".")
			n, err := strconv.ParseInt(whole+(part + "0")[:1], 10, 64)
			if err != nil || len(part) > 1 {
				t.Fatalf("line %d, column %d: %q, %v", line, column, cells[column], err)
			}
			return n
		}
		rows = append(rows, plantRow{at: at, tenths: tenths(column), gpm: tenths(14), supply: tenths(16), back: tenths(17), tons: tenths(1)})
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}
