package outbox

import (
	"errors"
	"fmt"

	"kenshin/edge/wire"
)

// ErrHeld is wrapped when records are in memory and not on disk: a power cut
// would take them.
var ErrHeld = errors.New("held in memory")

// hold is the records that wait for the disk to take them, in order, and the
// readings that had to go meanwhile.
type hold struct {
	recs  []wire.Record
	bytes int // of their encodings
	lost  lost

	file  *cursor // where it is written down how many there are; nil when it could not be made
	noted uint64  // readings that the file speaks of
}

// lost is readings that are nowhere.
type lost struct {
	count    uint64
	from, to int64 // wall clock of the first and last, ms UTC
	cause    string
}

func (l *lost) add(r *wire.Record, cause error) {
	if l.count == 0 {
		l.from, l.cause = r.Wall, clip(cause.Error())
	}
	l.to = r.Wall
	l.count++
}

// Held says what Keep holds in memory.
type Held struct {
	Records int
	Bytes   int
	Lost    uint64 // readings that went, and are still to be told of by a record
}

// Held returns what is in memory and not on disk.
func (b *Outbox) Held() Held {
	b.writing.Lock()
	defer b.writing.Unlock()
	return Held{len(b.held.recs), b.held.bytes, b.held.lost.count}
}

// Keep is Append for one who cannot say no: what the disk does not take, because
// it is full, read-only or broken, is held in memory and goes to disk, in order,
// with the first later Keep that succeeds. The error is nil when all is durable;
// it wraps ErrHeld, and the disk's own error, as long as something is not.
// Records that are not valid are refused with another error and are not held.
//
// When HoldBytes of memory are full, readings go, in this order: those that are
// not the first of their device in an hour, then the newest. What is left goes
// into the part of the outbox that is reserved for it, behind an event of kind
// gap that says how many went, from when to when and why. Declarations and
// events never go, and nothing that is on disk and not acked ever does.
func (b *Outbox) Keep(recs ...wire.Record) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	size := 0
	for i := range recs {
		r := recs[i]
		r.Seq = 1 // any that is valid
		if err := r.Validate(); err != nil {
			return fmt.Errorf("keep in outbox %s: record %d of %d: %w", b.dir, i+1, len(recs), err)
		}
		size += len(r.Encode())
	}
	h := &b.held
	h.recs, h.bytes = append(h.recs, recs...), h.bytes+size
	err := b.unload(b.max - max(b.max/16, minSegment))
	if err != nil && h.bytes > b.most {
		h.thin(err)
		if errors.Is(err, ErrFull) {
			err = b.unload(b.max)
		}
		if err != nil {
			h.shorten(b.most, err)
		}
	}
	if err != nil {
		b.note(false)
		return fmt.Errorf("%d records are %w: %w", len(h.recs), ErrHeld, err)
	}
	return nil
}

// unload writes what is held, behind what tells of a loss.
func (b *Outbox) unload(limit int64) error {
	h := &b.held
	if h.lost.count > 0 && len(h.recs) > 0 {
		at := h.recs[0]
		gap := wire.Record{Wall: at.Wall, Mono: at.Mono, Clock: at.Clock,
			Event: &wire.Event{Code: wire.EventGap, Detail: h.lost.cause, From: h.lost.from, To: h.lost.to, Count: h.lost.count}}
		if _, err := b.append([]wire.Record{gap}, limit); err != nil {
			return err
		}
		h.lost = lost{}
	}
	for len(h.recs) > 0 {
		n := min(len(h.recs), copyGroup)
		if _, err := b.append(h.recs[:n], limit); err != nil {
			return err
		}
		for i := range n {
			h.bytes -= encodedBytes(&h.recs[i])
		}
		h.recs = h.recs[n:]
	}
	h.recs, h.bytes = nil, 0
	b.note(true)
	return nil
}

func encodedBytes(r *wire.Record) int {
	c := *r
	c.Seq = 1
	return len(c.Encode())
}

const hour = 3_600_000 // ms

// thin lets readings go but for the first of each device in an hour: of a
// counter that is enough to tell what it counted, to the hour.
func (h *hold) thin(cause error) {
	type key struct {
		declaration wire.Hash
		hour        int64
	}
	seen := make(map[key]bool)
	h.drop(func(_ int, r *wire.Record) bool {
		k := key{r.Reading.Declaration, r.Wall / hour}
		again := seen[k]
		seen[k] = true
		return again
	}, cause)
}

// shorten lets the newest readings go until what is held has at most so many bytes.
func (h *hold) shorten(most int, cause error) {
	over := h.bytes - most
	if over <= 0 {
		return
	}
	from := len(h.recs)
	for over > 0 && from > 0 {
		from--
		if h.recs[from].Reading != nil {
			over -= encodedBytes(&h.recs[from])
		}
	}
	h.drop(func(i int, _ *wire.Record) bool { return i >= from }, cause)
}

// drop lets the readings go that go says.
func (h *hold) drop(goes func(i int, r *wire.Record) bool, cause error) {
	kept := h.recs[:0]
	for i := range h.recs {
		r := &h.recs[i]
		if r.Reading != nil && goes(i, r) {
			h.lost.add(r, cause)
			h.bytes -= encodedBytes(r)
			continue
		}
		kept = append(kept, *r)
	}
	clear(h.recs[len(kept):])
	h.recs = kept
}

// clip cuts a text to what a record takes, at a character's edge.
func clip(s string) string {
	for i := range s {
		if i > wire.MaxText-4 {
			return s[:i]
		}
	}
	return s
}
