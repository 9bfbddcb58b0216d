package edge

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"kenshin/edge/wire"
)

// Change is what a running agent takes anew.
type Change struct {
	Interval time.Duration
	Buses    []Bus
	Uplink   Uplink
	Detail   string // for people, one line: what the configuration is now
	// Freed is called when nothing uses what is not in Buses any more, and before
	// what is new is used: the place to close readers.
	Freed func()
}

type change struct {
	Change
	taken chan struct{}
}

// Reload makes a running agent go on with other buses, interval and uplink. A bus
// with the name, reader and devices of one before is not disturbed unless the
// interval changes; on one that has changed, devices that have not are not
// discovered again. A cycle under way on what changes comes to its end first.
// When Reload returns nil an event says in the outbox what changed. It fails,
// without having called Freed, when ctx or the agent ends before.
func (a *Agent) Reload(ctx context.Context, c Change) error {
	next := change{c, make(chan struct{})}
	select {
	case a.changes <- next:
	case <-a.ended:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-next.taken:
		return nil
	case <-a.ended:
		return errEnded
	}
}

var errEnded = errors.New("the agent has ended")

// workers are the goroutines of a running agent.
type workers struct {
	agent   *Agent
	pollers []*poller
	uplink  *uplinker
}

// poller is the goroutine of a bus.
type poller struct {
	bus    *Bus
	states []deviceState // the goroutine's until it has ended
	halt   func()        // lets the cycle under way come to its end
	abort  func()        // cuts it short
	ended  chan struct{}
}

// uplinker is the goroutine that publishes.
type uplinker struct {
	stop  func()
	ended chan error // has what publish returned
}

func (u *uplinker) halt() error { u.stop(); return <-u.ended }

// uplink starts delivering, which goes on when ctx has ended.
func (a *Agent) uplink(ctx context.Context) *uplinker {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	u := &uplinker{stop, make(chan error, 1)}
	go func() { u.ended <- a.publish(ctx) }()
	return u
}

// poll starts polling a bus. What is known of its devices that are as they were
// on the bus before is kept; before is nil when there was none.
func (w *workers) poll(ctx context.Context, b *Bus, before *poller) {
	p := &poller{bus: b, states: make([]deviceState, len(b.Devices)), ended: make(chan struct{})}
	for i := range b.Devices {
		d := &b.Devices[i]
		p.states[i] = deviceState{cfg: d, declaration: d.Declaration}
		if before == nil || before.bus.Reader != b.Reader {
			continue
		}
		if k := slices.IndexFunc(before.bus.Devices, d.same); k >= 0 {
			p.states[i] = before.states[k]
			p.states[i].cfg = d
		}
	}
	requests, abort := context.WithCancel(ctx)
	cycles, halt := context.WithCancel(requests)
	p.halt, p.abort = halt, abort
	w.pollers = append(w.pollers, p)
	go func() {
		defer close(p.ended)
		defer abort()
		w.agent.poll(requests, cycles, b, p.states)
	}()
}

// same tells whether two devices are the same one, read alike.
func (d *Device) same(o Device) bool {
	return d.ID == o.ID && d.Unit == o.Unit && d.Sub == o.Sub && slices.Equal(d.Bases, o.Bases) &&
		(d.Declaration == nil) == (o.Declaration == nil) && (d.Declaration == nil || d.Declaration.Hash() == o.Declaration.Hash())
}

// wait returns when nothing polls any more.
func (w *workers) wait() {
	for _, p := range w.pollers {
		<-p.ended
	}
}

// apply takes a change: what it touches ends before it is in force. ctx is of
// polling. It fails when the outbox can no longer be read.
func (w *workers) apply(ctx context.Context, c change) error {
	a := w.agent
	var stay, before []*poller
	for _, p := range w.pollers {
		kept := func(b Bus) bool {
			return b.Name == p.bus.Name && b.Reader == p.bus.Reader && slices.EqualFunc(b.Devices, p.bus.Devices, func(x, y Device) bool { return x.same(y) })
		}
		if c.Interval == a.cfg.Interval && slices.ContainsFunc(c.Buses, kept) {
			stay = append(stay, p)
			continue
		}
		before = append(before, p)
	}
	end(before)
	relink := !c.Uplink.same(&a.cfg.Uplink)
	if relink {
		if err := w.uplink.halt(); err != nil {
			return err
		}
	}
	a.take(&c.Change)
	c.Freed()
	if relink {
		w.uplink = a.uplink(ctx)
	}
	r := a.record(a.cfg.Clock.Now())
	r.Event = &wire.Event{Code: wire.EventConfig, Detail: clip(c.Detail)}
	a.keep([]wire.Record{r}, nil)
	w.pollers = stay
	for i := range a.cfg.Buses {
		b := &a.cfg.Buses[i]
		named := func(p *poller) bool { return p.bus.Name == b.Name }
		if slices.ContainsFunc(stay, named) {
			continue
		}
		var old *poller
		if k := slices.IndexFunc(before, named); k >= 0 {
			old = before[k]
		}
		w.poll(ctx, b, old)
	}
	close(c.taken)
	return nil
}

// end lets pollers finish their cycles, for a while.
func end(pollers []*poller) {
	for _, p := range pollers {
		p.halt()
		late := time.AfterFunc(grace, p.abort)
		defer late.Stop()
	}
	for _, p := range pollers {
		<-p.ended
	}
}

func (u *Uplink) same(o *Uplink) bool {
	return u.Broker == o.Broker && u.User == o.User && u.Password == o.Password && u.Root == o.Root &&
		bytes.Equal(u.CollectorKey, o.CollectorKey) && u.AckTimeout == o.AckTimeout && u.Linger == o.Linger
}

// take writes a change down. Whoever goes by an interval or an uplink that
// changes has ended.
func (a *Agent) take(c *Change) {
	a.tracking.Lock()
	defer a.tracking.Unlock()
	if a.cfg.Interval != c.Interval {
		a.cfg.Interval = c.Interval
	}
	if !a.cfg.Uplink.same(&c.Uplink) {
		a.cfg.Uplink = c.Uplink
	}
	a.cfg.Buses = c.Buses
	buses, devices := make(map[string]*busTrack), make(map[string]*deviceTrack)
	for _, b := range c.Buses {
		if t := a.buses[b.Name]; t != nil {
			buses[b.Name] = t
		}
		for _, d := range b.Devices {
			if t := a.devices[d.ID]; t != nil {
				devices[d.ID] = t
			}
		}
	}
	a.buses, a.devices = buses, devices
}
