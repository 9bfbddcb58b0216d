package series

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// Update is what one transaction changes.
type Update struct {
	Cursor       uint64            // records of the book that are settled with it
	State        []byte            // what settling keeps beside, opaque here
	Marks        map[string][]byte // the same by key; a key keeps its mark until another one comes
	Samples      []wire.Sample
	Readings     []Reading // after Samples
	Declarations []*wire.Declaration
	Closings     map[string]Closings // by register
}

// Reading is what a device answered in one poll: a sample of every point of its
// declaration, as wire.Declaration.Values has them, each at the time of its block.
type Reading struct {
	Edge        string
	Epoch       wire.Epoch
	Seq         uint64
	Wall        int64 // ms UTC of the first block
	Declaration *wire.Declaration
	*wire.Reading
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
// While merging lags far behind, Apply waits for it.
func (db *DB) Apply(ctx context.Context, u Update) (Result, error) {
	db.writing.Lock()
	res, err := db.apply(ctx, u)
	if err != nil {
		db.stale = true // what was added to names may have been rolled back
	}
	db.writing.Unlock()
	if err == nil {
		err = db.relieve(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // not the driver's word for it
		}
		return Result{}, fmt.Errorf("write series %s: %w", db.path, damaged(err))
	}
	return res, nil
}

func (db *DB) apply(ctx context.Context, u Update) (Result, error) {
	if db.stale {
		clear(db.lasts)
		if err := db.checkClosings(ctx); err != nil {
			return Result{}, err
		}
		if err := db.load(ctx); err != nil {
			return Result{}, err
		}
		db.stale = false
	}
	tx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return Result{}, err
	}
	defer tx.Rollback() // after Commit it does nothing
	db.update++
	// The transaction watches ctx; watching it once more at every statement
	// would take longer than the statement.
	w := &update{ctx: context.WithoutCancel(ctx), tx: tx, db: db, number: db.update, rows: db.room}
	defer func() { // the next update uses their room
		clear(w.rows.cells)
		clear(w.rows.list)
		db.room = rows{w.rows.list[:0], w.rows.cells[:0], w.rows.bytes[:0]}
	}()
	if err := w.samples(ctx, u.Samples); err != nil {
		return Result{}, err
	}
	for i := range u.Readings {
		if i%1024 == 0 && ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		if err := w.reading(&u.Readings[i]); err != nil {
			return Result{}, err
		}
	}
	tail := int64(0)
	if len(w.rows.list) > 0 {
		b := w.rows.append(w.rows.bytes, w.number)
		w.rows.bytes = b
		if tail, err = w.add(`INSERT INTO tail (rows, crc) VALUES (?, ?)`, b, tailCRC(b)); err != nil {
			return Result{}, err
		}
	}
	if err := w.rest(u); err != nil {
		return Result{}, err
	}
	if err := tx.Commit(); err != nil {
		return Result{}, err
	}
	db.mem.Lock()
	defer db.mem.Unlock()
	db.names.publish(&w.rows, tail)
	return w.res, nil
}

// update is a transaction under way.
type update struct {
	ctx    context.Context // of the statements
	tx     *sql.Tx
	db     *DB
	number uint64
	rows   rows
	res    Result

	last      *device // the device of the sample before
	group     []*wire.Sample
	conflicts *sql.Stmt // nil until there is one
}

// rest writes what an update has beside samples.
func (w *update) rest(u Update) error {
	for _, d := range u.Declarations {
		h := d.Hash()
		rec := wire.Record{Declaration: d}
		if _, err := w.tx.ExecContext(w.ctx, `INSERT INTO declarations (hash, record) VALUES (?, ?) ON CONFLICT DO NOTHING`, h[:], rec.Encode()); err != nil {
			return err
		}
	}
	if err := w.closings(u.Closings); err != nil {
		return err
	}
	if len(u.Marks) > 0 {
		put, err := w.tx.PrepareContext(w.ctx, `INSERT INTO marks (key, value, crc) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value, crc = excluded.crc`)
		if err != nil {
			return err
		}
		for key, value := range u.Marks {
			if _, err := put.ExecContext(w.ctx, key, value, markCRC(key, value)); err != nil {
				return err
			}
		}
	}
	_, err := w.tx.ExecContext(w.ctx, `UPDATE settled SET cursor = ?, state = ?, crc = ?`, int64(u.Cursor), u.State, settledCRC(int64(u.Cursor), u.State))
	return err
}

