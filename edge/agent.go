// Package edge is the agent in the field: it polls devices, keeps what it read
// on disk and delivers it.
//
// A reading is on disk before anything else happens to it, in the order it was
// taken, and leaves only when the collector has signed that it is durable there.
// A device, a bus or the broker being away stops nothing else. What registers
// mean is left to edge/device, which bytes travel to edge/wire, how they stay on
// disk to edge/outbox.
package edge

import (
	"context"
	"crypto/ed25519"
	"sync"
	"time"

	"go.uber.org/zap"

	"kenshin/edge/device"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

// Clock tells the time and lets it pass. Times of a real clock carry Go's
// monotonic reading; a plant's clock in a rig does not need one.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// Device is something to poll.
type Device struct {
	ID   string
	Unit uint8
	// Declaration says what to read. Nil means SunSpec: the device is asked.
	Declaration *wire.Declaration
	Bases       []uint16 // further places to look for a SunSpec map
	Sub         int      // which of the SunSpec devices behind the unit, 0 is the first
}

// Bus is an endpoint and the devices behind it.
type Bus struct {
	Name    string // no other bus of the agent has it
	Reader  device.Reader
	Devices []Device
}

// Config names everything an Agent needs. Every field is required.
type Config struct {
	Edge     string
	Key      ed25519.PrivateKey // signs batches
	Boot     [16]byte           // random, of this start
	Interval time.Duration      // from poll to poll
	Buses    []Bus              // polled by one goroutine each
	Outbox   *outbox.Outbox     // closed by whoever opened it
	Uplink   Uplink
	Clock    Clock
	Log      *zap.Logger
	Version  string
}

// Agent polls and publishes.
type Agent struct {
	cfg       Config // Interval, Buses and Uplink change on Reload, while nobody goes by them
	start     time.Time
	startWall time.Time // without its monotonic reading
	changes   chan change
	ended     chan struct{} // closed when Run has

	mu           sync.Mutex // guards declarations, lost and held; held while records are written
	declarations map[wire.Hash]*wire.Declaration
	lost         loss
	held         string     // why the outbox holds records in memory, "" when it does not
	queue        sync.Mutex // guards waiting
	waiting      []*kept    // for who writes next

	tracking sync.Mutex           // guards all below and what changes of cfg; held for moments only
	offset   time.Duration        // of the wall clock against the monotonic one since start
	buses    map[string]*busTrack // by name
	devices  map[string]*deviceTrack
	link     LinkStatus
}

// loss counts readings that were refused, until a record can say so.
type loss struct {
	count    uint64
	from, to int64
	cause    string
}

// New returns an Agent. It starts nothing; Run does.
func New(c Config) *Agent {
	now := c.Clock.Now()
	return &Agent{cfg: c, start: now, startWall: now.Round(0), changes: make(chan change), ended: make(chan struct{}), declarations: make(map[wire.Hash]*wire.Declaration),
		buses: make(map[string]*busTrack), devices: make(map[string]*deviceTrack)}
}

// grace is how long Run goes on delivering after polling has stopped, and how
// long a cycle may go on whose bus is to be polled otherwise.
const grace = 5 * time.Second

// Run polls and publishes until ctx ends or a part fails for good. Polling stops
// first; what was read is then delivered for a few seconds more, and stays in
// the outbox if that is not enough. It returns only when every goroutine it
// started has ended.
func (a *Agent) Run(ctx context.Context) error {
	defer close(a.ended)
	boot := a.record(a.cfg.Clock.Now())
	boot.Event = &wire.Event{Code: wire.EventBoot, Detail: clip("kenshin-edge " + a.cfg.Version)}
	a.keep([]wire.Record{boot}, nil) // also with a full outbox: the agent is to empty it
	polling, abort := context.WithCancel(ctx)
	defer abort()
	w := workers{agent: a, uplink: a.uplink(ctx)}
	for i := range a.cfg.Buses {
		w.poll(polling, &a.cfg.Buses[i], nil)
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			w.wait()
			a.deliver(ctx)
			return w.uplink.halt()
		case err = <-w.uplink.ended: // a publisher that gave up must not let polling go on unseen
		case c := <-a.changes:
			if err = w.apply(polling, c); err == nil {
				continue
			}
		}
		abort()
		w.wait()
		return err
	}
}

// deliver goes on for a few seconds with what was read.
func (a *Agent) deliver(ctx context.Context) {
	last, done := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer done()
	if a.Flush(last) != nil {
		a.cfg.Log.Info("stopped before everything was delivered; the rest is in the outbox",
			zap.Uint64("records", a.cfg.Outbox.Last()-a.cfg.Outbox.Acked()))
	}
}

// Flush waits until everything read so far is durable at the collector, or ctx ends.
func (a *Agent) Flush(ctx context.Context) error {
	for {
		changed := a.cfg.Outbox.Changed()
		if a.cfg.Outbox.Acked() >= a.cfg.Outbox.Last() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// record returns a record with the times filled in.
func (a *Agent) record(at time.Time) wire.Record {
	return wire.Record{Wall: at.UnixMilli(), Mono: at.Sub(a.start).Milliseconds(), Clock: clockState(a.cfg.Clock)}
}

// stateful is a clock that knows how far it can be trusted.
type stateful interface{ State() wire.ClockState }

func clockState(c Clock) wire.ClockState {
	if s, ok := c.(stateful); ok {
		return s.State()
	}
	return wire.ClockUnknown
}
