package wire

import (
	"fmt"
	"math/bits"

	"kenshin/edge/wire/wirepb"
)

// columns turns records into columns; records reverses it.
func columns(recs []Record, declarations map[Hash]*Declaration) *wirepb.Columns {
	c := &wirepb.Columns{Subject: make([]uint32, 0, len(recs))}
	var groups []*group
	var wall, offset int64
	for i := range recs {
		r := &recs[i]
		if r.Reading == nil {
			c.Subject = append(c.Subject, 0)
			c.Others = append(c.Others, r.Encode())
			continue
		}
		g := -1
		for k := range groups {
			if groups[k].fits(r.Reading) {
				g = k
				break
			}
		}
		if g < 0 {
			g = len(groups)
			groups = append(groups, newGroup(r.Reading))
		}
		groups[g].add(r.Reading)
		c.Subject = append(c.Subject, uint32(g+1))
		c.Wall = append(c.Wall, r.Wall-wall)
		c.Mono = append(c.Mono, r.Wall-r.Mono-offset)
		wall, offset = r.Wall, r.Wall-r.Mono
		c.Clock = append(c.Clock, byte(r.Clock))
	}
	for _, g := range groups {
		c.Groups = append(c.Groups, g.encode(declarations))
	}
	return c
}

// group collects readings of one declaration whose answered blocks have the
// same sizes.
type group struct {
	declaration Hash
	sizes       []int // words of each block, 0 while none was answered
	readings    []*Reading
}

func newGroup(r *Reading) *group {
	return &group{declaration: r.Declaration, sizes: make([]int, len(r.Blocks))}
}

func (g *group) fits(r *Reading) bool {
	if r.Declaration != g.declaration || len(r.Blocks) != len(g.sizes) {
		return false
	}
	for i, b := range r.Blocks {
		if b.Status == OK && g.sizes[i] != 0 && g.sizes[i] != len(b.Words) {
			return false
		}
	}
	return true
}

func (g *group) add(r *Reading) {
	for i, b := range r.Blocks {
		if b.Status == OK {
			g.sizes[i] = len(b.Words)
		}
	}
	g.readings = append(g.readings, r)
}

func (g *group) encode(declarations map[Hash]*Declaration) *wirepb.Group {
	m := &wirepb.Group{Declaration: g.declaration[:]}
	for _, r := range g.readings {
		for _, b := range r.Blocks {
			m.Outcome = append(m.Outcome, byte(b.Status), b.Code)
			m.Delta = append(m.Delta, b.Delta)
		}
	}
	d := declarations[g.declaration]
	for k, size := range g.sizes {
		m.Blocks = append(m.Blocks, uint32(size))
		at := 0
		for _, w := range widths(d, k, size) {
			m.Widths = append(m.Widths, uint32(w))
			m.Planes = g.appendColumn(m.Planes, k, at, w)
			at += w
		}
	}
	return m
}

// widths cuts a block into columns: numbers of several registers stay together
// where the declaration shows them, so that a carry does not look like noise.
func widths(d *Declaration, block, size int) []int {
	out := make([]int, size)
	for i := range out {
		out[i] = 1
	}
	if d != nil && block < len(d.Blocks) {
		base := int(d.Blocks[block].Address)
		for _, p := range d.Points {
			at, w := int(p.Address)-base, int(p.Type.Width())
			if p.Function != d.Blocks[block].Function || w != 2 && w != 4 || at < 0 || at+w > size || !single(out[at:at+w]) {
				continue
			}
			out[at] = w
			for i := 1; i < w; i++ {
				out[at+i] = 0
			}
		}
	}
	n := 0
	for _, w := range out {
		if w > 0 {
			out[n] = w
			n++
		}
	}
	return out[:n]
}

func single(ws []int) bool {
	for _, w := range ws {
		if w != 1 {
			return false
		}
	}
	return true
}

// appendColumn appends one column in byte planes: of each number the difference
// to the one before, zigzag in the column's width, first the lowest byte of all
// numbers, then the next.
func (g *group) appendColumn(planes []byte, block, at, width int) []byte {
	shift := 64 - 16*width
	diffs := make([]uint64, 0, len(g.readings))
	var prev uint64
	for _, r := range g.readings {
		b := &r.Blocks[block]
		if b.Status != OK {
			continue
		}
		var v uint64
		for _, w := range b.Words[at : at+width] {
			v = v<<16 | uint64(w)
		}
		d := int64((v-prev)<<shift) >> shift // the difference as a signed number of that width
		diffs = append(diffs, uint64(d)<<1^uint64(d>>63))
		prev = v
	}
	for p := range 2 * width {
		for _, d := range diffs {
			planes = append(planes, byte(d>>(8*p)))
		}
	}
	return planes
}

