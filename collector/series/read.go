package series

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// Cursor returns how many records of the book are settled, and the state that
// was stored with them: 0 and nil in a new file.
func (db *DB) Cursor(ctx context.Context) (uint64, []byte, error) {
	var cursor, crc int64
	var state []byte
	if err := db.reader.QueryRowContext(ctx, `SELECT cursor, state, crc FROM settled`).Scan(&cursor, &state, &crc); err != nil {
		return 0, nil, db.reading("cursor", err)
	}
	if settledCRC(cursor, state) != crc {
		return 0, nil, db.reading("cursor", fmt.Errorf("%w: row of settled with cursor %d: the CRC is another one", errPayload, cursor))
	}
	return uint64(cursor), state, nil
}

func (db *DB) reading(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s from series %s: %w", what, db.path, damaged(err))
}

// Declarations returns the declarations of all updates, the oldest first.
func (db *DB) Declarations(ctx context.Context) ([]*wire.Declaration, error) {
	var out []*wire.Declaration
	err := each(ctx, db.reader, `SELECT hash, record FROM declarations ORDER BY id`, func(rows *sql.Rows) error {
		var hash, record []byte
		if err := rows.Scan(&hash, &record); err != nil {
			return err
		}
		rec, err := wire.DecodeRecord(record)
		if err != nil || rec.Declaration == nil {
			return errors.Join(fmt.Errorf("%w: declaration %x", errPayload, hash), err)
		}
		if h := rec.Declaration.Hash(); string(h[:]) != string(hash) {
			return fmt.Errorf("%w: declaration %x has the hash %v", errPayload, hash, h)
		}
		out = append(out, rec.Declaration)
		return nil
	})
	return out, db.reading("declarations", err)
}

// Closings returns the closings of a register, the oldest first.
func (db *DB) Closings(ctx context.Context, register string) ([]calc.Closing, error) {
	var out []calc.Closing
	err := each(ctx, db.reader, `SELECT day, closing, crc FROM closings WHERE register = ? ORDER BY day`, func(rows *sql.Rows) error {
		var day, crc int64
		var text []byte
		if err := rows.Scan(&day, &text, &crc); err != nil {
			return err
		}
		if err := checkClosing(register, day, text, crc); err != nil {
			return err
		}
		var c calc.Closing
		if err := json.Unmarshal(text, &c); err != nil {
			return fmt.Errorf("%w: closing on %d: %w", errPayload, day, err)
		}
		out = append(out, c)
		return nil
	}, register)
	return out, db.reading("closings of "+register, err)
}

// Marks returns the marks of all updates by their keys.
func (db *DB) Marks(ctx context.Context) (map[string][]byte, error) {
	out := make(map[string][]byte)
	err := each(ctx, db.reader, `SELECT key, value, crc FROM marks`, func(rows *sql.Rows) error {
		var key string
		var value []byte
		var crc int64
		if err := rows.Scan(&key, &value, &crc); err != nil {
			return err
		}
		if markCRC(key, value) != crc {
			return fmt.Errorf("%w: mark %q: the CRC is another one", errPayload, key)
		}
		out[key] = value
		return nil
	})
	return out, db.reading("marks", err)
}

// Series is one series that has samples.
type Series struct {
	Edge, Device, Point string
	Unit                string // of the newest kind of sample
	Kind                wire.Kind
}

// Key names the series: "edge/device/point".
func (s *Series) Key() string { return s.Edge + "/" + s.Device + "/" + s.Point }

// Series returns all series in the order of their keys' parts.
func (db *DB) Series(context.Context) ([]Series, error) {
	db.mem.RLock()
	defer db.mem.RUnlock()
	at := make(map[Series]int)
	var out []Series
	for _, d := range db.names.sorted() {
		for _, s := range d.shapes {
			for _, p := range s.points {
				id := Series{Edge: d.edge, Device: d.name, Point: p.Name}
				i, ok := at[id]
				if !ok {
					i = len(out)
					at[id] = i
					out = append(out, id)
				}
				out[i].Unit, out[i].Kind = p.Unit, p.Kind
			}
		}
		clear(at)
	}
	slices.SortStableFunc(out, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.Edge, b.Edge), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Point, b.Point))
	})
	return out, nil
}

