package device_test

import (
	"bufio"
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

// TestDumps discovers, declares and decodes real devices. The figures are those
// the readings' own collection states, and what else the dumps hold.
func TestDumps(t *testing.T) {
	for _, tt := range []struct {
		dump                        string
		base                        uint16
		manufacturer, model, serial string
		firmware, models, energy    string
		values                      map[string]string
	}{
		{"sunspec_fronius_igplus_101", 40000, "Fronius", "IG+V11.4", "50.213262", "5.10.0", "1 101 120 121 122 123 126 131 132", "ActWh", map[string]string{
			"m101.ID": "101", "W": "45", "WH": "76476022", "A": "0.28", "PhVphA": "249", "Hz": "60", "DCW": "36.96", "TmpCab": "[not-available 0x8000]", "St": "4",
			"m122.ID": "122", "ActWh": "76476024"}},
		{"sunspec_fronius_symo_113_float", 40000, "Fronius", "Symo 3.0-3-S", "29251001150340235", "0.3.11.10", "1 113 120 121 122 123 160", "ActWh", map[string]string{
			"m113.ID": "113", "W": "70", "WH": "11937020", "A": "0.699999988079071044921875", "PhVphA": "247.4000091552734375", "Hz": "50.049999237060546875",
			"DCW": "61.03499603271484375", "TmpCab": "[not-available 0x7FC00000]", "St": "4", "m122.ID": "122", "ActWh": "11937020"}},
		{"sunspec_solaredge_se33k_103_day", 0, "SolarEdge", "SE33.3K", "7E1240CC", "0003.2251", "1 103", "WH", map[string]string{
			"m103.ID": "103", "W": "24767", "WH": "17534384", "A": "86.89", "PhVphA": "284.9", "Hz": "59.99", "DCW": "25144", "TmpCab": "[not-available 0x8000]", "St": "4"}},
		{"sunspec_solaredge_se33k_103_night", 0, "SolarEdge", "SE33.3K", "7E1240CC", "0003.2251", "1 103", "WH", map[string]string{
			"m103.ID": "103", "W": "0", "WH": "17129352", "A": "0", "PhVphA": "283.1", "Hz": "59.99", "DCW": "0", "TmpCab": "[not-available 0x8000]", "St": "2"}},
		{"sunspec_sma_stp50_103_120_160", 40000, "SMA", "Solar Inverter", "3009060251", "3.11.02.R", "1 11 12 103 120 121 122 123 124 126 127 128 131 132 160 129 130", "ActWh", map[string]string{
			"m103.ID": "103", "W": "14470", "WH": "4418970", "A": "61.4", "PhVphA": "236.7", "Hz": "49.95", "DCW": "[not-available 0x8000]", "TmpCab": "55", "St": "4",
			"m122.ID": "122", "ActWh": "4418970"}},
		{"sunspec_veris_e51c2_203", 40000, "Veris Industries", "E51C2", "4E4C3699", "2.115", "1 203", "TotWhImp", map[string]string{
			"m203.ID": "203", "W": "6540", "TotWhImp": "906630", "TotWhExp": "[not-available 0x00000000]", "A": "53.48", "PhV": "82", "Hz": "60.01"}},
		{"sunspec_accuenergy_acurev_203", 4096, "ACCUENERGY", "AcuRev1310", "E3T18102491", "H:2.01 S:2.16", "1 203", "TotWhImp", map[string]string{
			"m203.ID": "203", "W": "132", "TotWhImp": "0.6", "TotWhExp": "[not-available 0x00000000]", "A": "160.61", "PhV": "123.7", "Hz": "60.01"}},
		{"sunspec_outback_202_7xx", 40000, "OutBack Power", "OGHI8048A", "OGHI2232F0100079", "1.0.20.3812", "1 202 701 702 703 704 705 706 707 708 709 710 711 712 713 714 715 64122", "TotWhInj", map[string]string{
			"m202.ID": "202", "W": "0", "TotWhImp": "[not-available 0x00000000]", "TotWhExp": "[not-available 0x00000000]", "A": "[not-available 0x8000]", "PhV": "[not-available 0x8000]", "Hz": "0",
			"m701.ID": "701", "m701.W": "0", "TotWhInj": "0", "TotWhAbs": "0", "m701.A": "0", "LNV": "120", "m701.Hz": "60", "TmpCab": "[not-available 0x8000]", "InvSt": "3"}},
	} {
		t.Run(tt.dump, func(t *testing.T) {
			m := readDump(t, tt.dump)
			c, err := device.Discover(t.Context(), m, 1, 4096)
			if err != nil {
				t.Fatal(err)
			}
			d, err := c.Declare("inv-1", 1)
			if err != nil {
				t.Fatal(err)
			}
			if d.Manufacturer != tt.manufacturer || d.Model != tt.model || d.Serial != tt.serial || d.Firmware != tt.firmware || d.Energy != tt.energy || c.Base != tt.base {
				t.Errorf("base %d, %q %q %q %q, energy %s", c.Base, d.Manufacturer, d.Model, d.Serial, d.Firmware, d.Energy)
			}
			if got := chainIDs(c); got != tt.models {
				t.Errorf("models %s, want %s", got, tt.models)
			}
			if got := poll(t, m, &d); !maps.Equal(got, tt.values) {
				t.Errorf("values\n%v, want\n%v", got, tt.values)
			}
			for k, b := range d.Blocks {
				words, err := m.Read(t.Context(), 1, b.Function, b.Address, b.Count)
				if err != nil {
					t.Fatal(err)
				}
				if err := device.Verify(&d, k, words); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func chainIDs(c *device.Chain) string {
	var ids []string
	for _, m := range c.Models {
		ids = append(ids, fmt.Sprint(m.ID))
	}
	return strings.Join(ids, " ")
}

// sunspec is a device with a chain of models at a base; each model gives its id
// and what its registers hold beyond 0, by offset from the ID word.
type sunspecModel struct {
	id, length uint16
	set        map[uint16]uint16
}

func sunspec(base uint16, models ...sunspecModel) image {
	m := make(image)
	at := m.put(base, 0x5375, 0x6E53)
	for _, s := range models {
		words := make([]uint16, 2+int(s.length))
		words[0], words[1] = s.id, s.length
		for offset, w := range s.set {
			words[offset] = w
		}
		at = m.put(at, words...)
	}
	m.put(at, 0xFFFF, 0)
	return m
}

func TestChainEnds(t *testing.T) {
	common := sunspecModel{1, 65, map[uint16]uint16{2: 'A'<<8 | 'B', 3: ' ' << 8}}
	inverter := sunspecModel{103, 50, nil}
	for _, tt := range []struct {
		name   string
		device func() image
		want   string
	}{
		{"end marker", func() image { return sunspec(40000, common, inverter) }, "1 103"},
		{"common model of 66", func() image { return sunspec(40000, sunspecModel{1, 66, nil}, inverter) }, "1 103"},
		{"no end marker, the next register is refused", func() image {
			m := sunspec(40000, common, inverter)
			delete(m, 40000+2+67+52)
			return m
		}, "1 103"},
		{"end marker without a length", func() image {
			m := sunspec(40000, common, inverter)
			delete(m, 40000+2+67+52+1)
			return m
		}, "1 103"},
		{"unknown models are stepped over", func() image { return sunspec(40000, common, sunspecModel{64999, 7, nil}, inverter) }, "1 64999 103"},
		{"a length of 0", func() image {
			return sunspec(40000, common, inverter, sunspecModel{120, 0, nil}, sunspecModel{122, 44, nil})
		}, "1 103"},
		{"a length beyond register 65535", func() image {
			m := sunspec(65400, common, inverter)
			m.put(65400+2+67+52, 120, 100)
			return m
		}, "1 103"},
		{"a second device behind the same unit", func() image { return sunspec(40000, common, inverter, common, sunspecModel{203, 105, nil}) }, "1 103"},
		{"a map in the first register", func() image { return sunspec(0, common, inverter) }, "1 103"},
		{"no common model", func() image { return sunspec(50000, inverter) }, "103"},
		{"nothing but the marker", func() image { return sunspec(40000) }, ""},
		{"101 models", func() image { return sunspec(40000, slices.Repeat([]sunspecModel{{64000, 1, nil}}, 101)...) }, strings.TrimSpace(strings.Repeat("64000 ", 100))},
	} {
		c, err := device.Discover(t.Context(), tt.device(), 1, 65400)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := chainIDs(c); got != tt.want {
			t.Errorf("%s: models %s, want %s", tt.name, got, tt.want)
		}
		d, err := c.Declare("x", 1)
		if inverter := strings.Contains(tt.want, "103"); inverter != (err == nil) {
			t.Errorf("%s: Declare: %v", tt.name, err)
		} else if inverter && d.Energy != "WH" {
			t.Errorf("%s: energy %q, want WH", tt.name, d.Energy)
		}
	}
}

// asked notes where a device was read.
type asked struct {
	image
	at *[]string
}

func (a asked) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	*a.at = append(*a.at, fmt.Sprintf("%d+%d", address, count))
	return a.image.Read(ctx, unit, function, address, count)
}

func TestBases(t *testing.T) {
	var at []string
	_, err := device.Discover(t.Context(), asked{image{40000: 1, 40001: 2}, &at}, 9, 4096, 40000, 4096)
	if got := strings.Join(at, " "); got != "4096+2 40000+2 50000+2 0+2" {
		t.Errorf("asked at %s", got)
	}
	var refused *modbus.ExceptionError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "unit 9") || !strings.Contains(err.Error(), "4096, 40000, 50000, 0") || !strings.Contains(err.Error(), "profile") {
		t.Errorf("error %q does not say where it looked and what to do", err)
	}
	everywhere := image{4096: 1, 4097: 1, 40000: 1, 40001: 1, 50000: 1, 50001: 1, 0: 1, 1: 1}
	if c, err := device.Discover(t.Context(), everywhere, 9); err == nil {
		t.Errorf("registers without a marker are a map of %v", c.Models)
	}
	// A map at a configured base is found before one elsewhere.
	m := sunspec(40000, sunspecModel{101, 50, nil})
	maps.Copy(m, sunspec(50000, sunspecModel{103, 50, nil}))
	if c, err := device.Discover(t.Context(), m, 1, 50000); err != nil || c.Base != 50000 {
		t.Errorf("base %v, %v", c, err)
	}
}

// failing is a device whose n-th request fails.
type failing struct {
	image
	n   *int
	err error
}

func (f failing) Read(ctx context.Context, unit, function uint8, address, count uint16) ([]uint16, error) {
	*f.n--
	if *f.n == 0 {
		return nil, f.err
	}
	return f.image.Read(ctx, unit, function, address, count)
}

// TestFailureIsNoAnswer: whatever request fails, a failure never makes a device
// one without a map, nor its chain a shorter one.
func TestFailureIsNoAnswer(t *testing.T) {
	m := sunspec(40000, sunspecModel{1, 66, nil}, sunspecModel{103, 50, nil}, sunspecModel{122, 44, nil})
	var at []string
	if _, err := device.Discover(t.Context(), asked{m, &at}, 1); err != nil {
		t.Fatal(err)
	}
	if len(at) != 1+4+1+2 { // marker, chain, common model, two counters
		t.Fatalf("%d requests: %v", len(at), at)
	}
	for _, failure := range []error{
		modbus.ErrTimeout, modbus.ErrUnreachable, context.Canceled,
		&modbus.ExceptionError{Function: 3, Code: 4}, &modbus.ExceptionError{Function: 3, Code: 6}, &modbus.ExceptionError{Function: 3, Code: 11},
	} {
		for n := range len(at) {
			nth := n + 1
			c, err := device.Discover(t.Context(), failing{m, &nth, failure}, 1)
			if !errors.Is(err, failure) {
				t.Errorf("request %d (%s) fails with %v: Discover = %v, %v", n+1, at[n], failure, c, err)
			}
			nth = n + 1
			if all, err := device.DiscoverAll(t.Context(), failing{m, &nth, failure}, 1); !errors.Is(err, failure) {
				t.Errorf("request %d (%s) fails with %v: DiscoverAll = %v, %v", n+1, at[n], failure, all, err)
			}
		}
	}
}

func TestEnergy(t *testing.T) {
	inverter := func(wh uint16) sunspecModel { return sunspecModel{103, 50, map[uint16]uint16{25: wh}} }
	float := sunspecModel{113, 60, map[uint16]uint16{32: 0x4B36, 33: 0x24FC}}
	measurements := func(wh uint16) sunspecModel { return sunspecModel{122, 44, map[uint16]uint16{8: wh}} }
	der := func(wh uint16) sunspecModel {
		return sunspecModel{701, 153, map[uint16]uint16{19: wh, 20: wh, 21: wh, 22: wh}}
	}
	meter := sunspecModel{203, 105, map[uint16]uint16{39: 7, 47: 8}}
	for _, tt := range []struct {
		name   string
		models []sunspecModel
		want   string
	}{
		{"64 bits before 32", []sunspecModel{inverter(5), measurements(5)}, "ActWh"},
		{"whatever the order", []sunspecModel{measurements(5), inverter(5)}, "ActWh"},
		{"a counter left empty is not taken", []sunspecModel{inverter(5), measurements(0)}, "WH"},
		{"not even by its own word for it", []sunspecModel{inverter(5), der(0xFFFF)}, "WH"},
		{"before the first Wh the best", []sunspecModel{inverter(0), measurements(0)}, "ActWh"},
		{"701 before all", []sunspecModel{inverter(5), measurements(5), der(5)}, "TotWhInj"},
		{"float alone", []sunspecModel{float}, "WH"},
		{"float last", []sunspecModel{float, measurements(5)}, "ActWh"},
		{"an inverter's own counter before its meter's", []sunspecModel{meter, inverter(5)}, "WH"},
		{"a meter's import", []sunspecModel{meter}, "TotWhImp"},
	} {
		m := sunspec(40000, tt.models...)
		c, err := device.Discover(t.Context(), m, 1)
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.Declare("x", 1)
		if err == nil {
			err = d.Validate()
		}
		if err != nil || d.Energy != tt.want {
			t.Errorf("%s: energy %q, %v; want %q", tt.name, d.Energy, err, tt.want)
		}
	}
}

// TestNames: one name, one point; a second measurement of the same thing is left
// out, another thing of the same name is told apart.
func TestNames(t *testing.T) {
	for _, tt := range []struct {
		models []sunspecModel
		want   string
	}{
		{[]sunspecModel{{103, 50, nil}, {122, 44, nil}}, "m103.ID W WH A PhVphA Hz DCW TmpCab St m122.ID ActWh"},
		{[]sunspecModel{{103, 50, nil}, {701, 153, nil}}, "m103.ID W WH A PhVphA Hz DCW TmpCab St m701.ID TotWhInj TotWhAbs LNV InvSt"},
		{[]sunspecModel{{103, 50, nil}, {203, 105, nil}}, "m103.ID W WH A PhVphA Hz DCW TmpCab St m203.ID m203.W TotWhImp TotWhExp m203.A PhV m203.Hz"},
		{[]sunspecModel{{103, 50, nil}, {113, 60, nil}}, "m103.ID W WH A PhVphA Hz DCW TmpCab St m113.ID m113.WH"},
		{[]sunspecModel{{103, 50, nil}, {103, 50, nil}}, "m103.ID W WH A PhVphA Hz DCW TmpCab St"},
		{[]sunspecModel{{103, 20, nil}}, "m103.ID W A PhVphA Hz"}, // cut short behind VA_SF
	} {
		c, err := device.Discover(t.Context(), sunspec(40000, tt.models...), 1)
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.Declare("x", 1)
		if err == nil {
			err = d.Validate()
		}
		var names []string
		for _, p := range d.Points {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != tt.want {
			t.Errorf("points %s, %v; want %s", got, err, tt.want)
		}
	}
}

// TestModels: every model that is polled is in the table, with every point.
func TestModels(t *testing.T) {
	for length, ids := range map[uint16][]uint16{50: {101, 102, 103}, 60: {111, 112, 113}, 44: {122}, 105: {201, 202, 203, 204}, 124: {211, 212, 213, 214}, 153: {701}} {
		for _, id := range ids {
			c := device.Chain{Models: []device.Model{{ID: id, Address: 40002, Length: length}}}
			d, err := c.Declare("x", 1)
			if err == nil {
				err = d.Validate()
			}
			want := map[uint16]int{44: 2, 50: 9, 60: 9, 105: 7, 124: 7, 153: 9}[length]
			if err != nil || len(d.Points) != want || d.Energy == "" {
				t.Errorf("model %d: %d points, want %d; energy %q, %v", id, len(d.Points), want, d.Energy, err)
			}
			for _, p := range d.Points {
				if counts := strings.HasSuffix(p.Name, "WH") || strings.Contains(p.Name, "Wh"); counts != (p.Kind == wire.Counter && p.Unit == "Wh") {
					t.Errorf("model %d: %s is of kind %d in %q", id, p.Name, p.Kind, p.Unit)
				}
				if (p.Type == wire.Acc32) != (p.Modulus == "4294967296") {
					t.Errorf("model %d: %s of type %v has modulus %q", id, p.Name, p.Type, p.Modulus)
				}
			}
		}
	}
}

// TestVerify: a map that moved by a register, or lost a model, is noticed.
func TestVerify(t *testing.T) {
	c, err := device.Discover(t.Context(), sunspec(40000, sunspecModel{1, 65, nil}, sunspecModel{103, 50, nil}, sunspecModel{122, 44, nil}), 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Declare("inv-1", 1)
	if err != nil {
		t.Fatal(err)
	}
	moved := sunspec(40000, sunspecModel{1, 66, nil}, sunspecModel{103, 50, nil}, sunspecModel{122, 44, nil})
	for k, b := range d.Blocks {
		words, err := moved.Read(t.Context(), 1, b.Function, b.Address, b.Count)
		if err != nil {
			t.Fatal(err)
		}
		if err := device.Verify(&d, k, words); err == nil || !strings.Contains(err.Error(), "inv-1") {
			t.Errorf("block %d of a map that moved: %v", k, err)
		}
		if device.Verify(&d, k, nil) == nil {
			t.Errorf("block %d without words is taken", k)
		}
	}
	// A model that got shorter ends before what is used of it.
	for k, b := range d.Blocks {
		words := make([]uint16, b.Count)
		for length, ok := range map[uint16]bool{0: false, b.Count - 3: false, b.Count - 2: true, 60: true} {
			words[0], words[1] = []uint16{103, 122}[k], length
			if err := device.Verify(&d, k, words); (err == nil) != ok {
				t.Errorf("block %d of a model of %d registers: %v", k, length, err)
			}
		}
	}
	p := load(t, "generic-energy-meter")
	d, err = p.Declare("m", 1, [32]byte{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := device.Verify(&d, 0, make([]uint16, 10)); err != nil {
		t.Errorf("a profile has no mark to look at: %v", err)
	}
}

func TestUndiscovered(t *testing.T) {
	d := device.Undiscovered("inv-1", 3, "sunspec")
	if err := d.Validate(); err != nil || d.Device != "inv-1" || d.Unit != 3 || d.Profile != "sunspec" || len(d.Blocks) != 1 || len(d.Points) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

// FuzzDiscover gives a device any registers: whatever chain comes of it ends,
// and is either refused or declared in a way the contract takes.
func FuzzDiscover(f *testing.F) {
	f.Add([]byte("SunS\x00\x67\x00\x32"))
	f.Add([]byte("SunS\x00\x01\x00\x02\xff\xfe\xfd\xfc\x00\x67\x00\x32"))
	f.Add(append([]byte("SunS\x02\xbd\x00\x99"), make([]byte, 310)...))
	f.Add(append([]byte("SunS\x00\x01\x00\x41"), make([]byte, 400)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := make(image)
		for i := 0; i+1 < len(b) && i < 2*0xFFFF-80000; i += 2 {
			m[uint16(40000+i/2)] = uint16(b[i])<<8 | uint16(b[i+1])
		}
		c, err := device.Discover(t.Context(), m, 1)
		if err != nil {
			return
		}
		d, err := c.Declare("x", 1)
		if err != nil {
			return
		}
		if err := d.Validate(); err != nil {
			t.Errorf("models %v: %v", c.Models, err)
		}
	})
}

// TestTable compares the embedded table with the collection's, which was taken
// from the model definitions independently of it.
func TestTable(t *testing.T) {
	want := make(map[string]bool)
	lines := bufio.NewScanner(dataFile(t, "sunspec/points.tsv"))
	for lines.Scan() {
		c := strings.Split(lines.Text(), "\t")
		if c[0] == "model" || strings.HasPrefix(c[2], "#") || strings.HasPrefix(c[3], "+") {
			continue // the head, and repeating groups, which have no fixed place
		}
		name := c[2]
		if c[1] != "" {
			name = strings.Trim(c[1], "/") + "." + name
		}
		want[strings.TrimRight(strings.Join([]string{c[0], name, c[3], c[4], c[5], c[6], c[7]}, "\t"), "\t")] = true
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	models := make(map[string]bool)
	for line := range strings.Lines(device.SunSpecTable) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "#") {
			got[line] = true
			models[line[:strings.IndexByte(line, '\t')]] = true
		}
	}
	if len(models) != 37 {
		t.Errorf("%d models, want 37", len(models))
	}
	for line := range want {
		if !got[line] {
			t.Errorf("the table lacks %q", line)
		}
	}
	for line := range got {
		if !want[line] {
			t.Errorf("the table has %q too much", line)
		}
	}
}
