package edge

import (
	"errors"
	"slices"

	"go.uber.org/zap"

	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// kept is the records of one cycle on their way to the disk.
type kept struct {
	recs    []wire.Record
	written bool // or lost, and counted
	failed  bool
}

// keep gives records to the outbox. Cycles of several buses that end together
// share one sync. Readings that it refuses are counted, and the first record
// that it takes says how many and why.
func (a *Agent) keep(recs []wire.Record, states []deviceState) {
	own := &kept{recs: recs}
	a.queue.Lock()
	a.waiting = append(a.waiting, own)
	a.queue.Unlock()
	a.mu.Lock() // meanwhile others join the queue
	defer a.mu.Unlock()
	if !own.written {
		a.queue.Lock()
		all := a.waiting
		a.waiting = nil
		a.queue.Unlock()
		a.write(all)
	}
	if own.failed {
		for i := range states {
			states[i].declared = false // the declaration may be among what was lost
		}
	}
}

// write writes what several cycles have read; a.mu is held. If that fails each is
// tried by itself: the fault may be with the records of one.
func (a *Agent) write(all []*kept) {
	for _, k := range all {
		k.written = true
	}
	var recs []wire.Record
	for _, k := range all {
		recs = append(recs, k.recs...)
	}
	if len(all) > 1 && a.append(recs) == nil {
		return
	}
	for _, k := range all {
		if err := a.append(k.recs); err != nil {
			k.failed = true
			a.lose(k.recs, err)
		}
	}
}

// append gives records to the outbox, behind one that tells of a loss if there
// was one. What the disk does not take the outbox holds until it does; only
// records that are not valid are refused.
func (a *Agent) append(recs []wire.Record) error {
	if a.lost.count > 0 {
		gap := a.record(a.cfg.Clock.Now())
		gap.Event = &wire.Event{Code: wire.EventGap, Detail: a.lost.cause, From: a.lost.from, To: a.lost.to, Count: a.lost.count}
		recs = slices.Insert(slices.Clone(recs), 0, gap)
	}
	err := a.cfg.Outbox.Keep(recs...)
	if err != nil && !errors.Is(err, outbox.ErrHeld) {
		return err
	}
	a.lost = loss{}
	a.holding(err)
	return nil
}

// holding says when the disk stops taking records, and when it takes them again.
func (a *Agent) holding(err error) {
	cause := ""
	if err != nil {
		cause = err.Error()
	}
	switch {
	case a.held == "" && err != nil:
		a.cfg.Log.Error("the disk takes no records: they are held in memory, where a power cut would lose them; make room, or see to the disk", zap.Error(err))
	case a.held != "" && err == nil:
		a.cfg.Log.Warn("the disk takes records again; what was held in memory is on it")
	}
	a.held = cause
}

// lose counts readings that the outbox refused.
func (a *Agent) lose(recs []wire.Record, err error) {
	a.cfg.Log.Error("records refused", zap.Int("records", len(recs)), zap.Error(err))
	if a.lost.count == 0 {
		a.lost.from, a.lost.cause = recs[0].Wall, clip(err.Error())
	}
	a.lost.to = recs[len(recs)-1].Wall
	for _, r := range recs {
		if r.Reading != nil {
			a.lost.count++
		}
	}
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
