package plant_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/plant"
	"kenshin/edge/wire"
)

// inside reads a unit without a line between.
type inside struct{ plant.Unit }

func (i inside) Read(_ context.Context, _, function uint8, address, count uint16) ([]uint16, error) {
	words, exception := i.Unit.Read(function, address, count)
	if exception != 0 {
		return nil, &modbus.ExceptionError{Function: function, Code: exception}
	}
	return words, nil
}

// clock stands until it is set.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// TestProfilesAreServed: a unit made of any profile that comes with the program
// answers every point with a value that the profile's vectors give it.
func TestProfilesAreServed(t *testing.T) {
	files, err := filepath.Glob("../../configs/profiles/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d profiles: %v", len(files), err)
	}
	start := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		p := profileOf(t, name)
		u, err := plant.NewProfile(plant.ProfileConfig{Profile: p})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		d, err := p.Declare("m", 1, wire.Hash{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, inside{u}, &d)
		for _, q := range p.Points {
			if !vectorsSay(p, q.Name, got[q.Name]) {
				t.Errorf("%s: %s = %q, which no vector gives it", name, q.Name, got[q.Name])
			}
		}
		moves(t, name, p, &d, start)
	}
}

func vectorsSay(p *device.Profile, point, got string) bool {
	for _, v := range p.Vectors {
		want := string(v.Values[point])
		a, errA := decimal.NewFromString(want)
		b, errB := decimal.NewFromString(got)
		if want == got || errA == nil && errB == nil && a.Equal(b) {
			return true
		}
	}
	return false
}

// moves checks that the counter of a profile counts on with a steady power: 36
// MWh in an hour, which every register shows.
func moves(t *testing.T, name string, p *device.Profile, d *wire.Declaration, start time.Time) {
	t.Helper()
	if p.Energy == "" {
		return
	}
	c := &clock{start}
	u, err := plant.NewProfile(plant.ProfileConfig{Profile: p, Energy: plant.Steady(start, 20_000_000, 36_000_000), Clock: c})
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	unit := map[string]int32{"Wh": 6, "kWh": 3, "MWh": 0}
	var shift int32
	for _, q := range p.Points {
		if q.Name == p.Energy {
			shift = unit[q.Unit]
		}
	}
	for hours, want := range []int64{20, 56} {
		c.now = start.Add(time.Duration(hours) * time.Hour)
		got, err := decimal.NewFromString(decode(t, inside{u}, d)[p.Energy])
		if err != nil || got.Shift(-shift).Sub(decimal.NewFromInt(want)).Abs().GreaterThan(decimal.RequireFromString("0.00001")) {
			t.Errorf("%s: after %d hours %s = %s, want %d MWh: %v", name, hours, p.Energy, got, want, err)
		}
	}
}

// TestSunSpecModels: each simulated model is discovered, and shows its energy
// and power.
func TestSunSpecModels(t *testing.T) {
	c := &clock{time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)}
	energy := plant.Steady(c.now, 7_000_000, 4_200)
	c.now = c.now.Add(time.Hour)
	for model, want := range map[uint16]map[string]string{
		103: {"W": "4200", "WH": "7004200", "ActWh": "7004200", "St": "4"},
		113: {"W": "4200", "WH": "7004200", "Hz": "50", "PhVphA": "230", "St": "4", "DCW": "[not-available 0x7FC00000]"},
		203: {"W": "4200", "TotWhImp": "7004200", "TotWhExp": "[not-available 0x00000000]", "Hz": "50", "PhV": "230"},
		213: {"W": "4200", "TotWhImp": "7004200", "Hz": "50", "PhV": "230"},
		701: {"W": "4200", "TotWhInj": "7004200", "TotWhAbs": "0", "Hz": "50", "LNV": "230", "InvSt": "3", "TmpCab": "[not-available 0x8000]"},
	} {
		u, err := plant.SunSpecModel(model, plant.Nameplate{Manufacturer: "K", Model: "M", Serial: "S"}, energy, c)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := device.Discover(t.Context(), inside{u}, 1)
		if err != nil {
			t.Errorf("model %d: %v", model, err)
			continue
		}
		d, err := chain.Declare("m", 1)
		if err != nil {
			t.Errorf("model %d: %v", model, err)
			continue
		}
		got := decode(t, inside{u}, &d)
		for name, w := range want {
			if got[name] != w {
				t.Errorf("model %d: %s = %q, want %q; all %v", model, name, got[name], w, got)
			}
		}
		if d.Serial != "S" {
			t.Errorf("model %d: serial %q", model, d.Serial)
		}
		f := plant.NewFaulty(u, 1)
		if err := f.Inject(plant.Fault{Name: "sentinel-night"}); err != nil {
			t.Fatalf("model %d: %v", model, err)
		}
		for name, v := range decode(t, inside{f}, &d) {
			if number := !strings.HasPrefix(v, "["); number && name != "St" && name != "InvSt" && !strings.HasSuffix(name, ".ID") {
				t.Errorf("model %d at night: %s = %s, want not available", model, name, v)
			}
		}
	}
	if _, err := plant.SunSpecModel(999, plant.Nameplate{}, energy, c); err == nil || !strings.Contains(err.Error(), "want 103, 113, 203, 213 or 701") {
		t.Errorf("model 999: %v", err)
	}
}

