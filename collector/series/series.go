// Package series keeps samples by series and time, the closings of registers,
// and how far the book has been settled into both, in SQLite files.
//
// Samples, closings and cursor move in one transaction or not at all. Numbers
// come back as the exact decimals they were; quality, reason and the identity
// of the record they came in stay with them. Of two samples of one series and
// time the first one stays: the same again is ignored, another one is kept
// among the conflicts. Late samples take their place in time whatever their age.
//
// What is new stands in a tail, in memory and in the main file. From there it is
// merged, in the background and in slices, into the file of its month: one
// compressed chunk of columns for a device and a day, or a few while the day runs.
//
// Everything here is derived from the book, so the file is written with
// synchronous=NORMAL: after a power cut the last transactions may be gone, each
// of them whole and its cursor with it, and are settled again. A transaction
// never outruns the book, which is on disk before it is read. What a sample
// means, and which register it counts for, is left to others.
//
// FORMAT.md beside this file describes the tables and the chunks.
package series

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Version is the version of the files this package reads and writes.
const Version = 4

const (
	applicationID = 0x4B53_6572 // "KSer", as file(1) and PRAGMA application_id show it
	monthID       = 0x4B53_6D6F // "KSmo", of a month's file
	remedy        = "it holds nothing that the book does not: run `kenshin-collector rebuild`"
	readers       = 8       // connections that read at once
	walPages      = 4 << 10 // of 4 KiB, between checkpoints
	cacheKiB      = 16 << 10
)

var (
	// ErrFile is wrapped when a file is not one this package can use: of another
	// program, of another version, or damaged.
	ErrFile = errors.New("series file cannot be used")
	// ErrOlder is wrapped, beside ErrFile, when the file has a former version.
	ErrOlder = errors.New("it has a former version")
)

const schema = `
CREATE TABLE settled (id INTEGER PRIMARY KEY CHECK (id = 1), cursor INTEGER NOT NULL, state BLOB, crc INTEGER NOT NULL);
CREATE TABLE marks (key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE devices (id INTEGER PRIMARY KEY, edge TEXT NOT NULL, device TEXT NOT NULL, UNIQUE (edge, device));
CREATE TABLE shapes (id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES devices, points TEXT NOT NULL);
CREATE TABLE newest (id INTEGER PRIMARY KEY, rows BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE epochs (id INTEGER PRIMARY KEY, epoch BLOB NOT NULL UNIQUE);
CREATE TABLE tail (id INTEGER PRIMARY KEY AUTOINCREMENT, rows BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE conflicts (device INTEGER NOT NULL, at INTEGER NOT NULL, point TEXT NOT NULL, epoch INTEGER NOT NULL, seq TEXT NOT NULL,
	unit TEXT NOT NULL, quality TEXT NOT NULL, value TEXT NOT NULL, reason TEXT NOT NULL,
	PRIMARY KEY (device, at, point, epoch, seq)) WITHOUT ROWID;
CREATE TABLE declarations (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, record BLOB NOT NULL);
CREATE TABLE closings (register TEXT NOT NULL, day INTEGER NOT NULL, closing TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (register, day)) WITHOUT ROWID;
`

// DB is an open series store. Its methods may be called from several
// goroutines; Apply lets one in at a time.
type DB struct {
	path   string
	abs    string
	writer *sql.DB // one connection
	reader *sql.DB
	months months

	mem   sync.RWMutex // guards names and everything in it
	names *catalog

	writing sync.Mutex        // held by Apply, and by a merge while it writes to the main file
	stale   bool              // names holds what was rolled back; guarded by writing
	plans   map[planKey]*plan // guarded by writing
	lasts   map[string]int64  // last day of a register that has a closing, as a number; guarded by writing
	room    rows              // of the update before; guarded by writing
	update  uint64            // number of the update; guarded by writing

	merging sync.Mutex // held by a merge
	encoder encoder    // guarded by merging
	rooms   []*table   // tables of the slice before, to be used again; guarded by merging
	known   known
	state   sync.Mutex    // guards the two below
	running chan struct{} // closed when the merge that Apply began ends; nil when none runs
	failed  error         // of the last merge that Apply began
	stop    context.CancelFunc
	ended   context.Context
}

// Open opens the store whose main file is at path or starts one; the files of its
// months stand beside it. A file of another program, of another version or a damaged
// one is refused with ErrFile and left as it is.
func Open(path string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open series %s: %w", path, err)
	}
	db := &DB{path: path, abs: abs, lasts: make(map[string]int64)}
	db.ended, db.stop = context.WithCancel(context.Background())
	if err := db.open(context.Background(), abs); err != nil {
		return nil, errors.Join(fmt.Errorf("open series %s: %w", path, damaged(err)), db.Close())
	}
	return db, nil
}

