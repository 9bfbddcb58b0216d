package calc_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/configs"
)

// FuzzMethodology: whatever a file says, it is refused or it loads. One that loads can
// be shown and explained, and is the same the second time.
func FuzzMethodology(f *testing.F) {
	for _, text := range files(f, "methodologies/*.yaml") {
		f.Add(text)
	}
	_, find := shipped(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		var m calc.Methodology
		if configs.Decode("m.yaml", text, &m) != nil {
			return
		}
		r, err := m.Resolve(find)
		if err != nil {
			return
		}
		if r.Validate() != nil {
			return
		}
		var once, again bytes.Buffer
		for _, out := range []*bytes.Buffer{&once, &again} {
			if err := r.Show(out); err != nil {
				t.Errorf("loads and cannot be shown: %v", err)
			}
			for i := range r.Examples {
				if err := r.ExplainExample(out, i); err != nil {
					t.Errorf("example %d comes out and cannot be explained: %v", i+1, err)
				}
			}
			if faults := r.Faults(); len(faults) > 0 {
				t.Errorf("loads once and not again: %v", faults[0])
			}
		}
		if !bytes.Equal(once.Bytes(), again.Bytes()) {
			t.Error("is shown in two ways")
		}
	})
}

// FuzzProject: whatever a project's file says, it is refused or its figures come out: with
// readings of every meter, the same twice, in whole tonnes that add up.
func FuzzProject(f *testing.F) {
	for _, text := range files(f, "projects/*.yaml") {
		f.Add(text)
	}
	all, find := shipped(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		var p calc.Project
		if configs.Decode("p.yaml", text, &p) != nil || p.Validate() != nil {
			return
		}
		m := all[p.Methodology]
		if m == nil {
			return
		}
		m, err := m.Resolve(find)
		if err != nil || p.Fits(m) != nil || p.Computable(m) != nil {
			return
		}
		p.Oddities(m)
		zone, err := p.Location()
		if err != nil {
			t.Fatalf("is good and has no zone: %v", err)
		}
		span := p.Periods[0]
		if span.End.Year-span.Start.Year > 20 {
			return // right, and slow
		}
		curves := make(map[string]*calc.Curve)
		for _, spec := range p.Registers() {
			c := calc.NewCurve(spec, zone)
			unit := "kWh"
			if spec.HoldMs > 0 {
				unit = "kW"
			}
			for i, v := range []int64{0, 10, 25, 3, 30} {
				at := span.Start.Start(zone).UnixMilli() + int64(i)*6*3_600_000
				if err := c.Add(calc.Sample{At: at, Value: decimal.New(v, 0), Unit: unit, Good: true}); err != nil {
					t.Fatal(err)
				}
			}
			curves[spec.Key] = c
		}
		var texts [2][]byte
		for i := range texts {
			r, err := p.Report(m, 0, func(key string) *calc.Curve { return curves[key] })
			if err != nil {
				return // a division by nothing, said so
			}
			sum := decimal.Zero
			for _, v := range r.Vintages {
				sum = sum.Add(decimal.RequireFromString(v["ER_tCO2"]))
			}
			if !sum.IsInteger() || sum.String() != r.ER {
				t.Errorf("vintages add up to %v tCO2, the period says %s", sum, r.ER)
			}
			if texts[i], err = json.Marshal(r); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(texts[0], texts[1]) {
			t.Errorf("computed twice:\n%s\n%s", texts[0], texts[1])
		}
		var out bytes.Buffer
		if err := p.Explain(&out, m, 0, func(key string) *calc.Curve { return curves[key] }); err != nil {
			t.Errorf("has figures and cannot be explained: %v", err)
		}
	})
}