// sorted returns the devices by edge and name.
func (c *catalog) sorted() []*device {
	return slices.SortedFunc(maps.Values(c.devices), func(a, b *device) int {
		return cmp.Or(cmp.Compare(a.edge, b.edge), cmp.Compare(a.name, b.name))
	})
}

// Scan calls fn for each sample of a series with from <= At < to, in order of
// time. Times are ms UTC. A series nobody has written has no samples. What was
// there when it began is seen whole; what comes meanwhile may be. fn may read from
// the store again.
func (db *DB) Scan(ctx context.Context, key string, from, to int64, fn func(wire.Sample) error) error {
	edge, rest, _ := strings.Cut(key, "/")
	name, point, ok := strings.Cut(rest, "/")
	if !ok || point == "" {
		return nil
	}
	return db.scan(ctx, edge, name, point, from, to, fn)
}

// ScanDevice is Scan for all points of a device: by time, and those of one time in
// the order in which they were declared.
func (db *DB) ScanDevice(ctx context.Context, edge, device string, from, to int64, fn func(wire.Sample) error) error {
	return db.scan(ctx, edge, device, "", from, to, fn)
}

// scan is Scan and, with no point given, ScanDevice.
func (db *DB) scan(ctx context.Context, edge, name, point string, from, to int64, fn func(wire.Sample) error) error {
	if from >= to {
		return nil
	}
	d, late, err := db.unmerged(edge, name, point, from, to)
	if d == nil || err != nil {
		return db.reading("samples of "+edge+"/"+name, err)
	}
	var stopped error // by fn: its error is the caller's and stays as it is
	give := func(list []wire.Sample) error {
		slices.SortStableFunc(list, func(a, b wire.Sample) int { return cmp.Compare(a.At, b.At) })
		seen := make(map[string]bool)
		for i := range list {
			if i > 0 && list[i].At != list[i-1].At {
				clear(seen)
			}
			if seen[list[i].Point] {
				continue // of two that a crash left, or that a merge has just moved
			}
			seen[list[i].Point] = true
			if stopped = fn(list[i]); stopped != nil {
				return stopped
			}
		}
		return nil
	}
	until := func(day int64) []wire.Sample { // takes from late what is before a day
		n, _ := slices.BinarySearchFunc(late, day, func(s wire.Sample, day int64) int { return cmp.Compare(dayOf(s.At), day) })
		out := late[:n:n]
		late = late[n:]
		return out
	}
	var list []wire.Sample
	day := int64(math.MinInt64)
	err = db.chunks(ctx, d, dayOf(from), dayOf(to-1), func(p place, data []byte) error {
		if p.day != day {
			if err := give(append(list, until(day+1)...)); err != nil {
				return err
			}
			if err := give(until(p.day)); err != nil {
				return err
			}
			list, day = list[:0], p.day
		}
		tables, err := decodeChunk(p, data, point)
		if err != nil {
			return err
		}
		for _, t := range tables {
			if list, err = t.collect(list, d, from, to); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		if err = give(append(list, until(day+1)...)); err == nil {
			err = give(late)
		}
	}
	if stopped != nil {
		return stopped
	}
	return db.reading("samples of "+edge+"/"+name, err)
}

// collect appends the samples of a table that are in a span.
func (t *table) collect(list []wire.Sample, d *device, from, to int64) ([]wire.Sample, error) {
	for i, at := range t.at {
		if at < from || at >= to {
			continue
		}
		for k := range t.points {
			s := wire.Sample{Edge: d.edge, Device: d.name}
			if err := t.sample(i, k, &s); err != nil {
				return list, err
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// unmerged returns a device and what is in no chunk of it yet, by time; nil when
// it is not known.
func (db *DB) unmerged(edge, name, point string, from, to int64) (*device, []wire.Sample, error) {
	db.mem.RLock()
	defer db.mem.RUnlock()
	d := db.names.devices[deviceName{edge, name}]
	if d == nil {
		return nil, nil, nil
	}
	var list []wire.Sample
	for _, s := range d.shapes {
		for _, x := range []*stream{s.frozen, s.live} {
			if x == nil || x.n == 0 || from > x.newest {
				continue
			}
			columns, k := s.points, 0
			if point != "" {
				if k = column(s.points, point); k < 0 {
					continue
				}
				columns = s.points[k : k+1]
			}
			t := x.table(nil)
			for i, at := range t.at {
				if at < from || at >= to {
					continue
				}
				for j := range columns {
					x := wire.Sample{Edge: edge, Device: name}
					if err := t.sample(i, k+j, &x); err != nil {
						return d, nil, err
					}
					list = append(list, x)
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b wire.Sample) int { return cmp.Compare(a.At, b.At) })
	return d, list, nil
}

// Latest returns the newest sample of every series, good or not, in the order
// of their keys.
func (db *DB) Latest(context.Context) ([]wire.Sample, error) {
	db.mem.RLock()
	defer db.mem.RUnlock()
	newest := make(map[string]wire.Sample)
	var room table
	for _, d := range db.names.devices {
		for _, s := range d.shapes {
			t, row := s.newest(&room)
			if t == nil {
				continue
			}
			for k := range s.points {
				x := wire.Sample{Edge: d.edge, Device: d.name}
				if err := t.sample(row, k, &x); err != nil {
					return nil, db.reading("latest samples", err)
				}
				if old, ok := newest[x.Key()]; !ok || x.At > old.At {
					newest[x.Key()] = x
				}
			}
		}
	}
	out := make([]wire.Sample, 0, len(newest))
	for _, key := range slices.Sorted(maps.Keys(newest)) {
		out = append(out, newest[key])
	}
	return out, nil
}

// line is a sample as Dump writes it.
type line struct {
	Key      string     `json:"key"`
	At       int64      `json:"at"`
	Quality  string     `json:"quality"`
	Value    string     `json:"value"` // decimal or label text, "" when not good
	Unit     string     `json:"unit,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Epoch    wire.Epoch `json:"epoch"`
	Seq      uint64     `json:"seq"`
	Conflict bool       `json:"conflict,omitempty"` // lost against the one that was there before
}

// Dump writes all samples as JSON lines, by edge, device and time, then the
// conflicts. It is for people and for reading the file without this package.
func (db *DB) Dump(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriter(w)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	var wrote error
	db.mem.RLock()
	devices := db.names.sorted()
	db.mem.RUnlock()
	var err error
	for _, d := range devices {
		err = db.ScanDevice(ctx, d.edge, d.name, math.MinInt64, math.MaxInt64, func(s wire.Sample) error {
			wrote = e.Encode(line{Key: s.Key(), At: s.At, Quality: s.Quality.String(), Value: valueText(&s), Unit: s.Unit, Reason: s.Reason, Epoch: s.Epoch, Seq: s.Seq})
			return wrote
		})
		if err != nil {
			break
		}
	}
	if err == nil {
		err = each(ctx, db.reader, `SELECT d.edge || '/' || d.device || '/' || c.point, c.at, c.quality, c.value, c.unit, c.reason, p.epoch, c.seq
			FROM conflicts c JOIN devices d ON d.id = c.device JOIN epochs p ON p.id = c.epoch ORDER BY d.edge, d.device, c.at, c.point, c.epoch, c.seq`, func(rows *sql.Rows) error {
			l := line{Conflict: true}
			var epoch []byte
			var seq string
			if err := rows.Scan(&l.Key, &l.At, &l.Quality, &l.Value, &l.Unit, &l.Reason, &epoch, &seq); err != nil {
				return err
			}
			copy(l.Epoch[:], epoch)
			var err error
			if l.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
				return fmt.Errorf("%w: conflict at %d: %w", errPayload, l.At, err)
			}
			wrote = e.Encode(l)
			return wrote
		})
	}
	if wrote == nil && err != nil {
		return db.reading("all samples", err)
	}
	return errors.Join(wrote, out.Flush())
}
