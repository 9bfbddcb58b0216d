package cmd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"kenshin/collector"
	"kenshin/collector/broker"
	"kenshin/collector/store"
	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/outbox"
	"kenshin/edge/wire"
)

const healWithin = 6 * time.Hour // I9

// world is everything of an episode. One goroutine, the driver, makes things
// fail; it never does two things at once.
type world struct {
	t     *testing.T
	dir   string
	plan  plan
	rng   *rand.Rand
	log   *zap.Logger
	lines *bytes.Buffer // of the log, when it is asked for
	wires *wires

	seen    witness
	edges   []*simEdge
	broker  *simBroker
	center  *simCenter
	backups []string // folders of books, oldest first

	mu       sync.Mutex // guards all below: who carries messages asks
	odds     *rand.Rand
	lose     int // percent of the batches
	loseAcks int // percent of the acks
	repeat   bool
	reorder  bool
	oldAcks  bool
	held     *collector.Message // waits for the next to overtake it
	acks     map[string][][]byte
}

// meters is how many meters an edge has and how many registers are read of each;
// with a small outbox so many that it drops what is acked after two days.
func (w *world) meters() (devices int, registers uint16) {
	if w.plan.Small {
		return 4, 120
	}
	return 2, 2
}

// simClock is a clock that can be set.
type simClock struct {
	mu    sync.Mutex
	off   time.Duration
	steps int
}

func (c *simClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *simClock) Sleep(ctx context.Context, d time.Duration) error {
	return edge.RealClock().Sleep(ctx, d)
}

func (c *simClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
	c.steps++
}

// answer is how long meters take to answer: longer after each step, so that no two
// readings of a counter have the same time although polls stand at whole minutes
// of this clock.
func (c *simClock) answer() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(2*c.steps) * time.Millisecond
}

// simMeters answers as meters whose counters go by the true time.
type simMeters struct {
	start time.Time
	clock *simClock // nil: they answer at once
}

func (m simMeters) Read(_ context.Context, unit, _ uint8, _, count uint16) ([]uint16, error) {
	if m.clock != nil {
		time.Sleep(m.clock.answer())
	}
	wh := uint32(time.Since(m.start)/time.Second)*uint32(unit) + 1000
	return append([]uint16{uint16(wh >> 16), uint16(wh)}, make([]uint16, count-2)...), nil
}

func simDeclaration(id string, unit uint8, registers uint16) *wire.Declaration {
	return &wire.Declaration{Device: id, Profile: "sim", ProfileVersion: "1", Unit: unit, Energy: "Wh",
		Blocks: []wire.Block{{Function: 3, Address: 0, Count: registers}},
		Points: []wire.Point{{Name: "Wh", Function: 3, Address: 0, Type: wire.Uint32, Words: 2, ScaleAt: wire.NoScale, Unit: "Wh", Kind: wire.Counter}}}
}

// simEdge is a box with its agent.
type simEdge struct {
	w     *world
	n     int
	id    string
	key   ed25519.PrivateKey
	dir   string // of the outbox now
	lives int
	clock *simClock

	box  *outbox.Outbox // nil while stopped
	stop context.CancelFunc
	done chan error
}

func simKey(b byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, 32)) }

func newWorld(t *testing.T, dir string, p plan) *world {
	w := &world{t: t, dir: dir, plan: p, rng: rand.New(rand.NewPCG(p.Seed, 1)), odds: rand.New(rand.NewPCG(p.Seed, 2)),
		wires: newWires(), seen: make(witness), acks: make(map[string][][]byte), log: zap.NewNop()}
	if os.Getenv("KENSHIN_SIM_LOG") != "" {
		w.lines = new(bytes.Buffer)
		w.log = zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(w.lines), zap.InfoLevel))
	}
	w.center = &simCenter{w: w}
	for i := range p.Edges {
		e := &simEdge{w: w, n: i, id: fmt.Sprintf("site-%d", i), key: simKey(byte(i + 1)), clock: &simClock{}}
		e.dir = filepath.Join(dir, e.id)
		w.edges = append(w.edges, e)
	}
	return w
}

// fail reports what does not hold.
func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("seed %d, %v after the start: %s", w.plan.Seed, time.Since(simStart).Round(time.Minute), fmt.Sprintf(format, args...))
}

var simStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of every bubble

