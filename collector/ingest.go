package collector

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"go.uber.org/zap"

	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// Message is something that arrived on an edge's up topic.
type Message struct {
	Topic   string
	Payload []byte
	Done    func() // called when the message is dealt with durably, whatever became of it; may be nil
}

// AckSender publishes a retained message. An error is logged: acks are
// cumulative, the next one says it again.
type AckSender interface {
	Publish(topic string, payload []byte, retain bool) error
}

// ingest takes messages into the book: identity, signature, limits, chain, then
// one fsync for a group, then the acks. One goroutine runs it, so a batch never
// races with another of its own edge.
type ingest struct {
	cfg     *Config
	store   *store.Store
	dead    *store.DeadLetters
	metrics *metrics
	queue   chan Message

	mu    sync.Mutex // guards rules, heads and seen
	rules *rules
	heads map[stream]*head
	seen  map[string]edgeState
}

// edgeState is what the collector knows of an edge's deliveries.
type edgeState struct {
	id       string
	epoch    wire.Epoch
	through  uint64 // records from 1 on that are durable here without a hole
	received int64  // ms UTC of the last message taken, on the collector's clock
}

const (
	queueLength = 4096 // more than any broker leaves in flight for one subscriber
	groupSize   = 256  // messages made durable by one fsync at most

	envelopeRoom = 1 << 10 // bytes of an envelope beside its payload
)

// recover reads the book once: the rules in force and the heads of every stream.
func (in *ingest) recover() error {
	return in.store.Scan(0, func(r *store.Record) error {
		if r.Kind == store.Decision {
			_, err := in.rules.take(r)
			return err
		}
		if r.Kind == store.Import {
			return nil
		}
		payload, err := wire.Payload(wire.BatchType, r.Payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", r.Index, err)
		}
		// The header holds what the heads need; the records were checked before
		// they came here and the leaf covers every byte.
		b, err := wire.DecodeHeader(payload)
		if err != nil {
			return fmt.Errorf("record %d: %w", r.Index, err)
		}
		in.note(b, r)
		return nil
	})
}

// note adds a stored batch to the head of its stream.
func (in *ingest) note(b *wire.Batch, r *store.Record) {
	s := stream{b.Edge, b.Epoch}
	h := in.heads[s]
	if h == nil {
		h = &head{}
		in.heads[s] = h
	}
	h.add(b.First, b.Last, b.Prev, b.Chain, r.Index)
	through, _ := h.through()
	in.seen[b.Edge] = edgeState{b.Edge, b.Epoch, through, r.Received}
}

// run works until ctx ends or the book can no longer be written.
func (in *ingest) run(ctx context.Context) error {
	for {
		var group []Message
		select {
		case <-ctx.Done():
			return nil
		case m := <-in.queue:
			group = append(group, m)
		}
	more:
		for len(group) < groupSize {
			select {
			case m := <-in.queue:
				group = append(group, m)
			default:
				break more
			}
		}
		if err := in.take(group); err != nil {
			return err
		}
	}
}

// take makes a group durable and answers it.
func (in *ingest) take(group []Message) error {
	var fresh []*store.Record
	var batches []*wire.Batch
	var letters []store.DeadLetter
	answer := make(map[stream]bool)
	now := in.cfg.Clock.Now().UnixMilli()

	in.mu.Lock()
	defer in.mu.Unlock()
	next := in.store.Size()
	for _, m := range group {
		in.metrics.received.Inc()
		b, v, err := in.judge(m, batches)
		if err != nil {
			reason := reasonOf(err)
			if reason == "" {
				return err
			}
			in.metrics.rejected.WithLabelValues(reason).Inc()
			in.cfg.Log.Warn("message refused", zap.String("topic", m.Topic), zap.String("reason", reason), zap.Error(err))
			letters = append(letters, store.DeadLetter{At: now, Topic: m.Topic, Reason: reason, Detail: err.Error(), Bytes: m.Payload})
			continue
		}
		answer[stream{b.Edge, b.Epoch}] = true
		if v == repeated {
			in.metrics.repeated.Inc()
			continue
		}
		r := &store.Record{Kind: store.Batch, Received: now, Subject: b.Edge, Epoch: b.Epoch, First: b.First, Last: b.Last, Payload: m.Payload}
		r.Index = next + uint64(len(fresh))
		in.note(b, r)
		fresh, batches = append(fresh, r), append(batches, b)
	}
	if len(fresh) > 0 {
		if _, err := in.store.Append(fresh...); err != nil {
			return err // heads are ahead of the book now: only a new start may go on
		}
		in.metrics.stored.Add(float64(len(fresh)))
	}
	if err := in.dead.Add(letters); err != nil {
		return err
	}
	for _, m := range group {
		if m.Done != nil {
			m.Done()
		}
	}
	for s := range answer {
		in.ack(s)
	}
	return nil
}

