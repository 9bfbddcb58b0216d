package device_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kenshin/edge/device"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

// readSplitting reads a device as an agent does that remembers: a block refused
// with exception 2 is split, until nothing more can be.
func readSplitting(t *testing.T, m image, d wire.Declaration) (wire.Declaration, wire.Reading, int) {
	t.Helper()
	splits := 0
	reading := wire.Reading{}
	for i := 0; i < len(d.Blocks); {
		b := d.Blocks[i]
		words, err := m.Read(t.Context(), 1, b.Function, b.Address, b.Count)
		var refused *modbus.ExceptionError
		if errors.As(err, &refused) {
			if smaller, ok := device.Split(&d, i); ok {
				if d, splits = smaller, splits+1; splits > 1000 {
					t.Fatal("splitting does not end")
				}
				if err := d.Validate(); err != nil {
					t.Fatalf("after %d splits: %v", splits, err)
				}
				continue
			}
			reading.Blocks = append(reading.Blocks, wire.BlockResult{Status: wire.Exception, Code: 2})
		} else {
			reading.Blocks = append(reading.Blocks, wire.BlockResult{Status: wire.OK, Words: words})
		}
		i++
	}
	return d, reading, splits
}

// TestSplit: whatever registers a device lacks, each value it has is read in the
// end, each it lacks is refused, and its points are those declared.
func TestSplit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range loadAll(t) {
		for range 20 {
			d, err := p.Declare("m", 1, wire.Hash{}, uint16(1+rng.IntN(60)))
			if err != nil {
				t.Fatal(err)
			}
			m := make(image)
			for _, b := range d.Blocks {
				for k := range b.Count {
					if rng.IntN(10) > 0 {
						m[b.Address+k] = 1
					}
				}
			}
			after, reading, _ := readSplitting(t, m, d)
			if fmt.Sprint(after.Points) != fmt.Sprint(d.Points) || after.Energy != d.Energy {
				t.Fatalf("%s: the points changed", p.Name)
			}
			for i, v := range after.Values(&reading) {
				q, has := &d.Points[i], true
				for k := range q.Words {
					_, ok := m[q.Address+k]
					has = has && ok
				}
				if has != (v.Quality != wire.Refused) {
					t.Errorf("%s: %s is %v, the device has it: %v", p.Name, q.Name, v.Quality, has)
				}
			}
		}
	}
}

// TestSplitSteps says where blocks are cut.
func TestSplitSteps(t *testing.T) {
	point := func(name string, address, words uint16, scale int32) wire.Point {
		return wire.Point{Name: name, Function: 3, Address: address, Type: map[uint16]wire.Type{1: wire.Uint16, 2: wire.Uint32, 4: wire.Uint64}[words], Words: words, ScaleAt: scale}
	}
	for _, tt := range []struct {
		name   string
		count  uint16
		points []wire.Point
		want   string // first+count of what comes of it, "" when it cannot be split
	}{
		{"one value", 2, []wire.Point{point("a", 0, 2, wire.NoScale)}, ""},
		{"nothing in it", 9, nil, ""},
		{"one value with room around it", 9, []wire.Point{point("a", 3, 2, wire.NoScale)}, "3+2"},
		{"at the widest hole", 20, []wire.Point{point("a", 0, 2, wire.NoScale), point("b", 5, 2, wire.NoScale), point("c", 18, 2, wire.NoScale)}, "0+7 18+2"},
		{"near the middle", 8, []wire.Point{point("a", 0, 2, wire.NoScale), point("b", 2, 2, wire.NoScale), point("c", 4, 2, wire.NoScale), point("d", 6, 2, wire.NoScale)}, "0+4 4+4"},
		{"not between a value and its scale factor", 9, []wire.Point{point("a", 0, 1, 6), point("b", 7, 2, wire.NoScale)}, "0+7 7+2"},
		{"a scale factor before its value, and one within", 9, []wire.Point{point("a", 8, 1, 0), point("b", 3, 2, wire.NoScale)}, ""},
		{"values that share registers", 6, []wire.Point{point("a", 0, 4, wire.NoScale), point("b", 2, 2, wire.NoScale), point("c", 4, 2, wire.NoScale)}, "0+4 4+2"},
	} {
		d := wire.Declaration{Device: "m", Blocks: []wire.Block{{Function: 4, Address: 70, Count: 3}, {Function: 3, Address: 0, Count: tt.count}, {Function: 3, Address: 90, Count: 3}}, Points: tt.points}
		got, ok := device.Split(&d, 1)
		if ok != (tt.want != "") {
			t.Errorf("%s: Split reports %v", tt.name, ok)
		}
		if !ok {
			if !slices.Equal(got.Blocks, d.Blocks) {
				t.Errorf("%s: blocks changed: %v", tt.name, got.Blocks)
			}
			continue
		}
		var blocks []string
		for _, b := range got.Blocks[1 : len(got.Blocks)-1] {
			blocks = append(blocks, fmt.Sprintf("%d+%d", b.Address, b.Count))
		}
		if text := strings.Join(blocks, " "); text != tt.want || got.Blocks[0] != d.Blocks[0] || got.Blocks[len(got.Blocks)-1] != d.Blocks[2] {
			t.Errorf("%s: blocks %v, want %s between the others", tt.name, got.Blocks, tt.want)
		}
	}
	d := wire.Declaration{Device: "m", Blocks: make([]wire.Block, 1)}
	for _, i := range []int{-1, 1} {
		if _, ok := device.Split(&d, i); ok {
			t.Errorf("block %d was split", i)
		}
	}
}

// TestSplitSunSpec: a SunSpec device with a hole in a model keeps its mark in the
// first part, so that a map that has moved is still noticed.
func TestSplitSunSpec(t *testing.T) {
	m := sunspec(40000, sunspecModel{1, 66, nil}, sunspecModel{103, 50, map[uint16]uint16{14: 500, 24: 0, 25: 7, 38: 4}})
	c, err := device.Discover(t.Context(), m, 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Declare("inv", 1)
	if err != nil {
		t.Fatal(err)
	}
	delete(m, d.Blocks[0].Address+20) // a register nobody needs, between Hz and WH
	after, reading, splits := readSplitting(t, m, d)
	if splits == 0 || after.Blocks[0].Address != d.Blocks[0].Address {
		t.Fatalf("%d splits, blocks %v", splits, after.Blocks)
	}
	for i, v := range after.Values(&reading) {
		if v.Quality == wire.Refused {
			t.Errorf("%s is refused", after.Points[i].Name)
		}
	}
	if err := device.Verify(&after, 0, reading.Blocks[0].Words); err != nil {
		t.Error(err)
	}
	for _, words := range [][]uint16{{113, 50}, {103, 20}, {103}} {
		if device.Verify(&after, 0, words) == nil {
			t.Errorf("a map that moved is not noticed after a split: %d", words)
		}
	}
	for k := range after.Blocks {
		if head := device.Head(&after, k); head != 0 {
			t.Errorf("block %d has its mark in %d", k, head)
		}
	}
	for k := 1; k < len(after.Blocks); k++ {
		if err := device.Verify(&after, k, reading.Blocks[k].Words); err != nil {
			t.Error(err)
		}
	}
}
