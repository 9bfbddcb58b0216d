package cmd

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const plantFile = "pv-plant1/Plant_1_Generation_Data.csv.gz"

// oracle is what the plant's file says, computed straight from the text, with
// none of the program's code: thousandths of a kWh in integers.
type oracle struct {
	keys []string
	days map[string]map[string]int64 // inverter → local day → Wh
	wh   map[string]int64            // inverter → Wh of the period
	// months and total, Wh
	months map[string]int64
	total  int64
}

type yield struct {
	at time.Time
	wh int64
}

func readOracle(t testing.TB) *oracle {
	t.Helper()
	f, err := os.Open(data(t, plantFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	readings := make(map[string][]yield)
	for _, r := range rows[1:] {
		at, err := time.Parse("02-01-2006 15:04", r[0]) // local time as if it were UTC: India has no DST
		if err != nil {
			t.Fatal(err)
		}
		v, ok := new(big.Rat).SetString(r[6])
		if !ok {
			t.Fatalf("yield %q", r[6])
		}
		v.Mul(v, big.NewRat(1000, 1))
		if !v.IsInt() {
			t.Fatalf("yield %q is not whole Wh", r[6])
		}
		readings[r[2]] = append(readings[r[2]], yield{at, v.Num().Int64()})
	}
	o := &oracle{days: make(map[string]map[string]int64), wh: make(map[string]int64), months: make(map[string]int64)}
	for key, list := range readings {
		slices.SortFunc(list, func(a, b yield) int { return a.at.Compare(b.at) })
		o.keys = append(o.keys, key)
		o.days[key] = make(map[string]int64)
		before := list[0].wh // nothing earlier is known
		for day := time.Date(2020, 5, 15, 0, 0, 0, 0, time.UTC); day.Before(time.Date(2020, 6, 18, 0, 0, 0, 0, time.UTC)); day = day.AddDate(0, 0, 1) {
			end := day.AddDate(0, 0, 1)
			after := before
			for _, y := range list {
				if !y.at.After(end) {
					after = y.wh
				}
			}
			wh := after - before
			o.days[key][day.Format(time.DateOnly)] = wh
			o.wh[key] += wh
			o.months[day.Format("2006-01")] += wh
			o.total += wh
			before = after
		}
	}
	slices.Sort(o.keys)
	return o
}

// kWh writes Wh as the program writes kWh: exact, without trailing zeros.
func kWh(wh int64) string {
	s := fmt.Sprintf("%d.%03d", wh/1000, wh%1000)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// totals is the JSON of issue "first light", as a stranger would read it.
type totals struct {
	Project   string                       `json:"project"`
	Zone      string                       `json:"zone"`
	Method    string                       `json:"methodology"`
	Period    struct{ Start, End string }  `json:"period"`
	Measured  string                       `json:"measured_kWh"`
	Claimable string                       `json:"claimable_kWh"`
	Months    map[string]string            `json:"months"`
	Vintages  map[string]map[string]string `json:"vintages"`
	Meters    map[string]struct {
		Measured string            `json:"measured_kWh"`
		Days     map[string]string `json:"days"`
	} `json:"meters"`
	Deductions []any `json:"deductions"`
}

// check compares totals with the oracle, to the last digit. keyOf names the
// meter of an inverter.
func (o *oracle) check(t *testing.T, text []byte) {
	t.Helper()
	if err := o.compare(text); err != nil {
		t.Error(err)
	}
}

// compare returns everything in which totals differ from the oracle.
func (o *oracle) compare(text []byte) error {
	var got totals
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("totals: %w\n%.2000s", err, text)
	}
	if got.Zone != "Asia/Kolkata" || got.Period.Start != "2020-05-15" || got.Period.End != "2020-06-17" {
		wrong("zone %s, period %+v", got.Zone, got.Period)
	}
	if o.total != 5_381_113_000 || o.months["2020-05"] != 2_757_838_000 || o.months["2020-06"] != 2_623_275_000 {
		return fmt.Errorf("the oracle itself is off: %d Wh", o.total)
	}
	if got.Measured != kWh(o.total) || got.Claimable != kWh(o.total) {
		wrong("measured %s, claimable %s kWh; want %s", got.Measured, got.Claimable, kWh(o.total))
	}
	for m, wh := range o.months {
		if got.Months[m] != kWh(wh) {
			wrong("month %s: %s kWh, want %s", m, got.Months[m], kWh(wh))
		}
	}
	compared := 0
	for _, key := range o.keys {
		if got.Meters[key].Measured != kWh(o.wh[key]) {
			wrong("%s: %s kWh, want %s", key, got.Meters[key].Measured, kWh(o.wh[key]))
		}
		for day, wh := range o.days[key] {
			compared++
			if got.Meters[key].Days[day] != kWh(wh) {
				wrong("%s %s: %q kWh, want %s", key, day, got.Meters[key].Days[day], kWh(wh))
			}
		}
	}
	if compared != 748 {
		wrong("%d inverter-days compared, want 748", compared)
	}
	// ER = floor(energy × EF) of the one vintage, EF = 0.533 tCO2/MWh.
	re := new(big.Rat).Mul(big.NewRat(o.total, 1_000_000), big.NewRat(533, 1000))
	er := new(big.Int).Div(re.Num(), re.Denom())
	v := got.Vintages["2020"]
	if v["EG_MWh"] != "5381.113" || v["RE_tCO2"] != strings.TrimRight(re.FloatString(9), "0") || v["PE_tCO2"] != "0" || v["ER_tCO2"] != er.String() {
		wrong("vintage 2020 %v; want EG 5381.113 MWh, RE %s, PE 0, ER %v", v, re.FloatString(6), er)
	}
	return errors.Join(errs...)
}
