package device_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

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
limits: { registers: 100, gap: 50ms }
identity: [{ function: 3, address: 7, words: 00FF, source: the manual }]
rated_kW: 33.3
points:
  - { name: kwh, address: 0x10, type: uint32, order: low-first, scale: -1, unit: kWh, kind: counter, modulus: 10000000, absent: [0000 8000, "7FFF 7FFF"] }
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
		{"gap: 50ms", "gap: -50ms", "limits", "no negative"},
		{"registers: 100", "registers: 1", `point "kwh"`, "raise limits.registers"},
		{"words: 00FF", "words: FF", "identity 1", "words such as"},
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
		if err == nil || !strings.Contains(err.Error(), tt.where) || !strings.Contains(err.Error(), tt.remedy) {
			t.Errorf("%q for %q: error %v, want one with %q and %q", tt.new, tt.old, err, tt.where, tt.remedy)
		}
	}
	empty := parse(t, goodProfile)
	empty.Points = nil
	if err := empty.Validate(); err == nil || !strings.Contains(err.Error(), "no points") {
		t.Errorf("a profile without points: %v", err)
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
	for _, text := range []string{"a: >-\n  x\n  y\n", `a: "a\"b"`} {
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
	for _, tt := range []struct {
		name   string
		limits device.Limits
		points string // function:address:type
		want   string // function:first+count
	}{
		{"side by side", device.Limits{}, "3:0:uint32 3:2:uint16", "3:0+3"},
		{"a hole of 20", device.Limits{}, "3:0:uint16 3:21:uint16", "3:0+22"},
		{"a hole of 21", device.Limits{}, "3:0:uint16 3:22:uint16", "3:0+1 3:22+1"},
		{"holes of 5 allowed", device.Limits{Bridge: &five}, "3:0:uint16 3:6:uint16 3:13:uint16", "3:0+7 3:13+1"},
		{"no hole allowed", device.Limits{Bridge: &none}, "3:0:uint16 3:1:uint16 3:3:uint16", "3:0+2 3:3+1"},
		{"any order", device.Limits{}, "3:9:uint16 3:0:uint32", "3:0+10"},
		{"functions apart", device.Limits{}, "4:0:uint16 3:1:uint16", "3:1+1 4:0+1"},
		{"125 and no more", device.Limits{}, "3:0:s60 3:60:s65 3:125:uint16", "3:0+125 3:125+1"},
		{"a value is not cut", device.Limits{Registers: 10}, "3:0:s8 3:8:uint64 3:12:uint16", "3:0+8 3:8+5"},
		{"registers read twice are asked once", device.Limits{}, "3:0:uint64 3:1:uint16 3:2:uint32", "3:0+4"},
		{"the last register", device.Limits{}, "3:65534:uint32", "3:65534+2"},
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
		d, err := p.Declare("x", 1, wire.Hash{})
		var blocks []string
		for _, b := range d.Blocks {
			blocks = append(blocks, fmt.Sprintf("%d:%d+%d", b.Function, b.Address, b.Count))
		}
		if got := strings.Join(blocks, " "); err != nil || got != tt.want {
			t.Errorf("%s: blocks %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}

// TestDeclarePoint: everything a profile says of a point reaches the declaration.
func TestDeclarePoint(t *testing.T) {
	d, err := parse(t, goodProfile).Declare("m", 4, wire.Hash{9})
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
	if _, err := p.Declare("m", 4, wire.Hash{}); err == nil || !strings.Contains(err.Error(), `profile "a-meter": point "kwh"`) {
		t.Errorf("Declare = %v", err)
	}
}
