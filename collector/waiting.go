package collector

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	Declarations []wire.Hash `json:"declarations,omitempty"`
	Days         []string    `json:"days,omitempty"` // keys of Ahead
	Next         uint64      `json:"next"`           // record of the book
	Last         uint64      `json:"last"`           // included
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
	if ok {
		w.First = min(w.First, index)
	} else {
		w.First = index
		s.cfg.Log.Warn("readings wait for the declaration of their device; they count once the edge has delivered it",
			zap.String("edge", edge), zap.Uint64("record", index), zap.Stringer("declaration", h))
	}
	w.Last = max(w.Last, index)
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
	d := s.fall(w)
	d.Declarations = append(d.Declarations, h)
}

// fall makes what waits in some records due.
func (s *settle) fall(w waiting) *due {
	if s.state.Due == nil {
		s.state.Due = &due{Next: w.First, Last: w.Last}
	}
	d := s.state.Due
	d.Next, d.Last = min(d.Next, w.First), max(d.Last, w.Last)
	return d
}

// due settles some of the readings that are due.
func (s *settle) due(u *series.Update) error {
	d := s.state.Due
	err := s.store.Scan(d.Next, func(r *store.Record) error {
		if r.Index > d.Last || samples(u) >= settleSamples {
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
			if rec.Reading == nil {
				continue
			}
			day, ahead := aheadDay(b.Edge, r, rec)
			h := rec.Reading.Declaration
			switch {
			case ahead && slices.Contains(d.Days, day):
				if s.declarations[h] == nil {
					s.wait(b.Edge, r.Index, h)
					continue
				}
			case !slices.Contains(d.Declarations, h) || ahead && s.state.Ahead[day] != (waiting{}):
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

// aheadMs is how far a reading's time may be beyond the time at which the
// collector took it. What lies further ahead has the time of a wrong clock, of
// the edge or of the collector.
const aheadMs = 5 * 60_000

// aheadDay reports whether a reading of a record lies ahead of the time at which
// the record came, and the key under which it is held then: edge and UTC day.
func aheadDay(edge string, r *store.Record, rec *wire.Record) (string, bool) {
	if rec.Wall <= r.Received+aheadMs {
		return "", false
	}
	return edge + "/" + utcDay(rec.Wall), true
}

// utcDay is the UTC day of a time, in a form that sorts as days do.
func utcDay(ms int64) string {
	if ms > maxTime {
		return "never"
	}
	return time.UnixMilli(ms).UTC().Format(time.DateOnly)
}

// passed reports whether the day of a key of Ahead is over at a time of the book.
func passed(key string, received int64) bool {
	return key[strings.LastIndexByte(key, '/')+1:] < utcDay(received)
}

// hold keeps a reading that lies ahead out of the course of its registers until
// its day is over: until then each later one would come late, and the newest
// reading be one that nobody has taken yet.
func (s *settle) hold(key string, index uint64, rec *wire.Record) {
	w, ok := s.state.Ahead[key]
	if !ok {
		w.First = index
		s.cfg.Log.Warn("readings dated ahead of this machine's clock are held until their day is over; set the clock that is wrong",
			zap.String("edge and day", key), zap.Uint64("record", index), zap.Time("reading", time.UnixMilli(rec.Wall).UTC()))
	}
	w.Last = index
	w.Readings++
	s.state.Ahead[key] = w
}

// arrive makes those readings due whose day is over when a record came.
func (s *settle) arrive(r *store.Record) {
	if r.Kind != store.Batch {
		return
	}
	for key, w := range s.state.Ahead {
		if passed(key, r.Received) {
			delete(s.state.Ahead, key)
			d := s.fall(w)
			d.Days = append(d.Days, key)
		}
	}
}

// ahead returns how many readings are held because they lie ahead.
func (s *settle) ahead() (n uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, w := range s.state.Ahead {
		n += w.Readings
	}
	return n
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