// TestScaleChange: at every other reading the scale factors and words are
// others, and the values the same: for whoever reads both in one request.
func TestScaleChange(t *testing.T) {
	u := plant.NewFaulty(plant.SunSpecInverter(plant.Nameplate{}, func() (plant.Output, bool) {
		return plant.Output{MicroWatts: 31_230_000_000, WattHours: 1_234_560, State: 4}, true
	}), 1)
	if err := u.Inject(plant.Fault{Name: "scale-change"}); err != nil {
		t.Fatal(err)
	}
	factors := make(map[uint16]bool)
	for range 4 {
		words, exception := u.Read(3, 40070, 52)
		if exception != 0 {
			t.Fatal(exception)
		}
		w := decimal.New(int64(int16(words[14])), int32(int16(words[15])))
		wh := decimal.New(int64(words[24])<<16+int64(words[25]), int32(int16(words[26])))
		if !w.Equal(decimal.NewFromInt(31230)) || !wh.Equal(decimal.NewFromInt(1234560)) {
			t.Errorf("%s W, %s Wh; want 31230 and 1234560", w, wh)
		}
		factors[words[15]] = true
		alone, _ := u.Read(3, 40085, 1) // the scale factor by itself: it has gone on to the next
		if alone[0] == words[15] {
			t.Errorf("the scale factor asked for by itself is still %d", int16(alone[0]))
		}
	}
	if len(factors) != 1 {
		t.Errorf("scale factors %v in every second reading, want one", factors)
	}
}

