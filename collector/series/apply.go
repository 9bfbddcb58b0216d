package series

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// Update is what one transaction changes.
type Update struct {
	Cursor       uint64 // records of the book that are settled with it
	State        []byte // what settling keeps beside, opaque here
	Samples      []wire.Sample
	Declarations []*wire.Declaration
	Closings     map[string]Closings // by register
}

// Closings takes the place of everything that is stored of a register from day
// From to day To, or to the end when To is no day. List is ascending and may be
// empty.
type Closings struct {
	From calc.Date
	To   calc.Date
	List []calc.Closing
}

// Result says what became of the samples of an update. Those in neither number
// were there already.
type Result struct {
	Stored    int
	Conflicts int // other value at the time of another sample; the first one stays
}

// Apply makes an update in one transaction: all of it or nothing. It can be
// given up through ctx. The same update twice changes nothing the second time.
func (db *DB) Apply(ctx context.Context, u Update) (Result, error) {
	db.writing.Lock()
	defer db.writing.Unlock()
	res, err := db.apply(ctx, u)
	if err != nil {
		db.stale = true // what was added to names may have been rolled back
		if ctx.Err() != nil {
			err = ctx.Err() // not the driver's word for it
		}
		return Result{}, fmt.Errorf("write series %s: %w", db.path, damaged(err))
	}
	return res, nil
}

func (db *DB) apply(ctx context.Context, u Update) (Result, error) {
	if db.stale {
		if err := db.names.load(ctx, db.reader); err != nil {
			return Result{}, err
		}
		db.stale = false
	}
	tx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return Result{}, err
	}
	defer tx.Rollback() // after Commit it does nothing
	// The transaction watches ctx; watching it once more at every statement
	// would take longer than the statement.
	w := &update{ctx: context.WithoutCancel(ctx), tx: tx, names: &db.names, newest: make(map[*shape]int64)}
	w.insert = tx.StmtContext(w.ctx, db.insert)
	if err := w.samples(u.Samples); err != nil {
		return Result{}, err
	}
	for _, d := range u.Declarations {
		h := d.Hash()
		rec := wire.Record{Declaration: d}
		if _, err := tx.ExecContext(w.ctx, `INSERT INTO declarations (hash, record) VALUES (?, ?) ON CONFLICT DO NOTHING`, h[:], rec.Encode()); err != nil {
			return Result{}, err
		}
	}
	for register, c := range u.Closings {
		if err := w.closings(register, c); err != nil {
			return Result{}, err
		}
	}
	if _, err := tx.ExecContext(w.ctx, `UPDATE settled SET cursor = ?, state = ?, crc = ?`, int64(u.Cursor), u.State, settledCRC(int64(u.Cursor), u.State)); err != nil {
		return Result{}, err
	}
	return w.res, tx.Commit()
}

// update is a transaction under way.
type update struct {
	ctx    context.Context // of the statements
	tx     *sql.Tx
	insert *sql.Stmt
	names  *catalog
	newest map[*shape]int64
	res    Result

	last   *device // the device of the sample before
	group  []*wire.Sample
	buffer []byte
}

// samples stores samples. Those of one record, which follow one another, share
// a row for each of their times.
func (w *update) samples(all []wire.Sample) error {
	var rest []*wire.Sample
	for len(all) > 0 {
		n := 1
		for n < len(all) && sameRecord(&all[0], &all[n]) {
			n++
		}
		rest = rest[:0]
		for i := range all[:n] {
			rest = append(rest, &all[i])
		}
		all = all[n:]
		for len(rest) > 0 {
			at := rest[0].At
			w.group = w.group[:0]
			left := rest[:0]
			for _, s := range rest {
				if s.At == at {
					w.group = append(w.group, s)
				} else {
					left = append(left, s)
				}
			}
			rest = left
			if err := w.store(w.group); err != nil {
				return err
			}
		}
	}
	for s, at := range w.newest {
		if _, err := w.tx.ExecContext(w.ctx, `UPDATE shapes SET newest = ? WHERE id = ? AND newest < ?`, at, s.id, at); err != nil {
			return err
		}
	}
	return nil
}

func sameRecord(a, b *wire.Sample) bool {
	return a.Seq == b.Seq && a.Device == b.Device && a.Edge == b.Edge && a.Epoch == b.Epoch
}

// store stores samples of one record, device and time.
func (w *update) store(group []*wire.Sample) error {
	first := group[0]
	dev, err := w.device(first)
	if err != nil {
		return err
	}
	sh, err := w.shape(dev, group)
	if err != nil {
		return err
	}
	if sh == nil { // a point twice: one after the other, the second one is compared
		for _, s := range slices.Clone(group) {
			if err := w.store([]*wire.Sample{s}); err != nil {
				return err
			}
		}
		return nil
	}
	epoch, err := w.epoch(first.Epoch)
	if err != nil {
		return err
	}
	if w.buffer, err = appendPart(w.buffer[:0], epoch, sh.id, group); err != nil {
		return err
	}
	w.buffer = seal(w.buffer, dev.id, first.At)
	done, err := w.insert.ExecContext(w.ctx, dev.id, first.At, w.buffer)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return w.merge(dev, epoch, group)
	}
	w.stored(sh, first.At, len(group))
	return nil
}

func (w *update) stored(s *shape, at int64, n int) {
	w.res.Stored += n
	if newest, ok := w.newest[s]; !ok || at > newest {
		w.newest[s] = at
	}
}

