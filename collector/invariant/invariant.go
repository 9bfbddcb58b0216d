// Package invariant says in what a collector's book and figures are not what
// they must be, whatever faults there were. Every rig uses it: programs do not.
//
// The names I1 to I10 are those of the robustness document: what an edge recorded
// is what the book holds (I1), once (I2), chained (I7); totals are those
// recomputed from scratch (I3); nothing is acked that is not durable, nothing
// dropped that is not acked (I5); every input is accounted for (I10). That totals
// do not depend on order and batching (I4), that memory is bounded (I8) and that
// healing takes no longer than a time (I9), a rig shows by what it does; closed
// periods (I6) have no state of their own yet.
package invariant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"kenshin/collector"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// stream is one life of an edge's outbox.
type stream struct {
	edge  string
	epoch wire.Epoch
}

// Recorded is what edges have recorded, as the rig knows it.
type Recorded struct {
	streams map[stream]*history
}

// history is the records of a stream by sequence number from 1 on.
type history struct {
	canonical [][]byte // nil where the rig knows none
	sure      uint64   // records whose append returned
}

// Append notes that the edge's append of a record returned.
func (r *Recorded) Append(edge string, epoch wire.Epoch, rec wire.Record) {
	h := r.Maybe(edge, epoch, rec)
	h.sure = max(h.sure, rec.Seq)
}

// Maybe notes a record whose append did not return: it may be there, whole, or not.
func (r *Recorded) Maybe(edge string, epoch wire.Epoch, rec wire.Record) *history {
	if r.streams == nil {
		r.streams = make(map[stream]*history)
	}
	s := stream{edge, epoch}
	if r.streams[s] == nil {
		r.streams[s] = &history{}
	}
	h := r.streams[s]
	for uint64(len(h.canonical)) < rec.Seq {
		h.canonical = append(h.canonical, nil)
	}
	h.canonical[rec.Seq-1] = rec.Encode()
	return h
}

// Book says in what a book is not what was recorded: I1, I2 and I7. healed says
// that everything had the time to arrive; before that, some may be missing.
func (r *Recorded) Book(book *store.Store, healed bool) error {
	held := make(map[stream]*held)
	err := book.Scan(0, func(rec *store.Record) error {
		if rec.Kind != store.Batch {
			return nil
		}
		return r.batch(rec, held)
	})
	if err != nil {
		return err
	}
	for s, h := range r.streams {
		if err := h.complete(s, held[s], healed); err != nil {
			return err
		}
	}
	return nil
}

// held is what the book has of a stream.
type held struct {
	records map[uint64][]byte
	chain   map[uint64]wire.Hash // after a sequence number
}

// batch checks one record of the book.
func (r *Recorded) batch(rec *store.Record, all map[stream]*held) error {
	payload, err := wire.Payload(wire.BatchType, rec.Payload)
	if err != nil {
		return fmt.Errorf("I1: record %d: %w", rec.Index, err)
	}
	b, err := wire.DecodeBatch(payload, wire.Limits{Payload: 16 << 20, Body: 64 << 20, Records: 1 << 20}) // checks the chain in the batch
	if err != nil {
		return fmt.Errorf("I7: record %d: %w", rec.Index, err)
	}
	s := stream{b.Edge, b.Epoch}
	known := r.streams[s]
	if known == nil {
		return fmt.Errorf("I1: record %d is of %s epoch %v, which recorded nothing", rec.Index, b.Edge, b.Epoch)
	}
	h := all[s]
	if h == nil {
		h = &held{records: make(map[uint64][]byte), chain: make(map[uint64]wire.Hash)}
		all[s] = h
	}
	chain := b.Prev
	for i := range b.Records {
		x := &b.Records[i]
		c := x.Encode()
		if x.Seq > uint64(len(known.canonical)) || known.canonical[x.Seq-1] == nil {
			return fmt.Errorf("I1: %s %d in record %d of the book was never recorded", b.Edge, x.Seq, rec.Index)
		}
		if !bytes.Equal(c, known.canonical[x.Seq-1]) {
			return fmt.Errorf("I1: %s %d in record %d of the book is not the one that was recorded", b.Edge, x.Seq, rec.Index)
		}
		if old, twice := h.records[x.Seq]; twice && !bytes.Equal(old, c) {
			return fmt.Errorf("I2: %s %d stands in the book with two contents", b.Edge, x.Seq)
		}
		if prev, ok := h.chain[x.Seq-1]; ok && prev != chain {
			return fmt.Errorf("I7: %s %d in record %d of the book is chained to another record", b.Edge, x.Seq, rec.Index)
		}
		chain = wire.Chain(chain, c)
		h.records[x.Seq], h.chain[x.Seq] = c, chain
	}
	return nil
}

func (h *history) complete(s stream, in *held, healed bool) error {
	if !healed {
		return nil
	}
	for seq := uint64(1); seq <= h.sure; seq++ {
		if in == nil || in.records[seq] == nil {
			return fmt.Errorf("I1: %s %d was recorded and is not in the book", s.edge, seq)
		}
	}
	return nil
}

// Delivery says whether an edge has dropped, or the collector acked, too much
// (I5): first and acked are the outbox's, durable the last record of the run from
// 1 on that is in the book.
func Delivery(first, acked, durable uint64) error {
	switch {
	case acked > durable:
		return fmt.Errorf("I5: acked up to %d, durable up to %d", acked, durable)
	case first > acked+1:
		return fmt.Errorf("I5: records before %d are dropped, acked up to %d", first, acked)
	}
	return nil
}

// Totals says whether the figures of any period differ from those recomputed from
// the book alone (I3), to the last digit. Everything must be settled.
func Totals(ctx context.Context, c *collector.Collector) error {
	projects, err := c.Projects(ctx)
	if err != nil {
		return err
	}
	for _, p := range projects {
		for i := range p.Periods {
			settled, err := c.Report(ctx, p.Reference, i)
			if err != nil {
				return err
			}
			again, err := collector.Recompute(ctx, c.Store(), p.Reference, i)
			if err != nil {
				return err
			}
			a, err := json.Marshal(settled)
			b, other := json.Marshal(again)
			if err = errors.Join(err, other); err != nil {
				return err
			}
			if !bytes.Equal(a, b) {
				return fmt.Errorf("I3: period %d of %s: settled and recomputed figures differ:\n%s\n%s", i+1, p.Reference, a, b)
			}
		}
	}
	return nil
}

// Conserved says whether every message is accounted for (I10).
func Conserved(received, stored, repeated, rejected float64) error {
	if received != stored+repeated+rejected {
		return fmt.Errorf("I10: %g messages received, %g stored, %g repeated, %g rejected: %g are nowhere", received, stored, repeated, rejected, received-stored-repeated-rejected)
	}
	return nil
}
