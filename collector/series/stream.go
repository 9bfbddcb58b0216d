package series

import (
	"encoding/binary"

	"kenshin/edge/wire"
)

// stream is rows of one shape in the order in which they came, that wait to be
// merged. Each is kept as what has changed since the one before, a few bytes a value:
//
//	row := epoch:u at:s seq:s (code:u)*points unless the codes are the same, (number:s)*points
//
// where epoch is twice its place in epochs, and one more when codes follow.
type stream struct {
	points []point
	b      []byte
	n      int   // rows
	newest int64 // greatest time
	epochs []wire.Epoch
	texts  textSet
	before row // the last one

	view  *table // the rows from the first one on, once one was looked for
	seen  row    // the last one in view
	taken int    // bytes of b that are in view
}

// row is what the next row of a stream is compared with.
type row struct {
	at    int64
	seq   uint64
	codes []uint16
	nums  []int64
}

func newRow(points int) row { return row{codes: make([]uint16, points), nums: make([]int64, points)} }

// streamOverhead is what the first row takes beside its bytes and numbers, about.
const streamOverhead = 64

// size returns how many bytes of memory a stream takes, about.
func (s *stream) size() int {
	n := cap(s.b) + s.texts.size
	if s.n > 0 {
		n += streamOverhead + 10*len(s.points)
	}
	if s.view != nil {
		n += s.view.rows() * (60 + 10*len(s.points)) // with the map of its times
	}
	return n
}

func (s *stream) values() int { return s.n * len(s.points) }

// add appends a row.
func (s *stream) add(at int64, epoch wire.Epoch, seq uint64, cells []cell) {
	p := &s.before
	if s.n == 0 {
		*p = newRow(len(s.points))
		s.newest = at
	}
	k := len(s.epochs) - 1
	for k >= 0 && s.epochs[k] != epoch {
		k--
	}
	if k < 0 {
		k = len(s.epochs)
		s.epochs = append(s.epochs, epoch)
	}
	head := uint64(k) << 1
	for i := range cells {
		if cells[i].code != p.codes[i] {
			head |= 1
			break
		}
	}
	b := binary.AppendUvarint(s.b, head)
	b = binary.AppendVarint(b, at-p.at)
	b = binary.AppendVarint(b, int64(seq-p.seq))
	if head&1 != 0 {
		for i := range cells {
			p.codes[i] = cells[i].code
			b = binary.AppendUvarint(b, uint64(cells[i].code))
		}
	}
	for i := range cells {
		num := cells[i].num
		if cells[i].hasText() {
			num = s.texts.place(cells[i].text)
		}
		b = binary.AppendVarint(b, num-p.nums[i])
		p.nums[i] = num
	}
	p.at, p.seq, s.newest = at, seq, max(s.newest, at)
	s.b, s.n = b, s.n+1
}

// table returns the rows as a table; room is one to be used for it, or nil.
func (s *stream) table(room *table) *table {
	if room == nil {
		room = new(table)
	}
	*room = table{points: s.points, at: room.at[:0], seq: room.seq[:0], epoch: room.epoch[:0], codes: room.codes[:0], nums: room.nums[:0]}
	p := newRow(len(s.points))
	s.read(room, s.b, &p)
	return room
}

// read appends rows to a table; p is the one before them, and then the last one.
func (s *stream) read(t *table, b []byte, p *row) {
	t.epochs, t.texts.list = s.epochs[:len(s.epochs):len(s.epochs)], s.texts.list[:len(s.texts.list):len(s.texts.list)]
	r := reader{b: b}
	for len(r.b) > 0 {
		head := r.uvarint()
		p.at += unzigzag(r.uvarint())
		p.seq += uint64(unzigzag(r.uvarint()))
		if head&1 != 0 {
			for i := range p.codes {
				p.codes[i] = uint16(r.uvarint())
			}
		}
		for i := range p.nums {
			p.nums[i] += unzigzag(r.uvarint())
		}
		if t.times != nil {
			t.times[p.at] = len(t.at)
		}
		t.at, t.seq, t.epoch = append(t.at, p.at), append(t.seq, p.seq), append(t.epoch, uint32(head>>1))
		t.codes, t.nums = append(t.codes, p.codes...), append(t.nums, p.nums...)
	}
}

// look returns the rows as a table that is kept. It is not for readers, who may be several.
func (s *stream) look() *table {
	if s.view == nil {
		s.view, s.seen = &table{points: s.points}, newRow(len(s.points))
	}
	if s.taken < len(s.b) {
		s.read(s.view, s.b[s.taken:], &s.seen)
		s.taken = len(s.b)
	}
	return s.view
}

// join appends the rows of another stream of the same points.
func (s *stream) join(o *stream) {
	t := o.table(nil)
	cells := make([]cell, len(s.points))
	for i := range t.rows() {
		for k := range cells {
			cells[k] = t.cell(i, k)
		}
		s.add(t.at[i], t.epochs[t.epoch[i]], t.seq[i], cells)
	}
}

// textSet is texts and their places.
type textSet struct {
	list   []string
	size   int              // bytes in list
	places map[string]int64 // nil until one is needed
}

func (t *textSet) place(text string) int64 {
	if t.places == nil {
		t.places = make(map[string]int64, len(t.list)+1)
		for i, s := range t.list {
			t.places[s] = int64(i)
		}
	}
	k, ok := t.places[text]
	if !ok {
		k = int64(len(t.list))
		t.list, t.size = append(t.list, text), t.size+len(text)
		t.places[text] = k
	}
	return k
}
