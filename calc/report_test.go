package calc

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

var update = flag.Bool("update", false, "write golden files anew; look at what changed")

// trial is a project over the turn of a year with everything a report shows: a
// jump in each year, a register that was perhaps exchanged, one that fell and did
// not come back, an unknown unit, a meter that was never read, and a check meter.
func trial(t testing.TB) (*Project, *Methodology, func(string) *Curve) {
	ef := Number{num("0.533")}
	p := &Project{
		Reference: "trial-1", Title: "Trial", Zone: "Asia/Bangkok", Methodology: Pin{"KS-F1", "1.0"},
		Periods:    []Span{{day("2026-12-30"), day("2027-01-02")}, {day("2027-01-03"), day("2027-01-31")}},
		Parameters: map[string]Value{"EF_RE": {Value: &ef, Unit: "tCO2/MWh", Source: "illustration"}},
		Meters: []Meter{
			{Key: "a", Register: "site-1/a/Wh", Parameter: "EG", RatedKW: Number{num("100")}, RatedSource: "nameplate"},
			{Key: "b", Register: "site-1/b/Wh", Parameter: "EG", RatedKW: Number{num("100")}, RatedSource: "nameplate"},
			{Key: "c", Register: "site-1/c/Wh", Parameter: "EG"},
			{Key: "grid", Register: "site-1/grid/Wh", Parameter: "EG", Role: RoleCheck},
		},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	z := zone(t, p.Zone)
	noon := func(d string) int64 { return day(d).Start(z).UnixMilli() + 12*3_600_000 }
	s := func(at int64, kWh string) Sample { return Sample{At: at, Value: num(kWh), Unit: "kWh", Good: true} }
	const hour = 3_600_000
	samples := map[string][]Sample{
		"site-1/a/Wh": {
			s(noon("2026-12-30"), "1000"), s(noon("2026-12-31"), "1900.125"), s(noon("2026-12-31")+hour, "2500.125"),
			s(noon("2027-01-01"), "4000"), s(noon("2027-01-02"), "4750.5"), s(noon("2027-01-02")+hour, "5000.5"), s(noon("2027-01-03"), "5100.5"),
		},
		"site-1/b/Wh": {
			s(noon("2026-12-30")-hour, "50"), s(noon("2026-12-30"), "60"), s(noon("2026-12-30")+hour, "0"), s(noon("2026-12-30")+2*hour, "65"),
			s(noon("2026-12-31"), "165"), {At: noon("2026-12-31") + hour, Value: num("170"), Unit: "kvarh", Good: true}, {At: noon("2026-12-31") + 2*hour, Reason: "timeout"},
			s(noon("2027-01-01"), "200.5"), s(noon("2027-01-02"), "3"), s(noon("2027-01-03"), "40.5"),
		},
		"site-1/grid/Wh": {s(noon("2026-12-30"), "0"), s(noon("2027-01-02"), "9999")},
	}
	curves := make(map[string]*Curve)
	for _, spec := range p.Registers() {
		if samples[spec.Key] == nil {
			continue
		}
		c := NewCurve(spec, z)
		for _, x := range samples[spec.Key] {
			if err := c.Add(x); err != nil {
				t.Fatal(err)
			}
		}
		curves[spec.Key] = c
	}
	return p, solar(), func(key string) *Curve { return curves[key] }
}

// TestReportGolden holds the JSON that other programs read.
func TestReportGolden(t *testing.T) {
	p, m, curve := trial(t)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	for i := range p.Periods {
		r, err := p.Report(m, i, curve)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/report.golden", b.Bytes())
}

// golden compares with a file that is only written on purpose.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s\nif the change is meant: go test ./calc -update", file, got, want)
	}
}

