package cmd

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"kenshin/collector"
	"kenshin/collector/store"
	"kenshin/edge"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// The invariants that every rig checks when its faults are over:
//
//	I1 the records in the book are those the edges recorded, hash by hash
//	I2 none counts twice
//	I3 figures settled step by step equal figures recomputed from the book
//	I4 they do not depend on how records were cut, ordered and repeated
//	I5 what an edge was told is durable was durable
//	I6 a closed period changes by a numbered revision only (calc and settle tests)
//	I7 the chain holds from end to end
//	I8 nothing is left running (a bubble of synctest does not end otherwise)
//	I9 all of that within a bounded time
//	I10 received = stored + repeated + rejected

// stream is one life of an edge's outbox.
type stream struct {
	edge  string
	epoch wire.Epoch
}

func (s stream) String() string { return s.edge + "/" + s.epoch.String()[:8] }

// history is what an edge recorded in one epoch: the chain hash after each
// record, which stands for all of them up to there.
type history struct {
	after []wire.Hash // after[0] is zero
	// from and to are records that need not be in the book: they are still to be
	// delivered, or the box that had them is gone, or they left it as acked before
	// the collector lost them.
	from, to uint64
	// excused is what an edge may have been told of before a restored collector
	// lost it.
	excused uint64
	mixed   bool // two boxes wrote under its name: not compared
}

func (h *history) last() uint64 { return uint64(len(h.after) - 1) }

// witness follows outboxes and remembers what they recorded.
type witness map[stream]*history

func (w witness) of(s stream) *history {
	if w[s] == nil {
		w[s] = &history{after: []wire.Hash{{}}}
	}
	return w[s]
}

// look reads what box has recorded since.
func (w witness) look(edge string, box *outbox.Outbox) error {
	h := w.of(stream{edge, box.Epoch()})
	if box.Last() < h.last() {
		return fmt.Errorf("I1: %s has %d records and had %d before: some whose append returned are gone", edge, box.Last(), h.last())
	}
	for h.last() < box.Last() {
		recs, prev, _, err := box.Read(h.last()+1, 500, 1<<20)
		if err != nil {
			return err
		}
		if chain := h.after[h.last()]; prev != chain {
			return fmt.Errorf("I7: %s: chain hash before record %d is %.8s, was %.8s", edge, h.last()+1, prev, chain)
		}
		for i := range recs {
			h.after = append(h.after, wire.Chain(h.after[h.last()], recs[i].Encode()))
		}
	}
	return nil
}

// checkBook compares a book with what was recorded: I1, I2, I7.
func checkBook(book *store.Store, w witness) error {
	var errs []error
	have := make(map[stream]map[uint64]bool)
	err := book.Scan(0, func(r *store.Record) error {
		if r.Kind != store.Batch {
			return nil
		}
		b, err := stored(r)
		if err != nil {
			return err
		}
		s := stream{b.Edge, b.Epoch}
		h := w[s]
		if h == nil {
			return fmt.Errorf("I1: the book has records of %v, which recorded none", s)
		}
		if h.mixed {
			return nil
		}
		if have[s] == nil {
			have[s] = make(map[uint64]bool)
		}
		for seq := b.First; seq <= b.Last; seq++ {
			if got, _ := b.ChainAfter(seq); seq > h.last() || got != h.after[seq] {
				return fmt.Errorf("I1: record %d of %v in the book is not the one that was recorded", seq, s)
			}
			have[s][seq] = true
		}
		return nil
	})
	errs = append(errs, err)
	for s, h := range w {
		missing, first := 0, uint64(0)
		for seq := uint64(1); seq <= h.last(); seq++ {
			if !have[s][seq] && (seq < h.from || seq > h.to) {
				if missing++; first == 0 {
					first = seq
				}
			}
		}
		if missing > 0 {
			errs = append(errs, fmt.Errorf("I1: %d of %d records of %v are not in the book, the first is %d", missing, h.last(), s, first))
		}
	}
	return errors.Join(errs...)
}

func stored(r *store.Record) (*wire.Batch, error) {
	payload, err := wire.Payload(wire.BatchType, r.Payload)
	if err != nil {
		return nil, err
	}
	return wire.DecodeBatch(payload, wire.DefaultLimits)
}

// checkDelivery checks I5 of an outbox: first and acked are its own, durable is the
// last record of the run from 1 on that is in the book.
func checkDelivery(first, acked, durable uint64) error {
	switch {
	case acked > durable:
		return fmt.Errorf("I5: acked up to %d, durable up to %d", acked, durable)
	case first > acked+1:
		return fmt.Errorf("I5: records before %d are dropped, acked up to %d", first, acked)
	}
	return nil
}

// checkFigures compares settled figures with those recomputed from the book, I3.
func checkFigures(c *collector.Collector, project string) (string, error) {
	settled, err := c.Report(context.Background(), project, 0)
	if err != nil {
		return "", err
	}
	again, err := collector.Recompute(context.Background(), c.Store(), project, 0)
	if err != nil {
		return "", err
	}
	a, err := json.Marshal(settled)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(again)
	if err == nil && string(a) != string(b) {
		err = fmt.Errorf("I3: settled %s\nrecomputed %s", a, b)
	}
	return string(a), err
}

