package collector

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"kenshin/collector/series"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// waiting says where readings wait for a declaration: in these records of the book,
// both included. The readings themselves are found again in the book.
type waiting struct {
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Readings uint64 `json:"readings"`
}

// due are readings whose declarations have come. They are settled in steps, in
// the order of the book, before any record after the one with the declarations.
type due struct {
	Declarations []wire.Hash `json:"declarations"`
	Next         uint64      `json:"next"` // record of the book
	Last         uint64      `json:"last"` // included
}

// waits reports whether a reading cannot be settled at once: its declaration has
// not come, or others that waited for it come first.
func (s *settle) waits(h wire.Hash) bool {
	return s.declarations[h] == nil || s.state.Due != nil && slices.Contains(s.state.Due.Declarations, h)
}

// wait notes that a reading of a record waits.
func (s *settle) wait(edge string, index uint64, h wire.Hash) {
	if d := s.state.Due; d != nil && s.declarations[h] != nil {
		d.Last = index
		return
	}
	w, ok := s.state.Waiting[h]
	if !ok {
		w.First = index
		s.cfg.Log.Warn("readings wait for the declaration of their device; they count once the edge has delivered it",
			zap.String("edge", edge), zap.Uint64("record", index), zap.Stringer("declaration", h))
	}
	w.Last = index
	w.Readings++
	s.state.Waiting[h] = w
}

// release makes the readings due that waited for a declaration.
func (s *settle) release(h wire.Hash) {
	w, ok := s.state.Waiting[h]
	if !ok {
		return
	}
	delete(s.state.Waiting, h)
	if s.state.Due == nil {
		s.state.Due = &due{Next: w.First, Last: w.Last}
	}
	d := s.state.Due
	d.Declarations = append(d.Declarations, h)
	d.Next, d.Last = min(d.Next, w.First), max(d.Last, w.Last)
}

// due settles some of the readings that are due.
func (s *settle) due(u *series.Update) error {
	d := s.state.Due
	err := s.store.Scan(d.Next, func(r *store.Record) error {
		if r.Index > d.Last || len(u.Samples) >= settleSamples {
			return errStop
		}
		d.Next = r.Index + 1
		if r.Kind != store.Batch {
			return nil
		}
		b, err := decodeStored(r)
		if err != nil {
			return err
		}
		for i := range b.Records {
			rec := &b.Records[i]
			if rec.Reading == nil || !slices.Contains(d.Declarations, rec.Reading.Declaration) {
				continue
			}
			if err := s.reading(b, rec, u); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("settle what waited, from record %d: %w", d.Next, err)
	}
	if d.Next > d.Last {
		s.state.Due = nil
	}
	return nil
}

// unsettled returns how many readings of the book wait for a declaration.
func (s *settle) unsettled() (n uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, w := range s.state.Waiting {
		n += w.Readings
	}
	return n
}
