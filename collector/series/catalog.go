package series

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"kenshin/edge/wire"
)

// shape is a list of points that a device's readings have. It never changes; a
// device that declares itself anew gets a new one.
type shape struct {
	id     int64
	device *device
	points []point
	last   *table // the newest row that is in a chunk, nil before the first one
	fresh  bool   // last is newer than the main file says

	live   *stream // rows that are in no chunk yet
	frozen *stream // rows that are being merged, nil when there are none
	merged *table  // the same by time, while their slice is merged
	coded  coded   // of the update under way
}

// device is one device of one edge.
type device struct {
	id      int64
	edge    string
	name    string
	shapes  []*shape
	newest  int64 // greatest time of a row
	chunked int64 // greatest time of a row that may be in a chunk
	before  int64 // day of chunked before the merge under way

	staged staged // of the update under way
	today  today  // of merging
}

type deviceName struct{ edge, name string }

// catalog is what stands for ids in the main file, and the tail. Ids are only ever added.
type catalog struct {
	devices map[deviceName]*device
	shapes  map[int64]*shape
	epochs  map[wire.Epoch]int64
	byEpoch map[int64]wire.Epoch
	lists   map[string][]point // by their JSON: devices of one kind share them
	points  int                // values in live rows
	bytes   int                // that they take in memory, about
	end     int64              // last row of the tail that is in them
}

func newCatalog() *catalog {
	return &catalog{devices: make(map[deviceName]*device), shapes: make(map[int64]*shape), epochs: make(map[wire.Epoch]int64),
		byEpoch: make(map[int64]wire.Epoch), lists: make(map[string][]point)}
}

func newDevice(id int64, edge, name string) *device {
	return &device{id: id, edge: edge, name: name, newest: math.MinInt64, chunked: math.MinInt64}
}

// load reads the small tables and the tail anew.
func (db *DB) load(ctx context.Context) error {
	c := newCatalog()
	byID := make(map[int64]*device)
	err := each(ctx, db.reader, `SELECT id, edge, device FROM devices`, func(rows *sql.Rows) error {
		var id int64
		var edge, name string
		if err := rows.Scan(&id, &edge, &name); err != nil {
			return err
		}
		byID[id] = newDevice(id, edge, name)
		c.devices[deviceName{edge, name}] = byID[id]
		return nil
	})
	if err != nil {
		return err
	}
	err = each(ctx, db.reader, `SELECT id, epoch FROM epochs`, func(rows *sql.Rows) error {
		var id int64
		var raw []byte
		var e wire.Epoch
		if err := rows.Scan(&id, &raw); err != nil {
			return err
		}
		if copy(e[:], raw) != len(e) {
			return fmt.Errorf("%w: epoch %d of %d bytes", errPayload, id, len(raw))
		}
		c.epochs[e], c.byEpoch[id] = id, e
		return nil
	})
	if err != nil {
		return err
	}
	err = each(ctx, db.reader, `SELECT id, device, points FROM shapes`, func(rows *sql.Rows) error {
		var id, device int64
		var points string
		if err := rows.Scan(&id, &device, &points); err != nil {
			return err
		}
		d := byID[device]
		if d == nil {
			return fmt.Errorf("%w: shape %d is of device %d, which is not there", errPayload, id, device)
		}
		_, err := c.shape(id, d, points)
		return err
	})
	if err != nil {
		return err
	}
	err = each(ctx, db.reader, `SELECT id, rows, crc FROM newest`, func(rows *sql.Rows) error {
		var id, crc int64
		var b sql.RawBytes
		if err := rows.Scan(&id, &b, &crc); err != nil {
			return err
		}
		if tailCRC(b) != crc {
			return fmt.Errorf("%w: row %d of newest: the CRC is another one", errPayload, id)
		}
		if err := c.takeNewest(id, b); err != nil {
			return fmt.Errorf("%w: row %d of newest: %w", errPayload, id, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = each(ctx, db.reader, `SELECT id, rows, crc FROM tail ORDER BY id`, func(rows *sql.Rows) error {
		var id, crc int64
		var b sql.RawBytes
		if err := rows.Scan(&id, &b, &crc); err != nil {
			return err
		}
		if tailCRC(b) != crc {
			return fmt.Errorf("%w: row %d of the tail: the CRC is another one", errPayload, id)
		}
		if err := c.take(b); err != nil {
			return fmt.Errorf("%w: row %d of the tail: %w", errPayload, id, err)
		}
		c.end = id
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range c.devices {
		d.chunked = d.newest // a merge that was cut short may have left what the tail still has
	}
	db.mem.Lock()
	defer db.mem.Unlock()
	db.names, db.plans = c, make(map[planKey]*plan)
	return nil
}

// shape adds a shape to a device.
func (c *catalog) shape(id int64, d *device, points string) (*shape, error) {
	s := &shape{id: id, device: d, points: c.lists[points]}
	if s.points == nil {
		if err := json.Unmarshal([]byte(points), &s.points); err != nil {
			return nil, fmt.Errorf("%w: points of shape %d: %w", errPayload, id, err)
		}
		c.lists[points] = s.points
	}
	s.live = &stream{points: s.points}
	c.shapes[id] = s
	d.shapes = append(d.shapes, s)
	return s, nil
}

// land adds a row to the live ones of a shape.
func (c *catalog) land(s *shape, at int64, epoch wire.Epoch, seq uint64, cells []cell) {
	was := s.live.size()
	s.live.add(at, epoch, seq, cells)
	c.points += len(cells)
	c.bytes += s.live.size() - was
	s.device.newest = max(s.device.newest, at)
}

// keep makes a row the newest one that is in a chunk, if it is.
func (s *shape) keep(t *table, row int) {
	if s.last == nil {
		s.last = &table{points: s.points}
	} else if s.last.at[0] > t.at[row] {
		return
	}
	s.last.reset()
	s.last.copyRow(t, row)
	s.fresh = true
}

// newest returns the newest row of a shape, in a table that may be room; nil when
// there is none.
func (s *shape) newest(room *table) (t *table, row int) {
	t = s.last
	for _, x := range []*stream{s.frozen, s.live} {
		if x == nil || x.n == 0 || t != nil && x.newest <= t.at[row] {
			continue
		}
		t = x.table(room)
		row = slices.Index(t.at, x.newest)
	}
	return t, row
}

// find returns the shape of these samples, nil when it is a new one.
func (d *device) find(samples []*wire.Sample) *shape {
next:
	for i := len(d.shapes) - 1; i >= 0; i-- { // the newest is the likeliest
		s := d.shapes[i]
		if len(s.points) != len(samples) {
			continue
		}
		for k, x := range samples {
			if p := &s.points[k]; p.Name != x.Point || p.Unit != x.Unit || p.Kind != x.Kind {
				continue next
			}
		}
		return s
	}
	return nil
}