// checkCounters checks I10 and returns how many messages were rejected.
func checkCounters(c *collector.Collector) (rejected float64, err error) {
	registry := prometheus.NewRegistry()
	for _, m := range c.Metrics() {
		if err := registry.Register(m); err != nil {
			return 0, err
		}
	}
	families, err := registry.Gather()
	if err != nil {
		return 0, err
	}
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			sums[strings.TrimPrefix(f.GetName(), "kenshin_collector_")] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	rejected = sums["messages_rejected_total"]
	if got, parts := sums["messages_received_total"], sums["messages_stored_total"]+sums["messages_repeated_total"]+rejected; got != parts {
		err = fmt.Errorf("I10: %v messages received, %v accounted for", got, parts)
	}
	return rejected, err
}

// edgeKey signs in the name of an edge.
type edgeKey ed25519.PrivateKey

// piece cuts records first to last out of a batch and signs them anew.
func (k edgeKey) piece(root string, b *wire.Batch, first, last uint64) (collector.Message, error) {
	p := *b
	p.First, p.Last, p.Records = first, last, b.Records[first-b.First:last-b.First+1]
	p.Prev, _ = b.ChainAfter(first - 1)
	p.Chain, _ = b.ChainAfter(last)
	payload, err := wire.EncodeBatch(&p, nil)
	if err == nil {
		payload, err = wire.Seal(wire.BatchType, payload, ed25519.PrivateKey(k))
	}
	return collector.Message{Topic: wire.UpTopic(root, b.Edge), Payload: payload}, err
}

// checkOrder gives what a book holds to two collectors that never failed, to one
// in pieces and in order, to the other shuffled and repeated, and wants the same
// figures of both: I2, I4. The figures of the book itself may differ by the last
// readings, when these were dated ahead of the time at which they came. Events are
// not compared: where a clock was set back, how long a dip seems to have lasted can
// hang on the order of arrival; what was counted does not.
func checkOrder(book *store.Store, cfg collector.Config, keys map[string]edgeKey, project string, rng *rand.Rand) error {
	var pieces []collector.Message
	err := book.Scan(0, func(r *store.Record) error {
		if r.Kind != store.Batch {
			return nil
		}
		b, err := stored(r)
		if err != nil {
			return err
		}
		for first := b.First; first <= b.Last; {
			last := min(b.Last, first+rng.Uint64N(b.Last-first+1))
			m, err := keys[b.Edge].piece(cfg.Root, b, first, last)
			if err != nil {
				return err
			}
			pieces = append(pieces, m)
			first = last + 1
		}
		return nil
	})
	if err != nil {
		return err
	}
	want, err := figuresOf(pieces, cfg, "in order", project)
	if err != nil {
		return err
	}
	for _, m := range pieces {
		if rng.IntN(4) == 0 {
			pieces = append(pieces, m)
		}
	}
	rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	got, err := figuresOf(pieces, cfg, "shuffled", project)
	if err == nil && got != want {
		err = fmt.Errorf("I4: in another order the figures are\n%s\nthey were\n%s", got, want)
	}
	return err
}

// figuresOf returns the figures of a new collector that was given some messages.
func figuresOf(pieces []collector.Message, cfg collector.Config, name, project string) (string, error) {
	cfg.Acks, cfg.Clock, cfg.Log, cfg.Dir = discard{}, edge.RealClock(), zap.NewNop(), filepath.Join(cfg.Dir, name)
	c, err := collector.Open(context.Background(), cfg)
	if err != nil {
		return "", err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	done := make(chan struct{}, len(pieces))
	for _, m := range pieces {
		m.Done = func() { done <- struct{}{} }
		c.Receive(ctx, m)
	}
	for range pieces {
		<-done
	}
	cancel()
	if err := <-ended; err != nil {
		return "", err
	}
	rejected, err := checkCounters(c)
	if err != nil {
		return "", err
	}
	if rejected > 0 {
		said := "?"
		_ = store.ReadDeadLetters(cfg.Dir, func(l store.DeadLetter) error { said = l.Reason + ": " + l.Detail; return nil })
		return "", fmt.Errorf("I4: %v pieces of good batches were rejected %s, the last one for %s", rejected, name, said)
	}
	text, err := checkFigures(c, project)
	if err != nil {
		return "", err
	}
	var r map[string]any
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return "", err
	}
	for _, m := range r["meters"].(map[string]any) {
		delete(m.(map[string]any), "events")
	}
	out, err := json.Marshal(r)
	return string(out), err
}

type discard struct{}

func (discard) Publish(string, []byte, bool) error { return nil }

// outboxes opens the outboxes of edges that have ended and reads what they recorded.
func (w witness) outboxes(dirs map[string]string) error {
	for id, dir := range dirs {
		box, _, err := outbox.Open(dir, outbox.Options{Edge: id})
		if err != nil {
			return err
		}
		err = w.look(id, box)
		if acked := box.Acked(); err == nil && acked < box.Last() {
			err = fmt.Errorf("I9: %s has %d records, %d of them acked", id, box.Last(), acked)
		}
		if err = errors.Join(err, box.Close()); err != nil {
			return err
		}
	}
	return nil
}
