package series

import (
	"context"
	"database/sql"
	"sync"

	"kenshin/edge/wire"
)

// keptAll and keptCounters say what is left in a chunk.
const (
	keptAll = iota
	keptCounters
)

// known remembers chunks that late samples were compared with: they come by the
// thousand for one day.
type known struct {
	mu     sync.Mutex // guards all below
	days   map[place][]knownChunk
	values int // decoded
	merges int // how often something was forgotten
}

type knownChunk struct {
	id, first, last int64
	tables          []*table // nil until they are needed
}

const knownValues = 2_000_000 // decoded; beyond it everything is forgotten

func (k *known) forget(months map[string][]*dayRows) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.merges++
	for _, list := range months {
		for _, x := range list {
			delete(k.days, place{x.device.edge, x.device.name, x.day})
		}
	}
}

// existing adds to have what a device has at a time.
func (db *DB) existing(ctx context.Context, d *device, at int64, have map[string]wire.Sample) error {
	add := func(t *table) error {
		i := t.row(at)
		for k := 0; i >= 0 && k < len(t.points); k++ {
			if _, ok := have[t.points[k].Name]; ok {
				continue
			}
			var s wire.Sample
			if err := t.sample(i, k, &s); err != nil {
				return err
			}
			have[s.Point] = s
		}
		return nil
	}
	db.mem.Lock()
	chunked := d.chunked
	for _, s := range d.shapes {
		for _, x := range []*stream{s.frozen, s.live} {
			if x == nil || at > x.newest || x.n == 0 {
				continue
			}
			was := x.size()
			t := x.look()
			if x == s.live {
				db.names.bytes += x.size() - was
			}
			if err := add(t); err != nil {
				db.mem.Unlock()
				return err
			}
		}
	}
	db.mem.Unlock()
	if at > chunked {
		return nil
	}
	return db.knownAt(ctx, d, at, add)
}

// knownAt calls fn for the tables of the chunks that may have rows of a time.
func (db *DB) knownAt(ctx context.Context, d *device, at int64, fn func(*table) error) error {
	p := place{d.edge, d.name, dayOf(at)}
	k := &db.known
	k.mu.Lock()
	if k.values > knownValues || k.days == nil {
		k.days, k.values = make(map[place][]knownChunk), 0
	}
	chunks, ok := k.days[p]
	merges := k.merges
	k.mu.Unlock()
	list := db.months.list(p.day, p.day)
	var m *month
	if len(list) > 0 {
		var err error
		if m, err = db.months.get(ctx, monthOf(p.day), false); err != nil {
			return err
		}
	}
	if m == nil {
		return nil
	}
	changed := false
	if !ok {
		changed = true
		err := each(ctx, m.reader, `SELECT id, first, last FROM chunks WHERE edge = ? AND device = ? AND day = ? ORDER BY id`, func(rows *sql.Rows) error {
			var c knownChunk
			err := rows.Scan(&c.id, &c.first, &c.last)
			chunks = append(chunks, c)
			return err
		}, p.edge, p.device, p.day)
		if err != nil {
			return err
		}
	}
	values := 1
	for i := range chunks {
		c := &chunks[i]
		if at < c.first || at > c.last {
			continue
		}
		if c.tables == nil {
			var data []byte
			err := m.reader.QueryRowContext(ctx, `SELECT data FROM chunks WHERE id = ? AND edge = ? AND device = ? AND day = ?`, c.id, p.edge, p.device, p.day).Scan(&data)
			if err == sql.ErrNoRows { // a merge has just made another one of it
				k.mu.Lock()
				delete(k.days, p)
				k.mu.Unlock()
				return db.knownAt(ctx, d, at, fn)
			}
			if err != nil {
				return err
			}
			if c.tables, err = decodeChunk(p, data, ""); err != nil {
				return err
			}
			changed = true
			for _, t := range c.tables {
				values += len(t.nums)
			}
		}
		for _, t := range c.tables {
			if err := fn(t); err != nil {
				return err
			}
		}
	}
	if changed {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.merges == merges { // else it may be out of date
			k.days[p] = chunks
			k.values += values
		}
	}
	return nil
}
