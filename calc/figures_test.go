package calc

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/shopspring/decimal"
)

// cpu returns the processor time of this process, ns: what others take does not count.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkSettle settles samples of one counter at 1 minute, over as many years
// as there are iterations.
func BenchmarkSettle(b *testing.B) {
	z := zone(b, "Asia/Bangkok")
	c := NewCurve(Register{RatedKW: num("250"), Modulus: num("4294967.296")}, z)
	i, from, was := int64(0), hour(0), cpu()
	b.ReportAllocs()
	for b.Loop() {
		if from+i*60_000 > latest {
			b.Fatal("the calendar has ended")
		}
		if err := c.Add(Sample{At: from + i*60_000, Value: decimal.New(i*2000, 0), Unit: "Wh", Good: true}); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(float64(cpu()-was)/float64(i), "cpu-ns/sample")
}

// yearOf returns a project of n meters with a year of days.
func yearOf(b *testing.B, n int) (*Project, map[string]*Curve) {
	z := zone(b, "Asia/Bangkok")
	ef := Number{num("0.533")}
	p := &Project{Reference: "year", Title: "A year", Zone: "Asia/Bangkok", Methodology: Pin{"KS-F1", "1.0"}, Periods: []Span{{day("2026-03-02"), day("2027-03-01")}},
		Parameters: map[string]Value{"EF_RE": {Value: &ef, Unit: "tCO2/MWh", Source: "illustration"}}}
	curves := make(map[string]*Curve)
	for m := range n {
		key := fmt.Sprint("m-", m)
		p.Meters = append(p.Meters, Meter{Key: key, Register: "site-1/" + key + "/Wh", Parameter: "EG", RatedKW: Number{num("250")}, RatedSource: "plate"})
		c := NewCurve(Register{RatedKW: num("250"), GapMs: 4 * 3_600_000}, z)
		for i := range int64(366 * 8) {
			if err := c.Add(Sample{At: hour(0) + i*3*3_600_000, Value: decimal.New(i*300_000, 0), Unit: "Wh", Good: true}); err != nil {
				b.Fatal(err)
			}
		}
		curves["site-1/"+key+"/Wh"] = c
	}
	if err := p.Validate(); err != nil {
		b.Fatal(err)
	}
	return p, curves
}

// BenchmarkTotals is the period total of 500 meters and a year from the running
// state: what it costs does not depend on how many samples a day had.
func BenchmarkTotals(b *testing.B) {
	p, curves := yearOf(b, 500)
	m := solar()
	for name, f := range map[string]func(*Methodology, int, func(string) *Curve) (*Report, error){"short": p.Totals, "whole": p.Report,
		"page": func(m *Methodology, n int, curve func(string) *Curve) (*Report, error) {
			return p.Recent(m, n, day("2027-01-01"), curve)
		}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			was := cpu()
			for b.Loop() {
				if _, err := f(m, 0, func(key string) *Curve { return curves[key] }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu()-was)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
}
