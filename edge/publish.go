package edge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/zap"

	"kenshin/edge/journal"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// publisher delivers the outbox. What it owes the collector is what the last ack
// does not say the collector has; a few batches of it are on their way at once,
// the newest readings before the backlog. What no ack has covered in time, and
// what an ack shows to have been lost on the way, is sent again. No decision
// rests on what the client says of a message; only a signed ack lets anything be
// forgotten.
type publisher struct {
	*Agent
	client mqtt.Client
	events chan linkEvent

	known    known
	sent     []flight // on their way, in the order they went
	damaged  []flight // acked records that cannot be read any more
	live     uint64   // what is older is backlog
	timeouts int      // in a row
	deadline time.Time
	oldest   time.Time // when the first live reading not on its way was seen
	paced    time.Time // before it no more backlog is sent
	believed time.Time // before it an ack is not taken for a sign of loss again
	apart    time.Time // since when there is no connection, zero when there is
	strange  int       // acks in a row of records that were never here
}

// publish runs until ctx ends or the outbox can no longer be read.
func (a *Agent) publish(ctx context.Context) error {
	p := &publisher{Agent: a, events: make(chan linkEvent, 64)}
	p.known.through = a.cfg.Outbox.Acked()
	p.client = a.connect(ctx, p.events)
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
			if err := p.event(e); err != nil {
				return err
			}
		case <-timer.C:
			p.timeout(ctx)
		}
		timer.Stop()
	}
}

// rewind takes everything that was on its way for lost.
func (p *publisher) rewind() {
	p.sent, p.live, p.oldest = nil, p.cfg.Outbox.Last()+1, time.Time{}
}

// send puts on their way as many batches as the window takes. It returns how
// long to wait for something to happen.
func (p *publisher) send() (time.Duration, error) {
	if !p.client.IsConnectionOpen() {
		if p.apart.IsZero() {
			p.apart = time.Now()
		}
		return max(0, time.Until(p.apart.Add(rebuildApart))), nil // OnConnect wakes us
	}
	p.apart = time.Time{}
	wait := time.Hour
	for len(p.sent) < window {
		r, later := p.choose()
		if r.To == 0 {
			wait = later
			break
		}
		last, envelope, err := p.cut(r)
		if first := p.cfg.Outbox.First(); err != nil && r.From < first {
			continue // it was dropped meanwhile
		}
		if acked := p.cfg.Outbox.Acked(); err != nil && r.From <= acked {
			// It was asked for again and is damaged: what is still owed goes on.
			p.cfg.Log.Error("acked records cannot be read again", zap.Uint64("from", r.From), zap.Error(err))
			p.damaged = append(p.damaged, flight{r.From, min(r.To, acked, behind(err))})
			continue
		}
		if err != nil {
			return 0, err
		}
		p.client.Publish(wire.UpTopic(p.cfg.Uplink.Root, p.cfg.Edge), 1, false, envelope)
		if len(p.sent) == 0 {
			p.arm()
		}
		p.sent = append(p.sent, flight{r.From, last})
		if r.From >= p.live {
			p.oldest = time.Time{}
		} else {
			p.paced = time.Now().Add(time.Duration(last-r.From+1) * time.Second / backlogRate)
		}
	}
	if len(p.sent) > 0 {
		wait = min(wait, time.Until(p.deadline))
	}
	return max(0, wait), nil
}

// choose returns what goes next: live readings unless they may wait for others
// to travel with, else backlog unless it is paced. An empty range means nothing
// for so long.
func (p *publisher) choose() (r wire.Range, later time.Duration) {
	later = time.Hour
	box := p.cfg.Outbox
	last := box.Last()
	if r, ok := p.known.owed(max(p.live, box.First()), last, p.away()); ok {
		if wait := p.linger(r); wait > 0 {
			later = wait
		} else {
			return r, 0
		}
	}
	if len(p.sent) >= window-liveRoom {
		return wire.Range{}, later
	}
	if r, ok := p.known.owed(box.First(), min(last, p.live-1), p.away()); ok {
		if wait := time.Until(p.paced); wait > 0 {
			later = min(later, wait)
		} else {
			return r, 0
		}
	}
	return wire.Range{}, later
}

// away returns what is not to be sent now.
func (p *publisher) away() []flight { return append(slices.Clip(p.damaged), p.sent...) }

// behind returns the last record that cannot be sent because of damage: the one
// behind it has no hash before it.
func behind(err error) uint64 {
	var d *journal.Damage
	if errors.As(err, &d) {
		return d.To + 1
	}
	return math.MaxUint64
}

