package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// Recompute returns the figures of a monitoring period from the book alone: no
// series store, no running totals, nothing of what settling keeps. It must be
// equal to Report to the last digit; that it is, is tested and can be checked at
// any time with `kenshin-collector totals -recompute`.
//
// It reads the book once when readings came in order. Registers with late
// readings are read again, as many in one pass as samples fit into memoryRows.
func Recompute(ctx context.Context, book *store.Store, project string, period int) (*calc.Report, error) {
	rules, curves, err := recompute(ctx, book, book.Size(), project)
	if err == nil {
		var r *calc.Report
		if r, err = report(rules, project, period, func(key string) *calc.Curve { return curves[key] }); err == nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("recompute: %w", err)
}

// RecomputeAt is Recompute as it was when the book had so many records.
func RecomputeAt(ctx context.Context, book *store.Store, records uint64, project string, period calc.Span) (*calc.Report, error) {
	rules, curves, err := recompute(ctx, book, records, project)
	if err == nil {
		var r *calc.Report
		if r, err = report(rules, project, slices.Index(rules.project(project).Periods, period), func(key string) *calc.Curve { return curves[key] }); err == nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("recompute the first %d records: %w", records, err)
}

// memoryRows is how many samples a pass over the book holds in memory, of 40
// bytes each.
const memoryRows = 2_500_000

// recompute returns the rules that the first records of the book come to, and the
// curves of a project.
func recompute(ctx context.Context, book *store.Store, records uint64, project string) (*rules, map[string]*calc.Curve, error) {
	rules := newRules()
	err := scan(ctx, book, records, func(r *store.Record) error {
		if r.Kind != store.Decision {
			return nil
		}
		_, err := rules.take(r)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	p := rules.project(project)
	if p == nil {
		return nil, nil, fmt.Errorf("project %q: %w", project, ErrUnknown)
	}
	zone, err := p.Location()
	if err != nil {
		return nil, nil, err
	}
	rules.serials = make(serials)
	curves, counts, again := make(map[string]*calc.Curve), make(map[string]int), make(map[string]bool)
	for _, spec := range rules.registers(p) {
		curves[spec.Key] = calc.NewCurve(spec, zone)
	}
	in := newBookReader(curves, func(key string, x *calc.Sample) error {
		counts[key]++
		if again[key] {
			return nil
		}
		err := curves[key].Add(*x)
		if errors.Is(err, calc.ErrLate) {
			again[key] = true
			return nil
		}
		return ignoreConflict(key, err)
	})
	in.serials = rules.serials
	if err := scan(ctx, book, records, in.collect); err != nil {
		return nil, nil, err
	}
	for _, spec := range rules.registers(p) { // a device that told two serial numbers
		if was := curves[spec.Key].Spec(); !was.Equal(&spec) {
			again[spec.Key] = true
		}
		if again[spec.Key] {
			curves[spec.Key] = calc.NewCurve(spec, zone)
		}
	}
	if err := sorted(ctx, book, records, curves, counts, again); err != nil {
		return nil, nil, err
	}
	return rules, curves, nil
}

// scan calls fn for the first records of the book.
func scan(ctx context.Context, book *store.Store, records uint64, fn func(*store.Record) error) error {
	err := book.Scan(0, func(r *store.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Index >= records {
			return errStop
		}
		return fn(r)
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func ignoreConflict(key string, err error) error {
	if err == nil || errors.Is(err, calc.ErrConflict) {
		return nil
	}
	return fmt.Errorf("register %s: %w", key, err)
}

// row is a sample in memory.
type row struct {
	at       int64
	value    decimal.Decimal
	unit     string
	good     bool
	imported bool
}

// sorted gives the registers in again their samples in the order of their time.
func sorted(ctx context.Context, book *store.Store, records uint64, curves map[string]*calc.Curve, counts map[string]int, again map[string]bool) error {
	var keys []string
	for key := range again {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for len(keys) > 0 {
		held, n, total := make(map[string]*calc.Curve), 0, 0
		for n < len(keys) && (n == 0 || total+counts[keys[n]] <= memoryRows) {
			total += counts[keys[n]]
			held[keys[n]] = curves[keys[n]]
			n++
		}
		rows := make(map[string][]row)
		for _, key := range keys[:n] {
			rows[key] = make([]row, 0, counts[key])
		}
		in := newBookReader(held, func(key string, x *calc.Sample) error {
			rows[key] = append(rows[key], row{x.At, x.Value, x.Unit, x.Good, x.Imported})
			return nil
		})
		if err := scan(ctx, book, records, in.collect); err != nil {
			return err
		}
		for _, key := range keys[:n] {
			slices.SortStableFunc(rows[key], func(a, b row) int { return cmp.Compare(a.at, b.at) })
			for _, x := range rows[key] {
				if err := ignoreConflict(key, curves[key].Add(calc.Sample{At: x.at, Value: x.value, Unit: x.unit, Good: x.good, Imported: x.imported})); err != nil {
					return err
				}
			}
			delete(rows, key)
		}
		keys = keys[n:]
	}
	return nil
}

// bookReader takes samples out of the book in the order in which settling takes
// them: that decides which one of two counts.
type bookReader struct {
	declarations map[wire.Hash]*wire.Declaration
	done         map[string][]wire.Range        // sequence numbers taken, per edge and epoch
	waiting      map[wire.Hash][]waitingReading // by the declaration they wait for
	ahead        map[string][]waitingReading    // by edge and day, see aheadDay
	curves       map[string]*calc.Curve         // by register; only what has a key here is taken
	devices      map[string]bool                // edge/device of them
	serials      serials                        // nil when they are not asked for
	keys         map[declared][]string          // registers by point, "" for those that nobody asks for
	take         func(key string, x *calc.Sample) error
}

// declared is a declaration as an edge made it.
type declared struct {
	edge string
	hash wire.Hash
}

type waitingReading struct {
	index uint64 // of the record in the book
	batch *wire.Batch
	rec   *wire.Record
}

func newBookReader(curves map[string]*calc.Curve, take func(key string, x *calc.Sample) error) *bookReader {
	b := &bookReader{declarations: make(map[wire.Hash]*wire.Declaration), done: make(map[string][]wire.Range),
		waiting: make(map[wire.Hash][]waitingReading), ahead: make(map[string][]waitingReading), curves: curves, devices: make(map[string]bool), keys: make(map[declared][]string), take: take}
	for key := range curves {
		b.devices[deviceOf(key)] = true
	}
	return b
}

// deviceOf returns edge/device of a register.
func deviceOf(key string) string {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == '/' {
			return key[:i]
		}
	}
	return ""
}

func (b *bookReader) collect(r *store.Record) error {
	switch r.Kind {
	case store.Import:
		return b.imported(r)
	case store.Decision, store.Quarantined:
		return nil
	}
	if err := b.arrive(r); err != nil {
		return err
	}
	batch, err := decodeStored(r)
	if err != nil {
		return err
	}
	key := batch.Edge + "/" + batch.Epoch.String()
	var due []wire.Hash // those that waited for them come in before any later reading
	for i := range batch.Records {
		rec := &batch.Records[i]
		done, isNew := include(b.done[key], rec.Seq)
		if !isNew {
			continue
		}
		b.done[key] = done
		if day, ahead := aheadDay(batch.Edge, r, rec); ahead && rec.Reading != nil {
			b.ahead[day] = append(b.ahead[day], waitingReading{r.Index, batch, rec})
			continue
		}
		switch {
		case rec.Declaration != nil:
			h := rec.Declaration.Hash()
			b.declarations[h] = rec.Declaration
			if len(b.waiting[h]) > 0 {
				due = append(due, h)
			}
		case rec.Reading != nil && (b.declarations[rec.Reading.Declaration] == nil || slices.Contains(due, rec.Reading.Declaration)):
			h := rec.Reading.Declaration
			b.waiting[h] = append(b.waiting[h], waitingReading{r.Index, batch, rec})
		case rec.Reading != nil:
			if err := b.add(batch, rec); err != nil {
				return err
			}
		}
	}
	var late []waitingReading
	for _, h := range due {
		late = append(late, b.waiting[h]...)
		delete(b.waiting, h)
	}
	inOrder(late)
	for _, w := range late {
		if err := b.add(w.batch, w.rec); err != nil {
			return err
		}
	}
	return nil
}

// arrive takes in the readings that lay ahead and whose day is over now.
func (b *bookReader) arrive(r *store.Record) error {
	var due []waitingReading
	for key, list := range b.ahead {
		if passed(key, r.Received) {
			due = append(due, list...)
			delete(b.ahead, key)
		}
	}
	inOrder(due)
	for _, w := range due {
		if h := w.rec.Reading.Declaration; b.declarations[h] == nil {
			b.waiting[h] = append(b.waiting[h], w)
		} else if err := b.add(w.batch, w.rec); err != nil {
			return err
		}
	}
	return nil
}

func inOrder(list []waitingReading) {
	slices.SortFunc(list, func(x, y waitingReading) int {
		return cmp.Or(cmp.Compare(x.index, y.index), cmp.Compare(x.rec.Seq, y.rec.Seq))
	})
}

func (b *bookReader) imported(r *store.Record) error {
	if b.curves[r.Subject] == nil {
		return nil
	}
	f, err := decodeImport(r)
	if err != nil {
		return err
	}
	key := "import/" + f.epoch().String()
	for _, x := range f.samples() {
		done, isNew := include(b.done[key], x.Seq)
		if !isNew {
			continue
		}
		b.done[key] = done
		s := reading(&x)
		if err := b.take(x.Key(), &s); err != nil {
			return err
		}
	}
	return nil
}

func (b *bookReader) add(batch *wire.Batch, rec *wire.Record) error {
	d := b.declarations[rec.Reading.Declaration]
	device := batch.Edge + "/" + d.Device
	if b.serials != nil && d.Serial != "" {
		b.serials.note(device, d.Serial, rec.Wall)
	}
	if !b.devices[device] {
		return nil
	}
	id := declared{batch.Edge, rec.Reading.Declaration}
	keys, ok := b.keys[id]
	if !ok {
		for i := range d.Points {
			key := device + "/" + d.Points[i].Name
			if b.curves[key] == nil {
				key = ""
			}
			keys = append(keys, key)
		}
		b.keys[id] = keys
	}
	for _, v := range d.Values(rec.Reading) {
		p := &d.Points[v.Point]
		at := rec.Wall + int64(blockDelta(d, p, rec.Reading))
		if keys[v.Point] == "" || at < -maxTime || at > maxTime {
			continue
		}
		s := calc.Sample{At: at, Value: v.Number, Unit: p.Unit, Good: v.Quality == wire.Good, Reason: v.Reason}
		if err := b.take(keys[v.Point], &s); err != nil {
			return err
		}
	}
	return nil
}