// samples stages samples. Those of one record, which follow one another, share
// a row for each of their times.
func (w *update) samples(ctx context.Context, all []wire.Sample) error {
	var rest []*wire.Sample
	for len(all) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
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
	return nil
}

func sameRecord(a, b *wire.Sample) bool {
	return a.Seq == b.Seq && a.Device == b.Device && a.Edge == b.Edge && a.Epoch == b.Epoch
}

// store stages samples of one record, device and time: what is there already is
// compared, what is new becomes a row.
func (w *update) store(group []*wire.Sample) error {
	first := group[0]
	dev, err := w.device(first.Edge, first.Device)
	if err != nil {
		return err
	}
	epoch, err := w.epoch(first.Epoch)
	if err != nil {
		return err
	}
	fresh := group
	if !w.newer(dev, first.At) {
		have, err := w.existing(dev, first.At)
		if err != nil {
			return err
		}
		fresh = nil
		for _, s := range group {
			switch old, ok := have[s.Point]; {
			case !ok:
				fresh = append(fresh, s)
				have[s.Point] = *s
			case !same(&old, s):
				if err := w.conflict(dev, epoch, s); err != nil {
					return err
				}
			}
		}
		if len(fresh) == 0 {
			return nil
		}
	}
	sh, err := w.shape(dev, fresh)
	if err != nil {
		return err
	}
	if sh == nil { // a point twice: one after the other, the second one is compared
		for _, s := range append([]*wire.Sample(nil), fresh...) {
			if err := w.store([]*wire.Sample{s}); err != nil {
				return err
			}
		}
		return nil
	}
	w.stage(sh, first.At, epoch, first.Seq)
	for _, s := range fresh {
		c, err := cellOf(s)
		if err != nil {
			return err
		}
		w.rows.cells = append(w.rows.cells, c)
	}
	return nil
}

// stage begins a row; its cells are to follow.
func (w *update) stage(sh *shape, at, epoch int64, seq uint64) {
	st := w.staged(sh.device)
	st.newest = max(st.newest, at)
	st.rows = append(st.rows, int32(len(w.rows.list)))
	w.rows.list = append(w.rows.list, stagedRow{sh, at, seq, epoch, len(w.rows.cells)})
	w.res.Stored += len(sh.points)
}

func (w *update) staged(d *device) *staged {
	if d.staged.update != w.number {
		d.staged = staged{w.number, d.newest, d.staged.rows[:0]}
	}
	return &d.staged
}

// newer reports whether a time is after all that is known of a device.
func (w *update) newer(d *device, at int64) bool { return at > w.staged(d).newest }

// existing returns the samples that a device has at a time, by point.
func (w *update) existing(d *device, at int64) (map[string]wire.Sample, error) {
	have := make(map[string]wire.Sample)
	for _, i := range w.staged(d).rows {
		x := &w.rows.list[i]
		if x.at != at {
			continue
		}
		for k := range x.shape.points {
			p := &x.shape.points[k]
			s := wire.Sample{Unit: p.Unit, Kind: p.Kind}
			if err := w.rows.cells[x.first+k].fill(&s); err != nil {
				return nil, err
			}
			have[p.Name] = s
		}
	}
	return have, w.db.existing(w.ctx, d, at, have)
}

// same reports whether b says what a says. The reason is for people and may differ.
func same(a, b *wire.Sample) bool {
	return a.Quality == b.Quality && a.Unit == b.Unit && a.Text == b.Text && a.Number.Equal(b.Number)
}

