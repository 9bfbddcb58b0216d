// Package influx gives what was settled to a server that speaks InfluxDB's line
// protocol, for people to explore and for Grafana to show.
//
// It follows the book by a cursor of its own. Every sample of the book gets to the
// server at least once, and writing it again changes nothing: an outage of any
// length, of either side, loses and doubles nothing. While the server is away
// nothing else waits for it. What the server refuses by itself is kept aside with
// its words. Once a day what was written is compared with the series store, and
// what is missing is written again.
//
// What is read back from the server is for that comparison and for long charts, which
// say so: it is never the source of a figure. FORMAT.md beside this file describes the lines and the
// state on disk.
package influx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kenshin/collector"
)

// Config names everything a Projection needs. Every field is required.
type Config struct {
	Server    Server
	Dir       string // holds its state and what was refused
	Collector *collector.Collector
	Log       *zap.Logger

	longest time.Duration // between requests while the server is away; 0: maxWait
}

func (c *Config) maxWait() time.Duration {
	if c.longest > 0 {
		return c.longest
	}
	return maxWait
}

// Projection is what one server has been given. Run keeps it going.
type Projection struct {
	cfg      Config
	link     *link
	log      *zap.Logger
	metrics  *metrics
	follower *collector.Follower
	batch    atomic.Int64 // lines of a request, fewer once the server finds them too large
	derived  map[uint64]uint64

	refusedUs atomic.Bool  // or the token was never read
	stuck     atomic.Int64 // requests that are made again

	mu     sync.Mutex // guards what follows
	state  *state
	saved  time.Time
	health string // up, or what is wrong
	since  time.Time
	words  string // of the server, when it is not up

	current time.Time // when the server had all that was settled

	comparing edgeDay // of compareDaily
	dirtied   bool    // it was written meanwhile
}

// edgeDay is a UTC day of an edge, counted from 1970.
type edgeDay struct {
	edge string
	day  int64
}

const (
	up      = "up"
	unseen  = "not tried"
	down    = "down"
	refuses = "refuses us"
)

// Open reads how far the server was given the book. It does not ask the server.
func Open(cfg Config) (*Projection, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	p := &Projection{cfg: cfg, log: cfg.Log.With(zap.String("server", cfg.Server.Name)), follower: cfg.Collector.Follow(), derived: make(map[uint64]uint64), health: unseen}
	p.batch.Store(batchLines)
	p.refusedUs.Store(true)
	var err error
	if p.state, err = loadState(p.stateFile()); err != nil {
		return nil, err
	}
	book := cfg.Collector.Store()
	if n := p.state.Next; n > 0 {
		leaf := ""
		if n <= book.Size() {
			h, err := book.LeafHash(n - 1)
			if err != nil {
				return nil, err
			}
			leaf = h.String()
		}
		if leaf != p.state.Leaf {
			p.log.Warn("the book is another one than the server was given; it is given this one from its first record", zap.Uint64("records", n))
			p.state = &state{Version: stateVersion}
		}
	}
	p.metrics = newMetrics(p)
	p.link = dial(cfg.Server)
	return p, nil
}

// Close releases the connections. Run must have returned.
func (p *Projection) Close() { p.link.close() }

func (p *Projection) stateFile() string {
	return filepath.Join(p.cfg.Dir, p.cfg.Server.Name+stateExt)
}

func (p *Projection) refusedFile() string {
	return filepath.Join(p.cfg.Dir, p.cfg.Server.Name+"-refused.jsonl")
}

// Metrics returns what to register with Prometheus.
func (p *Projection) Metrics() []prometheus.Collector { return p.metrics.all }

// Run gives the server what is settled, now and as it comes, until ctx ends. It
// fails only when its own state cannot be written.
func (p *Projection) Run(ctx context.Context) error {
	changed, cancel := p.cfg.Collector.Subscribe()
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.follow(ctx, changed) })
	g.Go(func() error { return p.keepFigures(ctx) })
	if !p.cfg.Server.Rounding {
		g.Go(func() error { return p.compareDaily(ctx) })
	}
	err := g.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, p.save(true))
}

// follow writes the samples of settled records.
func (p *Projection) follow(ctx context.Context, changed <-chan struct{}) error {
	tick := time.NewTicker(10 * time.Second) // for what is owed
	defer tick.Stop()
	for {
		moved, err := p.step(ctx)
		if err != nil {
			return err
		}
		if moved {
			p.giveWay(ctx)
			continue
		}
		if err := p.pay(ctx); err != nil {
			return err
		}
		if err := p.save(true); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-tick.C:
		}
	}
}

// CatchUp gives the server all that is settled now, and tells how far it is.
func (p *Projection) CatchUp(ctx context.Context, progress func(records uint64)) error {
	if err := p.authorize(); err != nil {
		return err
	}
	for {
		moved, err := p.step(ctx)
		if err != nil {
			return errors.Join(err, p.save(true))
		}
		if !moved {
			break
		}
		progress(p.position())
	}
	return errors.Join(p.pay(ctx), p.figures(ctx), p.save(true))
}

// Rewind has the server given the book from its first record.
func (p *Projection) Rewind() error {
	p.mu.Lock()
	p.state = &state{Version: stateVersion}
	p.mu.Unlock()
	return p.save(true)
}