// linger returns how long live readings may wait for more.
func (p *publisher) linger(r wire.Range) time.Duration {
	if p.cfg.Uplink.Linger <= 0 || r.To-r.From+1 >= batchRecords {
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

// cut takes a batch from the beginning of a range and signs it.
func (p *publisher) cut(r wire.Range) (last uint64, envelope []byte, err error) {
	recs, prev, chain, err := p.cfg.Outbox.Read(r.From, int(min(batchRecords, r.To-r.From+1)), batchBytes)
	if err != nil {
		return 0, nil, err
	}
	last = recs[len(recs)-1].Seq
	p.mu.Lock()
	known := p.declarations
	payload, err := wire.EncodeBatch(&wire.Batch{
		Edge: p.cfg.Edge, Epoch: p.cfg.Outbox.Epoch(), Boot: p.cfg.Boot,
		Kept: min(p.cfg.Outbox.First(), r.From), First: r.From, Last: last, Prev: prev, Chain: chain, Records: recs,
	}, known)
	p.mu.Unlock()
	if err != nil {
		return 0, nil, err
	}
	envelope, err = wire.Seal(wire.BatchType, payload, p.cfg.Key)
	return last, envelope, err
}

// event takes what the link tells. The error is one that ends the publisher.
func (p *publisher) event(e linkEvent) error {
	if e.connected {
		p.rewind() // whatever was on its way may be lost with the old connection
		return nil
	}
	err := p.acked(e.ack)
	if errors.Is(err, outbox.ErrOldCopy) {
		p.strange++
	} else if err == nil {
		p.strange = 0
	}
	if p.strange >= strangeAcks {
		// Numbers once used cannot be used again. What is here goes on in a new
		// epoch, which begins when the outbox is opened.
		return fmt.Errorf("%w; started again the agent goes on in a new epoch", errors.Join(err, p.cfg.Outbox.Disown()))
	}
	if err != nil {
		p.cfg.Log.Warn("ack ignored", zap.Error(err))
	}
	return nil
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
	k := &p.known
	switch {
	case ack.Epoch != p.cfg.Outbox.Epoch():
		return nil // of an earlier life of ours: retained messages are like that
	case ack.Generation < k.generation && p.timeouts < rebuildAfter:
		// Of an earlier life of the collector. When nothing else is heard it is
		// one that was put back by copying files.
		return nil
	case ack.Generation == k.generation && ack.Through < k.through:
		return nil // overtaken
	}
	box := p.cfg.Outbox
	before := box.Acked()
	if ack.Through > 0 {
		err := box.Ack(ack.Through, ack.Chain)
		if err != nil && !errors.Is(err, outbox.ErrOldAck) {
			return err
		}
	}
	if ack.Generation != k.generation && ack.Through < before { // it was restored from a backup
		from, err := box.Back(ack.Through)
		if err != nil {
			return err
		}
		p.cfg.Log.Warn("the collector has less than it had; sending again what is still here", zap.Uint64("from", from), zap.Uint64("acked", before))
	}
	*k = known{ack.Generation, ack.Through, ack.Have}
	p.progress(ack.Through > before)
	return nil
}

// progress moves the window along what is known now.
func (p *publisher) progress(acked bool) {
	if acked {
		p.acknowledged()
	}
	newest := -1 // flight that has arrived
	for i, f := range p.sent {
		if p.known.covers(f) {
			newest = i
		}
	}
	if newest >= 0 || acked {
		p.timeouts = 0
		p.arm()
	}
	// Messages keep their order on a connection: what went before one that has
	// arrived is lost. Should it be refused instead, it must not go round and round.
	lost := time.Now().After(p.believed)
	again := false
	i := 0
	p.sent = slices.DeleteFunc(p.sent, func(f flight) bool {
		i++
		if p.known.covers(f) {
			return true
		}
		if i-1 < newest && lost {
			again = true
			return true
		}
		return false
	})
	if again {
		p.believed = time.Now().Add(p.cfg.Uplink.AckTimeout)
	}
}

// timeout sends again what should have been acked by now.
func (p *publisher) timeout(ctx context.Context) {
	now := time.Now()
	if !p.apart.IsZero() && now.Sub(p.apart) >= rebuildApart {
		p.apart = now
		p.rebuild(ctx)
		return
	}
	if len(p.sent) == 0 || now.Before(p.deadline) {
		return
	}
	p.timeouts = min(p.timeouts+1, 6)
	p.cfg.Log.Warn("no ack in time; sending again", zap.Uint64("from", p.sent[0].first), zap.Int("timeouts", p.timeouts))
	if p.timeouts >= rebuildAfter {
		p.rebuild(ctx)
	}
	p.rewind()
	p.arm()
}

// rebuild makes a new client: the old one may only think that it works.
func (p *publisher) rebuild(ctx context.Context) {
	p.client.Disconnect(0)
	p.client = p.connect(ctx, p.events)
}
