package device_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/configs"
	"kenshin/edge/device"
	"kenshin/edge/wire"
)

const profiles = "../../configs/profiles"

// load reads a profile the way the programs do.
func load(t *testing.T, name string) *device.Profile {
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

// TestProfiles proves every profile that comes with the program: strictly read,
// valid, its vectors come out, its name is the file's, its energy is a counter.
func TestProfiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(profiles, "*.yaml"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%d profiles in %s, want at least 6: %v", len(files), profiles, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		p := load(t, name)
		if p.Name != name {
			t.Errorf("%s calls itself %q", file, p.Name)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hash := wire.Hash(sha256.Sum256(text))
		d, err := p.Declare("m", 7, hash)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if d.Energy == "" || d.Unit != 7 || d.Device != "m" || d.Profile != name || d.ProfileVersion != p.Version || d.ProfileHash != hash {
			t.Errorf("%s: declaration %+v", file, d)
		}
	}
}

// TestSchneider reads the dump of a real iEM3255.
func TestSchneider(t *testing.T) {
	p := load(t, "schneider-pm5100")
	d, err := p.Declare("m", 1, wire.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	dump := readDump(t, "meter_schneider_pm3250")
	for at := uint16(2999); at < 3111; at++ {
		if _, ok := dump[at]; !ok {
			t.Fatalf("the dump has no register %d", at)
		}
	}
	want := map[string]string{
		"import_Wh": "82872323", "export_Wh": "1043100", "kW": "-0.606964588165283203125", "V": "241.9365997314453125",
		"A": "4.470083713531494140625", "Hz": "50.065586090087890625", "serial": "16233039",
	}
	if got := poll(t, dump, &d); !maps.Equal(got, want) {
		t.Errorf("values\n%v, want\n%v", got, want)
	}
	for _, id := range p.Identity {
		for i, w := range strings.Fields(string(id.Words)) {
			if got := fmt.Sprintf("%04X", dump[id.Address+uint16(i)]); got != w {
				t.Errorf("identity: register %d holds %s, want %s", int(id.Address)+i, got, w)
			}
		}
	}
}

// TestGoodWe reads answers of real inverters. Frame: AA55, unit, function 3,
// byte count, registers from 30100 on, CRC; or Modbus TCP.
func TestGoodWe(t *testing.T) {
	d, err := load(t, "goodwe-dt").Declare("inv", 0x7F, wire.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]map[string]string{
		"GW17K-DT_running_data": {"W": "12470", "total_kWh": "29984.4", "PhVphA": "236.7", "PhVphB": "238.3", "PhVphC": "237.3",
			"AphA": "17.6", "AphB": "17.5", "AphC": "17.5", "Hz": "50.02", "St": "1", "Tmp": "45.7"},
		"GW20KAU-DT_running_data": {"W": "4957", "total_kWh": "4304.8", "PhVphA": "226.1", "PhVphB": "223.6", "PhVphC": "228.3",
			"AphA": "7.2", "AphB": "7.4", "AphC": "7.1", "Hz": "49.96", "St": "1", "Tmp": "36.4"},
		"GW6000-DT_running_data": {"W": "1835", "total_kWh": "13350.2", "PhVphA": "225.6", "PhVphB": "229.7", "PhVphC": "231",
			"AphA": "2.7", "AphB": "2.6", "AphC": "2.7", "Hz": "49.98", "St": "1", "Tmp": "41.3"},
		"GW10K-MS-30_tcp_running_data": {"W": "5914", "total_kWh": "998.2"},
	} {
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
		m := make(image)
		for i := range int(frame[at-1]) / 2 {
			m[uint16(30100+i)] = binary.BigEndian.Uint16(frame[at+2*i:])
		}
		got := poll(t, m, &d)
		for name, w := range want {
			if got[name] != w {
				t.Errorf("%s: %s = %s, want %s", file, name, got[name], w)
			}
		}
	}
}
