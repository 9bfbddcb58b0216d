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
	"golang.org/x/sync/errgroup"

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
}

// Bus is an endpoint and the devices behind it.
type Bus struct {
	Name    string
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
	cfg   Config
	start time.Time

	mu           sync.Mutex // guards declarations and lost
	declarations map[wire.Hash]*wire.Declaration
	lost         loss
}

// loss counts readings that could not be kept, until a record can say so.
type loss struct {
	count    uint64
	from, to int64
	cause    string
}

// New returns an Agent. It starts nothing; Run does.
func New(c Config) *Agent {
	return &Agent{cfg: c, start: c.Clock.Now(), declarations: make(map[wire.Hash]*wire.Declaration)}
}

// grace is how long Run goes on delivering after polling has stopped.
const grace = 5 * time.Second

// Run polls and publishes until ctx ends or a part fails for good. Polling stops
// first; what was read is then delivered for a few seconds more, and stays in
// the outbox if that is not enough. It returns only when every goroutine it
// started has ended.
func (a *Agent) Run(ctx context.Context) error {
	boot := a.record(a.cfg.Clock.Now())
	boot.Event = &wire.Event{Code: wire.EventBoot, Detail: "kenshin-edge " + a.cfg.Version}
	a.keep([]wire.Record{boot}, nil) // a full outbox must not keep the agent from emptying it
	publishing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	polling, gctx := errgroup.WithContext(ctx)
	published := make(chan error, 1)
	polling.Go(func() error { // a publisher that gave up must not let polling go on unseen
		select {
		case <-gctx.Done():
			return nil
		case err := <-published:
			published <- err
			return err
		}
	})
	go func() { published <- a.publish(publishing) }()
	for i := range a.cfg.Buses {
		polling.Go(func() error { return a.poll(gctx, &a.cfg.Buses[i]) })
	}
	err := polling.Wait()
	if err == nil {
		last, done := context.WithTimeout(publishing, grace)
		if a.Flush(last) != nil {
			a.cfg.Log.Info("stopped before everything was delivered; the rest is in the outbox",
				zap.Uint64("records", a.cfg.Outbox.Last()-a.cfg.Outbox.Acked()))
		}
		done()
	}
	stop()
	if failed := <-published; err == nil {
		err = failed
	}
	return err
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
