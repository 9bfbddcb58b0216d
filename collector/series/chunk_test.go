package series

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kenshin/edge/wire"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// goldenTables have every class of value, two shapes, two epochs and all orders of
// differences.
func goldenTables() []*table {
	a := &table{points: []point{{"WH", "Wh", wire.Counter}, {"W", "W", wire.Gauge}, {"f", "Hz", wire.Gauge}, {"Md", "", wire.Label}}}
	for i := range int64(5) {
		a.begin(1_589_500_800_000+60_000*i, wire.Epoch{1}, uint64(10+4*i))
		a.put(cell{code: code(classInt, -3), num: 9_223_372_036_854_775_000 + 200*i})
		switch i {
		case 2:
			a.put(cell{code: classBad | uint16(wire.NoAnswer)<<3, text: "no answer in time"})
		case 3:
			a.put(cell{code: code(classInt, 1), num: -7})
		default:
			a.put(cell{code: code(classInt, 0), num: (i*7919)%1200 - 600})
		}
		a.put(cell{code: code(classSingle, -2), num: int64(math.Float32bits(50.02 + float32(i)/64))})
		a.put(cell{code: classLabel, text: "SN-0815"})
	}
	b := &table{points: []point{{"big", "", wire.Counter}, {"double", "", wire.Gauge}}}
	b.begin(-1, wire.Epoch{2}, math.MaxUint64)
	b.put(cell{code: classBig, text: "18446744073709551615e-3"})
	b.put(cell{code: code(classDouble, 0), num: int64(math.Float64bits(-0.1))})
	return []*table{a, b}
}

var goldenPlace = place{"site-1", "inv-1", 18397}

func show(tables []*table) string {
	var out strings.Builder
	for _, t := range tables {
		for i := range t.rows() {
			for k := range t.points {
				s := wire.Sample{Edge: "e", Device: "d"}
				err := t.sample(i, k, &s)
				fmt.Fprintln(&out, text(s), err)
			}
		}
	}
	return out.String()
}

// The bytes are not part of the format, since a compressor may become better;
// that the golden ones are read as they were meant is.
func TestGoldenChunk(t *testing.T) {
	file := filepath.Join("testdata", "chunk.golden")
	if *updateGolden {
		var lines strings.Builder
		for line := range slices.Chunk([]byte(hex.EncodeToString(encodeChunk(goldenPlace, goldenTables(), deflate))), 96) {
			fmt.Fprintf(&lines, "%s\n", line)
		}
		if err := os.WriteFile(file, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(strings.Join(strings.Fields(string(raw)), ""))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := decodeChunk(goldenPlace, data, "")
	if got, want := show(tables), show(goldenTables()); err != nil || got != want {
		t.Errorf("%v\n%swant\n%s", err, got, want)
	}
	elsewhere := goldenPlace
	elsewhere.day++
	if _, err := decodeChunk(elsewhere, data, ""); err == nil {
		t.Error("a chunk was read in the place of another one")
	}
	for i := range data {
		data[i] ^= 4
		if _, err := decodeChunk(goldenPlace, data, ""); err == nil {
			t.Errorf("byte %d was changed and nobody saw it", i)
		}
		data[i] ^= 4
	}
}

// Any numbers come back, whole and column by column.
func TestColumnsComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		x := &table{points: []point{{"a", "", wire.Gauge}, {"b", "", wire.Gauge}, {"c", "", wire.Gauge}}}
		at := r.Int64N(1 << 40)
		for range r.IntN(300) {
			at += r.Int64N(100_000)
			x.begin(at, wire.Epoch{byte(r.IntN(2))}, r.Uint64()>>r.IntN(64))
			x.put(cell{code: code(classInt, int32(r.IntN(3))), num: int64(r.Uint64()) >> r.IntN(64)})
			if r.IntN(10) == 0 {
				x.put(cell{code: classBad | uint16(1+r.IntN(7))<<3, text: fmt.Sprint("reason ", r.IntN(3))})
			} else {
				x.put(cell{code: code(classInt, 0), num: at})
			}
			x.put(cell{code: code(classDouble, 0), num: int64(math.Float64bits(r.Float64()))})
		}
		data := encodeChunk(goldenPlace, []*table{x}, byte(r.IntN(2)))
		all, err := decodeChunk(goldenPlace, data, "")
		if err != nil || show(all) != show([]*table{x}) {
			t.Fatalf("%v\n%swant\n%s", err, show(all), show([]*table{x}))
		}
		for k, p := range x.points {
			one, err := decodeChunk(goldenPlace, data, p.Name)
			if err != nil || len(one) != 1 || one[0].rows() != x.rows() {
				t.Fatalf("%s: %v", p.Name, err)
			}
			for i := range x.rows() {
				if a, b := one[0].cell(i, 0), x.cell(i, k); a.code != b.code || a.text != b.text || !a.hasText() && a.num != b.num {
					t.Fatalf("%s row %d: %+v, want %+v", p.Name, i, a, b)
				}
			}
		}
	}
}

func FuzzTables(f *testing.F) {
	e := encoder{body: []byte{chunkFormat, 2}}
	for _, t := range goldenTables() {
		e.table(t)
	}
	f.Add(e.body)
	f.Add([]byte{chunkFormat, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		tables, err := readTables(b, "")
		if err != nil {
			return // refusing is fine, panicking is not
		}
		again := encoder{body: []byte{chunkFormat, byte(len(tables))}}
		if len(tables) > 127 {
			return
		}
		for _, x := range tables {
			if len(slices.Compact(slices.Clone(x.at))) != x.rows() {
				return // nobody writes rows of one time
			}
			again.table(x)
		}
		back, err := readTables(again.body, "")
		if err != nil || show(back) != show(tables) {
			t.Errorf("%x does not survive a round trip: %v", b, err)
		}
		if _, err := readTables(b, "WH"); err != nil {
			t.Errorf("one column of %x: %v", b, err)
		}
	})
}
