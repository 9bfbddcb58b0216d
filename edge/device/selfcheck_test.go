package device_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/edge/device"
	"kenshin/edge/wire"
)

// rig is a device of which the truth is known: what its registers hold, and by
// what profile they are read.
type rig struct {
	energy, power string  // types
	energyUnit    string  // of the profile
	scale         int8    // of the profile
	step          float64 // Wh: the device counts in steps of so much
	meter         bool    // has counters for both directions
	start         float64 // Wh
	noise         float64 // of power, as a part of it
	minutes       int
	every         time.Duration
	watts         func(minute float64) float64
	// What is wrong: the profile reads the counter 10^times too large, has words
	// in the other order, the two counters or the sign of power swapped.
	times                    int
	energyTurned, powTurned  bool
	countersSwapped, negated bool
	restartAt                int // reading from which the counter begins at 0 again; 0 for never
}

var began = time.Date(2026, 6, 1, 9, 0, 0, 0, time.UTC)

// readings lets the device run and reads it.
func (r rig) readings(t *testing.T) (*wire.Declaration, []device.Observation) {
	t.Helper()
	order := func(turned bool) string {
		if turned {
			return "low-first"
		}
		return "high-first"
	}
	scale := int(r.scale) + r.times
	yaml := fmt.Sprintf(`
points:
  - { name: import_E, address: 0, type: %s, unit: %s, scale: %d, kind: counter, order: %s }
  - { name: export_E, address: 4, type: %s, unit: %s, scale: %d, kind: counter, order: %s }
  - { name: rated_W, address: 10, type: uint16, unit: W }
  - { name: W, address: 8, type: %s, unit: W, order: %s }
function: 3
energy: import_E
name: rig
`, r.energy, r.energyUnit, scale, order(r.energyTurned), r.energy, r.energyUnit, scale, order(r.energyTurned), r.power, order(r.powTurned))
	p := parse(t, yaml)
	if !r.meter {
		p.Points[1].Name = "other_E"
	}
	d, err := p.Declare("rig", 1, wire.Hash{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	in, out, n := r.start, r.start/3, 0
	var all []device.Observation
	const fine = 100 * time.Millisecond
	for at := time.Duration(0); at <= time.Duration(r.minutes)*time.Minute; at += fine {
		w := r.watts(at.Minutes())
		if at%r.every == 0 {
			if n++; r.restartAt == n {
				in = 0
			}
			all = append(all, r.read(&d, began.Add(at), in, out, w*(1+r.noise*(2*rng.Float64()-1))))
		}
		in += math.Max(w, 0) * fine.Hours()
		out += math.Max(-w, 0) * fine.Hours()
	}
	return &d, all
}

// read puts the truth into registers, as the device does, and decodes them, as
// the profile says.
func (r rig) read(d *wire.Declaration, at time.Time, in, out, w float64) device.Observation {
	if r.countersSwapped {
		in, out = out, in
	}
	if r.negated {
		w = -w
	}
	unit := map[string]float64{"Wh": 1, "kWh": 1000, "MWh": 1e6}[r.energyUnit] * math.Pow10(int(r.scale))
	m := make(image)
	m.put(0, make([]uint16, 11)...)
	for i, wh := range []float64{in, out} {
		m.put(uint16(4*i), encode(r.energy, math.Floor(wh/r.step)*r.step/unit)...)
	}
	m.put(8, encode(r.power, w)...)
	m[10] = 9999
	var reading wire.Reading
	for _, b := range d.Blocks {
		words := make([]uint16, b.Count)
		for k := range words {
			words[k] = m[b.Address+uint16(k)]
		}
		reading.Blocks = append(reading.Blocks, wire.BlockResult{Status: wire.OK, Words: words})
	}
	return device.Observation{At: at, Values: d.Values(&reading)}
}

// encode returns register words, the high one first.
func encode(typ string, v float64) []uint16 {
	switch typ {
	case "float32":
		b := math.Float32bits(float32(v))
		return []uint16{uint16(b >> 16), uint16(b)}
	case "uint64":
		b := uint64(math.Round(v))
		return []uint16{uint16(b >> 48), uint16(b >> 32), uint16(b >> 16), uint16(b)}
	default:
		b := uint32(int32(int64(math.Round(v))))
		return []uint16{uint16(b >> 16), uint16(b)}
	}
}

func TestSelfCheck(t *testing.T) {
	steady := func(w float64) func(float64) float64 { return func(float64) float64 { return w } }
	clouds := func(m float64) float64 { return 6000 + 4000*math.Sin(m*2) }
	base := rig{energy: "uint32", power: "int32", energyUnit: "kWh", scale: -2, step: 10, start: 12_345_670, minutes: 10, every: 10 * time.Second, watts: clouds}
	with := func(change func(*rig)) rig {
		r := base
		change(&r)
		return r
	}
	for _, tt := range []struct {
		name   string
		rig    rig
		want   device.Verdict
		factor int
		text   string
	}{
		{"all is right", base, device.Fits, 0, "import_E counted"},
		{"noise of 10 % on power", with(func(r *rig) { r.noise = 0.1 }), device.Fits, 0, ""},
		{"readings each minute", with(func(r *rig) { r.every = time.Minute; r.watts = steady(20_000) }), device.Fits, 0, ""},
		{"float32", with(func(r *rig) { r.energy, r.power, r.scale, r.step = "float32", "float32", 0, 0.001 }), device.Fits, 0, ""},
		{"float32 with coarse steps", with(func(r *rig) {
			r.energy, r.scale, r.step, r.start, r.energyUnit, r.watts = "float32", 0, 1, 134_300_000, "Wh", steady(6000)
		}), device.Fits, 0, ""},
		{"64 bits", with(func(r *rig) { r.energy, r.scale, r.step, r.energyUnit = "uint64", 0, 1, "Wh" }), device.Fits, 0, ""},
		{"written every 100 Wh", with(func(r *rig) { r.energyUnit, r.scale, r.step, r.watts = "Wh", 0, 100, steady(20_000) }), device.Fits, 0, ""},
		{"exporting meter", with(func(r *rig) { r.meter = true; r.watts = steady(-6000) }), device.Fits, 0, "export_E counted"},
		{"both ways", with(func(r *rig) { r.meter = true; r.watts = func(m float64) float64 { return 9000 * math.Cos(m/4) } }), device.Fits, 0, ""},
		{"10 times too large", with(func(r *rig) { r.times = 1 }), device.WrongScale, -1, "10 times too much"},
		{"1000 times too large", with(func(r *rig) { r.times = 3 }), device.WrongScale, -3, "1000 times too much"},
		{"10 times too small", with(func(r *rig) { r.times = -1 }), device.WrongScale, 1, "10 times too little"},
		{"1000 times too small", with(func(r *rig) { r.times = -3 }), device.WrongScale, 3, "1000 times too little"},
		{"100 times too small, with noise", with(func(r *rig) { r.times = -2; r.noise = 0.05 }), device.WrongScale, 2, "correct scale or unit"},
		{"words of the counter", with(func(r *rig) { r.energyTurned = true }), device.WordOrder, 0, "the words of import_E stand"},
		{"words of power", with(func(r *rig) { r.powTurned = true }), device.WordOrder, 0, "the words of W stand"},
		{"words of both", with(func(r *rig) { r.energyTurned, r.powTurned = true, true }), device.WordOrder, 0, "the words of import_E and W stand"},
		{"words of a float counter", with(func(r *rig) { r.energy, r.scale, r.step, r.energyTurned = "float32", 0, 0.001, true }), device.WordOrder, 0, "import_E"},
		{"import and export swapped", with(func(r *rig) { r.meter, r.countersSwapped = true, true }), device.Swapped, 0, "import_E and export_E are swapped"},
		{"import and export swapped, exporting", with(func(r *rig) { r.meter, r.countersSwapped, r.watts = true, true, steady(-6000) }), device.Swapped, 0, "swapped"},
		{"power negative at an inverter", with(func(r *rig) { r.negated = true }), device.Swapped, 0, "the sign of power"},
		{"night", with(func(r *rig) { r.watts = steady(0) }), device.TooLittle, 0, "wait for"},
		{"standby", with(func(r *rig) { r.watts = steady(-8) }), device.TooLittle, 0, ""},
		{"little load", with(func(r *rig) { r.watts = steady(300) }), device.TooLittle, 0, "steps by 10 Wh"},
		{"half a minute", with(func(r *rig) { r.minutes, r.every, r.watts = 0, time.Second, steady(50_000) }), device.TooLittle, 0, "want at least"},
		{"power the other way, no counter for it", with(func(r *rig) { r.watts = steady(-6000); r.start = 0 }), device.TooLittle, 0, "no counter for that direction"},
		{"restart", with(func(r *rig) { r.restartAt = 20 }), device.Fits, 0, "the counter fell meanwhile"},
		{"restart and wrong scale", with(func(r *rig) { r.restartAt = 20; r.times = 1 }), device.WrongScale, -1, "the counter fell meanwhile"},
		{"a counter that stands", with(func(r *rig) { r.step = 1e6; r.start = 0 }), device.TooSlow, 0, "hardly"},
		{"half of it", with(func(r *rig) { r.watts = func(float64) float64 { return 6000 }; r.power = "half" }), device.Unclear, 0, "compare both with the display"},
	} {
		if tt.rig.power == "half" {
			continue // below
		}
		d, readings := tt.rig.readings(t)
		got := device.SelfCheck(d, readings)
		text := strings.Replace(tt.text, "hardly", "its scale is too small", 1)
		if got.Verdict != tt.want || got.Factor != tt.factor || !strings.Contains(got.Text, text) || got.Energy != "import_E" || got.Power != "W" {
			t.Errorf("%s: %v, factor %d (counted %s, by power %s): %s", tt.name, got.Verdict, got.Factor, got.Counted, got.Integrated, got.Text)
		}
	}
	// A counter of one phase of two: no simple mistake.
	d, readings := base.readings(t)
	for i := range readings {
		v := &readings[i].Values[3]
		v.Number = v.Number.Mul(decimal.NewFromInt(2))
	}
	if got := device.SelfCheck(d, readings); got.Verdict != device.Unclear || !strings.Contains(got.Text, "compare both with the display") {
		t.Errorf("half of it: %v: %s", got.Verdict, got.Text)
	}
}

// TestSelfCheckParts: what cannot be used is left out, and said.
func TestSelfCheckParts(t *testing.T) {
	r := rig{energy: "uint32", power: "int32", energyUnit: "Wh", step: 1, start: 5, minutes: 10, every: 10 * time.Second, watts: func(float64) float64 { return 6000 }}
	d, readings := r.readings(t)
	for i := range readings {
		if i%2 == 0 {
			readings[i].Values[0] = wire.Value{Quality: wire.NotAvailable}
		}
	}
	if got := device.SelfCheck(d, readings); got.Verdict != device.Fits {
		t.Errorf("with gaps: %v: %s", got.Verdict, got.Text)
	}
	for i := range readings {
		readings[i].Values[3] = wire.Value{Quality: wire.NoAnswer}
	}
	if got := device.SelfCheck(d, readings); got.Verdict != device.TooLittle || !strings.Contains(got.Text, "0 usable readings") {
		t.Errorf("without power: %v: %s", got.Verdict, got.Text)
	}
	d.Energy = ""
	if got := device.SelfCheck(d, readings); got.Verdict != device.TooLittle || !strings.Contains(got.Text, "no energy counter") {
		t.Errorf("without a counter: %v: %s", got.Verdict, got.Text)
	}
	for _, v := range []device.Verdict{device.TooLittle, device.Unclear, 99} {
		if v.String() == "" {
			t.Errorf("verdict %d has no name", v)
		}
	}
}

// TestSelfCheckSunSpec: counter and power of a SunSpec inverter, with scale
// factor registers.
func TestSelfCheckSunSpec(t *testing.T) {
	for _, factor := range []int16{0, -1, 1} {
		var d wire.Declaration
		var readings []device.Observation
		for i := range 61 {
			wh := 1000 + 10_000*float64(i)/360 // 10 kW, each 10 s
			raw := uint16(math.Round(wh / math.Pow10(int(factor))))
			m := sunspec(40000, sunspecModel{1, 66, nil}, sunspecModel{103, 50, map[uint16]uint16{14: 1000, 15: 1, 25: raw, 26: uint16(factor)}})
			c, err := device.Discover(t.Context(), m, 1)
			if err == nil {
				d, err = c.Declare("inv", 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			var reading wire.Reading
			for _, b := range d.Blocks {
				words, err := m.Read(t.Context(), 1, b.Function, b.Address, b.Count)
				if err != nil {
					t.Fatal(err)
				}
				reading.Blocks = append(reading.Blocks, wire.BlockResult{Status: wire.OK, Words: words})
			}
			readings = append(readings, device.Observation{At: began.Add(time.Duration(i) * 10 * time.Second), Values: d.Values(&reading)})
		}
		if got := device.SelfCheck(&d, readings); got.Verdict != device.Fits || got.Energy != "WH" || got.Power != "W" {
			t.Errorf("scale factor %d: %v: %s", factor, got.Verdict, got.Text)
		}
	}
}
