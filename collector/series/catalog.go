package series

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"

	"kenshin/edge/wire"
)

// point is one place of a shape.
type point struct {
	Name string    `json:"point"`
	Unit string    `json:"unit,omitempty"`
	Kind wire.Kind `json:"kind"`
}

// shape is the list of points whose values a part holds. It never changes; a
// device that declares itself anew gets a new one.
type shape struct {
	id     int64
	device *device
	points []point
}

// device is one device of one edge.
type device struct {
	id     int64
	edge   string
	name   string
	shapes []*shape
}

func (d *device) key(p point) string { return d.edge + "/" + d.name + "/" + p.Name }

type deviceName struct{ edge, name string }

// catalog is the small tables in memory: what ids stand for. Ids are only ever
// added; whoever reads a committed row finds its ids here.
type catalog struct {
	mu      sync.RWMutex // guards all below
	devices map[deviceName]*device
	shapes  map[int64]*shape
	epochs  map[wire.Epoch]int64
	byEpoch map[int64]wire.Epoch
	keys    map[string]*device // whose rows hold a key
}

// load reads the tables anew.
func (c *catalog) load(ctx context.Context, q querier) error {
	fresh := catalog{devices: make(map[deviceName]*device), shapes: make(map[int64]*shape),
		epochs: make(map[wire.Epoch]int64), byEpoch: make(map[int64]wire.Epoch), keys: make(map[string]*device)}
	byID := make(map[int64]*device)
	err := each(ctx, q, `SELECT id, edge, device FROM devices`, func(rows *sql.Rows) error {
		d := &device{}
		if err := rows.Scan(&d.id, &d.edge, &d.name); err != nil {
			return err
		}
		byID[d.id] = d
		fresh.devices[deviceName{d.edge, d.name}] = d
		return nil
	})
	if err != nil {
		return err
	}
	err = each(ctx, q, `SELECT id, device, points FROM shapes`, func(rows *sql.Rows) error {
		var device int64
		var points []byte
		s := &shape{}
		if err := rows.Scan(&s.id, &device, &points); err != nil {
			return err
		}
		if s.device = byID[device]; s.device == nil {
			return fmt.Errorf("%w: shape %d is of device %d, which is not there", errPayload, s.id, device)
		}
		if err := json.Unmarshal(points, &s.points); err != nil {
			return fmt.Errorf("%w: points of shape %d: %w", errPayload, s.id, err)
		}
		fresh.addShape(s)
		return nil
	})
	if err != nil {
		return err
	}
	err = each(ctx, q, `SELECT id, epoch FROM epochs`, func(rows *sql.Rows) error {
		var id int64
		var raw []byte
		var e wire.Epoch
		if err := rows.Scan(&id, &raw); err != nil {
			return err
		}
		if copy(e[:], raw) != len(e) {
			return fmt.Errorf("%w: epoch %d of %d bytes", errPayload, id, len(raw))
		}
		fresh.epochs[e], fresh.byEpoch[id] = id, e
		return nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.devices, c.shapes, c.epochs, c.byEpoch, c.keys = fresh.devices, fresh.shapes, fresh.epochs, fresh.byEpoch, fresh.keys
	return nil
}

func (c *catalog) addShape(s *shape) {
	c.shapes[s.id] = s
	s.device.shapes = append(s.device.shapes, s)
	for _, p := range s.points {
		c.keys[s.device.key(p)] = s.device
	}
}

func (c *catalog) shape(id int64) (*shape, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if s := c.shapes[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: shape %d is not there", errPayload, id)
}

func (c *catalog) epoch(id int64) (wire.Epoch, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e, ok := c.byEpoch[id]; ok {
		return e, nil
	}
	return wire.Epoch{}, fmt.Errorf("%w: epoch %d is not there", errPayload, id)
}

// holder returns the device whose rows hold a key, nil when there is none.
func (c *catalog) holder(key string) *device {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.keys[key]
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