// Files returns the files of the store whose main file is at path.
func Files(path string) []string {
	files := []string{path, path + "-wal", path + "-shm"}
	for _, pattern := range []string{monthFile(path, "????-??"), monthFile(path, "????-??") + "-wal", monthFile(path, "????-??") + "-shm"} {
		found, _ := filepath.Glob(pattern) // the pattern is whole
		files = append(files, found...)
	}
	return files
}

func (db *DB) open(ctx context.Context, abs string) error {
	var err error
	if db.writer, err = sql.Open("sqlite", dsn(abs, "synchronous(NORMAL)", fmt.Sprintf("wal_autocheckpoint(%d)", walPages), fmt.Sprintf("cache_size(-%d)", cacheKiB))); err != nil {
		return err
	}
	db.writer.SetMaxOpenConns(1)
	if err := db.identify(ctx); err != nil {
		return err
	}
	if db.reader, err = sql.Open("sqlite", dsn(abs, "query_only(1)")); err != nil {
		return err
	}
	db.reader.SetMaxOpenConns(readers)
	db.reader.SetMaxIdleConns(readers)
	if err := db.months.find(abs); err != nil {
		return err
	}
	if err := db.load(ctx); err != nil {
		return err
	}
	return db.checkClosings(ctx)
}

// checkClosings reads all closings: one whose register or day was damaged would
// not be found where it is looked for, and no error would say so.
func (db *DB) checkClosings(ctx context.Context) error {
	return each(ctx, db.reader, `SELECT register, day, closing, crc FROM closings`, func(rows *sql.Rows) error {
		var register string
		var day, crc int64
		var text sql.RawBytes
		if err := rows.Scan(&register, &day, &text, &crc); err != nil {
			return err
		}
		db.lasts[register] = max(db.lasts[register], day)
		return checkClosing(register, day, text, crc)
	})
}

// dsn returns the data source name of a file; every connection gets the pragmas.
func dsn(abs string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: q.Encode()}).String()
}

// identify looks at what the file says it is before anything is written to it,
// and lays out a new one.
func (db *DB) identify(ctx context.Context) error {
	var app, version, tables int64
	for pragma, dst := range map[string]*int64{"PRAGMA application_id": &app, "PRAGMA user_version": &version, "SELECT count(*) FROM sqlite_schema": &tables} {
		if err := db.writer.QueryRowContext(ctx, pragma).Scan(dst); err != nil {
			return err
		}
	}
	switch {
	case app == 0 && version == 0 && tables == 0:
		if _, err := db.writer.ExecContext(ctx, "PRAGMA auto_vacuum = INCREMENTAL"); err != nil { // has to come before all else
			return err
		}
	case app != applicationID:
		return fmt.Errorf("%w: it was made by another program (application id 0x%08X); move it away, or, if it may be replaced, run `kenshin-collector rebuild`", ErrFile, app)
	case version > 0 && version < Version:
		return fmt.Errorf("%w: %w, %d, this program reads %d; %s", ErrFile, ErrOlder, version, Version, remedy)
	case version != Version:
		return fmt.Errorf("%w: it has version %d, this program reads %d; %s", ErrFile, version, Version, remedy)
	}
	var mode string
	if err := db.writer.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("journal mode is %q, want wal: keep the file on a local disk", mode)
	}
	if app == applicationID {
		return nil
	}
	for _, f := range Files(db.abs)[3:] { // of a main file that was removed: what they hold may be of another book
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	tx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("%s PRAGMA application_id = %d; PRAGMA user_version = %d;", schema, applicationID, Version)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO settled VALUES (1, 0, NULL, ?)`, settledCRC(0, nil)); err != nil {
		return err
	}
	return tx.Commit()
}

// Close releases the file. Nothing else may be running.
func (db *DB) Close() error {
	db.stop()
	db.wait()
	errs := []error{db.months.close()}
	for _, c := range []*sql.DB{db.reader, db.writer} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// damaged adds the remedy to an error that says the file is no longer whole.
func damaged(err error) error {
	var e *sqlite.Error
	switch {
	case errors.As(err, &e) && (e.Code()&0xFF == sqlite3.SQLITE_CORRUPT || e.Code()&0xFF == sqlite3.SQLITE_NOTADB):
		return fmt.Errorf("%w: %w; %s", ErrFile, err, remedy)
	case errors.Is(err, errPayload):
		return fmt.Errorf("%w: %w; %s", ErrFile, err, remedy)
	}
	return err
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each calls fn for every row of a query.
func each(ctx context.Context, q querier, query string, fn func(*sql.Rows) error, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
