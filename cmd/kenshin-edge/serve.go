package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/modbus"
	"kenshin/edge/outbox"
)

// service is a running agent and what belongs to it.
type service struct {
	log   *zap.Logger
	agent *edge.Agent
	tell  *notifier
	first *config                   // that the agent was started by: what takes a restart is as it says
	open  []openBus                 // run's, and of the reload under way
	began atomic.Pointer[time.Time] // of the reload under way, nil when there is none

	mu      sync.Mutex // guards the rest
	cfg     *config
	refused string // why the file that was to be loaded last was not, "" when it was
}

// openBus is a bus of the running configuration, and the settings it was opened with.
type openBus struct {
	link modbus.Config
	*modbus.Bus
}

// serve runs the agent until ctx ends.
func serve(ctx context.Context, cfg *config, stderr io.Writer) error {
	log, err := cfg.Log.Logger(stderr)
	if err != nil {
		return configs.Setup(err)
	}
	s := &service{log: log, first: cfg, cfg: cfg, tell: newNotifier(os.Getenv)}
	ac, err := s.prepare(ctx)
	if err != nil {
		return configs.Setup(err)
	}
	defer ac.Outbox.Close()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		closeBut(s.open, nil)
	}()
	s.agent = edge.New(*ac)
	listener, err := listen(cfg)
	if err != nil {
		return configs.Setup(err)
	}
	log.Info("polling", zap.String("edge", cfg.Edge), zap.Int("buses", len(ac.Buses)), zap.Duration("interval", cfg.Interval),
		zap.Stringer("epoch", ac.Outbox.Epoch()), zap.Uint64("records", ac.Outbox.Last()), zap.Uint64("acked", ac.Outbox.Acked()))
	return s.run(ctx, listener)
}

// prepare opens what an agent needs.
func (s *service) prepare(ctx context.Context) (_ *edge.Config, err error) {
	cfg := s.cfg
	key, err := cfg.key()
	if err != nil {
		return nil, err
	}
	uplink, err := cfg.uplink()
	if err != nil {
		return nil, err
	}
	box, report, err := outbox.Open(cfg.outboxDir(), outbox.Options{Edge: cfg.Edge, MaxBytes: cfg.Outbox.MaxBytes})
	if err != nil {
		return nil, cfg.dirError(err)
	}
	defer func() {
		if err != nil {
			box.Close()
		}
	}()
	if box.Last() == 0 {
		if err := room(cfg.Data); err != nil {
			return nil, cfg.dirError(err)
		}
	}
	if !report.Clean() {
		s.log.Warn("the outbox was repaired on opening", zap.Stringer("report", report))
	}
	clock, err := cfg.clock(ctx, box)
	if err != nil {
		return nil, err
	}
	buses, open, err := cfg.buses(nil)
	if err != nil {
		return nil, err
	}
	s.open = open
	ac := &edge.Config{Edge: cfg.Edge, Key: key, Interval: cfg.Interval, Buses: buses, Outbox: box, Clock: clock, Log: s.log,
		Version: configs.Version(version), Uplink: uplink}
	_, err = rand.Read(ac.Boot[:])
	return ac, err
}

// run runs the agent, its listener and the watchdog; SIGHUP reloads.
func (s *service) run(ctx context.Context, listener net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	if listener != nil {
		others.Go(func() { serveHTTP(ctx, listener, s) })
		s.log.Info("status", zap.String("http", "http://"+listener.Addr().String()+"/status"))
	}
	others.Go(func() { s.tell.watch(ctx, s.stalled) })
	others.Go(func() { s.renew(ctx) })
	others.Go(func() { slim(ctx, edge.RealClock().Sleep) })
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	ended := make(chan error, 1)
	go func() { ended <- s.agent.Run(ctx) }()
	s.tell.say("READY=1\nSTATUS=polling")
	var reload chan struct{} // closed when the one under way is over, nil when there is none
	for {
		next := hup
		if reload != nil {
			next = nil
		}
		select {
		case <-next:
			reload = s.reloading(ctx)
		case <-reload:
			reload = nil
		case <-ctx.Done():
			s.tell.say("STOPPING=1\nSTATUS=delivering what is left")
			err := <-ended
			leave(reload)
			return err
		case err := <-ended:
			leave(reload)
			return err
		}
	}
}

// reloading reloads and returns what is closed when that is over.
func (s *service) reloading(ctx context.Context) chan struct{} {
	over := make(chan struct{})
	began := time.Now()
	s.began.Store(&began)
	go func() {
		defer close(over)
		defer s.began.Store(nil)
		s.reload(ctx)
	}()
	return over
}

// leave waits for a reload that is under way, but not for one that hangs in a file
// system that is gone: nothing ends that but the end of the process.
func leave(reload <-chan struct{}) {
	if reload == nil {
		return
	}
	select {
	case <-reload:
	case <-time.After(5 * time.Second):
	}
}

