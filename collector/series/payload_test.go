package series

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"kenshin/edge/wire"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// goldenSamples has every kind of value.
func goldenSamples() []wire.Sample {
	in := []wire.Sample{
		sample("energy", 1_589_500_800_000, 42, "6987759"),
		sample("power", 1_589_500_800_000, 42, "-12.5"),
		sample("float32", 1_589_500_800_000, 42, "1.10000002384185791015625"),
		sample("uint64", 1_589_500_800_000, 42, "18446744073709551614"),
		sample("tiny", 1_589_500_800_000, 42, "1e-18"),
		bad("frequency", 1_589_500_800_000, 42, wire.NotAvailable, "0xFFFF"),
		bad("cell", 1_589_500_800_000, 42, wire.NoAnswer, "no answer in time"),
		bad("fan", 1_589_500_800_000, 42, wire.NoAnswer, "no answer in time"),
		{Edge: "site-1", Device: "inv-1", Point: "serial", Kind: wire.Label, Text: "SN-0815", At: 1_589_500_800_000, Epoch: wire.Epoch{1}, Seq: 42},
	}
	return in
}

func goldenCatalog(t testing.TB) (*catalog, []*wire.Sample) {
	d := &device{id: 1, edge: "site-1", name: "inv-1"}
	c := &catalog{shapes: make(map[int64]*shape), byEpoch: map[int64]wire.Epoch{1: {1}}, keys: make(map[string]*device)}
	s := &shape{id: 1, device: d}
	samples := goldenSamples()
	var group []*wire.Sample
	for i := range samples {
		x := &samples[i]
		s.points = append(s.points, point{x.Point, x.Unit, x.Kind})
		group = append(group, x)
	}
	c.addShape(s)
	c.addShape(&shape{id: 2, device: d, points: []point{{"late", "W", wire.Gauge}}})
	return c, group
}

func TestGoldenPayload(t *testing.T) {
	c, group := goldenCatalog(t)
	late := sample("late", 1_589_500_800_000, 7, "5")
	parts, err := appendPart(nil, 1, 1, group)
	if err == nil {
		parts, err = appendPart(parts, 1, 2, []*wire.Sample{&late})
	}
	if err != nil {
		t.Fatal(err)
	}
	payload := seal(parts, 1, 1_589_500_800_000)
	const file = "testdata/payload.golden"
	if *updateGolden {
		var lines strings.Builder
		for len(payload) > 0 {
			n := min(32, len(payload))
			fmt.Fprintf(&lines, "%x\n", payload[:n])
			payload = payload[n:]
		}
		if err := os.WriteFile(file, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(golden)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(payload, want) {
		t.Errorf("payload of version %d is\n%x\nwant\n%x", Version, payload, want)
	}
	var got []string
	parts, err = unseal(want, 1, 1_589_500_800_000)
	if err == nil {
		err = c.walk(parts, nil, func(s wire.Sample) error {
			s.At = 1_589_500_800_000
			got = append(got, text(s))
			return nil
		})
	}
	var expect []string
	for _, s := range group {
		expect = append(expect, text(*s))
	}
	late.Unit, late.Kind = "W", wire.Gauge
	expect = append(expect, text(late))
	if err != nil || strings.Join(got, "\n") != strings.Join(expect, "\n") {
		t.Errorf("the golden payload reads (%v)\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(expect, "\n"))
	}
}

// Every flipped bit of a row, and a row in another place, is noticed.
func TestDamageIsNoticed(t *testing.T) {
	_, group := goldenCatalog(t)
	parts, err := appendPart(nil, 1, 1, group)
	if err != nil {
		t.Fatal(err)
	}
	payload := seal(parts, 1, 1000)
	if _, err := unseal(payload, 1, 1000); err != nil {
		t.Fatal(err)
	}
	for i := range payload {
		for bit := range 8 {
			payload[i] ^= 1 << bit
			if _, err := unseal(payload, 1, 1000); err == nil {
				t.Errorf("bit %d of byte %d flipped: not noticed", bit, i)
			}
			payload[i] ^= 1 << bit
		}
	}
	if _, err := unseal(payload, 2, 1000); err == nil {
		t.Error("a row of another device was taken")
	}
	if _, err := unseal(payload, 1, 1001); err == nil {
		t.Error("a row of another time was taken")
	}
	for n := range payload {
		if _, err := unseal(payload[:n], 1, 1000); err == nil {
			t.Errorf("the first %d bytes were taken", n)
		}
	}
}

func TestWhatCannotBeReadBackIsNotWritten(t *testing.T) {
	for name, s := range map[string]wire.Sample{
		"quality 32":     bad("a", 1, 1, maxQuality+1, ""),
		"exponent 2001":  sample("a", 1, 1, "1e2001"),
		"exponent -2001": sample("a", 1, 1, "1e-2001"),
	} {
		if _, err := appendPart(nil, 1, 1, []*wire.Sample{&s}); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

func FuzzPayload(f *testing.F) {
	c, group := goldenCatalog(f)
	parts, err := appendPart(nil, 1, 1, group)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(parts)
	f.Add([]byte{1, 1, 2, headSmall + smallBias, 10})
	f.Add([]byte{1, 1, 2, headBadSame + 1})
	f.Add([]byte{1, 1, 2, headBig, 0, 2, 1, 1})
	f.Add([]byte{1, 1, 2, headBig, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0, 1, 1})
	f.Add([]byte{1, 1, 2, headLabel, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F})
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(b []byte) (out []wire.Sample, err error) {
			err = c.walk(b, nil, func(s wire.Sample) error { out = append(out, s); return nil })
			return out, err
		}
		all, err := read(b)
		if err != nil {
			return // refusing is fine, panicking is not
		}
		for _, s := range all { // what is passed over is passed over whole
			found := false
			if err := c.walk(b, &s.Point, func(x wire.Sample) error { found = found || text(x) == text(s); return nil }); err != nil || !found {
				t.Errorf("%x: %s is not found alone: %v", b, text(s), err)
			}
		}
		var again []byte
		for rest := all; len(rest) > 0; {
			n := 1
			if rest[0].Point == "energy" {
				n = len(group)
			}
			var g []*wire.Sample
			for i := range n {
				g = append(g, &rest[i])
			}
			id := int64(2)
			if n > 1 {
				id = 1
			}
			if again, err = appendPart(again, 1, id, g); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		twice, err := read(again)
		if err != nil || len(twice) != len(all) {
			t.Fatalf("%x does not survive a round trip: %v", b, err)
		}
		for i := range all {
			if text(all[i]) != text(twice[i]) {
				t.Errorf("%x: %s became %s", b, text(all[i]), text(twice[i]))
			}
		}
	})
}
