package series

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"kenshin/edge/wire"
)

// FileStat says what one file of the store holds.
type FileStat struct {
	Name   string
	Bytes  int64 // on disk, with its write-ahead log
	Chunks int   // 0 for the main file
	Rows   int64 // readings, or parts of one, in chunks or in the tail
	Values int64 // samples; in a month's file only when the chunks were read
}

// Size returns what the files hold, the main one first. It reads no chunk.
func (db *DB) Size(ctx context.Context) ([]FileStat, error) { return db.stat(ctx, nil) }

// Check reads everything and calls problem for all that is not as it was written:
// pages, sums, and chunks whose rows are not those that their place announces.
func (db *DB) Check(ctx context.Context, problem func(string)) ([]FileStat, error) {
	for _, err := range []error{db.checkClosings(ctx), second(db.Marks(ctx)), third(db.Cursor(ctx)), second(db.Declarations(ctx))} {
		if err != nil && ctx.Err() == nil {
			problem(err.Error())
		}
	}
	if err := integrity(ctx, db.reader, filepath.Base(db.path), problem); err != nil {
		return nil, err
	}
	return db.stat(ctx, problem)
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

// integrity has SQLite look at the pages of a file.
func integrity(ctx context.Context, q querier, name string, problem func(string)) error {
	return each(ctx, q, "PRAGMA integrity_check(20)", func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		if err == nil && text != "ok" {
			problem(name + ": " + text)
		}
		return err
	})
}

// stat counts, and with problem given it reads the chunks.
func (db *DB) stat(ctx context.Context, problem func(string)) ([]FileStat, error) {
	head := FileStat{Name: filepath.Base(db.path), Bytes: onDisk(db.abs)}
	db.mem.RLock()
	for _, d := range db.names.devices {
		for _, s := range d.shapes {
			for _, t := range []*stream{s.frozen, s.live} {
				if t != nil {
					head.Rows += int64(t.n)
					head.Values += int64(t.values())
				}
			}
		}
	}
	db.mem.RUnlock()
	out := []FileStat{head}
	for _, name := range db.months.list(dayOf(-1<<63), dayOf(1<<63-1)) {
		m, err := db.months.get(ctx, name, false)
		if err != nil {
			if problem == nil || !errors.Is(err, ErrFile) {
				return out, err
			}
			problem(err.Error())
			continue
		}
		if m == nil {
			continue
		}
		f := FileStat{Name: filepath.Base(m.path), Bytes: onDisk(m.path)}
		if err := m.stat(ctx, &f, problem); err != nil {
			return out, db.reading(f.Name, err)
		}
		out = append(out, f)
	}
	return out, nil
}

func (m *month) stat(ctx context.Context, f *FileStat, problem func(string)) error {
	if problem == nil {
		return m.reader.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(rows), 0) FROM chunks`).Scan(&f.Chunks, &f.Rows)
	}
	if err := integrity(ctx, m.reader, f.Name, problem); err != nil {
		problem(f.Name + ": " + err.Error())
		return nil
	}
	return each(ctx, m.reader, `SELECT edge, device, day, first, last, rows, data FROM chunks`, func(rows *sql.Rows) error {
		var p place
		var first, last, n int64
		var data sql.RawBytes
		if err := rows.Scan(&p.edge, &p.device, &p.day, &first, &last, &n, &data); err != nil {
			return err
		}
		f.Chunks++
		f.Rows += n
		tables, err := decodeChunk(p, data, "")
		for _, t := range tables {
			f.Values += int64(len(t.nums))
			n -= int64(t.rows())
			for i := 0; err == nil && i < t.rows(); i++ {
				for k := 0; err == nil && k < len(t.points); k++ {
					err = t.sample(i, k, &wire.Sample{})
				}
			}
		}
		a, b := span(tables)
		if err == nil && (n != 0 || a != first || b != last) {
			err = fmt.Errorf("chunk of %s/%s on day %d: rows %d to %d, its place says %d to %d", p.edge, p.device, p.day, a, b, first, last)
		}
		if err != nil {
			problem(f.Name + ": " + err.Error())
		}
		return nil
	})
}

func onDisk(path string) (n int64) {
	for _, f := range []string{path, path + "-wal"} {
		if info, err := os.Stat(f); err == nil {
			n += info.Size()
		}
	}
	return n
}
