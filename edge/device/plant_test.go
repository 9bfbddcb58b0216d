package device_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/plant"
	"kenshin/edge/wire"
)

// connect serves units on a loopback port and returns a bus to them.
func connect(t testing.TB, units map[uint8]plant.Unit) *modbus.Bus {
	t.Helper()
	s, err := plant.Listen("127.0.0.1:0", units)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	b, err := modbus.New(modbus.Config{Endpoint: "tcp://" + s.Addr(), Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestPlantInverter discovers and reads a simulated inverter over TCP.
func TestPlantInverter(t *testing.T) {
	out := plant.Output{MicroWatts: 12_345_600_000, WattHours: 5_000_000_007, State: 4}
	units := map[uint8]plant.Unit{3: plant.SunSpecInverter(plant.Nameplate{Manufacturer: "Kenshin", Model: "Simulated", Version: "1", Serial: "S-3"},
		func() (plant.Output, bool) { return out, true })}
	bus := connect(t, units)
	c, err := device.Discover(t.Context(), bus, 3)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Declare("inv-3", 3)
	if err != nil {
		t.Fatal(err)
	}
	if d.Energy != "ActWh" || d.Manufacturer != "Kenshin" || d.Model != "Simulated" || d.Serial != "S-3" || d.Firmware != "1" {
		t.Errorf("declaration %+v", d)
	}
	const none = "[not-available 0xFFFF]"
	want := map[string]string{"m103.ID": "103", "W": "12346", "WH": "705032711", "A": none, "PhVphA": none, "Hz": none,
		"DCW": "[not-available 0x8000]", "TmpCab": "[not-available 0x8000]", "St": "4", "m122.ID": "122", "ActWh": "5000000007"}
	if got := poll(t, bus, &d); !maps.Equal(got, want) { // WH has started again at 2^32
		t.Errorf("values\n%v, want\n%v", got, want)
	}
	// Before its first Wh it is declared the same, so that its series goes on.
	out.WattHours = 0
	if c, err = device.Discover(t.Context(), bus, 3); err != nil {
		t.Fatal(err)
	}
	again, err := c.Declare("inv-3", 3)
	if err != nil || again.Hash() != d.Hash() {
		t.Errorf("declared otherwise before the first Wh: %+v, %v", again, err)
	}
}

type fixed time.Time

func (f fixed) Now() time.Time                             { return time.Time(f) }
func (f fixed) Sleep(context.Context, time.Duration) error { return nil }

// TestPlantMeters reads the simulated meters by their profiles over TCP.
func TestPlantMeters(t *testing.T) {
	zone := time.FixedZone("", 7*3600)
	start := time.Date(2026, 6, 1, 0, 0, 0, 0, zone)
	site := plant.NewSite(plant.SiteConfig{Seed: 1, Zone: zone, Latitude: 13.75, Longitude: 100.5, Start: start, Clock: fixed(start.Add(36 * time.Hour))})
	between := func(low, high string) [2]decimal.Decimal {
		return [2]decimal.Decimal{decimal.RequireFromString(low), decimal.RequireFromString(high)}
	}
	for _, tt := range []struct {
		profile string
		units   map[uint8]plant.Unit
		want    map[string][2]decimal.Decimal
	}{
		{"eastron-sdm630", site.ExportMeter(), map[string][2]decimal.Decimal{"import_kWh": between("1", "10000000"), "export_kWh": between("1", "10000000"),
			"W": between("-750000", "0"), "PhVphA": between("220", "245"), "PhVphB": between("220", "245"), "PhVphC": between("220", "245"),
			"AphA": between("0", "1500"), "AphB": between("0", "1500"), "AphC": between("0", "1500"), "Hz": between("49", "51")}},
		{"generic-energy-meter", site.Chiller(), map[string][2]decimal.Decimal{"import_kWh": between("1", "10000000"), "W": between("0", "2000000"),
			"V": between("220", "245"), "Hz": between("49", "51"), "serial": between("71000001", "71000001")}},
	} {
		bus := connect(t, tt.units)
		d, err := load(t, tt.profile).Declare("m", 1, wire.Hash{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := poll(t, bus, &d)
		if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(tt.want)); !slices.Equal(a, b) {
			t.Errorf("%s: points %v, want %v", tt.profile, a, b)
		}
		for name, limits := range tt.want {
			if v, err := decimal.NewFromString(got[name]); err != nil || v.LessThan(limits[0]) || v.GreaterThan(limits[1]) {
				t.Errorf("%s: %s = %s, want %s to %s", tt.profile, name, got[name], limits[0], limits[1])
			}
		}
	}
}

// BenchmarkDiscover asks a simulated inverter what it is, over TCP.
func BenchmarkDiscover(b *testing.B) {
	bus := connect(b, map[uint8]plant.Unit{1: plant.SunSpecInverter(plant.Nameplate{}, func() (plant.Output, bool) { return plant.Output{WattHours: 1}, true })})
	b.ReportAllocs()
	for b.Loop() {
		c, err := device.Discover(b.Context(), bus, 1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Declare("inv", 1); err != nil {
			b.Fatal(err)
		}
	}
}