// TestReportAddsUp checks the sums that a verifier checks first.
func TestReportAddsUp(t *testing.T) {
	p, m, curve := trial(t)
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	var meters, claimable, months, held, days decimal.Decimal
	for _, k := range r.Meters {
		if k.Role != RoleCounts {
			continue
		}
		meters, claimable = meters.Add(k.MeasuredKWh), claimable.Add(k.ClaimableKWh)
		for _, d := range k.Days {
			days = days.Add(d)
		}
	}
	for _, v := range r.Months {
		months = months.Add(v)
	}
	for _, d := range r.Deductions {
		held = held.Add(d.KWh)
	}
	for name, sum := range map[string]decimal.Decimal{"meters": meters, "months": months, "days": days} {
		if !sum.Equal(r.MeasuredKWh) {
			t.Errorf("%s add up to %v kWh, measured %v", name, sum, r.MeasuredKWh)
		}
	}
	if !claimable.Equal(r.ClaimableKWh) || !r.MeasuredKWh.Sub(held).Equal(r.ClaimableKWh) {
		t.Errorf("measured %v less %v held back is not claimable %v; meters say %v", r.MeasuredKWh, held, r.ClaimableKWh, claimable)
	}
	eg := num(r.Vintages["2026"]["EG_MWh"]).Add(num(r.Vintages["2027"]["EG_MWh"]))
	if !eg.Shift(3).Equal(r.ClaimableKWh) {
		t.Errorf("vintages add up to %v MWh, claimable %v kWh", eg, r.ClaimableKWh)
	}
	for _, d := range r.Deductions {
		if want := d.KWh.Mul(num("0.000533")).String(); d.TCO2 != want {
			t.Errorf("%+v: want %s tCO2", d, want)
		}
	}
}