// records rebuilds n records from first on.
func records(c *wirepb.Columns, first uint64, n int) ([]Record, error) {
	if len(c.Subject) != n {
		return nil, fmt.Errorf("%d records in the columns, want %d", len(c.Subject), n)
	}
	if len(c.Wall)+len(c.Others) != n || len(c.Mono) != len(c.Wall) || len(c.Clock) != len(c.Wall) {
		return nil, fmt.Errorf("columns of unequal length")
	}
	counts := make([]int, len(c.Groups)+1) // [0] for others, then the readings of each group
	for _, s := range c.Subject {
		if int64(s) >= int64(len(counts)) {
			return nil, fmt.Errorf("group %d of %d", s, len(c.Groups))
		}
		counts[s]++
	}
	if counts[0] != len(c.Others) {
		return nil, fmt.Errorf("%d declarations and events, want %d", len(c.Others), counts[0])
	}
	queues := make([][]Reading, len(c.Groups))
	for i, g := range c.Groups {
		var err error
		if queues[i], err = readings(g, counts[i+1]); err != nil {
			return nil, fmt.Errorf("group %d: %w", i, err)
		}
	}
	out := make([]Record, n)
	others, k := c.Others, 0
	var wall, offset int64
	for i, s := range c.Subject {
		if s == 0 {
			r, err := DecodeRecord(others[0])
			if err != nil {
				return nil, err
			}
			if r.Reading != nil || r.Seq != first+uint64(i) {
				return nil, fmt.Errorf("record %d stands in place of %d", r.Seq, first+uint64(i))
			}
			out[i], others = r, others[1:]
			continue
		}
		wall += c.Wall[k]
		offset += c.Mono[k]
		q := &queues[s-1]
		out[i] = Record{Seq: first + uint64(i), Wall: wall, Mono: wall - offset, Clock: ClockState(c.Clock[k]), Reading: &(*q)[0]}
		*q = (*q)[1:]
		k++
	}
	return out, nil
}

// readings rebuilds the n readings of a group.
func readings(g *wirepb.Group, n int) ([]Reading, error) {
	nb := len(g.Blocks)
	if len(g.Declaration) != len(Hash{}) || nb > MaxBlocks || len(g.Outcome) != 2*n*nb || len(g.Delta) != n*nb {
		return nil, fmt.Errorf("columns of unequal length")
	}
	out := make([]Reading, n)
	results := make([]BlockResult, n*nb)
	answered := make([]int, nb)
	for i := range out {
		copy(out[i].Declaration[:], g.Declaration)
		out[i].Blocks = results[i*nb : (i+1)*nb : (i+1)*nb]
		for k := range out[i].Blocks {
			o := 2 * (i*nb + k)
			out[i].Blocks[k] = BlockResult{Status: Status(g.Outcome[o]), Code: g.Outcome[o+1], Delta: g.Delta[o/2]}
			if out[i].Blocks[k].Status == OK {
				answered[k]++
			}
		}
	}
	planes, ws := g.Planes, g.Widths
	for k, size := range g.Blocks {
		if size > MaxCount || size == 0 && answered[k] > 0 {
			return nil, fmt.Errorf("block of %d words", size)
		}
		words := make([]uint16, answered[k]*int(size))
		j := 0
		for i := range out {
			if b := &out[i].Blocks[k]; b.Status == OK {
				b.Words = words[j*int(size) : (j+1)*int(size) : (j+1)*int(size)]
				j++
			}
		}
		for at := 0; at < int(size); {
			if len(ws) == 0 || bits.OnesCount32(ws[0]) != 1 || ws[0] > 4 || at+int(ws[0]) > int(size) {
				return nil, fmt.Errorf("column widths do not fit a block of %d words", size)
			}
			w := int(ws[0])
			ws = ws[1:]
			need := answered[k] * 2 * w
			if len(planes) < need {
				return nil, fmt.Errorf("columns cut short")
			}
			fillColumn(words, planes[:need], int(size), at, w)
			planes = planes[need:]
			at += w
		}
	}
	if len(planes) != 0 || len(ws) != 0 {
		return nil, fmt.Errorf("%d bytes and %d widths after the last column", len(planes), len(ws))
	}
	return out, nil
}

// fillColumn writes one column into words, rows of size registers each.
func fillColumn(words []uint16, planes []byte, size, at, width int) {
	n := len(planes) / (2 * width)
	var prev uint64
	for i := range n {
		var z uint64
		for p := range 2 * width {
			z |= uint64(planes[p*n+i]) << (8 * p)
		}
		prev += z>>1 ^ -(z & 1)
		for k := range width {
			words[i*size+at+k] = uint16(prev >> (16 * (width - 1 - k)))
		}
	}
}
