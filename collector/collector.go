// Package collector is the centre: it takes batches into the book, turns the
// book into samples and totals, and answers what they are.
//
// A batch is acknowledged only when the book that holds it is on disk. Every
// figure is a function of the book: the series store behind it can be dropped
// and rebuilt, and Recompute gives the same figures from the book alone. Which
// broker carries the messages, and who may ask for figures, is left to others.
package collector

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kenshin/calc"
	"kenshin/collector/series"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// Clock tells the time and lets it pass. The demo's runs faster than ours.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// Config names everything a Collector needs. Every field is required but
// Projects and Edges, which may be empty, and KeepDays.
type Config struct {
	Name          string // of this collector, in acks and checkpoints
	Dir           string // holds the book, the series store and the dead letters
	Key           ed25519.PrivateKey
	Root          string // of the topics, wire.DefaultRoot unless a deployment says otherwise
	Edges         []Edge
	Methodologies []File
	Projects      []File
	Limits        wire.Limits
	KeepDays      int // of samples that are no counters; 0 keeps them for ever
	Acks          AckSender
	Clock         Clock
	Log           *zap.Logger
}

// Collector is an open collector. Its methods may be called from several goroutines.
type Collector struct {
	cfg     Config
	store   *store.Store
	db      *series.DB
	dead    *store.DeadLetters
	ingest  *ingest
	settle  *settle
	metrics *metrics
	found   uint64 // records in the book when it was opened, with what the configuration added
	caught  atomic.Bool

	mu        sync.Mutex // guards listeners
	listeners map[chan struct{}]bool
}