func TestReadCounter(t *testing.T) {
	zone := time.FixedZone("", 9*3600)
	for _, tt := range []struct {
		name, text, unit string
		want             string // times and mWh, or the error
	}{
		{"head, local times", "time,value\n2026-06-01 08:00,1.5\n2026-06-01 08:15:00,2\n", "kWh", "[1780268400 1780269300] [1500000 2000000]"},
		{"epoch, no head, falls", "1522620000,150\n1522623600,149.5\n", "Wh", "[1522620000 1522623600] [150000 149500]"},
		{"RFC 3339", "2026-06-01T08:00:00+02:00,0.000000001\n", "MWh", "[1780293600] [1]"},
		{"unit", "1,1\n", "J", `unit "J": want Wh, kWh or MWh`},
		{"three columns", "1,1,1\n", "Wh", "line 1: wrong number of fields; want two columns"},
		{"too fine", "1,1.00001\n", "Wh", "line 1: value \"1.00001\": want a number from 0 up with at most 3 decimals"},
		{"negative", "1,-1\n", "Wh", "want a number from 0 up"},
		{"a word", "1,one\n", "Wh", "line 1: value \"one\""},
		{"no order", "2,1\n1,2\n", "Wh", "line 2: time 1 is not after"},
		{"twice", "1,1\n1,1\n", "Wh", "line 2: time 1 is not after"},
		{"no time", "yesterday,1\n", "Wh", "line 1: time \"yesterday\": want"},
		{"head only", "time,value\n", "Wh", "no readings"},
		{"empty", "", "Wh", "no readings"},
	} {
		c, err := plant.ReadCounter(strings.NewReader(tt.text), plant.CounterFormat{Unit: tt.unit, Zone: zone})
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
			continue
		}
		var at, mWh []int64
		for _, when := range c.Times() {
			v, _, _ := c.Energy(when)
			at, mWh = append(at, when.Unix()), append(mWh, v)
		}
		if got := fmt.Sprint(at, mWh); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestCounterIsServed replays a counter in the register of a profile: to the
// digit, or it is refused.
func TestCounterIsServed(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, "1000,35089.902\n2000,35089.903\n3000,35000\n")
	z.Close()
	counter, err := plant.ReadCounter(&packed, plant.CounterFormat{Unit: "kWh", Zone: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	coarse := counter.Fits(profileOf(t, "generic-energy-meter"))
	if coarse == nil || !strings.Contains(coarse.Error(), "counts in steps of 10 Wh; take a profile with smaller ones") {
		t.Errorf("in steps of 10 Wh: %v", coarse)
	}
	p := profileOf(t, "schneider-pm5100")
	if err := counter.Fits(p); err != nil {
		t.Fatal(err)
	}
	c := &clock{}
	u, err := plant.NewProfile(plant.ProfileConfig{Profile: p, Energy: counter.Energy, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Declare("m", 1, wire.Hash{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int64]string{1000: "35089902", 1999: "35089902", 2000: "35089903", 3000: "35000000", 9999: "35000000", 999: "[exception exception 11]"} {
		c.now = time.Unix(at, 0)
		if got := decode(t, inside{u}, &d)["import_Wh"]; got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
}

// TestMeterHouse replays a real counter that falls, to the last digit.
func TestMeterHouse(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(dataFile(t, "meter-house/elec_nt_hours.csv.gz").Name()), "*hours*.csv.gz"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	c, err := plant.ReadCounter(dataFile(t, "meter-house/elec_nt_hours.csv.gz"), plant.CounterFormat{Unit: "Wh", Zone: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Times()); n != 43743 {
		t.Errorf("%d readings, want 43743", n)
	}
	if err := c.Fits(profileOf(t, "schneider-pm5100")); err != nil {
		t.Error(err)
	}
}

func TestReadDumpRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "no registers"},
		{"# nothing\n-- Polling slave\n", "no registers"},
		{"[1]: 0x0001\n[70000]: 0x0001\n", "line 2: register 70000: want 0 to 65535"},
		{"[1]: 0x00011\n", "line 1"},
		{"[1] 0x0001\n", "line 1"},
		{"[1]: 0x0001\n[1]: 0x0002\n", "line 2: register 1 is given a second time"},
	} {
		if _, err := plant.ReadDump(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
	for _, tt := range []struct {
		text string
		base uint16
		want string
	}{
		{"", 0, "neither an RTU frame"},
		{"xyz", 0, "want the hexadecimal digits"},
		{"aa55010302000a0000", 0, "neither an RTU frame"},
		{"000100000005010302000a", 65535, ""},
		{"0001000000070103040001000a", 65535, "go beyond 65535"},
		{"000100000005018302000a", 0, "not an answer with registers"},
		{"000100000005010303000a", 0, "not an answer with registers"},
	} {
		_, err := plant.ReadFrame(strings.NewReader(tt.text), tt.base)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q at %d: %v, want %q", tt.text, tt.base, err, tt.want)
		}
	}
}

func FuzzReadDump(f *testing.F) {
	f.Add([]byte("# a\n[40000]: 0x5375\n[40001]:\t0x6E53 # S\n"))
	f.Add([]byte("aa557f03020001a0f0"))
	f.Add([]byte("000100000005010302000a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := plant.ReadDump(bytes.NewReader(b)); err == nil && d.Len() == 0 {
			t.Error("a dump without registers")
		}
		if d, err := plant.ReadFrame(bytes.NewReader(b), 30100); err == nil {
			if words, exception := d.Read(3, 30100, 1); exception != 0 || len(words) != 1 {
				t.Errorf("the first register of a frame is exception %d", exception)
			}
		}
	})
}

func FuzzReadCounter(f *testing.F) {
	f.Add("time,value\n2026-06-01 08:00,1.5\n")
	f.Add("1522620000,150\n1522623600,149.5\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := plant.ReadCounter(strings.NewReader(text), plant.CounterFormat{Unit: "kWh", Zone: time.UTC})
		if err != nil {
			return
		}
		for _, at := range c.Times() {
			if v, w, ok := c.Energy(at); !ok || v < 0 || w < 0 {
				t.Errorf("%v: %d mWh, %d W, %v", at, v, w, ok)
			}
		}
	})
}

// TestOpenRefuses: an endpoint that cannot be had says what can.
func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct{ endpoint, want string }{
		{"", "want tcp://HOST:PORT"},
		{"udp://127.0.0.1:0", "want tcp://HOST:PORT"},
		{"tcp://127.0.0.1:0/x", "want tcp://HOST:PORT"},
		{"rtu://host", "want tcp://HOST:PORT"},
		{"rtu://?baud=fast", "baud=fast: want baud=300 to 4000000"},
		{"rtu://?bits=8", "bits=8: want"},
		{"rtutcp://127.0.0.1:70000", "listen on rtutcp://127.0.0.1:70000"},
		{"rtu:///nowhere/there/line", "no such file"},
	} {
		s, err := plant.Open(tt.endpoint, nil)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.endpoint, err, tt.want)
		}
	}
}
