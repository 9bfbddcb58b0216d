package plant_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kenshin/configs"
	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/plant"
	"kenshin/edge/wire"
)

// dataFile opens a file of the collection of real readings, which is not part
// of the repository.
func dataFile(t *testing.T, name string) *os.File {
	t.Helper()
	dir := os.Getenv("KENSHIN_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skipf("no %s; set KENSHIN_DATA to the folder of real readings", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// nobody is a unit that no test serves.
const nobody = 247

// reach serves units at an endpoint and returns a bus to them.
func reach(t *testing.T, endpoint string, units map[uint8]plant.Unit) *modbus.Bus {
	t.Helper()
	s, err := plant.Open(endpoint, units)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	b, err := modbus.New(modbus.Config{Endpoint: s.Endpoint(), Timeout: 3 * time.Second, Units: map[uint8]modbus.Unit{nobody: {Timeout: 500 * time.Millisecond}}})
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

// profileOf reads a profile the way the programs do.
func profileOf(t *testing.T, name string) *device.Profile {
	t.Helper()
	file := filepath.Join("../../configs/profiles", name+".yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var p device.Profile
	if err := configs.Decode(file, text, &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return &p
}

// decode reads a declared device once, as the agent does: every point by its
// name, as a number or text, or its quality and reason in brackets.
func decode(t *testing.T, r device.Reader, d *wire.Declaration) map[string]string {
	t.Helper()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	var reading wire.Reading
	for _, b := range d.Blocks {
		words, err := r.Read(t.Context(), d.Unit, b.Function, b.Address, b.Count)
		var refused *modbus.ExceptionError
		switch {
		case errors.As(err, &refused):
			reading.Blocks = append(reading.Blocks, wire.BlockResult{Status: wire.Exception, Code: refused.Code})
		case err != nil:
			t.Fatalf("%s: block %d+%d: %v", d.Device, b.Address, b.Count, err)
		default:
			reading.Blocks = append(reading.Blocks, wire.BlockResult{Words: words})
		}
	}
	got := make(map[string]string)
	for i, v := range d.Values(&reading) {
		switch p := &d.Points[i]; {
		case v.Quality != wire.Good:
			got[p.Name] = "[" + v.Quality.String() + " " + v.Reason + "]"
		case p.Kind == wire.Label:
			got[p.Name] = v.Text
		default:
			got[p.Name] = v.Number.String()
		}
	}
	return got
}

// TestDumps serves every register dump of the collection, several units behind
// one Modbus TCP endpoint. What probe asks of an endpoint finds out what each is,
// and the code that reads the real devices shows what the collection documents.
func TestDumps(t *testing.T) {
	type expect map[string]string
	type part struct {
		file string
		base uint16 // of a frame
	}
	dt := func(file string) []part { return []part{{"registers-goodwe/" + file + "_running_data.hex", 30100}} }
	text := func(file string) []part { return []part{{"registers/" + file + ".txt", 0}} }
	const guess = "a guess" // nothing in the registers that were dumped names the device
	dumps := []struct {
		parts   []part // all of one device
		profile string // "" is SunSpec
		model   string // as a SunSpec device calls itself; of the others guess, or ""
		want    expect
	}{
		{text("sunspec_fronius_igplus_101"), "", "IG+V11.4", expect{"W": "45", "Hz": "60", "WH": "76476022", "St": "4"}},
		{text("sunspec_solaredge_se33k_103_night"), "", "SE33.3K", expect{"W": "0", "WH": "17129352", "St": "2"}},
		{text("sunspec_solaredge_se33k_103_day"), "", "SE33.3K", expect{"W": "24767", "A": "86.89", "WH": "17534384", "St": "4"}},
		{text("sunspec_sma_stp50_103_120_160"), "", "Solar Inverter", expect{"W": "14470", "WH": "4418970", "DCW": "[not-available 0x8000]"}},
		{text("sunspec_fronius_symo_113_float"), "", "Symo 3.0-3-S", expect{"W": "70", "WH": "11937020"}},
		{text("sunspec_veris_e51c2_203"), "", "E51C2", expect{"W": "6540", "TotWhImp": "906630"}},
		{text("sunspec_accuenergy_acurev_203"), "", "AcuRev1310", expect{"W": "132", "TotWhImp": "0.6"}},
		{text("sunspec_outback_202_7xx"), "", "OGHI8048A", expect{"TotWhImp": "[not-available 0x00000000]", "TotWhExp": "[not-available 0x00000000]", "m701.Hz": "60"}},
		{text("meter_schneider_pm3250"), "schneider-iem3000", "", expect{"Hz": "50.065586090087890625", "V": "241.9365997314453125",
			"kW": "-0.606964588165283203125", "import_Wh": "82872323", "export_Wh": "1043100"}},
		{text("inverter_ae_500nx"), "advanced-energy-500nx", "", expect{"total_kWh": "209385.21875", "kW": "51.700000762939453125", "Hz": "60"}},
		{text("inverter_csi"), "csi-ktl-ct", "", expect{"total_kWh": "23119", "W": "15600", "model": "PVI36TL-480"}},
		{append(dt("GW17K-DT"), part{"registers-goodwe/GW17K-DT_device_info.hex", 30001}), "goodwe-dt", "",
			expect{"W": "12470", "total_kWh": "29984.4", "PhVphA": "236.7", "Hz": "50.02"}},
		{dt("GW20KAU-DT"), "goodwe-dt", guess, expect{"W": "4957", "total_kWh": "4304.8"}},
		{dt("GW6000-DT"), "goodwe-dt", guess, expect{"W": "1835", "total_kWh": "13350.2"}},
		{dt("GW10K-MS-30_tcp"), "goodwe-dt", guess, expect{"W": "5914", "total_kWh": "998.2"}},
		{[]part{{"registers-goodwe/GW10K-ET_running_data.hex", 35100}, {"registers-goodwe/GW10K-ET_meter_data.hex", 36000}}, "goodwe-et", guess,
			expect{"W": "831", "export_kWh": "4718.6", "pv_kWh": "6085.3", "meter_W": "-110"}},
	}
	units := make(map[uint8]plant.Unit)
	var files []string
	for i, d := range dumps {
		unit := new(plant.Dump)
		for k, part := range d.parts {
			read := plant.ReadDump
			if strings.HasSuffix(part.file, ".hex") {
				read = func(r io.Reader) (*plant.Dump, error) { return plant.ReadFrame(r, part.base) }
			}
			one, err := read(dataFile(t, part.file))
			if err == nil && k > 0 {
				err = unit.Add(one)
			} else {
				unit = one
			}
			if err != nil {
				t.Fatalf("%s: %v", part.file, err)
			}
			files = append(files, part.file)
		}
		units[uint8(i+1)] = unit
	}
	bus, profiles := reach(t, "tcp://127.0.0.1:0", units), allProfiles(t)
	for i, d := range dumps {
		id, file := uint8(i+1), d.parts[0].file
		matches, err := device.Identify(t.Context(), bus, id, profiles)
		if err != nil || len(matches) == 0 {
			t.Errorf("%s: %d matches, %v", file, len(matches), err)
			continue
		}
		var decl wire.Declaration
		switch best := matches[0]; {
		case d.profile == "" && best.Chain != nil:
			if decl, err = best.Chain.Declare("d", id); decl.Model != d.model {
				t.Errorf("%s: calls itself %q, want %q", file, decl.Model, d.model)
			}
		case d.profile != "" && best.Chain == nil:
			k := slices.IndexFunc(matches, func(m device.Match) bool { return m.Profile.Name == d.profile })
			if k < 0 || best.Guess != (d.model == guess) || !best.Guess && k > 0 {
				t.Errorf("%s: the best match is %s, and %s is number %d of %d", file, best.Why, d.profile, k+1, len(matches))
				continue
			}
			decl, err = matches[k].Profile.Declare("d", id, wire.Hash{}, 0)
		default:
			t.Errorf("%s: taken for %s", file, best.Why)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got := decode(t, bus, &decl)
		for name, want := range d.want {
			if got[name] != want {
				t.Errorf("%s: %s = %q, want %q; all: %v", file, name, got[name], want, got)
			}
		}
	}
	if s := bus.Stats(); s.Timeouts+s.Malformed+s.Unreachable > 0 {
		t.Errorf("not everything was answered: %+v", s)
	}
	checkComplete(t, files)
}

// allProfiles reads every profile that comes with the programs.
func allProfiles(t *testing.T) []device.Profile {
	t.Helper()
	files, err := filepath.Glob("../../configs/profiles/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d profiles, %v", len(files), err)
	}
	var out []device.Profile
	for _, f := range files {
		out = append(out, *profileOf(t, strings.TrimSuffix(filepath.Base(f), ".yaml")))
	}
	return out
}

// checkComplete fails when the collection has a dump that is not in files.
func checkComplete(t *testing.T, files []string) {
	t.Helper()
	root := filepath.Dir(filepath.Dir(dataFile(t, files[0]).Name()))
	found, err := filepath.Glob(filepath.Join(root, "registers*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if name, err := filepath.Rel(root, f); err != nil || !slices.Contains(files, filepath.ToSlash(name)) {
			t.Errorf("%s is not served by this test: %v", f, err)
		}
	}
	t.Logf("%d dumps in the collection, %d served", len(found), len(files))
}

// TestDumpValuesGoWrong: a dump of a SunSpec device knows which of its registers
// are values, holes or not, and a dump with a profile too.
func TestDumpValuesGoWrong(t *testing.T) {
	sma, err := plant.ReadDump(dataFile(t, "registers/sunspec_sma_stp50_103_120_160.txt"))
	if err != nil {
		t.Fatal(err)
	}
	frame, err := plant.ReadFrame(dataFile(t, "registers-goodwe/GW17K-DT_running_data.hex"), 30100)
	if err != nil {
		t.Fatal(err)
	}
	goodwe := profileOf(t, "goodwe-dt")
	known, err := plant.As(frame, goodwe)
	if err != nil {
		t.Fatal(err)
	}
	units := map[uint8]*plant.Faulty{1: plant.NewFaulty(sma, 1), 2: plant.NewFaulty(known, 1)}
	bus := reach(t, "rtutcp://127.0.0.1:0", map[uint8]plant.Unit{1: units[1], 2: units[2]})
	chain, err := device.Discover(t.Context(), bus, 1)
	if err != nil {
		t.Fatal(err)
	}
	var declared [3]wire.Declaration
	if declared[1], err = chain.Declare("sma", 1); err != nil {
		t.Fatal(err)
	}
	if declared[2], err = goodwe.Declare("goodwe", 2, wire.Hash{}, 0); err != nil {
		t.Fatal(err)
	}
	before := [3]map[string]string{1: decode(t, bus, &declared[1]), 2: decode(t, bus, &declared[2])}
	for _, tt := range []struct {
		unit  uint8
		fault string
		want  map[string]string
	}{
		{1, "sentinel-night", map[string]string{"WH": "[not-available 0xFFFFFFFF]", "W": "[not-available 0x8000]", "St": before[1]["St"], "m103.ID": "103"}},
		{1, "dip", map[string]string{"WH": "4417970", "W": "14470"}},
		{1, "scale-change", map[string]string{"WH": "4418970", "W": "14470"}},
		{1, "frozen", before[1]},
		{2, "zero-at-dawn", map[string]string{"total_kWh": "0", "W": "0", "St": "1"}},
		{2, "sentinel-night", map[string]string{"total_kWh": "[not-available 0xFFFFFFFF]", "Tmp": "[not-available 0xFFFF]", "St": "1"}},
		{2, "dip 44", map[string]string{"total_kWh": "29980", "W": "12470"}},
		{2, "restart", map[string]string{"total_kWh": "0", "W": "12470"}},
		{2, "rollover 5", map[string]string{"total_kWh": "429496729.1", "W": "12470"}},
	} {
		_, f, err := plant.ParseFault("x " + tt.fault)
		if err != nil {
			t.Fatal(err)
		}
		if err := units[tt.unit].Inject(f); err != nil {
			t.Errorf("%s: %v", tt.fault, err)
			continue
		}
		if tt.fault == "restart" { // ends the connection
			if _, err := bus.Read(t.Context(), tt.unit, 3, 30118, 1); !errors.Is(err, modbus.ErrUnreachable) {
				t.Errorf("%s: %v, want the connection ended", tt.fault, err)
			}
		}
		got := decode(t, bus, &declared[tt.unit])
		for name, want := range tt.want {
			if got[name] != want {
				t.Errorf("unit %d with %s: %s = %q, want %q", tt.unit, tt.fault, name, got[name], want)
			}
		}
		units[tt.unit].Clear()
		if got := decode(t, bus, &declared[tt.unit]); !maps.Equal(got, before[tt.unit]) {
			t.Errorf("unit %d after %s: %v, want %v", tt.unit, tt.fault, got, before[tt.unit])
		}
	}
}