// Open opens the book and everything behind it, repairs what a crash left, puts the
// configuration in force and settles what is in the book. Nothing runs until Run
// does. When it fails nothing is left open.
func Open(ctx context.Context, cfg Config) (*Collector, error) {
	c, err := begin(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err = c.settle.catchUp(ctx); err == nil {
		err = ctx.Err() // figures that are not settled must not be shown
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// beginWithin is how long Begin settles before it leaves the rest to Run.
const beginWithin = 2 * time.Second

// Begin is Open for who runs the collector next: it settles what takes no longer than
// 2 s and leaves the rest to Run, so that messages are taken and acked however far
// behind the figures are. They must not be shown before CaughtUp.
func Begin(ctx context.Context, cfg Config) (*Collector, error) {
	c, err := begin(ctx, cfg)
	if err != nil {
		return nil, err
	}
	short, done := context.WithTimeout(ctx, beginWithin)
	defer done()
	if err = c.settle.catchUp(short); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// begin opens everything and settles nothing.
func begin(ctx context.Context, cfg Config) (*Collector, error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	c := &Collector{cfg: cfg, listeners: make(map[chan struct{}]bool)}
	if err := c.open(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// GoodName tells whether a collector can have this name: it stands in the signer
// of checkpoints, which knows no spaces and no +.
func GoodName(name string) bool { return namePattern.MatchString(name) }

func (c *Collector) open(ctx context.Context) error {
	if !GoodName(c.cfg.Name) {
		return fmt.Errorf("name of the collector %q: want 1 to 64 letters, digits, '.', '_' and '-'", c.cfg.Name)
	}
	if err := c.bookIsThere(); err != nil {
		return err
	}
	st, report, err := store.Open(filepath.Join(c.cfg.Dir, store.BookDir), store.Options{Origin: "kenshin/" + c.cfg.Name, Key: c.cfg.Key})
	if err != nil {
		return err
	}
	c.store = st
	logRepair(c.cfg.Log, report)
	if c.dead, err = store.OpenDeadLetters(c.cfg.Dir); err != nil {
		return err
	}
	if c.db, err = openSeries(c.cfg.Dir, c.cfg.Log); err != nil {
		return err
	}
	m := newMetrics(c)
	c.metrics = m
	c.ingest = &ingest{cfg: &c.cfg, store: st, dead: c.dead, metrics: m, queue: make(chan Message, queueLength),
		acks:  acker{cfg: &c.cfg, generation: st.Generation(), wake: make(chan struct{}, 1)},
		rules: newRules(), heads: make(map[stream]*head), seen: make(map[string]edgeState), told: make(map[string]told)}
	c.settle = &settle{cfg: &c.cfg, store: st, db: c.db, metrics: m, recent: &c.ingest.recent, notify: c.notify,
		rules: newRules(), registers: make(map[string]*register), declarations: make(map[wire.Hash]*wire.Declaration)}
	if err := c.ingest.recover(); err != nil {
		return fmt.Errorf("read the book: %w; when it is damaged `kenshin-collector repair` sets the damaged records aside", err)
	}
	if err := c.decide(ctx); err != nil {
		return err
	}
	c.found = st.Size()
	if err := c.settle.recover(ctx, c.ingest.decisions); err != nil {
		return err
	}
	return ctx.Err()
}

// CaughtUp tells whether what was in the book when it was opened is in the figures.
func (c *Collector) CaughtUp() bool {
	if !c.caught.Load() && c.settle.position() >= c.found && !c.settle.pending() {
		c.caught.Store(true)
	}
	return c.caught.Load()
}

// bookIsThere looks for the book before a new one is begun in its place. What is
// settled came from one; without it that is all there is.
func (c *Collector) bookIsThere() error {
	book, settled := filepath.Join(c.cfg.Dir, store.BookDir), filepath.Join(c.cfg.Dir, seriesFile)
	if _, err := os.Stat(settled); err != nil {
		return nil
	}
	entries, err := os.ReadDir(book)
	if len(entries) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%s is missing, but %s was settled from it: mount it, or restore it from a backup; to begin with an empty book, move %s away first", book, settled, c.cfg.Dir)
}

// openSeries opens the series store. One of a former version is made anew: what it
// holds comes out of the book when the book is settled.
func openSeries(dir string, log *zap.Logger) (*series.DB, error) {
	path := filepath.Join(dir, seriesFile)
	db, err := series.Open(path)
	if !errors.Is(err, series.ErrOlder) {
		return db, err
	}
	log.Warn("the series store is made anew from the book, which takes a while", zap.NamedError("cause", err))
	for _, f := range series.Files(path) {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return series.Open(path)
}

func logRepair(log *zap.Logger, r store.Report) {
	if r.Clean() {
		return
	}
	log.Warn("the book was not as it was left", zap.Stringer("report", r))
}

// lastWords is how long Run goes on settling on its way out: who stops a service
// waits for it, and the next start settles the rest.
const lastWords = 20 * time.Second

// Run takes messages, settles them and signs a checkpoint every hour, until ctx
// ends or a part fails for good. On the way out it settles what is in the book, as
// far as that takes at most 20 s.
func (c *Collector) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.ingest.run(ctx) })
	g.Go(func() error { return c.settle.run(ctx) })
	g.Go(func() error { c.upkeep(ctx); return nil })
	err := g.Wait()
	if err != nil {
		return err
	}
	last, done := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer done()
	if err := c.settle.catchUp(last); err != nil {
		return err
	}
	if !c.Settled() {
		c.cfg.Log.Warn("stopped before everything was settled; the next start goes on with it", zap.Float64("records", c.settle.lag()))
	}
	_, err = c.store.Checkpoint()
	return err
}

// upkeep signs a checkpoint every hour and has the book scrubbed once a day. A full
// disk is no reason to end: the next hour tries again, and covers what this one
// did not.
func (c *Collector) upkeep(ctx context.Context) {
	var scrub sync.WaitGroup
	defer scrub.Wait()
	idle := make(chan struct{}, 1) // holds a token while no scrub runs
	idle <- struct{}{}
	for hour := 1; c.cfg.Clock.Sleep(ctx, time.Hour) == nil; hour++ {
		if err := c.retire(); err != nil {
			c.cfg.Log.Error("replaced keys are not ended this hour", zap.Error(err))
		}
		if _, err := c.store.Checkpoint(); err != nil {
			c.cfg.Log.Error("no checkpoint this hour", zap.Error(err))
		}
		if hour%24 > 0 {
			continue
		}
		if err := c.tidy(ctx); err != nil && ctx.Err() == nil {
			c.cfg.Log.Error("the series store is not tidied today", zap.Error(err))
		}
		select {
		case <-idle:
			scrub.Go(func() { c.scrub(ctx); idle <- struct{}{} })
		default: // yesterday's still runs
		}
	}
}

// tidy moves the day's samples into chunks, however few they are, and drops what
// is kept no longer.
func (c *Collector) tidy(ctx context.Context) error {
	if err := c.db.Merge(ctx); err != nil || c.cfg.KeepDays == 0 {
		return err
	}
	n, err := c.db.Retain(ctx, c.cfg.Clock.Now().AddDate(0, 0, -c.cfg.KeepDays).UnixMilli())
	if n > 0 {
		c.cfg.Log.Info("samples dropped that are no counters", zap.Int("keep_days", c.cfg.KeepDays), zap.Int("chunks", n))
	}
	return err
}

const scrubBytes = 4 << 20 // read by a scrub in a second at most

// scrub reads the whole book, slowly, and says what is damaged. It is the disk
// that it spares, so it waits by the machine's time.
func (c *Collector) scrub(ctx context.Context) {
	read := 0
	done, err := c.store.Scrub(ctx, func(bytes int) error {
		if read += bytes; read < scrubBytes/4 {
			return nil
		}
		t := time.NewTimer(time.Duration(read) * time.Second / scrubBytes)
		defer t.Stop()
		read = 0
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		}
	}, func(p store.Problem) {
		c.cfg.Log.Error("the book is damaged; stop the collector and run `kenshin-collector repair`", zap.Uint64("first", p.First), zap.Uint64("last", p.Last), zap.Error(p.Cause))
	})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		c.cfg.Log.Error("scrub", zap.Error(err))
	default:
		c.metrics.scrubbed(done)
		c.cfg.Log.Info("book scrubbed", zap.Uint64("records", done.Records), zap.Int("checkpoints", done.Checkpoints), zap.Int("problems", done.Problems), zap.Int("quarantined", done.Quarantined))
	}
}

// Close releases what Open opened. Run must have returned.
func (c *Collector) Close() error {
	var errs []error
	if c.db != nil {
		errs = append(errs, c.db.Close())
	}
	if c.dead != nil {
		errs = append(errs, c.dead.Close())
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	return errors.Join(errs...)
}

// Receive hands a message over. It blocks while too many are waiting, so that
// the broker's own flow control holds the sender back; it gives up when ctx
// ends.
func (c *Collector) Receive(ctx context.Context, m Message) {
	select {
	case c.ingest.queue <- m:
	case <-ctx.Done():
	}
}

// Metrics returns what to register with Prometheus.
func (c *Collector) Metrics() []prometheus.Collector { return c.metrics.all }

// Store returns the book, for checkpoints and proofs.
func (c *Collector) Store() *store.Store { return c.store }

// Subscribe returns a channel that gets a value when figures may have changed;
// one that is not taken in time stands for all that follow. cancel ends it.
func (c *Collector) Subscribe() (ch <-chan struct{}, cancel func()) {
	l := make(chan struct{}, 1)
	c.mu.Lock()
	c.listeners[l] = true
	c.mu.Unlock()
	return l, func() {
		c.mu.Lock()
		delete(c.listeners, l)
		c.mu.Unlock()
	}
}

func (c *Collector) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.listeners {
		select {
		case l <- struct{}{}:
		default:
		}
	}
}

// Projects returns the projects in force.
func (c *Collector) Projects(context.Context) ([]*calc.Project, error) {
	c.settle.mu.RLock()
	defer c.settle.mu.RUnlock()
	return append([]*calc.Project(nil), c.settle.rules.projects...), nil
}

// ErrUnknown is wrapped when a project or a period does not exist.
var ErrUnknown = errors.New("unknown")

// Report returns the figures of a monitoring period as they are settled now.
// period counts from 0 in the order of the project's file.
func (c *Collector) Report(_ context.Context, project string, period int) (*calc.Report, error) {
	c.settle.mu.RLock()
	defer c.settle.mu.RUnlock()
	return report(c.settle.rules, project, period, c.settle.curve)
}

func report(rules *rules, project string, period int, curve func(key string) *calc.Curve) (*calc.Report, error) {
	p := rules.project(project)
	if p == nil {
		return nil, fmt.Errorf("project %q: %w", project, ErrUnknown)
	}
	if period < 0 || period >= len(p.Periods) {
		return nil, fmt.Errorf("project %q has no period %d, its file lists %d: %w", project, period+1, len(p.Periods), ErrUnknown)
	}
	m, err := rules.methodology(p.Methodology)
	if err != nil {
		return nil, fmt.Errorf("project %q: methodology %w", project, err)
	}
	if m == nil {
		return nil, fmt.Errorf("project %q: methodology %s version %s: %w", project, p.Methodology.Number, p.Methodology.Version, ErrUnknown)
	}
	return p.Report(m, period, curve)
}

// Latest returns the newest sample of every series.
func (c *Collector) Latest(ctx context.Context) ([]wire.Sample, error) { return c.db.Latest(ctx) }

// Edges calls fn for every registered edge in the order of their ids: records 1
// to through of the epoch are durable here, and the last message was taken at
// received, ms UTC; all zero for an edge that never sent anything.
func (c *Collector) Edges(_ context.Context, fn func(id string, epoch wire.Epoch, through uint64, received int64)) error {
	c.ingest.mu.Lock()
	states := edgeStates(c.ingest.rules, c.ingest.seen)
	c.ingest.mu.Unlock()
	for _, s := range states {
		fn(s.id, s.epoch, s.through, s.received)
	}
	return nil
}

// Settled reports whether everything in the book is in the figures.
func (c *Collector) Settled() bool {
	return c.settle.position() == c.store.Size() && !c.settle.pending()
}
