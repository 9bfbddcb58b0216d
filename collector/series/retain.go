package series

import (
	"context"
	"database/sql"
	"fmt"

	"kenshin/edge/wire"
)

const retainSlice = 200 // chunks trimmed in one transaction

// Retain drops the samples of all days before an instant, ms UTC, but those of
// counters, which stay for ever: figures of record rest on them. It returns how many
// chunks became smaller. What it drops is still in the book, and comes back with a
// rebuild until Retain runs again.
func (db *DB) Retain(ctx context.Context, before int64) (trimmed int, err error) {
	db.merging.Lock()
	defer db.merging.Unlock()
	day := dayOf(before)
	defer db.months.rest(context.WithoutCancel(ctx)) // an error of it comes again with the next merge
	for _, name := range db.months.list(dayOf(-1<<63), day-1) {
		n, err := db.retainMonth(ctx, name, day)
		trimmed += n
		if err != nil {
			return trimmed, fmt.Errorf("retention in series %s: %w", monthFile(db.path, name), damaged(err))
		}
	}
	return trimmed, nil
}

func (db *DB) retainMonth(ctx context.Context, name string, day int64) (trimmed int, err error) {
	m, err := db.months.get(ctx, name, false)
	if err != nil || m == nil {
		return 0, err
	}
	var left int
	if err := m.reader.QueryRowContext(ctx, `SELECT count(*) FROM chunks WHERE kept = ? AND day < ?`, keptAll, day).Scan(&left); err != nil || left == 0 {
		return 0, err
	}
	if m, err = db.months.get(ctx, name, true); err != nil {
		return 0, err
	}
	for {
		n, err := db.retainSlice(ctx, m, day)
		if trimmed += n; err != nil {
			return trimmed, err
		}
		if n == 0 {
			break
		}
	}
	_, err = m.writer.ExecContext(ctx, "VACUUM") // else the file stays as large as it was
	return trimmed, err
}

// retainSlice trims some chunks.
func (db *DB) retainSlice(ctx context.Context, m *month, day int64) (int, error) {
	tx, err := m.writer.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() // after Commit it does nothing
	type old struct {
		id     int64
		place  place
		tables []*table
	}
	var list []old
	err = each(ctx, tx, `SELECT id, edge, device, day, data FROM chunks WHERE kept = ? AND day < ? LIMIT ?`, func(rows *sql.Rows) error {
		var x old
		var data sql.RawBytes
		err := rows.Scan(&x.id, &x.place.edge, &x.place.device, &x.place.day, &data)
		if err == nil {
			x.tables, err = decodeChunk(x.place, data, "")
		}
		list = append(list, x)
		return err
	}, keptAll, day, retainSlice)
	if err != nil {
		return 0, err
	}
	for _, x := range list {
		kept := counters(x.tables)
		if len(kept) == 0 {
			_, err = tx.ExecContext(ctx, `DELETE FROM chunks WHERE id = ?`, x.id)
		} else {
			first, last := span(kept)
			n := 0
			for _, t := range kept {
				n += t.rows()
			}
			_, err = tx.ExecContext(ctx, `UPDATE chunks SET first = ?, last = ?, rows = ?, kept = ?, data = ? WHERE id = ?`, first, last, n, keptCounters, encodeChunk(x.place, kept, deflate), x.id)
		}
		if err != nil {
			return 0, err
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	db.known.mu.Lock()
	defer db.known.mu.Unlock()
	db.known.merges++
	for _, x := range list {
		delete(db.known.days, x.place)
	}
	return len(list), nil
}

// counters returns what tables have of counters.
func counters(tables []*table) (out []*table) {
	for _, t := range tables {
		var columns []int
		x := &table{}
		for k, p := range t.points {
			if p.Kind == wire.Counter {
				columns, x.points = append(columns, k), append(x.points, p)
			}
		}
		if len(columns) == 0 {
			continue
		}
		for i := range t.rows() {
			x.begin(t.at[i], t.epochs[t.epoch[i]], t.seq[i])
			for _, k := range columns {
				x.put(t.cell(i, k))
			}
		}
		out = append(out, x)
	}
	return out
}