// stuckAfter is longer than a reload can take on a system that works.
const stuckAfter = 2 * time.Minute

// stalled returns what does not move any more: names of buses, and the reload.
func (s *service) stalled() []string {
	out := s.agent.Stalled()
	if began := s.began.Load(); began != nil && time.Since(*began) > stuckAfter {
		out = append(out, "the reload")
	}
	return out
}

// reload takes the configuration file as it is now. Whatever is wrong with it
// leaves the old configuration in force.
func (s *service) reload(ctx context.Context) {
	s.tell.say("RELOADING=1\nSTATUS=reading the configuration")
	defer s.tell.say("READY=1\nSTATUS=polling")
	next, err := s.change(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.refused = err.Error()
		s.log.Error("the configuration was not taken; the old one stays in force", zap.Error(err))
		return
	}
	s.refused = ""
	if keys := s.first.fixed(next); len(keys) > 0 {
		s.refused = fmt.Sprintf("%s changed in %s, which takes a restart", strings.Join(keys, ", "), next.file)
		s.log.Warn("some of the configuration takes a restart; the rest is in force", zap.Strings("keys", keys))
	}
	s.cfg = next
	s.log.Info("configuration taken", zap.String("is", next.summary()))
}

// change loads the file and makes the agent go on by it.
func (s *service) change(ctx context.Context) (*config, error) {
	next, err := load(s.cfg.file)
	if err != nil {
		return nil, err
	}
	if next.Edge != s.cfg.Edge {
		return nil, fmt.Errorf("%s: edge is %s now, and was %s: another edge needs a data folder of its own and a restart", next.file, next.Edge, s.cfg.Edge)
	}
	uplink, err := next.uplink()
	if err != nil {
		return nil, err
	}
	buses, open, err := next.buses(s.open)
	if err != nil {
		return nil, err
	}
	err = s.agent.Reload(ctx, edge.Change{Interval: next.Interval, Buses: buses, Uplink: uplink, Detail: next.summary(),
		Freed: func() { closeBut(s.open, open) }})
	if err != nil {
		closeBut(open, s.open)
		return nil, err
	}
	s.mu.Lock()
	s.open = open
	s.mu.Unlock()
	return next, nil
}

// uplink names the broker and whose acks are believed.
func (c *config) uplink() (edge.Uplink, error) {
	key, err := c.collectorKey()
	if err != nil {
		return edge.Uplink{}, fmt.Errorf("%s: %w; `kenshin-collector identity` prints what belongs there", c.file, err)
	}
	settings, err := c.tls()
	return edge.Uplink{Broker: c.Broker.URL, User: c.Broker.User, Password: c.Broker.Password, Root: c.Broker.Root, TLS: settings, Explain: c.explain,
		CollectorKey: key, AckTimeout: c.Broker.AckTimeout, Linger: c.Broker.Linger}, err
}

// buses opens nothing yet: a bus dials when it is first read. One that is already
// there with the same settings is taken over.
func (c *config) buses(have []openBus) (buses []edge.Bus, open []openBus, err error) {
	for _, p := range c.plan {
		var b openBus
		if k := slices.IndexFunc(have, func(o openBus) bool { return reflect.DeepEqual(o.link, p.link) }); k >= 0 {
			b = have[k]
		} else {
			m, err := modbus.New(p.link)
			if err != nil {
				closeBut(open, have)
				return nil, nil, fmt.Errorf("%s: bus %s: %w", c.file, p.config.Name, err)
			}
			b = openBus{p.link, m}
		}
		open = append(open, b)
		buses = append(buses, edge.Bus{Name: p.config.Name, Reader: b.Bus, Devices: p.devices})
	}
	return buses, open, nil
}

// closeBut closes those of all that are not among those to keep.
func closeBut(all, keep []openBus) {
	for _, b := range all {
		if !slices.ContainsFunc(keep, func(k openBus) bool { return k.Bus == b.Bus }) {
			b.Close()
		}
	}
}

// room finds out whether dir has space for the first minutes of a new outbox: a
// box that is set up on a full disk should say so while its installer is there.
func room(dir string) error {
	f, err := os.CreateTemp(dir, "room-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1<<20))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// clock returns the machine's clock, or the plant's in a rig.
func (c *config) clock(ctx context.Context, box *outbox.Outbox) (edge.Clock, error) {
	if c.Clock == "" {
		return edge.RealClock(), nil
	}
	clock, err := edge.DialPlantClock(ctx, c.Clock)
	if err != nil {
		return nil, fmt.Errorf("%w; start kenshin-plant with -clock-listen %s, or take `clock` out of %s", err, c.Clock, c.file)
	}
	if box.Last() == 0 {
		return clock, nil
	}
	recs, _, _, err := box.Read(box.Last(), 1, 1<<20)
	if err != nil {
		return nil, err
	}
	return clock, clock.Follow(ctx, time.UnixMilli(recs[0].Wall))
}
