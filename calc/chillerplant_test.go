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

type plantRow struct {
	at     time.Time // local, as written
	tenths int64     // power of the chillers, tenths of a kW
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
		whole, part, _ := strings.Cut(cells[column], ".")
		tenths, err2 := strconv.ParseInt(whole+(part + "0")[:1], 10, 64)
		if err1 != nil || err2 != nil || len(part) > 1 {
			t.Fatalf("line %d: %v %v", line, err1, err2)
		}
		rows = append(rows, plantRow{at, tenths})
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}
