package device

import (
	"cmp"
	"slices"

	"kenshin/edge/wire"
)

// Split returns d with a block that the device refused with exception 2 (no such
// register) made into two smaller ones, or trimmed to the registers that points
// use. It cuts where most unused registers lie, and where none do near the
// middle; never through a value, nor between a value and its scale factor. The
// points stay as they are. It reports false when the block cannot be made
// smaller: what is left then is a value the device does not have.
//
// Splitting again whatever is refused ends with every value the device has in a
// block it answers. The head of a SunSpec model stays in the first part, which
// is read first, so Verify goes on to find a map that has moved.
func Split(d *wire.Declaration, block int) (wire.Declaration, bool) {
	out := *d
	if block < 0 || block >= len(d.Blocks) {
		return out, false
	}
	b := d.Blocks[block]
	runs := runsOf(d, block)
	parts := []wire.Block{}
	switch {
	case len(runs) == 0:
		return out, false
	case len(runs) == 1:
		parts = append(parts, wire.Block{Function: b.Function, Address: uint16(runs[0].from), Count: uint16(runs[0].end - runs[0].from)})
	default:
		k := cut(runs)
		for _, half := range [][]run{runs[:k], runs[k:]} {
			parts = append(parts, wire.Block{Function: b.Function, Address: uint16(half[0].from), Count: uint16(half[len(half)-1].end - half[0].from)})
		}
	}
	if parts[0] == b || len(d.Blocks)-1+len(parts) > wire.MaxBlocks {
		return out, false
	}
	out.Blocks = slices.Concat(d.Blocks[:block], parts, d.Blocks[block+1:])
	return out, true
}

// run is registers from until before end that must be read together.
type run struct{ from, end int }

// runsOf returns what of a block must stay together, by address: each value with
// its scale factor, and values that share registers.
func runsOf(d *wire.Declaration, block int) []run {
	var all []run
	for i := range d.Points {
		p := &d.Points[i]
		if d.BlockOf(p) != block {
			continue
		}
		r := run{int(p.Address), int(p.Address) + int(p.Words)}
		if p.ScaleAt != wire.NoScale {
			r.from, r.end = min(r.from, int(p.ScaleAt)), max(r.end, int(p.ScaleAt)+1)
		}
		if marks(d, p) {
			r.end++ // the length of the model
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b run) int { return cmp.Compare(a.from, b.from) })
	var out []run
	for _, r := range all {
		if n := len(out); n > 0 && r.from < out[n-1].end {
			out[n-1].end = max(out[n-1].end, r.end)
			continue
		}
		out = append(out, r)
	}
	return out
}

// cut returns before which of at least two runs to cut: at the widest hole, and
// of equal ones at that nearest the middle.
func cut(runs []run) int {
	middle := runs[0].from + runs[len(runs)-1].end // doubled
	best, width, off := 1, -1, 0
	for k := 1; k < len(runs); k++ {
		hole := runs[k].from - runs[k-1].end
		away := runs[k].from + runs[k-1].end - middle
		if away = max(away, -away); hole > width || hole == width && away < off {
			best, width, off = k, hole, away
		}
	}
	return best
}
