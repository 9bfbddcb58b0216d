package device_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kenshin/configs"
	"kenshin/edge/device"
	"kenshin/edge/wire"
)

const goodProfile = `
name: a-meter
version: "1"
title: A meter
manufacturer: Somebody
source: its manual, edition 1
verified: true
function: 3
energy: kwh
limits:
  registers: 100
  connect_delay: 1s
  gap: 50ms
  switch_gap: 200ms
  forbidden: [{ function: 3, from: 100, to: 120, why: reading clears the log }]
identity: [{ function: 3, address: 7, words: 00FF, source: the manual }]
rated_kW: 33.3
points:
  - { name: kwh, address: 0x10, type: uint32, order: low-first, scale: -1, unit: kWh, kind: counter, modulus: 10000000, absent: [0000 8000, "7FFF 7FFF"], absent_means: at night }
  - { name: name, address: 30, type: string, words: 2, kind: label }
vectors:
  - title: one
    registers: { 0x10: 0001 0002, 30: 4142 0043 }
    values: { kwh: 13107.3, name: AB }
  - title: none
    registers: { 0x10: 0000 8000 }
    values: { kwh: not available }
`

func parse(t *testing.T, text string) *device.Profile {
	t.Helper()
	var p device.Profile
	if err := configs.Decode("a-meter.yaml", []byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// TestValidate changes one thing in a good profile: the error must say where it
// is and what to do.
func TestValidate(t *testing.T) {
	if err := parse(t, goodProfile).Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, where, remedy string }{
		{"name: a-meter", "name: A Meter", "name", "small letters"},
		{`version: "1"`, `version: ""`, "version", "count up"},
		{"title: A meter", `title: ""`, "title", "say which device"},
		{"manufacturer: Somebody", `manufacturer: ""`, "manufacturer", "say which device"},
		{"source: its manual, edition 1", `source: ""`, "source", "name the document"},
		{"verified: true", "verified: false", "not verified", "say what was not"},
		{"registers: 100", "registers: 126", "limits", "at most 125"},
		{"  gap: 50ms", "  gap: -50ms", "limits: gap", "no negative"},
		{"switch_gap: 200ms", "switch_gap: 2m", "limits: switch_gap", "at most a minute"},
		{"connect_delay: 1s", "connect_delay: -1s", "limits: connect_delay", "no negative"},
		{"from: 100", "from: 121", "forbidden range 1", "from not above to"},
		{"why: reading clears the log", `why: ""`, "forbidden range 1", "why it must not"},
		{"function: 3, from: 100", "function: 5, from: 100", "forbidden range 1", "function 3, 4 or none"},
		{"from: 100", "from: 31", `point "name"`, "leave the point out"},
		{"function: 3, from: 100, to: 120", "from: 17, to: 17", `point "kwh"`, "reading clears the log"},
		{"registers: 100", "registers: 1", `point "kwh"`, "raise limits.registers"},
		{"words: 00FF", "words: FF", "identity 1", "words such as"},
		{"words: 00FF", `words: ""`, "identity 1", "words such as"},
		{"words: 00FF", "words: 00FF, any_of: [00FE]", "identity 1", "words such as"},
		{"words: 00FF", "any_of: [00FF, 00FF 0000]", "identity 1", "of equal length"},
		{"function: 3, address: 7", "function: 1, address: 7", "identity 1", "function 3 or 4"},
		{"absent_means: at night", `absent_means: ""`, `point "kwh"`, "say when the device"},
		{"values: { kwh: not available }", "values: {}", `point "kwh"`, "when it has no value"},
		{"rated_kW: 33.3", "rated_kW: 0", "rated_kW", "above 0"},
		{"rated_kW: 33.3", "rated_kW: 1e3", "rated_kW", "above 0"},
		{"energy: kwh", "energy: kWh", "energy", "name the counter"},
		{"energy: kwh", "energy: name", "energy", "want a counter in Wh, kWh or MWh"},
		{"unit: kWh, kind", "unit: W, kind", "energy", "want a counter in Wh, kWh or MWh"},
		{"name: name,", "name: na/me,", `point "na/me"`, "letters, digits"},
		{"name: name,", "name: kwh,", `"kwh"`, "two points"},
		{"function: 3\nenergy", "function: 6\nenergy", `point "kwh"`, "want 3 (holding"},
		{"type: uint32", "type: uint24", `point "kwh"`, "none of int16"},
		{"low-first", "little", `point "kwh"`, "high-first or low-first"},
		{"kind: counter", "kind: total", `point "kwh"`, "gauge, counter"},
		{"kind: counter", "kind: label", `point "kwh"`, "a label is a string"},
		{"words: 2, kind: label", "kind: label", `point "name"`, "how many registers"},
		{"type: uint32,", "type: uint32, words: 4,", `point "kwh"`, "takes 2"},
		{"unit: kWh", "unit: KWh", `point "kwh"`, "none of Wh kWh"},
		{"type: uint32,", "type: uint32, verified: false,", `point "kwh"`, "say why"},
		{"kind: counter", "kind: gauge", `point "kwh"`, "only a counter"},
		{"modulus: 10000000", "modulus: 1e7", `point "kwh"`, "raw count"},
		{"modulus: 10000000", "modulus: 0.5", `point "kwh"`, "raw count"},
		{"absent: [0000 8000", "absent: [0000", `point "kwh"`, "2 words"},
		{"absent: [0000 8000", "absent: [0000 800G", `point "kwh"`, "2 words"},
		{"scale: -1", "scale: -20", `point "kwh"`, "-18 to 18"},
		{"address: 30", "address: 65535", `point "name"`, "65535 is the last"},
		{"kwh: 13107.3", "kwh: 13107.30001", `vector 1 (one): point "kwh"`, "it is 13107.3"},
		{"kwh: 13107.3", "kwh: 1.31073e4", `vector 1 (one): point "kwh"`, "exactly"},
		{"kwh: 13107.3", "kwh: not available", `vector 1 (one): point "kwh"`, "exactly"},
		{"{ kwh: not available }", "{ kwh: 0 }", `vector 2 (none): point "kwh"`, "not-available"},
		{"name: AB", "name: ABC", `vector 1 (one): point "name"`, `reads "AB"`},
		{"kwh: 13107.3, name", "kw: 13107.3, name", "vector 1 (one)", `no point "kw"`},
		{"0x10: 0001 0002", "0x10: 0001", `vector 1 (one): point "kwh"`, "register 17"},
		{"0x10: 0001 0002", "0x10: 1 2", "vector 1 (one)", "four hexadecimal"},
		{"0x10: 0001 0002", "0x10: 0001 0002, 17: 0002", "vector 1 (one)", "given twice"},
		{"0x10: 0001 0002", "65535: 0001 0002", "vector 1 (one)", "beyond register 65535"},
		{"title: one", "title: one\n    function: 4", "vector 1 (one)", "function 4"},
		{", name: AB }", " }", `point "name"`, "add one"},
	} {
		text := strings.Replace(goodProfile, tt.old, tt.new, 1)
		if text == goodProfile {
			t.Fatalf("the profile has no %q", tt.old)
		}
		err := parse(t, text).Validate()
		var wrong *device.ProfileError
		if !errors.As(err, &wrong) || wrong.Path == "" || wrong.Problem == "" || wrong.Remedy == "" || wrong.Profile == "" && !strings.Contains(tt.where, "name") {
			t.Errorf("%q for %q: %#v does not say where", tt.new, tt.old, err)
		}
		if err == nil || !strings.Contains(err.Error(), tt.where) || !strings.Contains(err.Error(), tt.remedy) {
			t.Errorf("%q for %q: error %v, want one with %q and %q", tt.new, tt.old, err, tt.where, tt.remedy)
		}
	}
	if err := parse(t, strings.Replace(goodProfile, "words: 00FF", "any_of: [00FF, 00FE]", 1)).Validate(); err != nil {
		t.Error(err)
	}
	empty := parse(t, goodProfile)
	empty.Points = nil
	if err := empty.Validate(); err == nil || !strings.Contains(err.Error(), "no points") {
		t.Errorf("a profile without points: %v", err)
	}
}

// TestLine: whoever has the file can name the line of what is wrong.
func TestLine(t *testing.T) {
	for _, tt := range []struct{ old, new, line string }{
		{"scale: -1", "scale: -20", "a-meter.yaml:19: "},
		{"kwh: 13107.3", "kwh: 13107.4", "a-meter.yaml:24: "},
		{"name: AB", "name: ABC", "a-meter.yaml:24: "},
		{"rated_kW: 33.3", "rated_kW: 0", "a-meter.yaml:17: "},
		{"  gap: 50ms", "  gap: -1s", "a-meter.yaml:13: "},
		{"why: reading clears the log", `why: ""`, "a-meter.yaml:15: "},
		{"from: 100", "from: 31", "a-meter.yaml:20: "},
	} {
		text := strings.Replace(goodProfile, tt.old, tt.new, 1)
		var wrong *device.ProfileError
		if err := parse(t, text).Validate(); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", tt.new, err)
			continue
		}
		if got := configs.At("a-meter.yaml", []byte(text), wrong.Path, wrong.Problem, wrong.Remedy).Error(); !strings.HasPrefix(got, tt.line) {
			t.Errorf("%s: %q, want it to begin with %s (path %s)", tt.new, got, tt.line, wrong.Path)
		}
	}
}

