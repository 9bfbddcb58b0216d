package collector

import (
	"context"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/wire"
)

// AckSender publishes a retained message. An error is logged: acks are
// cumulative, the next one says it again.
type AckSender interface {
	Publish(topic string, payload []byte, retain bool) error
}

// acker tells edges what is durable. Signing and publishing an ack costs half as
// much as checking a message, and acks are cumulative: while one is not sent yet,
// what the same stream has by then takes its place. A message that comes alone is
// acked at once; with many, acks take a fixed share of one processor, and each
// says more.
type acker struct {
	cfg        *Config
	generation uint64
	wake       chan struct{} // has room for one

	mu  sync.Mutex       // guards due
	due map[stream]*head // as it is on disk; a head in here is never changed again
}

const (
	ackShare = 4                      // after a round of acks it rests so many times as long as the round took,
	ackRest  = 500 * time.Millisecond // but no longer: an edge that catches up waits for them with its window full
)

// put asks for acks of streams, as they are on disk.
func (a *acker) put(heads map[stream]*head) {
	if len(heads) == 0 {
		return
	}
	a.mu.Lock()
	if a.due == nil {
		a.due = heads
	} else {
		maps.Copy(a.due, heads)
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run sends acks until ctx ends, and then what is still due.
func (a *acker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			a.send()
			return
		case <-a.wake:
		}
		// Not the configured clock: what is shared out is time of this machine, and
		// a plant that is replayed steps on when somebody sleeps on its clock.
		began := time.Now()
		a.send()
		select {
		case <-time.After(min(ackShare*time.Since(began), ackRest)):
		case <-ctx.Done(): // the rest is sent at once
		}
	}
}

// send sends what is due.
func (a *acker) send() {
	a.mu.Lock()
	due := a.due
	a.due = nil
	a.mu.Unlock()
	for s, h := range due {
		a.ack(s, h)
	}
}

// ack tells an edge what is durable. Lost acks do no harm, so an error is only logged.
func (a *acker) ack(s stream, h *head) {
	through, chain := h.through()
	payload, err := wire.EncodeAck(&wire.Ack{
		Edge: s.edge, Epoch: s.epoch, Through: through, Chain: chain,
		Collector: a.cfg.Name, Generation: a.generation, Want: h.want(), Have: h.have(wire.MaxRanges),
	})
	if err == nil {
		payload, err = wire.Seal(wire.AckType, payload, a.cfg.Key)
	}
	if err == nil {
		err = a.cfg.Acks.Publish(wire.AckTopic(a.cfg.Root, s.edge), payload, true)
	}
	if err != nil {
		a.cfg.Log.Warn("ack not sent", zap.String("edge", s.edge), zap.Uint64("through", through), zap.Error(err))
	}
}