// giveWay lets settling go first while it is behind: what it has not settled cannot
// be written anyway, and figures come before charts.
func (p *Projection) giveWay(ctx context.Context) {
	for range 10 {
		if p.cfg.Collector.Behind() < 64 || sleep(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}

const stepSamples = 30_000 // of one step, about

// step writes some records and moves on; it reports whether there were any.
func (p *Projection) step(ctx context.Context) (bool, error) {
	from, settled, now := p.position(), p.cfg.Collector.SettledRecords(), time.Now()
	next, owed, err := p.write(ctx, from, ^uint64(0))
	if err == nil && next >= settled {
		p.mu.Lock()
		p.current = now
		p.mu.Unlock()
	}
	if err != nil || next == from {
		return false, err
	}
	h, err := p.cfg.Collector.Store().LeafHash(next - 1)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	p.state.owe(owed)
	p.state.Next, p.state.Leaf = next, h.String()
	p.mu.Unlock()
	return true, p.save(false)
}

// write delivers the samples of some records from from on, before end.
func (p *Projection) write(ctx context.Context, from, end uint64) (next uint64, owed []collector.Owed, err error) {
	e := newEncoder(p.cfg.Server.Rounding)
	var list []collector.Followed
	touched := make(map[string]map[int64]bool)
	next, owed, err = p.follower.Next(ctx, from, end, stepSamples, func(x *collector.Followed) error {
		list = append(list, *x)
		of := touched[x.Edge]
		if of == nil {
			of = make(map[int64]bool)
			touched[x.Edge] = of
		}
		if x.At >= earliest && x.At <= latest {
			of[utcDay(x.At)] = true
		}
		return nil
	})
	if err != nil || next == from {
		return from, nil, err
	}
	e.add(list)
	for _, l := range e.beyond {
		if err := p.refuse(l, errBeyond); err != nil {
			return from, nil, err
		}
	}
	if err := p.deliver(ctx, e.lines); err != nil {
		return from, nil, err
	}
	if len(e.lines) > 0 {
		p.metrics.written(time.Now())
	}
	if !p.cfg.Server.Rounding {
		p.mu.Lock()
		for edge, of := range touched {
			for day := range of {
				p.state.touch(edge, day)
				p.dirtied = p.dirtied || p.comparing == edgeDay{edge, day}
			}
		}
		p.mu.Unlock()
	}
	return next, owed, nil
}

var errBeyond = errors.New("not sent: InfluxDB keeps times of 1678 to 2261 only")

// pay writes what was owed and can be settled by now.
func (p *Projection) pay(ctx context.Context) error {
	p.mu.Lock()
	all := append([]collector.Owed(nil), p.state.Owed...)
	p.mu.Unlock()
	for _, o := range all {
		if p.cfg.Collector.Owes(o.Key) {
			continue
		}
		for from := o.First; from <= o.Last; {
			next, _, err := p.write(ctx, from, o.Last+1)
			if err != nil {
				return err
			}
			if next == from {
				return nil // settling is about to move
			}
			from = next
		}
		p.mu.Lock()
		for i := range p.state.Owed {
			if p.state.Owed[i] == o {
				p.state.Owed = append(p.state.Owed[:i], p.state.Owed[i+1:]...)
				break
			}
		}
		p.mu.Unlock()
	}
	return nil
}

// position returns how many records the server was given.
func (p *Projection) position() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.Next
}

// save writes the state, at most once a second unless it is to be now. What is not
// saved is written once more.
func (p *Projection) save(now bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !now && time.Since(p.saved) < time.Second {
		return nil
	}
	if err := p.state.save(p.stateFile()); err != nil {
		return fmt.Errorf("state of server %s: %w", p.cfg.Server.Name, err)
	}
	p.saved = time.Now()
	return nil
}

// is notes how the server is by a request that began at a time, and says so when
// that changes. It is up when no request is stuck.
func (p *Projection) is(health string, why error, began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if health == up && p.stuck.Load() > 0 || health != up && p.health == up && began.Before(p.since) {
		return
	}
	said := p.words
	p.words = ""
	if why != nil {
		p.words = wordsOf(why)
	}
	if health == p.health && (health != refuses || p.words == said) {
		return // whoever mends the token wants to know that the bucket is missing as well
	}
	before, since := p.health, p.since
	p.health = health
	if before != health {
		p.since = time.Now()
	}
	switch {
	case health != up:
		p.log.Error("the time series server "+strings.Replace(health, down, "is down", 1)+"; ingest and figures go on, and it is given what it misses", zap.String("url", p.cfg.Server.URL), zap.String("words", p.words), zap.Uint64("next record", p.state.Next))
	case before == unseen:
		p.log.Info("the time series server takes what is settled", zap.String("url", p.cfg.Server.URL), zap.Uint64("next record", p.state.Next))
	default:
		p.log.Info("the time series server is back", zap.Duration("away", time.Since(since).Round(time.Millisecond)), zap.Uint64("next record", p.state.Next))
	}
}

// Status is how a projection stands.
type Status struct {
	Server   string    `json:"server"`
	URL      string    `json:"url"`
	Health   string    `json:"health" doc:"up, or what is wrong"`
	Since    time.Time `json:"since"`
	Words    string    `json:"words,omitempty" doc:"Of the server, when it is not up"`
	Records  uint64    `json:"records" doc:"Of the book that it has"`
	Behind   uint64    `json:"behind" doc:"Settled records that it has not"`
	Rounding bool      `json:"rounding,omitempty" doc:"It rounds numbers: for dashboards only"`
}

// Status returns how the projection stands.
func (p *Projection) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	settled := p.cfg.Collector.SettledRecords()
	return Status{p.cfg.Server.Name, p.cfg.Server.URL, p.health, p.since, p.words, p.state.Next, settled - min(settled, p.state.Next), p.cfg.Server.Rounding}
}
