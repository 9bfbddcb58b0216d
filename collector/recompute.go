package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"kenshin/calc"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// Recompute returns the figures of a monitoring period from the book alone: no
// series store, no running totals, nothing of what settling keeps. It must be
// equal to Report to the last digit; that it is, is tested and can be checked at
// any time with `kenshin-collector totals -recompute`.
//
// It holds the project's samples in memory, about 100 bytes each.
func Recompute(ctx context.Context, book *store.Store, project string, period int) (*calc.Report, error) {
	rules := newRules()
	err := book.Scan(0, func(r *store.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Kind != store.Decision {
			return nil
		}
		_, err := rules.take(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("recompute: %w", err)
	}
	p := rules.project(project)
	if p == nil {
		return nil, fmt.Errorf("recompute: project %q: %w", project, ErrUnknown)
	}
	zone, err := p.Location()
	if err != nil {
		return nil, err
	}
	b := bookReader{declarations: make(map[wire.Hash]*wire.Declaration), done: make(map[string][]wire.Range),
		waiting: make(map[wire.Hash][]waitingReading), samples: make(map[string][]calc.Sample)}
	for _, spec := range p.Registers() {
		b.samples[spec.Key] = nil
	}
	err = book.Scan(0, func(r *store.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return b.collect(r)
	})
	if err != nil {
		return nil, fmt.Errorf("recompute: %w", err)
	}
	curves := make(map[string]*calc.Curve)
	for _, spec := range p.Registers() {
		c := calc.NewCurve(spec, zone)
		list := b.samples[spec.Key]
		slices.SortStableFunc(list, func(a, b calc.Sample) int { return cmp.Compare(a.At, b.At) })
		for _, x := range list {
			if err := c.Add(x); err != nil && !errors.Is(err, calc.ErrConflict) {
				return nil, fmt.Errorf("recompute: register %s: %w", spec.Key, err)
			}
		}
		curves[spec.Key] = c
	}
	return report(rules, project, period, func(key string) *calc.Curve { return curves[key] })
}

// bookReader takes samples out of the book in the order in which settling takes
// them: that decides which one of two counts.
type bookReader struct {
	declarations map[wire.Hash]*wire.Declaration
	done         map[string][]wire.Range        // sequence numbers taken, per edge and epoch
	waiting      map[wire.Hash][]waitingReading // by the declaration they wait for
	samples      map[string][]calc.Sample       // by register; only those with a key here are kept
}

type waitingReading struct {
	batch *wire.Batch
	rec   *wire.Record
}

func (b *bookReader) collect(r *store.Record) error {
	if r.Kind != store.Batch {
		return nil
	}
	batch, err := decodeStored(r)
	if err != nil {
		return err
	}
	key := batch.Edge + "/" + batch.Epoch.String()
	for i := range batch.Records {
		rec := &batch.Records[i]
		done, isNew := include(b.done[key], rec.Seq)
		if !isNew {
			continue
		}
		b.done[key] = done
		switch {
		case rec.Declaration != nil:
			h := rec.Declaration.Hash()
			b.declarations[h] = rec.Declaration
			for _, w := range b.waiting[h] {
				b.add(w.batch, w.rec)
			}
			delete(b.waiting, h)
		case rec.Reading != nil && b.declarations[rec.Reading.Declaration] == nil:
			h := rec.Reading.Declaration
			b.waiting[h] = append(b.waiting[h], waitingReading{batch, rec})
		case rec.Reading != nil:
			b.add(batch, rec)
		}
	}
	return nil
}

func (b *bookReader) add(batch *wire.Batch, rec *wire.Record) {
	for _, x := range decodeReading(batch, rec, b.declarations[rec.Reading.Declaration]) {
		if list, ok := b.samples[x.Key()]; ok {
			b.samples[x.Key()] = append(list, reading(&x))
		}
	}
}
