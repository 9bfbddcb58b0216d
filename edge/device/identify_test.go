package device_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

func named(m []device.Match) string {
	var out []string
	for _, x := range m {
		switch {
		case x.Chain != nil:
			out = append(out, strings.Join(strings.Fields(fmt.Sprintf("sunspec:%s %s %s", x.Chain.Manufacturer, x.Chain.Model, x.Chain.Serial)), " "))
		case x.Guess:
			out = append(out, "guess:"+x.Profile.Name)
		default:
			out = append(out, x.Profile.Name)
		}
	}
	return strings.Join(out, ", ")
}

// TestIdentifyDumps: every dump of a real device is recognised, those with an
// identity for certain.
func TestIdentifyDumps(t *testing.T) {
	all := loadAll(t)
	for dump, want := range map[string]string{
		"sunspec_fronius_igplus_101":        "sunspec:Fronius IG+V11.4 50.213262",
		"sunspec_fronius_symo_113_float":    "sunspec:Fronius Symo 3.0-3-S 29251001150340235",
		"sunspec_solaredge_se33k_103_day":   "sunspec:SolarEdge SE33.3K 7E1240CC",
		"sunspec_solaredge_se33k_103_night": "sunspec:SolarEdge SE33.3K 7E1240CC",
		"sunspec_sma_stp50_103_120_160":     "sunspec:SMA Solar Inverter 3009060251",
		"sunspec_veris_e51c2_203":           "sunspec:Veris Industries E51C2 4E4C3699",
		"sunspec_accuenergy_acurev_203":     "sunspec:ACCUENERGY AcuRev1310 E3T18102491",
		"sunspec_outback_202_7xx":           "sunspec:OutBack Power OGHI8048A OGHI2232F0100079",
		"meter_schneider_pm3250":            "schneider-iem3000",
		"inverter_ae_500nx":                 "advanced-energy-500nx",
		"inverter_csi":                      "csi-ktl-ct",
	} {
		got, err := device.Identify(t.Context(), readDump(t, dump), 1, all)
		if err != nil || named(got) != want {
			t.Errorf("%s: %s, %v; want %s", dump, named(got), err, want)
		}
		for _, m := range got {
			if m.Guess || m.Why == "" {
				t.Errorf("%s: %+v", dump, m)
			}
		}
	}
}

// TestIdentifyGoodWe: with its device information an inverter is recognised,
// without it only guessed.
func TestIdentifyGoodWe(t *testing.T) {
	all := loadAll(t)
	dt := make(image)
	readGoodWe(t, 30100, "GW17K-DT_running_data", dt)
	if got, err := device.Identify(t.Context(), dt, 1, all); err != nil || named(got) != "guess:goodwe-dt" || !strings.Contains(got[0].Why, "Hz is 50.02 Hz") {
		t.Errorf("without its name: %s, %v", named(got), err)
	}
	readGoodWe(t, 30001, "GW17K-DT_device_info", dt)
	if got, err := device.Identify(t.Context(), dt, 1, all); err != nil || named(got) != "goodwe-dt" || got[0].Guess {
		t.Errorf("with its name: %s, %v", named(got), err)
	}
	et := make(image)
	readGoodWe(t, 35100, "GW10K-ET_running_data", et)
	readGoodWe(t, 36000, "GW10K-ET_meter_data", et)
	if got, err := device.Identify(t.Context(), et, 1, all); err != nil || named(got) != "guess:goodwe-et" {
		t.Errorf("GW10K-ET: %s, %v", named(got), err)
	}
}

// TestIdentifyProfiles: a device that answers as a profile's own vector says is
// recognised by it, or guessed where the profile knows no identity; families with
// one map are all guessed.
func TestIdentifyProfiles(t *testing.T) {
	all := loadAll(t)
	untold := []string{"goodwe-dt-g2", "solis", "kamstrup-multical", "growatt-tlx", "growatt-hybrid", "huawei-smartlogger"} // neither frequency nor two voltages
	for i := range all {
		p := &all[i]
		r := serve(t, p)
		got, err := device.Identify(t.Context(), r, 1, all)
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		k := slices.IndexFunc(got, func(m device.Match) bool { return m.Profile != nil && m.Profile.Name == p.Name })
		if lost := slices.Contains(untold, p.Name); (k < 0) != lost {
			t.Errorf("%s: recognised as %q", p.Name, named(got))
		} else if !lost && got[k].Guess != (len(p.Identity) == 0) {
			t.Errorf("%s: %+v", p.Name, got[k])
		}
		if len(got) > 4 { // the meters of Eastron share their registers
			t.Errorf("%s may be %s", p.Name, named(got))
		}
	}
}

