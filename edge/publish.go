package edge

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/zap"

	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// publisher delivers the outbox in order: up to window batches are on their way,
// and what no ack has covered in time is sent again. No decision rests on what
// the client says of a message; only a signed ack lets anything be forgotten.
type publisher struct {
	*Agent
	client mqtt.Client
	events chan linkEvent

	next       uint64   // first sequence number not on its way
	sent       []uint64 // last sequence number of each batch on its way
	generation uint64   // of the last ack
	timeouts   int      // in a row
	deadline   time.Time
	oldest     time.Time // when the first reading not on its way was seen
	wentBack   uint64    // Through of the ack whose hole was sent again last
}

const nowhere = ^uint64(0)

// publish runs until ctx ends or the outbox can no longer be read.
func (a *Agent) publish(ctx context.Context) error {
	p := &publisher{Agent: a, events: make(chan linkEvent, 64), wentBack: nowhere}
	p.client = a.connect(p.events)
	defer func() { p.client.Disconnect(250); a.linked(false, "stopped") }()
	p.rewind()
	for {
		changed := a.cfg.Outbox.Changed()
		wait, err := p.send()
		if err != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changed:
		case e := <-p.events:
			p.event(e)
		case <-timer.C:
			p.timeout()
		}
		timer.Stop()
	}
}

// rewind starts again behind what is acked.
func (p *publisher) rewind() {
	p.next, p.sent, p.oldest = p.cfg.Outbox.Acked()+1, nil, time.Time{}
}

// send puts on their way as many batches as the window takes. It returns how
// long to wait for something to happen.
func (p *publisher) send() (time.Duration, error) {
	const idle = time.Hour
	if !p.client.IsConnectionOpen() {
		return idle, nil // OnConnect wakes us
	}
	for len(p.sent) < window && p.next <= p.cfg.Outbox.Last() {
		if wait := p.linger(); wait > 0 {
			return wait, nil
		}
		last, envelope, err := p.cut()
		if acked := p.cfg.Outbox.Acked(); err != nil && p.next <= acked {
			// It was asked for again and is damaged: what is still owed goes on.
			p.cfg.Log.Error("acked records cannot be read again", zap.Uint64("from", p.next), zap.Error(err))
			p.next = acked + 1
			continue
		}
		if err != nil {
			return 0, err
		}
		p.client.Publish(wire.UpTopic(p.cfg.Uplink.Root, p.cfg.Edge), 1, false, envelope)
		if len(p.sent) == 0 {
			p.arm()
		}
		p.sent = append(p.sent, last)
		p.next, p.oldest = last+1, time.Time{}
	}
	if len(p.sent) == 0 {
		return idle, nil
	}
	return max(0, time.Until(p.deadline)), nil
}

// linger returns how long the readings that are waiting may wait for more.
func (p *publisher) linger() time.Duration {
	if p.cfg.Uplink.Linger <= 0 || p.cfg.Outbox.Last()-p.next+1 >= batchRecords {
		return 0
	}
	if p.oldest.IsZero() {
		p.oldest = time.Now()
	}
	return time.Until(p.oldest.Add(p.cfg.Uplink.Linger))
}

// arm sets the time by which an ack must have come: it doubles with each timeout,
// with some jitter so that a fleet does not come back in step.
func (p *publisher) arm() {
	wait := min(p.cfg.Uplink.AckTimeout<<p.timeouts, maxAckWait)
	p.deadline = time.Now().Add(wait + rand.N(wait/4+1))
}

// cut takes the next batch from the outbox and signs it.
func (p *publisher) cut() (last uint64, envelope []byte, err error) {
	recs, prev, chain, err := p.cfg.Outbox.Read(p.next, batchRecords, batchBytes)
	if err != nil {
		return 0, nil, err
	}
	last = recs[len(recs)-1].Seq
	p.mu.Lock()
	known := p.declarations
	payload, err := wire.EncodeBatch(&wire.Batch{
		Edge: p.cfg.Edge, Epoch: p.cfg.Outbox.Epoch(), Boot: p.cfg.Boot,
		First: p.next, Last: last, Prev: prev, Chain: chain, Records: recs,
	}, known)
	p.mu.Unlock()
	if err != nil {
		return 0, nil, err
	}
	envelope, err = wire.Seal(wire.BatchType, payload, p.cfg.Key)
	return last, envelope, err
}

func (p *publisher) event(e linkEvent) {
	if e.connected {
		p.rewind() // whatever was on its way may be lost with the old connection
		return
	}
	if err := p.acked(e.ack); err != nil {
		p.cfg.Log.Warn("ack ignored", zap.Error(err))
	}
}

// acked takes one ack.
func (p *publisher) acked(envelope []byte) error {
	payload, err := wire.Unseal(wire.AckType, envelope, p.cfg.Uplink.CollectorKey)
	if err != nil {
		return err
	}
	ack, err := wire.DecodeAck(payload)
	if err != nil {
		return err
	}
	if ack.Edge != p.cfg.Edge {
		return errors.New("it is for edge " + ack.Edge)
	}
	if ack.Epoch != p.cfg.Outbox.Epoch() || ack.Generation < p.generation {
		return nil // of an earlier life, ours or the collector's: retained messages are like that
	}
	restarted := p.generation != 0 && ack.Generation > p.generation
	p.generation = ack.Generation
	before := p.cfg.Outbox.Acked()
	if ack.Through > 0 {
		err := p.cfg.Outbox.Ack(ack.Through, ack.Chain)
		if err != nil && !errors.Is(err, outbox.ErrOldAck) {
			return err
		}
	}
	p.progress(ack, before, restarted)
	return nil
}

// progress moves the window along an ack that holds.
func (p *publisher) progress(ack *wire.Ack, before uint64, restarted bool) {
	if ack.Through > before {
		p.acknowledged()
		p.timeouts = 0
		p.arm()
	}
	for len(p.sent) > 0 && p.sent[0] <= ack.Through {
		p.sent = p.sent[1:]
	}
	p.next = max(p.next, ack.Through+1)
	switch {
	case ack.Through < before && restarted:
		// The collector has less than it once had: it was restored from a backup.
		from := max(ack.Through+1, p.cfg.Outbox.First())
		p.cfg.Log.Warn("the collector went back; sending again", zap.Uint64("from", from), zap.Uint64("acked", before))
		p.next, p.sent = from, nil
	case len(ack.Want) > 0 && ack.Through != p.wentBack:
		p.wentBack = ack.Through
		p.next, p.sent = max(ack.Through+1, p.cfg.Outbox.First()), nil
	}
}

// timeout sends again what should have been acked by now.
func (p *publisher) timeout() {
	if len(p.sent) == 0 || time.Now().Before(p.deadline) {
		return
	}
	p.timeouts = min(p.timeouts+1, 6)
	p.cfg.Log.Warn("no ack in time; sending again", zap.Uint64("from", p.cfg.Outbox.Acked()+1), zap.Int("timeouts", p.timeouts))
	if p.timeouts >= rebuildAfter {
		p.client.Disconnect(0)
		p.client = p.connect(p.events)
	}
	p.wentBack = nowhere
	p.rewind()
	p.arm()
}
