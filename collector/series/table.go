package series

import (
	"slices"

	"kenshin/edge/wire"
)

// point is one column of a shape.
type point struct {
	Name string    `json:"point"`
	Unit string    `json:"unit,omitempty"`
	Kind wire.Kind `json:"kind"`
}

// table is rows of one shape, in the order in which they came. Values stand row
// by row: those of a reading are written together and lie together.
type table struct {
	points []point
	at     []int64
	seq    []uint64
	epochs []wire.Epoch // those that rows refer to
	epoch  []uint32     // of each row, its place in epochs
	codes  []uint16     // len(points) a row
	nums   []int64      // the same
	texts  textSet
	times  map[int64]int // rows by time; nil until one is looked for
}

func (t *table) rows() int { return len(t.at) }

// reset empties a table and keeps its room.
func (t *table) reset() {
	t.at, t.seq, t.epoch, t.codes, t.nums = t.at[:0], t.seq[:0], t.epoch[:0], t.codes[:0], t.nums[:0]
	t.epochs, t.texts = t.epochs[:0], textSet{list: t.texts.list[:0]}
	t.times = nil
}

// begin starts a row; its cells follow by put.
func (t *table) begin(at int64, epoch wire.Epoch, seq uint64) {
	if t.times != nil {
		t.times[at] = len(t.at)
	}
	t.at, t.seq = append(t.at, at), append(t.seq, seq)
	k := len(t.epochs) - 1
	for k >= 0 && t.epochs[k] != epoch {
		k--
	}
	if k < 0 {
		k = len(t.epochs)
		t.epochs = append(t.epochs, epoch)
	}
	t.epoch = append(t.epoch, uint32(k))
}

func (t *table) put(c cell) {
	if c.hasText() {
		c.num = t.texts.place(c.text)
	}
	t.codes, t.nums = append(t.codes, c.code), append(t.nums, c.num)
}

// cell returns a value.
func (t *table) cell(row, column int) cell {
	i := row*len(t.points) + column
	c := cell{code: t.codes[i], num: t.nums[i]}
	if c.hasText() {
		c.text = t.texts.list[c.num]
	}
	return c
}

// copyRow appends a row of another table of the same points.
func (t *table) copyRow(o *table, row int) {
	t.begin(o.at[row], o.epochs[o.epoch[row]], o.seq[row])
	for k := range t.points {
		t.put(o.cell(row, k))
	}
}

// sample returns a value with everything but its edge and device.
func (t *table) sample(row, column int, s *wire.Sample) error {
	p := &t.points[column]
	s.Point, s.Unit, s.Kind, s.At, s.Epoch, s.Seq = p.Name, p.Unit, p.Kind, t.at[row], t.epochs[t.epoch[row]], t.seq[row]
	c := t.cell(row, column)
	return c.fill(s)
}

// column returns the place of a point, -1 when it is not there.
func column(points []point, name string) int {
	return slices.IndexFunc(points, func(p point) bool { return p.Name == name })
}

// row returns the row of a time, -1 when it has none. It is not for readers, who
// may be several.
func (t *table) row(at int64) int {
	if t.times == nil {
		t.times = make(map[int64]int, len(t.at))
		for i, at := range t.at {
			t.times[at] = i
		}
	}
	if i, ok := t.times[at]; ok {
		return i
	}
	return -1
}