// merge adds samples to a row that is there: what it has already is compared,
// what is new becomes a part of its own.
func (w *update) merge(dev *device, epoch int64, group []*wire.Sample) error {
	at := group[0].At
	var payload []byte
	if err := w.tx.QueryRowContext(w.ctx, `SELECT payload FROM readings WHERE device = ? AND at = ?`, dev.id, at).Scan(&payload); err != nil {
		return err
	}
	parts, err := unseal(payload, dev.id, at)
	if err != nil {
		return err
	}
	have := make(map[string]wire.Sample)
	err = w.names.walk(parts, nil, func(s wire.Sample) error {
		have[s.Point] = s
		return nil
	})
	if err != nil {
		return err
	}
	var fresh []*wire.Sample
	for _, s := range group {
		switch old, ok := have[s.Point]; {
		case !ok:
			fresh = append(fresh, s)
		case !same(&old, s):
			if err := w.conflict(dev, epoch, s); err != nil {
				return err
			}
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	sh, err := w.shape(dev, fresh)
	if err != nil {
		return err
	}
	if parts, err = appendPart(parts, epoch, sh.id, fresh); err != nil {
		return err
	}
	if _, err := w.tx.ExecContext(w.ctx, `UPDATE readings SET payload = ? WHERE device = ? AND at = ?`, seal(parts, dev.id, at), dev.id, at); err != nil {
		return err
	}
	w.stored(sh, at, len(fresh))
	return nil
}

// same reports whether b says what a says. The reason is for people and may differ.
func same(a, b *wire.Sample) bool {
	return a.Quality == b.Quality && a.Unit == b.Unit && a.Text == b.Text && a.Number.Equal(b.Number)
}

func (w *update) conflict(dev *device, epoch int64, s *wire.Sample) error {
	res, err := w.tx.ExecContext(w.ctx, `INSERT INTO conflicts (device, at, point, epoch, seq, unit, quality, value, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		dev.id, s.At, s.Point, epoch, strconv.FormatUint(s.Seq, 10), s.Unit, s.Quality.String(), valueText(s), s.Reason)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	w.res.Conflicts += int(n)
	return err
}

// valueText is a value for people: "" when it is not good.
func valueText(s *wire.Sample) string {
	switch {
	case s.Quality != wire.Good:
		return ""
	case s.Kind == wire.Label:
		return s.Text
	}
	return s.Number.String()
}

// device returns the device of a sample, adding it when it is new.
func (w *update) device(s *wire.Sample) (*device, error) {
	if d := w.last; d != nil && d.edge == s.Edge && d.name == s.Device {
		return d, nil
	}
	name := deviceName{s.Edge, s.Device}
	w.last = w.names.devices[name] // only Apply writes, so reading needs no lock here
	if w.last != nil {
		return w.last, nil
	}
	id, err := w.add(`INSERT INTO devices (edge, device) VALUES (?, ?)`, s.Edge, s.Device)
	if err != nil {
		return nil, err
	}
	d := &device{id: id, edge: s.Edge, name: s.Device}
	w.names.mu.Lock()
	defer w.names.mu.Unlock()
	w.names.devices[name], w.last = d, d
	return d, nil
}

// shape returns the shape of samples, adding it when it is new; nil when a
// point is among them twice.
func (w *update) shape(d *device, group []*wire.Sample) (*shape, error) {
	if s := d.find(group); s != nil {
		return s, nil
	}
	s := &shape{device: d}
	seen := make(map[string]bool, len(group))
	for _, x := range group {
		if seen[x.Point] {
			return nil, nil
		}
		seen[x.Point] = true
		s.points = append(s.points, point{x.Point, x.Unit, x.Kind})
	}
	text, err := json.Marshal(s.points)
	if err != nil {
		return nil, err
	}
	if s.id, err = w.add(`INSERT INTO shapes (device, points, newest) VALUES (?, ?, ?)`, d.id, string(text), group[0].At); err != nil {
		return nil, err
	}
	w.names.mu.Lock()
	defer w.names.mu.Unlock()
	w.names.addShape(s)
	return s, nil
}

func (w *update) epoch(e wire.Epoch) (int64, error) {
	if id, ok := w.names.epochs[e]; ok {
		return id, nil
	}
	id, err := w.add(`INSERT INTO epochs (epoch) VALUES (?)`, e[:])
	if err != nil {
		return 0, err
	}
	w.names.mu.Lock()
	defer w.names.mu.Unlock()
	w.names.epochs[e], w.names.byEpoch[id] = id, e
	return id, nil
}

func (w *update) add(query string, args ...any) (int64, error) {
	res, err := w.tx.ExecContext(w.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

func (w *update) closings(register string, c Closings) error {
	to := int64(math.MaxInt64)
	if c.To != (calc.Date{}) {
		to = dayNumber(c.To)
	}
	if _, err := w.tx.ExecContext(w.ctx, `DELETE FROM closings WHERE register = ? AND day BETWEEN ? AND ?`, register, dayNumber(c.From), to); err != nil {
		return err
	}
	for i := range c.List {
		day := c.List[i].Day
		if day.Before(c.From) || dayNumber(day) > to || i > 0 && !c.List[i-1].Day.Before(day) {
			return fmt.Errorf("closings of %s: %v does not come after what is before it", register, day)
		}
		text, err := json.Marshal(c.List[i])
		if err != nil {
			return fmt.Errorf("closing of %s on %v: %w", register, day, err)
		}
		if _, err := w.tx.ExecContext(w.ctx, `INSERT INTO closings (register, day, closing, crc) VALUES (?, ?, ?, ?)`, register, dayNumber(day), string(text), closingCRC(register, dayNumber(day), text)); err != nil {
			return err
		}
	}
	return nil
}

// dayNumber writes a day so that days sort as numbers and people can read them: 20200515.
func dayNumber(d calc.Date) int64 {
	return int64(d.Year)*10000 + int64(d.Month)*100 + int64(d.Day)
}
