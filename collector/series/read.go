package series

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// walk calls fn for each value in the parts of a row, filled in but for its
// time. With only given, the values of other points are passed over.
func (c *catalog) walk(parts []byte, only *string, fn func(wire.Sample) error) error {
	r := reader{b: parts}
	for len(r.b) > 0 && r.err == nil {
		p := r.part()
		if r.err != nil {
			break
		}
		s, err := c.shape(p.shape)
		if err != nil {
			return err
		}
		for i := range s.points {
			if only != nil && s.points[i].Name != *only {
				r.value(nil)
				continue
			}
			x := wire.Sample{Edge: s.device.edge, Device: s.device.name, Point: s.points[i].Name, Unit: s.points[i].Unit, Kind: s.points[i].Kind, Seq: p.seq}
			r.value(&x)
			if r.err != nil {
				break
			}
			if x.Epoch, err = c.epoch(p.epoch); err != nil {
				return err
			}
			if err := fn(x); err != nil {
				return err
			}
		}
	}
	return r.err
}

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

// Scan calls fn for each sample of a series with from <= At < to, in order of
// time. Times are ms UTC. A series nobody has written has no samples. fn may
// read from the store again, but no more than a few levels deep.
func (db *DB) Scan(ctx context.Context, key string, from, to int64, fn func(wire.Sample) error) error {
	dev := db.names.holder(key)
	if dev == nil {
		return nil
	}
	point := key[len(dev.edge)+len(dev.name)+2:]
	var stopped error // by fn: its error is the caller's and stays as it is
	err := each(ctx, db.reader, `SELECT at, payload FROM readings WHERE device = ? AND at >= ? AND at < ? ORDER BY at`, func(rows *sql.Rows) error {
		var at int64
		var payload sql.RawBytes
		if err := rows.Scan(&at, &payload); err != nil {
			return err
		}
		return db.row(dev.id, at, payload, &point, func(s wire.Sample) error {
			stopped = fn(s)
			return stopped
		})
	}, dev.id, from, to)
	if stopped != nil {
		return stopped
	}
	return db.reading("samples of "+key, err)
}

// row calls fn for the samples of one row.
func (db *DB) row(device, at int64, payload []byte, only *string, fn func(wire.Sample) error) error {
	parts, err := unseal(payload, device, at)
	if err == nil {
		err = db.names.walk(parts, only, func(s wire.Sample) error {
			s.At = at
			return fn(s)
		})
	}
	if errors.Is(err, errPayload) {
		return fmt.Errorf("row of device %d at %d: %w", device, at, err)
	}
	return err
}

// Latest returns the newest sample of every series, good or not, in the order
// of their keys.
func (db *DB) Latest(ctx context.Context) ([]wire.Sample, error) {
	newest := make(map[string]wire.Sample)
	err := each(ctx, db.reader, `SELECT DISTINCT r.device, r.at, r.payload FROM shapes s JOIN readings r ON r.device = s.device AND r.at = s.newest`, func(rows *sql.Rows) error {
		var device, at int64
		var payload sql.RawBytes
		if err := rows.Scan(&device, &at, &payload); err != nil {
			return err
		}
		return db.row(device, at, payload, nil, func(s wire.Sample) error {
			if old, ok := newest[s.Key()]; !ok || s.At > old.At {
				newest[s.Key()] = s
			}
			return nil
		})
	})
	if err != nil {
		return nil, db.reading("latest samples", err)
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
	err := each(ctx, db.reader, `SELECT r.device, r.at, r.payload FROM devices d JOIN readings r ON r.device = d.id ORDER BY d.edge, d.device, r.at`, func(rows *sql.Rows) error {
		var device, at int64
		var payload sql.RawBytes
		if err := rows.Scan(&device, &at, &payload); err != nil {
			return err
		}
		return db.row(device, at, payload, nil, func(s wire.Sample) error {
			wrote = e.Encode(line{Key: s.Key(), At: at, Quality: s.Quality.String(), Value: valueText(&s), Unit: s.Unit, Reason: s.Reason, Epoch: s.Epoch, Seq: s.Seq})
			return wrote
		})
	})
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