// judge decides on one message. pending are the batches of this group that are
// noted in the heads but not yet in the book.
func (in *ingest) judge(m Message, pending []*wire.Batch) (*wire.Batch, verdict, error) {
	edge, ok := wire.ParseUp(in.cfg.Root, m.Topic)
	if !ok {
		return nil, 0, refusal{reasonTopic, fmt.Errorf("%q is not an up topic below %s", m.Topic, in.cfg.Root)}
	}
	if len(in.rules.keys[edge]) == 0 {
		return nil, 0, refusal{reasonIdentity, fmt.Errorf("edge %q is not registered: enrol it, or add it with its public key to the collector's configuration", edge)}
	}
	if len(m.Payload) > in.cfg.Limits.Payload+envelopeRoom { // the envelope may hold what nobody signed
		return nil, 0, refusal{reasonMalformed, fmt.Errorf("message of %d bytes, at most %d", len(m.Payload), in.cfg.Limits.Payload+envelopeRoom)}
	}
	payload, err := in.rules.unseal(edge, m.Payload)
	if err != nil {
		return nil, 0, err
	}
	b, err := wire.DecodeBatch(payload, in.cfg.Limits)
	if err != nil {
		return nil, 0, err
	}
	if b.Edge != edge {
		return nil, 0, refusal{reasonIdentity, fmt.Errorf("a batch of edge %q on the topic of %q", b.Edge, edge)}
	}
	if err := checkKeys(b); err != nil {
		return nil, 0, refusal{reasonMalformed, err}
	}
	h := in.heads[stream{b.Edge, b.Epoch}]
	if h == nil {
		return b, fresh, nil
	}
	v, err := h.offer(b, func(k mark, seq uint64) (wire.Hash, error) { return in.chainAt(k, seq, b, pending) })
	return b, v, err
}

// checkKeys refuses names that would make the key of one series that of another.
func checkKeys(b *wire.Batch) error {
	for i := range b.Records {
		d := b.Records[i].Declaration
		if d == nil {
			continue
		}
		if strings.Contains(d.Device, "/") {
			return fmt.Errorf("record %d: device id %q must not hold a slash", b.Records[i].Seq, d.Device)
		}
		for k := range d.Points {
			if strings.Contains(d.Points[k].Name, "/") {
				return fmt.Errorf("record %d: point %q of device %q must not hold a slash", b.Records[i].Seq, d.Points[k].Name, d.Device)
			}
		}
	}
	return nil
}

// chainAt returns the chain hash after seq of the batch in record m.index.
func (in *ingest) chainAt(m mark, seq uint64, like *wire.Batch, pending []*wire.Batch) (wire.Hash, error) {
	for _, b := range pending {
		if h, ok := b.ChainAfter(seq); ok && b.Edge == like.Edge && b.Epoch == like.Epoch {
			return h, nil
		}
	}
	r, err := in.store.Read(m.index)
	if err != nil {
		return wire.Hash{}, err
	}
	b, err := decodeStored(&r)
	if err != nil {
		return wire.Hash{}, fmt.Errorf("compare with the book: %v", err) // not the message's fault: no wire error shall show
	}
	h, ok := b.ChainAfter(seq)
	if !ok {
		return wire.Hash{}, fmt.Errorf("record %d does not hold sequence number %d", m.index, seq)
	}
	return h, nil
}

// decodeStored reads the batch of a record of the book.
func decodeStored(r *store.Record) (*wire.Batch, error) {
	payload, err := wire.Payload(wire.BatchType, r.Payload)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", r.Index, err)
	}
	b, err := wire.DecodeBatch(payload, storedLimits)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", r.Index, err)
	}
	return b, nil
}

// storedLimits are wide: what is in the book was within the limits of its day.
var storedLimits = wire.Limits{Payload: 16 << 20, Body: 64 << 20, Records: 1 << 20}

// ack tells an edge what is durable. Lost acks do no harm, so an error is only logged.
func (in *ingest) ack(s stream) {
	h := in.heads[s]
	through, chain := h.through()
	payload, err := wire.EncodeAck(&wire.Ack{
		Edge: s.edge, Epoch: s.epoch, Through: through, Chain: chain,
		Collector: in.cfg.Name, Generation: in.store.Generation(), Want: h.want(),
	})
	if err == nil {
		payload, err = wire.Seal(wire.AckType, payload, in.cfg.Key)
	}
	if err == nil {
		err = in.cfg.Acks.Publish(wire.AckTopic(in.cfg.Root, s.edge), payload, true)
	}
	if err != nil {
		in.cfg.Log.Warn("ack not sent", zap.String("edge", s.edge), zap.Uint64("through", through), zap.Error(err))
	}
}

// edgeStates lists every registered edge, also those that never sent anything.
func edgeStates(rules *rules, seen map[string]edgeState) []edgeState {
	var out []edgeState
	for _, id := range rules.registered() {
		st, ok := seen[id]
		if !ok {
			st = edgeState{id: id}
		}
		out = append(out, st)
	}
	return out
}
