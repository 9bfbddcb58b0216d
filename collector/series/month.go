package series

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const monthSchema = `
CREATE TABLE chunks (id INTEGER PRIMARY KEY, edge TEXT NOT NULL, device TEXT NOT NULL, day INTEGER NOT NULL,
	first INTEGER NOT NULL, last INTEGER NOT NULL, rows INTEGER NOT NULL, kept INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX places ON chunks (edge, device, day, first, last);
`

// monthVersion is the version of a month's file.
const monthVersion = 1

const dayMs = 86_400_000

// dayOf returns the UTC day of a time, counted from 1970-01-01.
func dayOf(at int64) int64 {
	d := at / dayMs
	if at%dayMs < 0 {
		d--
	}
	return d
}

// monthOf names the month of a day so that months sort by name; what is before the
// year 1 or after 9999 has a name of its own.
func monthOf(day int64) string {
	const first, end = -719_162, 2_932_897 // 0001-01-01 and 10000-01-01
	switch {
	case day < first:
		return "0000-00"
	case day >= end:
		return "9999-99"
	}
	return time.Unix(day*86_400, 0).UTC().Format("2006-01")
}

func monthFile(path, month string) string {
	return strings.TrimSuffix(path, ".db") + "-" + month + ".db"
}

// months are the files with the chunks.
type months struct {
	mu   sync.Mutex // guards all below
	path string     // of the main file
	open map[string]*month
	all  []string // those that have a file, ascending
}

// month is one such file.
type month struct {
	name   string
	path   string
	reader *sql.DB
	writer *sql.DB // nil while nothing is merged into it
}

// find looks which files there are.
func (m *months) find(path string) error {
	m.path, m.open = path, make(map[string]*month)
	for _, f := range Files(path)[3:] {
		name, ok := strings.CutSuffix(f, ".db")
		if ok {
			m.all = append(m.all, name[len(name)-len("2006-01"):])
		}
	}
	slices.Sort(m.all)
	return nil
}

// list returns the months that may hold chunks of days, ascending.
func (m *months) list(from, to int64) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	first, last := monthOf(from), monthOf(to)
	var out []string
	for _, name := range m.all {
		if first <= name && name <= last {
			out = append(out, name)
		}
	}
	return out
}

// get opens the file of a month, nil when there is none and none is to be made. One
// that a crash left before it was laid out is none.
func (m *months) get(ctx context.Context, name string, write bool) (*month, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, there := slices.BinarySearch(m.all, name)
	if !there && !write {
		return nil, nil
	}
	x := m.open[name]
	if x == nil {
		x = &month{name: name, path: monthFile(m.path, name)}
	}
	if write && x.writer == nil {
		if err := x.openWriter(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", x.path, err)
		}
	}
	if x.reader == nil {
		if _, err := os.Stat(x.path); err != nil {
			return nil, err
		}
		var err error
		if x.reader, err = sql.Open("sqlite", dsn(x.path, "query_only(1)", "cache_size(-1024)")); err != nil {
			return nil, err
		}
		x.reader.SetMaxIdleConns(2)
		empty, err := x.check(ctx)
		if err != nil || empty {
			if err = errors.Join(err, x.reader.Close()); err != nil {
				err = fmt.Errorf("%s: %w", x.path, err)
			}
			return nil, err
		}
	}
	m.open[name] = x
	if !there {
		m.all = append(m.all, name)
		slices.Sort(m.all)
	}
	return x, nil
}

// openWriter opens the file to be written, and lays it out when it is new. What is
// committed there is on disk before the tail forgets it.
func (x *month) openWriter(ctx context.Context) (err error) {
	w, err := sql.Open("sqlite", dsn(x.path, "synchronous(FULL)", "journal_mode(WAL)", "cache_size(-8192)"))
	if err != nil {
		return err
	}
	w.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	var tables int
	if err := w.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	if tables == 0 {
		tx, err := w.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // after Commit it does nothing
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("%s PRAGMA application_id = %d; PRAGMA user_version = %d;", monthSchema, monthID, monthVersion)); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	x.writer = w
	return nil
}

// check looks at what the file says it is; empty is one that was never laid out.
func (x *month) check(ctx context.Context) (empty bool, err error) {
	var app, version, tables int64
	for pragma, dst := range map[string]*int64{"PRAGMA application_id": &app, "PRAGMA user_version": &version, "SELECT count(*) FROM sqlite_schema": &tables} {
		if err := x.reader.QueryRowContext(ctx, pragma).Scan(dst); err != nil {
			return false, damaged(err)
		}
	}
	if app == 0 && version == 0 && tables == 0 {
		return true, nil
	}
	if app != monthID || version != monthVersion {
		return false, fmt.Errorf("%w: it has application id 0x%08X and version %d, this program reads 0x%08X and %d; %s", ErrFile, app, version, monthID, monthVersion, remedy)
	}
	return false, nil
}

// rest closes what writes, so that the log of a month that is over does not stay.
func (m *months) rest(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, x := range m.open {
		if x.writer != nil {
			_, err := x.writer.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
			errs = append(errs, err, x.writer.Close())
			x.writer = nil
		}
	}
	return errors.Join(errs...)
}

func (m *months) close() error {
	var errs []error
	for _, x := range m.open {
		for _, c := range []*sql.DB{x.reader, x.writer} {
			if c != nil {
				errs = append(errs, c.Close())
			}
		}
	}
	return errors.Join(errs...)
}

// chunks calls fn for the chunks of a device from a day to another, both included,
// by day and, of one day, the oldest first. data is valid until fn returns.
func (db *DB) chunks(ctx context.Context, d *device, from, to int64, fn func(p place, data []byte) error) error {
	for _, name := range db.months.list(from, to) {
		m, err := db.months.get(ctx, name, false)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		err = each(ctx, m.reader, `SELECT day, data FROM chunks WHERE edge = ? AND device = ? AND day BETWEEN ? AND ? ORDER BY day, id`, func(rows *sql.Rows) error {
			p := place{edge: d.edge, device: d.name}
			var data sql.RawBytes
			if err := rows.Scan(&p.day, &data); err != nil {
				return err
			}
			return fn(p, data)
		}, d.edge, d.name, from, to)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(m.path), err)
		}
	}
	return nil
}