// TestLiteral: numbers and words arrive as they stand in the file.
func TestLiteral(t *testing.T) {
	for text, want := range map[string]device.Literal{
		`a: 12345678.123456789`: "12345678.123456789", `a: "12345678.123456789"`: "12345678.123456789", `a: '0010'`: "0010", `a: 0010`: "0010",
		"a: 0010 # ten": "0010", "a: 0010 0020": "0010 0020", "a: 1e3": "1e3", "a: not available": "not available", "a: 0.10": "0.10",
	} {
		var v struct {
			A device.Literal `yaml:"a"`
		}
		if err := configs.Decode("f.yaml", []byte(text+"\n"), &v); err != nil || v.A != want {
			t.Errorf("%s: %q, %v; want %q", text, v.A, err, want)
		}
	}
	for _, text := range []string{"a: >-\n  x\n  y\n", `a: "a\"b"`, "a: [1]", "a: { b: 1 }", "a: !!str 5", "a: |\n  x\n"} {
		var v struct {
			A device.Literal `yaml:"a"`
		}
		if err := configs.Decode("f.yaml", []byte(text), &v); err == nil {
			t.Errorf("%q was taken as %q", text, v.A)
		}
	}
}

// TestBlocks plans requests: joined where the hole is small, cut where the device
// or the standard sets a limit, never through a value.
func TestBlocks(t *testing.T) {
	five := uint16(5)
	none := uint16(0)
	keepOut := func(function uint8, from, to uint16) device.Limits {
		return device.Limits{Forbidden: []device.Forbidden{{Function: function, From: from, To: to, Why: "x"}}}
	}
	for _, tt := range []struct {
		name   string
		limits device.Limits
		bridge uint16
		points string // function:address:type
		want   string // function:first+count
	}{
		{"side by side", device.Limits{}, 0, "3:0:uint32 3:2:uint16", "3:0+3"},
		{"a hole of 20", device.Limits{}, 0, "3:0:uint16 3:21:uint16", "3:0+22"},
		{"a hole of 21", device.Limits{}, 0, "3:0:uint16 3:22:uint16", "3:0+1 3:22+1"},
		{"holes of 5 allowed", device.Limits{Bridge: &five}, 0, "3:0:uint16 3:6:uint16 3:13:uint16", "3:0+7 3:13+1"},
		{"no hole allowed", device.Limits{Bridge: &none}, 0, "3:0:uint16 3:1:uint16 3:3:uint16", "3:0+2 3:3+1"},
		{"any order", device.Limits{}, 0, "3:9:uint16 3:0:uint32", "3:0+10"},
		{"functions apart", device.Limits{}, 0, "4:0:uint16 3:1:uint16", "3:1+1 4:0+1"},
		{"125 and no more", device.Limits{}, 0, "3:0:s60 3:60:s65 3:125:uint16", "3:0+125 3:125+1"},
		{"full ones of different lengths", device.Limits{Registers: 64}, 0, "3:0:s32 3:32:s32 3:64:s32 3:96:s31 3:127:s1 3:128:s1 4:500:s64", "3:0+64 3:64+63 3:127+2 4:500+64"},
		{"a value is not cut", device.Limits{Registers: 10}, 0, "3:0:s8 3:8:uint64 3:12:uint16", "3:0+8 3:8+5"},
		{"registers read twice are asked once", device.Limits{}, 0, "3:0:uint64 3:1:uint16 3:2:uint32", "3:0+4"},
		{"the last register", device.Limits{}, 0, "3:65534:uint32", "3:65534+2"},
		{"what the link makes worth while", device.Limits{}, 3, "3:0:uint16 3:4:uint16 3:9:uint16", "3:0+5 3:9+1"},
		{"a slow link does not lift the profile's limit", device.Limits{Bridge: &five}, 60, "3:0:uint16 3:7:uint16", "3:0+1 3:7+1"},
		{"a link where requests are dear", device.Limits{}, 60, "3:0:uint16 3:61:uint16", "3:0+62"},
		{"around what is forbidden", keepOut(3, 5, 6), 0, "3:0:uint16 3:10:uint16", "3:0+1 3:10+1"},
		{"up to what is forbidden", keepOut(0, 2, 2), 0, "3:0:uint32 3:3:uint16 3:4:uint16", "3:0+2 3:3+2"},
		{"forbidden for the other function", keepOut(4, 5, 6), 0, "3:0:uint16 3:10:uint16", "3:0+11"},
	} {
		p := device.Profile{Name: "x", Limits: tt.limits}
		for _, f := range strings.Fields(tt.points) {
			var q device.Point
			if _, err := fmt.Sscanf(f, "%d:%d:%s", &q.Function, &q.Address, &q.Type); err != nil {
				t.Fatal(err)
			}
			if n, ok := strings.CutPrefix(q.Type, "s"); ok {
				fmt.Sscan(n, &q.Words)
				q.Type, q.Kind = "string", "label"
			}
			q.Name = fmt.Sprintf("p%d", q.Address)
			p.Points = append(p.Points, q)
		}
		d, err := p.Declare("x", 1, wire.Hash{}, tt.bridge)
		var blocks []string
		for _, b := range d.Blocks {
			blocks = append(blocks, fmt.Sprintf("%d:%d+%d", b.Function, b.Address, b.Count))
		}
		if got := strings.Join(blocks, " "); err != nil || got != tt.want {
			t.Errorf("%s: blocks %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}

// TestFullMeter: 45 values of an SDM630 are three requests, where one for each
// value would be 45, and on a slow line, where reading along costs more, not many.
// Source of the registers: github.com/volkszaehler/mbmd, meters/rs485/sdm.go.
func TestFullMeter(t *testing.T) {
	p := device.Profile{Name: "x", Function: 4}
	for _, r := range [][2]uint16{{0x00, 0x22}, {0x34, 0x34}, {0x38, 0x38}, {0x3C, 0x3E}, {0x46, 0x4A}, {0x54, 0x54}, {0xEA, 0xEE}, {0xF0, 0xF4}, {0xF8, 0xFA}, {0x156, 0x16A}} {
		for at := r[0]; at <= r[1]; at += 2 {
			p.Points = append(p.Points, device.Point{Name: fmt.Sprintf("p%d", at), Address: at, Type: "float32"})
		}
	}
	for bridge, want := range map[uint16]int{20: 3, 10: 4, 1: 9} {
		d, err := p.Declare("m", 1, wire.Hash{}, bridge)
		if err != nil || len(d.Blocks) != want || len(d.Points) != 45 {
			t.Errorf("bridge %d: %d points in %v, %v; want %d requests", bridge, len(d.Points), d.Blocks, err, want)
		}
	}
}

// TestDeclarePoint: everything a profile says of a point reaches the declaration.
func TestDeclarePoint(t *testing.T) {
	d, err := parse(t, goodProfile).Declare("m", 4, wire.Hash{9}, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []wire.Point{
		{Name: "kwh", Function: 3, Address: 16, Type: wire.Uint32, Words: 2, Order: wire.LowFirst, Scale: -1, ScaleAt: wire.NoScale, Unit: "kWh",
			Kind: wire.Counter, Modulus: "10000000", Absent: [][]uint16{{0, 0x8000}, {0x7FFF, 0x7FFF}}},
		{Name: "name", Function: 3, Address: 30, Type: wire.String, Words: 2, ScaleAt: wire.NoScale, Kind: wire.Label},
	}
	if !reflect.DeepEqual(d.Points, want) || d.Energy != "kwh" || d.Manufacturer != "Somebody" || d.ProfileHash != (wire.Hash{9}) {
		t.Errorf("declaration %+v", d)
	}
	p := parse(t, goodProfile)
	p.Points[0].Type = "uint24"
	if _, err := p.Declare("m", 4, wire.Hash{}, 0); err == nil || !strings.Contains(err.Error(), `profile "a-meter": point "kwh"`) {
		t.Errorf("Declare = %v", err)
	}
}

// TestLongLists: a file with absurdly many of anything is refused at once.
func TestLongLists(t *testing.T) {
	for what, grow := range map[string]func(*device.Profile){
		"points":   func(p *device.Profile) { p.Points = slices.Repeat(p.Points, 5000) },
		"vectors":  func(p *device.Profile) { p.Vectors = slices.Repeat(p.Vectors, 5000) },
		"identity": func(p *device.Profile) { p.Identity = slices.Repeat(p.Identity, 5000) },
		"limits.forbidden": func(p *device.Profile) {
			p.Limits.Forbidden = slices.Repeat(p.Limits.Forbidden, 5000)
		},
	} {
		p := parse(t, goodProfile)
		grow(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "want at most") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzProfile reads any text as a profile: it is refused, or declares something
// the contract takes; nothing panics, and nothing takes long.
func FuzzProfile(f *testing.F) {
	f.Add([]byte(goodProfile))
	for _, name := range []string{"generic-energy-meter", "dzg-dvh4013", "huawei-sun2000", "advanced-energy-500nx", "growatt-tlx", "siemens-pac2200"} {
		text, err := os.ReadFile(filepath.Join(profiles, name+".yaml"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("points: [{ name: a, address: 65535, type: string, words: 65535 }]"))
	f.Add([]byte("identity: [{ function: 3, any_of: [] }]\npoints: [{}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<14 || strings.ContainsAny(string(text), "&*") {
			t.Skip("no profile has anchors or is so long")
		}
		began := time.Now()
		var p device.Profile
		if err := configs.Decode("f.yaml", text, &p); err != nil {
			return
		}
		err := p.Validate()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		var wrong *device.ProfileError
		if err != nil {
			if !errors.As(err, &wrong) || wrong.Path == "" {
				t.Errorf("%v does not say where", err)
			} else if at := configs.At("f.yaml", text, wrong.Path, wrong.Problem, wrong.Remedy); at == nil {
				t.Errorf("no error of %v", err)
			}
			return
		}
		for _, bridge := range []uint16{0, 1, 60} {
			d, err := p.Declare("m", 1, wire.Hash{}, bridge)
			if err == nil {
				err = d.Validate()
			}
			if err != nil {
				t.Errorf("valid, but %v", err)
			}
			for k := range d.Blocks {
				if d, ok := device.Split(&d, k); ok && d.Validate() != nil {
					t.Errorf("split into %v", d.Blocks)
				}
			}
			device.SelfCheck(&d, nil)
		}
	})
}

// BenchmarkProfiles reads, checks and declares every profile that comes with the
// program, as a scan for devices does once.
func BenchmarkProfiles(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range loadAll(b) {
			if err := p.Validate(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
