package edge

import (
	"slices"

	"go.uber.org/zap"

	"kenshin/edge/wire"
)

// kept is the records of one cycle on their way to the disk.
type kept struct {
	recs    []wire.Record
	written bool // or lost, and counted
	failed  bool
}

// keep appends records to the outbox. Cycles of several buses that end together
// share one sync. Readings that cannot be kept are counted, and the first record
// that can be says how many and why.
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

// append writes records, behind one that tells of a loss if there was one.
func (a *Agent) append(recs []wire.Record) error {
	if a.lost.count > 0 {
		gap := a.record(a.cfg.Clock.Now())
		gap.Event = &wire.Event{Code: wire.EventGap, Detail: a.lost.cause, From: a.lost.from, To: a.lost.to, Count: a.lost.count}
		recs = slices.Insert(slices.Clone(recs), 0, gap)
	}
	if _, err := a.cfg.Outbox.Append(recs...); err != nil {
		return err
	}
	if a.lost.count > 0 {
		a.cfg.Log.Warn("outbox works again", zap.Uint64("readings_lost", a.lost.count))
	}
	a.lost = loss{}
	return nil
}

// lose counts readings that could not be kept.
func (a *Agent) lose(recs []wire.Record, err error) {
	a.cfg.Log.Error("records not kept", zap.Int("records", len(recs)), zap.Error(err))
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