func (e *simEdge) start() error {
	max := int64(0)
	if e.w.plan.Small {
		max = 256 << 10
	}
	box, _, err := outbox.Open(e.dir, outbox.Options{Edge: e.id, MaxBytes: max})
	if err != nil {
		return err
	}
	e.box = box
	if err := e.w.seen.look(e.id, box); err != nil {
		return err
	}
	bus := edge.Bus{Name: "bus", Reader: simMeters{simStart, e.clock}}
	devices, registers := e.w.meters()
	for i := range devices {
		id := fmt.Sprintf("m-%d", i)
		bus.Devices = append(bus.Devices, edge.Device{ID: id, Unit: uint8(i + 1), Declaration: simDeclaration(id, uint8(i+1), registers)})
	}
	pace := e.w.plan.pace(e.n)
	cfg := edge.Config{Edge: e.id, Key: e.key, Interval: time.Duration(pace.Every) * time.Minute, Buses: []edge.Bus{bus}, Outbox: box, Clock: e.clock, Log: e.w.log.Named(e.id), Version: "sim",
		Uplink: edge.Uplink{Broker: "tcp://sim:1883", User: e.id, Password: "secret", Root: wire.DefaultRoot,
			CollectorKey: simKey(200).Public().(ed25519.PublicKey), AckTimeout: 10 * time.Second, Linger: time.Duration(pace.Linger) * time.Minute,
			Dial: func() (net.Conn, error) {
				time.Sleep(5*time.Second - time.Since(simStart)%(5*time.Second))
				return e.w.wires.dial(e.id)
			}}}
	e.lives++
	cfg.Boot[0] = byte(e.lives)
	a := edge.New(cfg)
	ctx, stop := context.WithCancel(context.Background())
	e.stop, e.done = stop, make(chan error, 1)
	go func() { e.done <- a.Run(ctx) }()
	return nil
}

// halt stops the agent; crash leaves the outbox as a process leaves it that is
// killed while nothing is under way.
func (e *simEdge) halt(crash bool) error {
	if e.box == nil {
		return nil
	}
	next := e.dir
	if crash {
		synctest.Wait()
		next = filepath.Join(e.w.dir, fmt.Sprintf("%s-%d", e.id, e.lives))
		if err := os.CopyFS(next, os.DirFS(e.dir)); err != nil {
			return err
		}
		if err := e.w.seen.look(e.id, e.box); err != nil {
			return err
		}
		e.w.wires.cut(e.id, true) // what it does on its way out reaches nobody
	}
	e.stop()
	err := <-e.done
	if !crash {
		err = errors.Join(err, e.w.seen.look(e.id, e.box))
	}
	err = errors.Join(err, e.box.Close())
	if crash {
		e.w.wires.cut(e.id, false)
		err = errors.Join(err, os.RemoveAll(e.dir))
	}
	e.dir, e.box = next, nil
	return err
}

// simBroker is the broker and who carries messages between it and the collector.
type simBroker struct {
	b    *broker.Broker
	stop context.CancelFunc
	done chan error
}

func (w *world) startBroker() error {
	b, err := broker.On(w.wires.listen(), broker.Config{Root: wire.DefaultRoot, Log: w.log.Named("broker"),
		Authenticate: func(_, password string) bool { return password == "secret" }, Receive: w.carry})
	if err != nil {
		return err
	}
	rest(b)
	ctx, stop := context.WithCancel(context.Background())
	s := &simBroker{b: b, stop: stop, done: make(chan error, 1)}
	go func() { s.done <- b.Run(ctx) }()
	w.mu.Lock()
	w.broker = s
	w.mu.Unlock()
	return nil
}

func (w *world) stopBroker() error {
	w.mu.Lock()
	s := w.broker
	w.broker = nil
	w.mu.Unlock()
	s.stop()
	return <-s.done
}

// carry takes a batch from the broker to the collector, as a broker outside
// would that keeps its promises or does not.
func (w *world) carry(m broker.Message) {
	msg := collector.Message{Topic: m.Topic, Payload: m.Payload, Done: m.Done}
	w.mu.Lock()
	if w.odds.IntN(100) < w.lose {
		w.mu.Unlock()
		m.Done()
		return
	}
	var out []collector.Message
	switch {
	case w.reorder && w.held == nil:
		w.held = &msg
	default:
		out = append(out, msg)
		if w.held != nil {
			out = append(out, *w.held)
			w.held = nil
		}
	}
	if w.repeat {
		out = append(out, out...)
	}
	w.mu.Unlock()
	for _, m := range out {
		w.center.receive(m)
	}
}

// Publish carries an ack back: the collector's AckSender.
func (w *world) Publish(topic string, payload []byte, retain bool) error {
	w.mu.Lock()
	s := w.broker
	lost := w.odds.IntN(100) < w.loseAcks
	old := w.acks[topic]
	w.acks[topic] = append(old, payload)
	if len(old) > 50 {
		w.acks[topic] = old[25:]
	}
	var again []byte
	if w.oldAcks && len(old) > 0 {
		again = old[w.odds.IntN(len(old))]
	}
	w.mu.Unlock()
	if s == nil || lost {
		return errors.New("not connected")
	}
	err := s.b.Publish(topic, payload, retain)
	if again != nil {
		err = errors.Join(err, s.b.Publish(topic, again, retain))
	}
	return err
}

// simCenter is the collector.
type simCenter struct {
	w     *world
	lives int
	dir   string

	mu   sync.RWMutex // guards c: nil while stopped
	c    *collector.Collector
	ctx  context.Context
	stop context.CancelFunc
	done chan error
}

func (s *simCenter) receive(m collector.Message) {
	s.mu.RLock()
	c, ctx := s.c, s.ctx
	s.mu.RUnlock()
	if c != nil {
		c.Receive(ctx, m)
	}
}

