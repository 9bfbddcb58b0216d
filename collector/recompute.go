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
	b := bookReader{rules: newRules(), declarations: make(map[wire.Hash]*wire.Declaration), seen: make(map[string]bool)}
	err := book.Scan(0, func(r *store.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return b.declareAll(r)
	})
	if err != nil {
		return nil, fmt.Errorf("recompute: %w", err)
	}
	p := b.rules.project(project)
	if p == nil {
		return nil, fmt.Errorf("recompute: project %q: %w", project, ErrUnknown)
	}
	zone, err := p.Location()
	if err != nil {
		return nil, err
	}
	samples := make(map[string][]calc.Sample)
	for _, spec := range p.Registers() {
		samples[spec.Key] = nil
	}
	err = book.Scan(0, func(r *store.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return b.collect(r, samples)
	})
	if err != nil {
		return nil, fmt.Errorf("recompute: %w", err)
	}
	curves := make(map[string]*calc.Curve)
	for _, spec := range p.Registers() {
		c := calc.NewCurve(spec, zone)
		list := samples[spec.Key]
		slices.SortStableFunc(list, func(a, b calc.Sample) int { return cmp.Compare(a.At, b.At) })
		for _, x := range list {
			if err := c.Add(x); err != nil && !errors.Is(err, calc.ErrConflict) {
				return nil, fmt.Errorf("recompute: register %s: %w", spec.Key, err)
			}
		}
		curves[spec.Key] = c
	}
	return report(b.rules, project, period, func(key string) *calc.Curve { return curves[key] })
}

// bookReader reads the book in two passes: what is declared and decided, then
// what was read.
type bookReader struct {
	rules        *rules
	declarations map[wire.Hash]*wire.Declaration
	seen         map[string]bool // records taken, by edge, epoch and sequence number
}

func (b *bookReader) declareAll(r *store.Record) error {
	if r.Kind == store.Decision {
		_, err := b.rules.take(r)
		return err
	}
	batch, err := decodeStored(r)
	if err != nil {
		return err
	}
	for i := range batch.Records {
		if d := batch.Records[i].Declaration; d != nil {
			b.declarations[d.Hash()] = d
		}
	}
	return nil
}

func (b *bookReader) collect(r *store.Record, samples map[string][]calc.Sample) error {
	if r.Kind == store.Decision {
		return nil
	}
	batch, err := decodeStored(r)
	if err != nil {
		return err
	}
	for i := range batch.Records {
		rec := &batch.Records[i]
		id := fmt.Sprintf("%s/%v/%d", batch.Edge, batch.Epoch, rec.Seq)
		if rec.Reading == nil || b.seen[id] {
			continue
		}
		b.seen[id] = true
		d := b.declarations[rec.Reading.Declaration]
		if d == nil {
			continue // its declaration is in a batch that has not come yet
		}
		for _, x := range decodeReading(batch, rec, d) {
			if list, ok := samples[x.Key()]; ok {
				samples[x.Key()] = append(list, reading(&x))
			}
		}
	}
	return nil
}