// vectorDevice holds what the first vectors of a profile say, by function, and
// its identity.
type vectorDevice map[uint8]image

func (v vectorDevice) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	return v[function].Read(ctx, unit, function, address, count)
}

func serve(t *testing.T, p *device.Profile) vectorDevice {
	t.Helper()
	out := vectorDevice{3: make(image), 4: make(image)}
	d, err := p.Declare("m", 1, wire.Hash{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range d.Blocks {
		for k := range b.Count {
			out[b.Function][b.Address+k] = 0
		}
	}
	seen := make(map[uint8]bool)
	for _, v := range p.Vectors {
		function := v.Function
		if function == 0 {
			function = p.Function
		}
		if seen[function] {
			continue
		}
		seen[function] = true
		for at, words := range v.Registers {
			out[function].put(at, digits(t, string(words))...)
		}
	}
	for _, id := range p.Identity {
		words := id.Words
		if words == "" {
			words = id.AnyOf[0]
		}
		out[id.Function].put(id.Address, digits(t, string(words))...)
	}
	return out
}

func digits(t *testing.T, s string) []uint16 {
	t.Helper()
	var out []uint16
	for _, f := range strings.Fields(s) {
		var w uint16
		if _, err := fmt.Sscanf(f, "%04X", &w); err != nil {
			t.Fatal(err)
		}
		out = append(out, w)
	}
	return out
}

// TestIdentifySeveral: an inverter with a meter behind the same unit id.
func TestIdentifySeveral(t *testing.T) {
	common := func(name string) sunspecModel {
		return sunspecModel{1, 65, map[uint16]uint16{2: uint16(name[0])<<8 | uint16(name[1]), 18: uint16(name[2]) << 8}}
	}
	m := sunspec(40000, common("SEI"), sunspecModel{103, 50, nil}, common("SEM"), sunspecModel{203, 105, nil}, common("SEN"), sunspecModel{203, 105, nil})
	got, err := device.Identify(t.Context(), m, 1, loadAll(t))
	if err != nil || named(got) != "sunspec:SE I, sunspec:SE M, sunspec:SE N" || got[1].Chain.Sub != 1 || got[2].Chain.Sub != 2 || !strings.Contains(got[2].Why, "device 3 behind this unit") {
		t.Fatalf("%s, %v", named(got), err)
	}
	for i, want := range []string{"103", "203", "203"} {
		d, err := got[i].Chain.Declare("x", 1)
		if err == nil {
			err = d.Validate()
		}
		if err != nil || d.Points[0].Name != "m"+want+".ID" || i == 2 && d.Blocks[0].Address == got[1].Chain.Models[1].Address {
			t.Errorf("device %d: %+v, %v", i, d, err)
		}
	}
	one, err := device.Discover(t.Context(), m, 1)
	if err != nil || chainIDs(one) != "1 103" || one.Sub != 0 {
		t.Errorf("Discover finds %v, %v", one, err)
	}
}

// choosy answers only some registers, and fails otherwise in its own way.
type choosy struct {
	image
	err  error
	asks *int
}

func (c choosy) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	*c.asks++
	words, err := c.image.Read(ctx, unit, function, address, count)
	if err != nil {
		return nil, c.err
	}
	return words, nil
}

// TestIdentifySilence: a dead unit costs three requests; one that does not answer
// what it lacks is recognised all the same, by what it answers, if soon enough.
func TestIdentifySilence(t *testing.T) {
	all := loadAll(t)
	for _, failure := range []error{modbus.ErrTimeout, modbus.ErrUnreachable, &modbus.ExceptionError{Function: 3, Code: 11}, &modbus.ExceptionError{Function: 3, Code: 10}} {
		asks := 0
		got, err := device.Identify(t.Context(), choosy{nil, failure, &asks}, 7, all)
		if !errors.Is(err, device.ErrSilent) || !errors.Is(err, failure) || asks != 3 || len(got) > 0 || !strings.Contains(err.Error(), "unit 7") {
			t.Errorf("%v: %d requests, %s, %v", failure, asks, named(got), err)
		}
	}
	asks := 0
	dump := readDump(t, "meter_schneider_pm3250")
	some := []device.Profile{*load(t, "eastron-sdm630"), *load(t, "schneider-iem3000")}
	got, err := device.Identify(t.Context(), choosy{dump, modbus.ErrTimeout, &asks}, 1, some)
	if err != nil || named(got) != "schneider-iem3000" {
		t.Errorf("a meter that does not answer what it lacks: %s, %v", named(got), err)
	}
	// A unit that answers and is nothing known is no error.
	asks = 0
	if got, err := device.Identify(t.Context(), choosy{image{9: 1}, &modbus.ExceptionError{Function: 3, Code: 2}, &asks}, 1, all); err != nil || len(got) > 0 {
		t.Errorf("an unknown device: %s, %v", named(got), err)
	}
	// A map that fails in the middle is not reported as something else.
	m := sunspec(40000, sunspecModel{1, 66, nil}, sunspecModel{103, 50, nil})
	delete(m, 40002)
	asks = 0
	if _, err := device.Identify(t.Context(), choosy{m, &modbus.ExceptionError{Function: 3, Code: 6}, &asks}, 1, all); err == nil {
		t.Error("a busy device was taken as unknown")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := device.Identify(ctx, choosy{nil, context.Canceled, &asks}, 1, all); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// TestIdentifyAsksOnce: no register is asked for twice, none that is forbidden.
func TestIdentifyAsksOnce(t *testing.T) {
	p := *load(t, "goodwe-dt")
	p.Limits.Forbidden = []device.Forbidden{{Function: 3, From: 30012, To: 30012, Why: "a test"}, {Function: 3, From: 30130, To: 30135, Why: "a test"}}
	dt := make(image)
	readGoodWe(t, 30100, "GW17K-DT_running_data", dt)
	readGoodWe(t, 30001, "GW17K-DT_device_info", dt)
	var at []string
	got, err := device.Identify(t.Context(), asked{dt, &at}, 1, []device.Profile{p, p})
	if err != nil || named(got) != "guess:goodwe-dt, guess:goodwe-dt" {
		t.Errorf("%s, %v", named(got), err)
	}
	if want := "40000+2 50000+2 0+2 4096+2 30118+12 30141+6"; strings.Join(at, " ") != want {
		t.Errorf("asked %s, want %s", strings.Join(at, " "), want)
	}
}

// TestIdentifyImplausible: zeros, and values no device has, are no sign of anything.
func TestIdentifyImplausible(t *testing.T) {
	all := loadAll(t)
	sdm := *load(t, "eastron-sdm630")
	good := serve(t, &sdm)
	if got, err := device.Identify(t.Context(), good, 1, all); err != nil || !strings.Contains(named(got), "guess:eastron-sdm630") || !strings.Contains(got[0].Why, "nothing names the device") {
		t.Errorf("%s, %v", named(got), err)
	}
	for what, spoil := range map[string]func(image){
		"zeros":            func(m image) { clear(m); m.put(0, make([]uint16, 125)...) },
		"a frequency of 0": func(m image) { m.put(0x46, 0, 0) },
		"a frequency of 400 Hz with good voltages": func(m image) { m.put(0x46, 0x43C8, 0) },
		"a voltage of 99,999 V":                    func(m image) { m.put(0, 0x47C3, 0x4F80) },
		"energy below 0":                           func(m image) { m.put(0x48, 0xC640, 0xE6B6) },
	} {
		bad := vectorDevice{3: maps.Clone(good[3]), 4: maps.Clone(good[4])}
		spoil(bad[4])
		got, err := device.Identify(t.Context(), bad, 1, []device.Profile{sdm})
		if err != nil || len(got) > 0 {
			t.Errorf("%s: %s, %v", what, named(got), err)
		}
	}
}