func (w *update) conflict(dev *device, epoch int64, s *wire.Sample) error {
	if w.conflicts == nil {
		var err error
		if w.conflicts, err = w.tx.PrepareContext(w.ctx, `INSERT INTO conflicts (device, at, point, epoch, seq, unit, quality, value, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`); err != nil {
			return err
		}
	}
	res, err := w.conflicts.ExecContext(w.ctx, dev.id, s.At, s.Point, epoch, strconv.FormatUint(s.Seq, 10), s.Unit, s.Quality.String(), valueText(s), s.Reason)
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

// device returns a device, adding it when it is new.
func (w *update) device(edge, name string) (*device, error) {
	if d := w.last; d != nil && d.edge == edge && d.name == name {
		return d, nil
	}
	key := deviceName{edge, name}
	w.last = w.db.names.devices[key] // only Apply adds, so reading needs no lock here
	if w.last != nil {
		return w.last, nil
	}
	id, err := w.add(`INSERT INTO devices (edge, device) VALUES (?, ?)`, edge, name)
	if err != nil {
		return nil, err
	}
	d := newDevice(id, edge, name)
	w.db.mem.Lock()
	defer w.db.mem.Unlock()
	w.db.names.devices[key], w.last = d, d
	return d, nil
}

// shape returns the shape of samples, adding it when it is new; nil when a
// point is among them twice.
func (w *update) shape(d *device, group []*wire.Sample) (*shape, error) {
	if s := d.find(group); s != nil {
		return s, nil
	}
	var points []point
	seen := make(map[string]bool, len(group))
	for _, x := range group {
		if seen[x.Point] {
			return nil, nil
		}
		seen[x.Point] = true
		points = append(points, point{x.Point, x.Unit, x.Kind})
	}
	return w.addShape(d, points)
}

func (w *update) addShape(d *device, points []point) (*shape, error) {
	text, err := json.Marshal(points)
	if err != nil {
		return nil, err
	}
	id, err := w.add(`INSERT INTO shapes (device, points) VALUES (?, ?)`, d.id, string(text))
	if err != nil {
		return nil, err
	}
	w.db.mem.Lock()
	defer w.db.mem.Unlock()
	return w.db.names.shape(id, d, string(text))
}

func (w *update) epoch(e wire.Epoch) (int64, error) {
	if id, ok := w.db.names.epochs[e]; ok {
		return id, nil
	}
	id, err := w.add(`INSERT INTO epochs (epoch) VALUES (?)`, e[:])
	if err != nil {
		return 0, err
	}
	w.db.mem.Lock()
	defer w.db.mem.Unlock()
	w.db.names.epochs[e], w.db.names.byEpoch[id] = id, e
	return id, nil
}

func (w *update) add(query string, args ...any) (int64, error) {
	res, err := w.tx.ExecContext(w.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// closings writes the closings of registers. A register that only goes on has
// nothing to be taken away.
func (w *update) closings(all map[string]Closings) error {
	if len(all) == 0 {
		return nil
	}
	put, err := w.tx.PrepareContext(w.ctx, `INSERT INTO closings (register, day, closing, crc) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET closing = excluded.closing, crc = excluded.crc`)
	if err != nil {
		return err
	}
	for register, c := range all {
		from, to := dayNumber(c.From), int64(math.MaxInt64)
		if c.To != (calc.Date{}) {
			to = dayNumber(c.To)
		}
		if last := w.db.lasts[register]; last > from || last == from && (len(c.List) == 0 || dayNumber(c.List[0].Day) != from) {
			if _, err := w.tx.ExecContext(w.ctx, `DELETE FROM closings WHERE register = ? AND day BETWEEN ? AND ?`, register, from, to); err != nil {
				return err
			}
		}
		for i := range c.List {
			day := c.List[i].Day
			if day.Before(c.From) || dayNumber(day) > to || i > 0 && !c.List[i-1].Day.Before(day) {
				return fmt.Errorf("closings of %s: %v does not come after what is before it", register, day)
			}
			text, err := json.Marshal(&c.List[i])
			if err != nil {
				return fmt.Errorf("closing of %s on %v: %w", register, day, err)
			}
			if _, err := put.ExecContext(w.ctx, register, dayNumber(day), string(text), closingCRC(register, dayNumber(day), text)); err != nil {
				return err
			}
			w.db.lasts[register] = max(w.db.lasts[register], dayNumber(day)) // not taken back: a day too late costs a statement
		}
	}
	return nil
}

// dayNumber writes a day so that days sort as numbers and people can read them: 20200515.
func dayNumber(d calc.Date) int64 {
	return int64(d.Year)*10000 + int64(d.Month)*100 + int64(d.Day)
}
