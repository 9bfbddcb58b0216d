package series

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
)

const (
	sliceValues = 200_000   // merged in one transaction, about
	tailValues  = 1_000_000 // in the tail before a merge begins, at least
	tailBytes   = 64 << 20  // that live rows take before one begins in any case
	perDevice   = 400       // values of a device that are worth a chunk
	smallRows   = 4096      // a chunk with more is left alone
	mostParts   = 15        // small chunks of a device and day
	worthwhile  = 1000      // values of a chunk that are compressed though more will come
	freeSlice   = 500       // pages given back in one transaction
	groupShapes = 512       // whose newest rows are written together
)

// today is what merging knows of the day it last merged of a device.
type today struct {
	day   int64
	last  int64 // greatest time in its chunks
	parts int   // 0 when nothing is known
}

// relieve begins a merge when there is enough in the tail, and waits for it when
// there is far too much.
func (db *DB) relieve(ctx context.Context) error {
	db.mem.RLock()
	share := max(float64(db.names.points)/float64(max(tailValues, perDevice*len(db.names.devices))), float64(db.names.bytes)/tailBytes)
	db.mem.RUnlock()
	if share < 1 {
		return nil
	}
	db.state.Lock()
	err, running := db.failed, db.running
	if running == nil {
		running = make(chan struct{})
		db.running = running
		go func() {
			err := db.merge(db.ended)
			db.state.Lock()
			defer db.state.Unlock()
			db.failed, db.running = err, nil
			close(running)
		}()
	}
	db.state.Unlock()
	if share < 2 {
		return nil
	}
	if err != nil { // it was tried before, and the tail cannot grow for ever
		return err
	}
	select {
	case <-running:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns when no merge runs that Apply began.
func (db *DB) wait() {
	db.state.Lock()
	running := db.running
	db.state.Unlock()
	if running != nil {
		<-running
	}
}

// Merge moves all that is in the tail now into the chunks of its days, in slices
// between which updates go on, and gives back the room that the tail had. Apply
// begins one by itself when there is enough. When it fails or is given up nothing is
// lost, and the next one goes on.
func (db *DB) Merge(ctx context.Context) error {
	if err := db.merge(ctx); err != nil {
		return err
	}
	for {
		var free int
		err := db.write(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", freeSlice)); err != nil {
				return err
			}
			return tx.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free)
		})
		if err != nil || free == 0 {
			return err
		}
	}
}

