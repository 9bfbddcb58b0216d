package device_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kenshin/configs"
	"kenshin/edge/device"
	"kenshin/edge/wire"
)

const profiles = "../../configs/profiles"

// load reads a profile the way the programs do.
func load(t testing.TB, name string) *device.Profile {
	t.Helper()
	file := filepath.Join(profiles, name+".yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var p device.Profile
	if err := configs.Decode(file, text, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// loadAll reads every profile that comes with the program, by name.
func loadAll(t testing.TB) []device.Profile {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(profiles, "*.yaml"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d profiles in %s, want at least 30: %v", len(files), profiles, err)
	}
	var all []device.Profile
	for _, file := range files {
		all = append(all, *load(t, strings.TrimSuffix(filepath.Base(file), ".yaml")))
	}
	return all
}

// TestProfiles proves every profile that comes with the program: strictly read,
// valid, its vectors come out, its name is the file's, its energy is a counter
// that has a power to be checked against.
func TestProfiles(t *testing.T) {
	families := make(map[string]bool)
	for _, q := range loadAll(t) {
		name, p := q.Name, &q
		families[p.Manufacturer] = true
		file := filepath.Join(profiles, name+".yaml")
		text, err := os.ReadFile(file) // fails when the name is not the file's
		if err != nil {
			t.Error(err)
			continue
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		hash := wire.Hash(sha256.Sum256(text))
		d, err := p.Declare("m", 7, hash, 0)
		if err == nil {
			err = d.Validate()
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if heat := name == "kamstrup-multical"; d.Energy == "" != heat || d.Unit != 7 || d.Device != "m" || d.Profile != name || d.ProfileVersion != p.Version || d.ProfileHash != hash {
			t.Errorf("%s: declaration %+v", file, d)
		}
		if c := device.SelfCheck(&d, nil); d.Energy != "" && (c.Energy != d.Energy || c.Power == "") {
			t.Errorf("%s: the self-check would compare %q with %q", file, c.Energy, c.Power)
		}
		if strings.Contains(string(text), "[R]") {
			t.Errorf("%s has a fact that is only recalled", file)
		}
	}
	if len(families) < 20 {
		t.Errorf("devices of %d manufacturers, want 20: %v", len(families), slices.Sorted(maps.Keys(families)))
	}
}

// TestMutations spoils every point of every profile in turn: each time the
// profile is refused, and the error names the point.
func TestMutations(t *testing.T) {
	for _, p := range loadAll(t) {
		for i := range p.Points {
			for what, spoil := range map[string]func(*device.Profile, *device.Point){
				"another type":       func(_ *device.Profile, q *device.Point) { q.Type = widerType(q.Type) },
				"too many words":     func(_ *device.Profile, q *device.Point) { q.Words += 7 },
				"the next register":  func(_ *device.Profile, q *device.Point) { q.Address++ },
				"another scale":      func(_ *device.Profile, q *device.Point) { q.Scale++; q.Kind = numeric(q.Kind) },
				"the other function": func(p *device.Profile, q *device.Point) { q.Function = 7 - cmp.Or(q.Function, p.Function) },
				"a name twice": func(p *device.Profile, q *device.Point) {
					p.Points = append(p.Points, *q)
				},
				"a forbidden range over it": func(p *device.Profile, q *device.Point) {
					p.Limits.Forbidden = append(slices.Clone(p.Limits.Forbidden), device.Forbidden{From: q.Address, To: q.Address, Why: "spoilt"})
				},
				"no value in a vector": func(p *device.Profile, q *device.Point) {
					edit(p, q.Name, func(device.Literal) device.Literal { return "" })
				},
				"a digit more": func(p *device.Profile, q *device.Point) {
					edit(p, q.Name, func(l device.Literal) device.Literal { return l + "1" })
				},
			} {
				bad := p
				bad.Points = slices.Clone(p.Points)
				q := &bad.Points[i]
				if what == "another scale" && q.Type == "string" {
					continue // text has none
				}
				spoil(&bad, q)
				err := bad.Validate()
				if err == nil {
					// A moved register can only go unseen where vectors do not tell it from its neighbour.
					t.Errorf("%s: %s for %s: taken as good", p.Name, what, q.Name)
				} else if !strings.Contains(err.Error(), `"`+p.Points[i].Name+`"`) {
					t.Errorf("%s: %s for %s: %v does not name the point", p.Name, what, q.Name, err)
				}
			}
		}
		bad := p
		if bad.Source = ""; bad.Validate() == nil {
			t.Errorf("%s without a source is taken as good", p.Name)
		}
	}
}

// numeric is a kind that a scale can go with.
func numeric(kind string) string {
	if kind == "label" {
		return ""
	}
	return kind
}

func widerType(t string) string {
	switch t {
	case "string":
		return "uint16"
	case "uint64", "int64", "float64":
		return "uint32"
	case "float32":
		return "uint32"
	case "uint16", "int16":
		return "uint32"
	}
	return "float32"
}

// edit changes a value in every vector that gives one; "" takes it out.
func edit(p *device.Profile, name string, change func(device.Literal) device.Literal) {
	p.Vectors = slices.Clone(p.Vectors)
	for i := range p.Vectors {
		v := &p.Vectors[i]
		old, ok := v.Values[name]
		if !ok || old == "not available" {
			continue
		}
		v.Values = maps.Clone(v.Values)
		if now := change(old); now == "" {
			delete(v.Values, name)
		} else if strings.Contains(string(old), ".") || p.Points[slices.IndexFunc(p.Points, func(q device.Point) bool { return q.Name == name })].Type == "string" {
			v.Values[name] = now
		} else {
			v.Values[name] = old + ".1"
		}
	}
}

// values reads a device by a profile.
func values(t *testing.T, r device.Reader, profile string) map[string]string {
	t.Helper()
	d, err := load(t, profile).Declare("m", 1, wire.Hash{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return poll(t, r, &d)
}

// TestVendorDumps reads dumps of real devices with a map of their own.
func TestVendorDumps(t *testing.T) {
	for _, tt := range []struct {
		dump, profile string
		want          map[string]string
	}{
		{"meter_schneider_pm3250", "schneider-iem3000", map[string]string{
			"import_Wh": "82872323", "export_Wh": "1043100", "kW": "-0.606964588165283203125", "V": "241.9365997314453125",
			"A": "4.470083713531494140625", "Hz": "50.065586090087890625", "serial": "16233039"}},
		{"inverter_ae_500nx", "advanced-energy-500nx", map[string]string{
			"total_kWh": "209385.21875", "kW": "51.700000762939453125", "Hz": "60", "dc_V": "760", "dc_A": "68.59999847412109375", "TmpAmb": "12.8999996185302734375",
			"TmpCab": "20", "St": "1289", "serial": "M/N 3159500-1000 AD; S/N 781322; F/R AD"}},
		{"inverter_csi", "csi-ktl-ct", map[string]string{
			"total_kWh": "23119", "W": "15600", "PPVphAB": "490.6", "PPVphBC": "490", "PPVphCA": "491.5", "AphA": "14.2", "AphB": "14.5", "AphC": "13.9",
			"St": "4096", "serial": "282791139098658", "model": "PVI36TL-480"}},
	} {
		if got := values(t, readDump(t, tt.dump), tt.profile); !maps.Equal(got, tt.want) {
			t.Errorf("%s: values\n%v, want\n%v", tt.dump, got, tt.want)
		}
	}
}

// readGoodWe reads answers of a GoodWe inverter. Frame: AA55, unit, function 3,
// byte count, registers, CRC; or Modbus TCP, without the first six bytes of its
// head.
func readGoodWe(t *testing.T, base uint16, file string, into image) {
	t.Helper()
	text, err := io.ReadAll(dataFile(t, "registers-goodwe/"+file+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	frame, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	at := 5
	if strings.Contains(file, "_tcp_") {
		at = 9
	}
	for i := range int(frame[at-1]) / 2 {
		into[base+uint16(i)] = binary.BigEndian.Uint16(frame[at+2*i:])
	}
}

const lacks = "[not-available 0xFFFF]"

func TestGoodWe(t *testing.T) {
	for file, want := range map[string]map[string]string{
		"GW17K-DT_running_data": {"W": "12470", "total_kWh": "29984.4", "PhVphA": "236.7", "PhVphB": "238.3", "PhVphC": "237.3",
			"AphA": "17.6", "AphB": "17.5", "AphC": "17.5", "Hz": "50.02", "St": "1", "Tmp": "45.7"},
		"GW20KAU-DT_running_data": {"W": "4957", "total_kWh": "4304.8", "PhVphA": "226.1", "PhVphB": "223.6", "PhVphC": "228.3",
			"AphA": "7.2", "AphB": "7.4", "AphC": "7.1", "Hz": "49.96", "St": "1", "Tmp": "36.4"},
		"GW6000-DT_running_data": {"W": "1835", "total_kWh": "13350.2", "PhVphA": "225.6", "PhVphB": "229.7", "PhVphC": "231",
			"AphA": "2.7", "AphB": "2.6", "AphC": "2.7", "Hz": "49.98", "St": "1", "Tmp": "41.3"},
		"GW10K-MS-30_tcp_running_data": {"W": "5914", "total_kWh": "998.2", "PhVphA": "241.1", "PhVphB": lacks, "PhVphC": lacks,
			"AphA": "24.7", "AphB": lacks, "AphC": lacks, "Hz": "49.98", "St": "1", "Tmp": "36"},
	} {
		m := make(image)
		readGoodWe(t, 30100, file, m)
		if got := values(t, m, "goodwe-dt"); !maps.Equal(got, want) {
			t.Errorf("%s: values\n%v, want\n%v", file, got, want)
		}
	}
	m := make(image)
	readGoodWe(t, 35100, "GW10K-ET_running_data", m)
	readGoodWe(t, 36000, "GW10K-ET_meter_data", m)
	m.put(35003, make([]uint16, 8)...) // the answers at hand begin behind the serial number
	want := map[string]string{"export_kWh": "4718.6", "import_kWh": "58", "W": "831", "pv_kWh": "6085.3", "meter_W": "-110", "PhVphA": "239.3", "PhVphB": "241.5",
		"PhVphC": "241.1", "AphA": "1.5", "AphB": "1.3", "AphC": "1.1", "Hz": "49.99", "Tmp": "58.7", "serial": ""}
	if got := values(t, m, "goodwe-et"); !maps.Equal(got, want) {
		t.Errorf("GW10K-ET: values\n%v, want\n%v", got, want)
	}
}
