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

// append writes the rows as they stand in the tail: for each of them
//
//	shape:u epoch:u seq:u at:s same:byte (code:u)*points unless same (number:s or text)*points
//
// where same is 1 when the codes are those of the row of that shape before it.
func (r *rows) append(b []byte, update uint64) []byte {
	for i := range r.list {
		x := &r.list[i]
		cells := r.cells[x.first : x.first+len(x.shape.points)]
		b = binary.AppendUvarint(b, uint64(x.shape.id))
		b = binary.AppendUvarint(b, uint64(x.epoch))
		b = binary.AppendUvarint(b, x.seq)
		b = binary.AppendVarint(b, x.at)
		was := x.shape.coded
		if was.update == update && slices.EqualFunc(cells, r.cells[was.first:was.first+len(cells)], func(a, b cell) bool { return a.code == b.code }) {
			b = append(b, 1)
		} else {
			b = append(b, 0)
			for k := range cells {
				b = binary.AppendUvarint(b, uint64(cells[k].code))
			}
		}
		x.shape.coded = coded{update, x.first}
		for k := range cells {
			if cells[k].hasText() {
				b = appendText(b, cells[k].text)
			} else {
				b = binary.AppendVarint(b, cells[k].num)
			}
		}
	}
	return b
}

// take adds rows of the tail to the live ones.
func (c *catalog) take(b []byte) error {
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
		c.land(s, at, epoch, seq, cells)
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
