package series

import (
	"encoding/binary"
	"fmt"
	"slices"

	"kenshin/edge/wire"
)

// staged is what an update has for a device, before it is committed.
type staged struct {
	update uint64 // of this one; of another one it is out of date
	newest int64
	rows   []int32 // among those of the update
}

// stagedRow is a row that an update adds. Its cells stand together in the update.
type stagedRow struct {
	shape *shape
	at    int64
	seq   uint64
	epoch int64 // its id
	first int   // of its cells
}

// coded says where the codes stand that were last written for a shape.
type coded struct {
	update uint64
	first  int
}

// rows are the rows that an update adds.
type rows struct {
	list  []stagedRow
	cells []cell
	bytes []byte // as they stand in the tail
}

// append writes the rows as they stand in the tail.
func (r *rows) append(b []byte, update uint64) []byte {
	for i := range r.list {
		x := &r.list[i]
		cells := r.cells[x.first : x.first+len(x.shape.points)]
		was := x.shape.coded
		same := was.update == update && slices.EqualFunc(cells, r.cells[was.first:was.first+len(cells)], func(a, b cell) bool { return a.code == b.code })
		x.shape.coded = coded{update, x.first}
		b = appendRow(b, x.shape.id, x.epoch, x.seq, x.at, cells, same)
	}
	return b
}

// appendRow writes a row as it stands in the main file:
//
//	shape:u epoch:u seq:u at:s same:byte (code:u)*points unless same (number:s or text)*points
//
// where same is 1 when the codes are those of the row of that shape before it.
func appendRow(b []byte, shape, epoch int64, seq uint64, at int64, cells []cell, same bool) []byte {
	b = binary.AppendUvarint(b, uint64(shape))
	b = binary.AppendUvarint(b, uint64(epoch))
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendVarint(b, at)
	if same {
		b = append(b, 1)
	} else {
		b = append(b, 0)
		for k := range cells {
			b = binary.AppendUvarint(b, uint64(cells[k].code))
		}
	}
	for k := range cells {
		if cells[k].hasText() {
			b = appendText(b, cells[k].text)
		} else {
			b = binary.AppendVarint(b, cells[k].num)
		}
	}
	return b
}

// take adds rows of the tail to the live ones.
func (c *catalog) take(b []byte) error {
	return c.eachRow(b, func(s *shape, at int64, epoch wire.Epoch, seq uint64, cells []cell) error {
		c.land(s, at, epoch, seq, cells)
		return nil
	})
}

// takeNewest takes the newest rows of the shapes of a group.
func (c *catalog) takeNewest(group int64, b []byte) error {
	return c.eachRow(b, func(s *shape, at int64, epoch wire.Epoch, seq uint64, cells []cell) error {
		if s.id/groupShapes != group || s.last != nil {
			return fmt.Errorf("shape %d is twice or in the place of another one", s.id)
		}
		s.last = &table{points: s.points}
		s.last.begin(at, epoch, seq)
		for _, x := range cells {
			s.last.put(x)
		}
		s.device.newest = max(s.device.newest, at)
		return nil
	})
}

// newestRows writes the newest rows in chunks of the shapes of a group.
func (c *catalog) newestRows(group int64) []byte {
	var b []byte
	var cells []cell
	for id := group * groupShapes; id < (group+1)*groupShapes; id++ {
		s := c.shapes[id]
		if s == nil || s.last == nil {
			continue
		}
		cells = cells[:0]
		for k := range s.points {
			cells = append(cells, s.last.cell(0, k))
		}
		b = appendRow(b, id, c.epochs[s.last.epochs[s.last.epoch[0]]], s.last.seq[0], s.last.at[0], cells, false)
		s.fresh = false
	}
	return b
}

// eachRow calls fn for rows of the main file.
func (c *catalog) eachRow(b []byte, fn func(s *shape, at int64, epoch wire.Epoch, seq uint64, cells []cell) error) error {
	r := reader{b: b}
	codes := make(map[*shape][]uint16)
	var cells []cell
	for len(r.b) > 0 {
		id, epochID, seq, at, same := r.uvarint(), r.uvarint(), r.uvarint(), unzigzag(r.uvarint()), r.byte()
		if r.err != nil {
			return r.err
		}
		s, epoch, err := c.named(int64(id), int64(epochID))
		if err != nil {
			return err
		}
		list := codes[s]
		if same == 0 {
			list = list[:0]
			for range s.points {
				list = append(list, uint16(r.uvarint()))
			}
			codes[s] = list
		}
		if len(list) != len(s.points) {
			return fmt.Errorf("a row without codes")
		}
		cells = cells[:0]
		for _, code := range list {
			x := cell{code: code}
			if x.hasText() {
				x.text = r.text()
			} else {
				x.num = unzigzag(r.uvarint())
			}
			cells = append(cells, x)
		}
		if r.err != nil {
			return r.err
		}
		if err := fn(s, at, epoch, seq, cells); err != nil {
			return err
		}
	}
	return r.err
}

func (c *catalog) named(shapeID, epochID int64) (*shape, wire.Epoch, error) {
	s := c.shapes[shapeID]
	if s == nil {
		return nil, wire.Epoch{}, fmt.Errorf("shape %d is not there", shapeID)
	}
	e, ok := c.byEpoch[epochID]
	if !ok {
		return nil, e, fmt.Errorf("epoch %d is not there", epochID)
	}
	return s, e, nil
}

// publish adds the rows of an update that is committed to the live ones.
func (c *catalog) publish(r *rows, tail int64) {
	for i := range r.list {
		x := &r.list[i]
		c.land(x.shape, x.at, c.byEpoch[x.epoch], x.seq, r.cells[x.first:x.first+len(x.shape.points)])
	}
	c.end = max(c.end, tail)
}
