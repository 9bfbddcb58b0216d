package edge

import (
	"context"
	"slices"
	"time"

	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

// poll reads a bus once per interval, at whole multiples of it, so that the
// readings of a fleet stand at the same times. One goroutine owns the bus. It
// returns when ctx ends; when idle ends it finishes its cycle first.
func (a *Agent) poll(ctx, idle context.Context, b *Bus, states []deviceState) {
	defer a.expectNothing(b)
	interval := a.cfg.Interval
	for i := range states {
		a.noteDevice(&states[i], nil)
	}
	var due time.Time // of the cycle under way, zero for the first
	for {
		started := a.cfg.Clock.Now()
		a.cycle(ctx, b, states)
		now := a.cfg.Clock.Now()
		next := now.Truncate(interval).Add(interval)
		if !next.After(due) {
			next = next.Add(interval) // the clock was set back, or woke us early: not the same cycle again
		}
		a.noteCycle(b, now, now.Sub(started), missed(started, now, interval))
		due = next
		if idle.Err() != nil {
			return
		}
		a.expect(b, next.Sub(now))
		err := a.cfg.Clock.Sleep(idle, next.Sub(now))
		a.expect(b, 0)
		if err != nil {
			return // only the end of idle ends a sleep
		}
	}
}

// missed returns how many times a cycle was due while the one from started to
// now still ran. It goes by the clock that never steps.
func missed(started, now time.Time, interval time.Duration) uint64 {
	return uint64(max(0, now.Sub(started)) / interval)
}

// deviceState is what the goroutine of a bus knows of a device.
type deviceState struct {
	cfg         *Device
	declaration *wire.Declaration // nil until a SunSpec device has answered
	hash        wire.Hash         // of what readings are recorded under
	declared    bool              // in the outbox since this start
	failing     bool              // the last reading had a failed block, and was logged
	err         error             // of the first request of the last reading that failed

	dead     backoff   // the device gave no answer at all
	away     bool      // and that was for want of a connection
	hurried  bool      // it was asked before its time since, because others had one
	failed   time.Time // when it last gave none
	answered time.Time // when it last gave one
	garbled  int       // readings in a row that were garbled
	blocks   []blockState
}

// blockState is what is known of one block of the declaration in force.
type blockState struct {
	dead     backoff   // it gave no answer while others did
	answered bool      // it was read once: its registers exist
	whole    time.Time // before it, splitting it is not tried again
}

// rester is a bus that wants to know when a cycle is over.
type rester interface{ Rest() }

// cycle polls every device of a bus and keeps the readings with one fsync. A
// device that gave no answer is left alone for a while: a cycle then records
// that it was not asked. When it is due again it is asked behind all others,
// whose readings are on disk by then.
func (a *Agent) cycle(ctx context.Context, b *Bus, states []deviceState) {
	if r, ok := b.Reader.(rester); ok {
		defer r.Rest()
	}
	started := a.cfg.Clock.Now()
	recs := a.clockStep(nil, started)
	var due []*deviceState
	for i := range states {
		s := &states[i]
		switch {
		case ctx.Err() != nil: // what was read so far is kept
		case s.dead.waiting(started) && !reachable(states, s):
			recs = append(recs, a.skip(b, s)...)
		case s.dead.failures > 0:
			s.hurried = s.hurried || s.dead.waiting(started)
			due = append(due, s)
		default:
			recs = append(recs, a.read(ctx, b, s)...)
		}
	}
	recs = a.clockStep(recs, a.cfg.Clock.Now())
	if len(recs) > 0 {
		a.keep(recs, states)
	}
	if len(due) > 0 {
		a.probe(ctx, b, states, due, started.Truncate(a.cfg.Interval).Add(a.cfg.Interval))
	}
}

// probe asks devices that gave no answer before, the one longest due first. One
// is asked in every cycle; another one after a failure only while the interval
// leaves time for as long a wait again before end, when the next cycle is due: a
// line full of dead devices costs the living ones one timeout a cycle at most.
func (a *Agent) probe(ctx context.Context, b *Bus, states []deviceState, due []*deviceState, end time.Time) {
	sortByDue(due)
	var recs []wire.Record
	var cost time.Duration
	for i, s := range due {
		asked := a.cfg.Clock.Now()
		switch {
		case ctx.Err() != nil:
			continue
		case i > 0 && cost > 0 && asked.Add(cost).After(end):
			recs = append(recs, a.skip(b, s)...)
			continue
		}
		recs = append(recs, a.read(modbus.Low(ctx), b, s)...)
		if s.dead.failures > 0 {
			cost = max(cost, a.cfg.Clock.Now().Sub(asked), time.Millisecond)
		}
	}
	if len(recs) > 0 {
		a.keep(recs, states)
	}
}

// reachable tells whether somebody on the bus answered after s was found to have
// no connection: then the connection is there again, unless it is s at which it
// breaks, which one attempt tells.
func reachable(states []deviceState, s *deviceState) bool {
	return s.away && !s.hurried && slices.ContainsFunc(states, func(o deviceState) bool { return o.answered.After(s.failed) })
}

// sortByDue puts the device that has been due longest first.
func sortByDue(due []*deviceState) {
	slices.SortStableFunc(due, func(x, y *deviceState) int { return x.dead.until.Compare(y.dead.until) })
}