func (db *DB) merge(ctx context.Context) error {
	db.merging.Lock()
	defer db.merging.Unlock()
	db.mem.RLock()
	names := db.names // should they be read anew meanwhile, these go with the devices
	end := names.end
	var devices []*device
	for _, d := range names.devices {
		if slices.ContainsFunc(d.shapes, func(s *shape) bool { return s.live.n > 0 || s.frozen != nil }) {
			devices = append(devices, d)
		}
	}
	db.mem.RUnlock()
	slices.SortFunc(devices, func(a, b *device) int {
		if c := strings.Compare(a.edge, b.edge); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	defer func() { db.rooms = nil }()
	defer db.months.rest(context.WithoutCancel(ctx)) // an error of it comes again with the next merge
	for rest := devices; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, values := 0, 0
		for n < len(rest) && values < sliceValues {
			values += db.freeze(rest[n])
			n++
		}
		if err := db.mergeSlice(ctx, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return db.forget(ctx, names, devices, end)
}

// freeze takes the live rows of a device out to be merged. What a merge that
// failed has left there is merged again, with what came since.
func (db *DB) freeze(d *device) (values int) {
	db.mem.Lock()
	defer db.mem.Unlock()
	d.before = math.MinInt64
	if d.chunked != math.MinInt64 {
		d.before = dayOf(d.chunked)
	}
	for _, s := range d.shapes {
		if s.live.n == 0 && s.frozen == nil {
			continue
		}
		db.names.bytes = max(0, db.names.bytes-s.live.size()) // a reload may have counted anew
		db.names.points = max(0, db.names.points-s.live.values())
		if s.frozen == nil {
			s.frozen = s.live
		} else {
			s.frozen.join(s.live)
		}
		s.live = &stream{points: s.points}
		values += s.frozen.values()
		d.chunked = max(d.chunked, s.frozen.newest)
	}
	return values
}

// dayRows are rows of a device and a day that have to become a chunk.
type dayRows struct {
	device *device
	day    int64
	tables []*table
	over   bool // its device has later rows
}

// mergeSlice merges the frozen rows of devices and drops them.
func (db *DB) mergeSlice(ctx context.Context, devices []*device) error {
	months := make(map[string][]*dayRows)
	for _, d := range devices {
		for _, x := range db.frozenDays(d) {
			name := monthOf(x.day)
			months[name] = append(months[name], x)
		}
	}
	for name, list := range months {
		if err := db.mergeMonth(ctx, name, list); err != nil {
			return err
		}
	}
	db.known.forget(months)
	db.mem.Lock()
	defer db.mem.Unlock()
	for _, d := range devices {
		for _, s := range d.shapes {
			if s.frozen == nil {
				continue
			}
			s.keep(s.merged, s.merged.rows()-1)
			db.rooms = append(db.rooms, s.merged)
			s.frozen, s.merged = nil, nil
		}
	}
	return nil
}

// frozenDays returns the frozen rows of a device by day, ascending, and the day
// before that is over now.
func (db *DB) frozenDays(d *device) []*dayRows {
	byDay := make(map[int64]*dayRows)
	day := func(n int64) *dayRows {
		x := byDay[n]
		if x == nil {
			x = &dayRows{device: d, day: n}
			byDay[n] = x
		}
		return x
	}
	for _, s := range d.shapes {
		if s.frozen == nil {
			continue
		}
		var room *table
		if n := len(db.rooms) - 1; n >= 0 {
			room, db.rooms = db.rooms[n], db.rooms[:n]
		}
		t := s.frozen.table(room).sorted()
		s.merged = t
		if n := t.rows(); n > 0 && dayOf(t.at[0]) == dayOf(t.at[n-1]) {
			day(dayOf(t.at[0])).tables = append(day(dayOf(t.at[0])).tables, t)
			continue
		}
		for i := 0; i < t.rows(); {
			n := dayOf(t.at[i])
			x := &table{points: t.points}
			for ; i < t.rows() && dayOf(t.at[i]) == n; i++ {
				x.copyRow(t, i)
			}
			day(n).tables = append(day(n).tables, x)
		}
	}
	newest := dayOf(d.chunked)
	if d.today.parts > 1 && d.today.day < newest {
		day(d.today.day)
	}
	var out []*dayRows
	for _, x := range byDay {
		x.over = x.day < newest
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *dayRows) int { return int(max(-1, min(1, a.day-b.day))) })
	return out
}

func (db *DB) mergeMonth(ctx context.Context, name string, list []*dayRows) error {
	m, err := db.months.get(ctx, name, true)
	if err != nil {
		return err
	}
	tx, err := m.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	w := merger{ctx: ctx, tx: tx, encoder: &db.encoder}
	if w.put, err = tx.PrepareContext(ctx, `INSERT INTO chunks (edge, device, day, first, last, rows, kept, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`); err != nil {
		return err
	}
	for _, x := range list {
		if err := w.merge(x); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, x := range list { // only now is it so
		if x.day >= x.device.today.day || x.device.today.parts == 0 {
			x.device.today = w.after[x]
		}
	}
	return nil
}

// merger writes chunks in one transaction.
type merger struct {
	ctx     context.Context
	tx      *sql.Tx
	put     *sql.Stmt
	encoder *encoder
	after   map[*dayRows]today
}

func (w *merger) done(x *dayRows, t today) {
	if w.after == nil {
		w.after = make(map[*dayRows]today)
	}
	w.after[x] = t
}

// merge writes rows as a chunk of their own, or as one with small ones of the day
// when those are many, the day is over, or both have rows of one span.
func (w *merger) merge(x *dayRows) error {
	p := place{x.device.edge, x.device.name, x.day}
	first, last := span(x.tables)
	if x.day > x.device.before { // there is none of that day
		w.done(x, today{x.day, last, 1})
		return w.insert(p, x.tables, x.over)
	}
	if t := x.device.today; !x.over && t.day == x.day && t.parts > 0 && t.parts < mostParts && first > t.last {
		w.done(x, today{x.day, last, t.parts + 1})
		return w.insert(p, x.tables, false)
	}
	var old []*table
	var ids []int64
	kept, small, greatest := 0, 0, last
	type chunk struct {
		id, first, last, rows int64
	}
	var all []chunk
	err := each(w.ctx, w.tx, `SELECT id, first, last, rows FROM chunks WHERE edge = ? AND device = ? AND day = ? ORDER BY id`, func(rows *sql.Rows) error {
		var c chunk
		if err := rows.Scan(&c.id, &c.first, &c.last, &c.rows); err != nil {
			return err
		}
		all = append(all, c)
		if greatest = max(greatest, c.last); c.rows < smallRows {
			small++
		}
		return nil
	}, p.edge, p.device, p.day)
	if err != nil {
		return err
	}
	compact := x.over || small >= mostParts
	for _, c := range all {
		if !(c.first <= last && first <= c.last) && !(compact && c.rows < smallRows) {
			kept++
			continue
		}
		var data []byte
		if err := w.tx.QueryRowContext(w.ctx, `SELECT data FROM chunks WHERE id = ?`, c.id).Scan(&data); err != nil {
			return err
		}
		tables, err := decodeChunk(p, data, "")
		if err != nil {
			return err
		}
		old, ids = append(old, tables...), append(ids, c.id)
	}
	if len(x.tables) == 0 && len(ids) < 2 {
		w.done(x, today{x.day, greatest, kept + len(ids)})
		return nil
	}
	for _, id := range ids {
		if _, err := w.tx.ExecContext(w.ctx, `DELETE FROM chunks WHERE id = ?`, id); err != nil {
			return err
		}
	}
	w.done(x, today{x.day, greatest, kept + 1})
	return w.insert(p, join(append(old, x.tables...)), compact)
}

// insert writes a chunk; whole says that nothing more is expected of its day soon.
func (w *merger) insert(p place, tables []*table, whole bool) error {
	first, last := span(tables)
	rows, values := 0, 0
	for _, t := range tables {
		rows += t.rows()
		values += len(t.nums)
	}
	method := byte(plain)
	if values >= worthwhile || whole && values >= worthwhile/5 {
		method = deflate
	}
	_, err := w.put.ExecContext(w.ctx, p.edge, p.device, p.day, first, last, rows, keptAll, w.encoder.chunk(p, tables, method))
	return err
}

// span returns the first and the last time in tables.
func span(tables []*table) (first, last int64) {
	first, last = math.MaxInt64, math.MinInt64
	for _, t := range tables {
		if n := t.rows(); n > 0 {
			first, last = min(first, t.at[0]), max(last, t.at[n-1])
		}
	}
	return first, last
}

// join makes one table of those of the same points. Of two rows of one time the
// one that comes first stays: the other one is the same, written again after a crash.
func join(tables []*table) []*table {
	var out []*table
	for len(tables) > 0 {
		t := &table{points: tables[0].points}
		var rest []*table
		for _, x := range tables {
			if !slices.Equal(x.points, t.points) {
				rest = append(rest, x)
				continue
			}
			for i := range x.rows() {
				t.copyRow(x, i)
			}
		}
		t = t.sorted()
		once := &table{points: t.points}
		for i := range t.rows() {
			if i == 0 || t.at[i] != t.at[i-1] {
				once.copyRow(t, i)
			}
		}
		out, tables = append(out, once), rest
	}
	return out
}

// forget takes out of the tail what is in chunks, after the newest row of each
// shape has been noted: in slices, so that no update waits long.
func (db *DB) forget(ctx context.Context, names *catalog, devices []*device, end int64) error {
	var groups []int64
	db.mem.RLock()
	for _, d := range devices {
		for _, s := range d.shapes {
			if s.fresh {
				groups = append(groups, s.id/groupShapes)
			}
		}
	}
	db.mem.RUnlock()
	slices.Sort(groups)
	for _, group := range slices.Compact(groups) {
		db.mem.Lock()
		rows := names.newestRows(group) // should they not be written, the tail has them
		db.mem.Unlock()
		err := db.write(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO newest (id, rows, crc) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET rows = excluded.rows, crc = excluded.crc`, group, rows, tailCRC(rows))
			return err
		})
		if err != nil {
			return err
		}
	}
	return db.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM tail WHERE id <= ?`, end)
		return err
	})
}

// write makes a short transaction between updates.
func (db *DB) write(ctx context.Context, fn func(*sql.Tx) error) error {
	db.writing.Lock()
	defer db.writing.Unlock()
	tx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}