// Days go from the first reading to the last. A reading at midnight opens the
// day it is the first of, and ends the day it is the last of.
func TestDaysOfAReport(t *testing.T) {
	p, m, _ := trial(t)
	p.Meters, p.Zone = p.Meters[2:3], "UTC"
	p.Periods = []Span{{day("2026-02-20"), day("2026-03-31")}}
	c := NewCurve(Register{}, zone(t, "UTC"))
	for _, s := range []Sample{at(0, "10"), at(30, "20"), at(96, "50")} {
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	r, err := p.Report(m, 0, func(string) *Curve { return c })
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(r.Meters["c"].Days)
	if want := `{"2026-03-01":"0","2026-03-02":"10","2026-03-03":"0","2026-03-04":"30"}`; string(got) != want {
		t.Errorf("days %s, want %s", got, want)
	}
	if got := r.Meters["c"].Unread; !slices.Equal(got, []string{"2026-03-01", "2026-03-03"}) {
		t.Errorf("days without a reading %v: the 0 of a day that nobody measured must not read as measured", got)
	}
}

// A period that is over is as complete as it was, whatever is read after it.
func TestCompletenessOfAPeriodThatIsOver(t *testing.T) {
	p, m, _ := trial(t)
	p.Meters, p.Zone = p.Meters[2:3], "UTC"
	p.Meters[0].Every = time.Hour
	p.Periods = []Span{{day("2026-03-01"), day("2026-03-03")}}
	c := NewCurve(Register{}, zone(t, "UTC"))
	for i := range 24 * 30 {
		if i == 30 || i == 31 { // of 2026-03-02
			continue
		}
		if err := c.Add(at(float64(i+1), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if i+1 == 60 || i+1 == 24*30 { // half of the last day is over, and all of the month
			want := map[int]string{60: "96.66", 24 * 30: "97.22"}[i+1]
			r, err := p.Report(m, 0, func(string) *Curve { return c })
			if err != nil {
				t.Fatal(err)
			}
			q := r.Meters["c"].Completeness
			if q == nil || q.Percent != want || len(q.Short) != 1 || q.Short["2026-03-02"] != "91.66" {
				t.Errorf("after %d h: %+v, want %s %% and 91.66 on 2026-03-02", i+1, q, want)
			}
		}
	}
}

// TestCompletenessOfAMeterThatDied: what one meter is compared with goes on as long as
// any of them is read, within the time in which it is installed.
func TestCompletenessOfAMeterThatDied(t *testing.T) {
	p, m, _ := trial(t)
	p.Meters, p.Zone = p.Meters[:4], "UTC"
	for i := range p.Meters {
		p.Meters[i].Every = 6 * time.Hour
	}
	p.Meters[3].Records = []MeterRecord{{Serial: "1", Installed: inst("2026-03-03T00:00:00Z"), Removed: inst("2026-03-04T12:00:00Z"), Evidence: "d"}}
	p.Periods = []Span{{day("2026-03-01"), day("2026-03-10")}}
	curves := make(map[string]*Curve)
	for i, spec := range p.Registers()[:3] { // nothing is known of the last one, which is there for 36 h
		curves[spec.Key] = NewCurve(spec, zone(t, "UTC"))
		for k := range []int{32, 4, 0}[i] { // to the end of day 8, of day 1, never
			if err := curves[spec.Key].Add(at(float64(6*(k+1)), fmt.Sprint(k))); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := p.Report(m, 0, func(key string) *Curve { return curves[key] })
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "100.00, 0 short", "b": "12.50, 7 short", "c": "0.00, 8 short", "grid": "0.00, 2 short"} {
		got := "none"
		if q := r.Meters[key].Completeness; q != nil {
			got = fmt.Sprintf("%s, %d short", q.Percent, len(q.Short))
		}
		if got != want {
			t.Errorf("meter %s: completeness %s, want %s", key, got, want)
		}
	}
}

// A ratio of two monitored sums has no value before anything was measured. Times
// nothing it is nothing; anything else names formula and vintage, and is no panic.
func TestReportDividesByNothing(t *testing.T) {
	p, m, _ := trial(t)
	m.Formulas.RE = "sum(EG) / sum(EG) * sum(EG * EF_RE)"
	r, err := p.Report(m, 0, func(string) *Curve { return nil })
	if err != nil || r.Vintages["2026"]["RE_tCO2"] != "0" {
		t.Errorf("a mean factor of nothing: %v, want 0 tCO2", err)
	}
	m.Formulas.RE = "sum(EG * EF_RE) * sum(EG) / sum(EG)"
	_, err = p.Report(m, 0, func(string) *Curve { return nil })
	if err == nil || !strings.Contains(err.Error(), "period 2026-12-30..2027-01-02, vintage 2026: formula RE: column 27: 0 divided by 0") || !strings.Contains(err.Error(), "Σ_i (EG) is 0; of EG nothing was measured") {
		t.Errorf("%v, want formula, vintage, symbol and what to do", err)
	}
	m.Formulas.RE = "sum(EG / EF_RE * EF_RE * EF_RE)"
	v := p.Parameters["EF_RE"]
	p.Parameters["EF_RE"] = Value{Value: &Number{}, Unit: v.Unit, Source: v.Source}
	var f *Fault
	if err := p.Computable(m); !errors.As(err, &f) || f.Path != "$.parameters.EF_RE" || !strings.Contains(f.Problem, "EF_RE is 0") {
		t.Errorf("a fixed divisor of 0: %v", err)
	}
	p.Parameters["EF_RE"] = v
	m.Formulas.RE = "sum(EG * EF_RE)"
	r, err = p.Report(m, 0, func(string) *Curve { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(r.Meters["a"]); string(got) != `{"measured_kWh":"0","claimable_kWh":"0","days":{},"first":null,"last":null}` {
		t.Errorf("a meter never read: %s", got)
	}
	if _, err := p.Report(m, 2, nil); err == nil {
		t.Error("a third period of two has a report")
	}
}

func BenchmarkReport(b *testing.B) {
	curves := plantCurves(b, plantRows(b))
	p, m, curve := plantProject(curves)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Report(m, 0, curve); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMonthsThatWereNotReached: a month without readings has no figure, not 0.
func TestMonthsThatWereNotReached(t *testing.T) {
	p, m, curve := trial(t)
	p.Periods = []Span{{day("2026-11-01"), day("2027-03-31")}}
	r, err := p.Report(m, 0, curve)
	if err != nil {
		t.Fatal(err)
	}
	for _, month := range []string{"2026-12", "2027-01"} {
		if _, ok := r.Months[month]; !ok {
			t.Errorf("no figure for %s, in which was read", month)
		}
	}
	if len(r.Months) != 2 {
		t.Errorf("months %v, want only the two with readings", r.Months)
	}
}
