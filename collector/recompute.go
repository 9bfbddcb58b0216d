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
	err := scan(ctx, book.Skim, records, func(r *store.Record) error {
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
	tracks := make(map[string]*track)
	for _, spec := range rules.registers(p) {
		tracks[spec.Key] = &track{key: spec.Key, curve: calc.NewCurve(spec, zone)}
	}
	in := newBookReader(tracks, func(t *track, x *calc.Sample) error {
		t.count++
		if t.again {
			return nil
		}
		err := t.curve.Add(*x)
		if errors.Is(err, calc.ErrLate) {
			t.again = true
			return nil
		}
		return t.ignoreConflict(err)
	})
	in.serials = rules.serials
	if err := in.read(ctx, book, records); err != nil {
		return nil, nil, err
	}
	curves, again := make(map[string]*calc.Curve), []*track(nil)
	for _, spec := range rules.registers(p) {
		t := tracks[spec.Key]
		if was := t.curve.Spec(); t.again || !was.Equal(&spec) { // a device that told two serial numbers
			t.curve = calc.NewCurve(spec, zone)
			again = append(again, t)
		}
		curves[spec.Key] = t.curve
	}
	if err := sorted(ctx, book, records, again); err != nil {
		return nil, nil, err
	}
	return rules, curves, nil
}

// track is a register on its way through the book.
type track struct {
	key   string
	curve *calc.Curve
	count int   // samples
	again bool  // one came late
	rows  []row // of a register that is sorted
}

func (t *track) ignoreConflict(err error) error {
	if err == nil || errors.Is(err, calc.ErrConflict) {
		return nil
	}
	return fmt.Errorf("register %s: %w", t.key, err)
}

// scan calls fn for the first records of the book, as Scan or Skim of the store gives them.
func scan(ctx context.Context, read func(uint64, func(*store.Record) error) error, records uint64, fn func(*store.Record) error) error {
	err := read(0, func(r *store.Record) error {
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

// row is a sample in memory.
type row struct {
	at       int64
	value    decimal.Decimal
	unit     string
	good     bool
	imported bool
}

// sorted gives registers their samples in the order of their time. They are in the
// order of their keys.
func sorted(ctx context.Context, book *store.Store, records uint64, again []*track) error {
	slices.SortFunc(again, func(x, y *track) int { return cmp.Compare(x.key, y.key) })
	for len(again) > 0 {
		held, n, total := make(map[string]*track), 0, 0
		for n < len(again) && (n == 0 || total+again[n].count <= memoryRows) {
			total += again[n].count
			held[again[n].key] = again[n]
			again[n].rows = make([]row, 0, again[n].count)
			n++
		}
		in := newBookReader(held, func(t *track, x *calc.Sample) error {
			t.rows = append(t.rows, row{x.At, x.Value, x.Unit, x.Good, x.Imported})
			return nil
		})
		if err := in.read(ctx, book, records); err != nil {
			return err
		}
		for _, t := range again[:n] {
			slices.SortStableFunc(t.rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
			for _, x := range t.rows {
				if err := t.ignoreConflict(t.curve.Add(calc.Sample{At: x.at, Value: x.value, Unit: x.unit, Good: x.good, Imported: x.imported})); err != nil {
					return err
				}
			}
			t.rows = nil
		}
		again = again[n:]
	}
	return nil
}