func (w *world) centerConfig(dir string) collector.Config {
	text, err := configs.Files.ReadFile("methodologies/ks-pv.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	var project strings.Builder
	project.WriteString(`
reference: sim
title: Simulated
country: Nowhere
zone: Asia/Kolkata
methodology: {number: KS-F1, version: "1.0"}
periods: [{start: 1999-12-01, end: 2000-12-31}]
parameters:
  EF_RE: {value: "1", unit: tCO2/MWh, source: "a round figure for this rig"}
meters:
`)
	cfg := collector.Config{Name: "sim", Dir: dir, Key: simKey(200), Root: wire.DefaultRoot, Limits: collector.DefaultLimits,
		Methodologies: []collector.File{{Name: "ks-pv.yaml", Text: text}}, Acks: w, Clock: edge.RealClock(), Log: w.log.Named("collector")}
	devices, _ := w.meters()
	for _, e := range w.edges {
		cfg.Edges = append(cfg.Edges, collector.Edge{ID: e.id, Key: e.key.Public().(ed25519.PublicKey)})
		for i := range devices {
			fmt.Fprintf(&project, "  - {key: %[1]s-m-%[2]d, title: Meter, register: %[1]s/m-%[2]d/Wh, parameter: EG}\n", e.id, i)
		}
	}
	cfg.Projects = []collector.File{{Name: "sim.yaml", Text: []byte(project.String())}}
	return cfg
}

func (s *simCenter) start() error {
	if s.dir == "" {
		s.dir = filepath.Join(s.w.dir, "collector")
	}
	c, err := collector.Open(context.Background(), s.w.centerConfig(s.dir))
	if err != nil {
		return err
	}
	s.lives++
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s.mu.Lock()
	s.c, s.ctx, s.stop, s.done = c, ctx, stop, done
	s.mu.Unlock()
	go func() { done <- c.Run(ctx) }()
	return nil
}

// halt stops the collector; crash leaves its folder as a process does that is
// killed, with a series store that may be behind.
func (s *simCenter) halt(crash bool) error {
	if s.c == nil {
		return nil
	}
	next := s.dir
	if crash {
		synctest.Wait()
		next = filepath.Join(s.w.dir, fmt.Sprintf("collector-%d", s.lives))
		if err := os.CopyFS(next, os.DirFS(s.dir)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	c := s.c
	s.c = nil
	s.mu.Unlock()
	s.stop()
	err := <-s.done
	if _, counters := checkCounters(c); counters != nil {
		err = errors.Join(err, counters)
	}
	err = errors.Join(err, c.Close())
	if crash {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	s.dir = next
	return err
}

// backup makes a backup beside the running collector.
func (s *simCenter) backup() error {
	if s.c == nil {
		return nil
	}
	to := filepath.Join(s.w.dir, fmt.Sprintf("backup-%d", int(time.Since(simStart).Hours())))
	s.w.backups = append(s.w.backups, to)
	reader := store.Reader{Origin: "kenshin/sim", Key: simKey(200).Public().(ed25519.PublicKey)}
	_, err := store.Backup(context.Background(), s.dir, to, reader)
	return err
}

// restore starts the collector, which is stopped, with the book of a backup and nothing else.
func (s *simCenter) restore(from string) error {
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	s.dir = filepath.Join(s.w.dir, fmt.Sprintf("collector-%d", s.lives))
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	reader := store.Reader{Origin: "kenshin/sim", Key: simKey(200).Public().(ed25519.PublicKey)}
	if _, err := store.Restore(context.Background(), from, s.dir, reader, time.Now()); err != nil {
		return err
	}
	return s.start()
}

// durable returns up to where the book has each stream without a hole, but for
// holes below kept: I5.
func durable(book *store.Store, kept map[stream]uint64) (map[stream]uint64, error) {
	runs := make(map[stream][]wire.Range)
	err := book.Scan(0, func(r *store.Record) error {
		if r.Kind == store.Batch {
			s := stream{r.Subject, r.Epoch}
			runs[s] = append(runs[s], wire.Range{From: r.First, To: r.Last})
		}
		return nil
	})
	out := make(map[stream]uint64)
	for s, list := range runs {
		slices.SortFunc(list, func(a, b wire.Range) int { return int(a.From) - int(b.From) })
		for _, r := range list {
			if r.From <= max(out[s]+1, kept[s]) {
				out[s] = max(out[s], r.To)
			}
		}
	}
	return out, err
}

// rest lets the broker look every minute, not every second, for what has expired:
// most of an episode went into that. The library has no option for it.
func rest(b *broker.Broker) {
	loop := reflect.ValueOf(b).Elem().FieldByName("server").Elem().FieldByName("loop").Elem()
	for _, name := range []string{"clientExpiry", "inflightExpiry", "retainedExpiry", "willDelaySend"} {
		(*time.Ticker)(loop.FieldByName(name).UnsafePointer()).Reset(time.Minute)
	}
}
