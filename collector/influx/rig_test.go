package influx

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"kenshin/collector"
	"kenshin/edge"
	"kenshin/edge/wire"
)

const methodologyYAML = `
number: T-1
version: "1.0"
title: solar power
status: template
sources: [{document: none, tag: S}]
parameters:
  - {symbol: EG, description: energy, unit: MWh, monitored: true, per: unit, options: [C]}
  - {symbol: EF, description: factor, unit: tCO2/MWh, monitored: false, per: project}
formulas: {RE: "sum(EG * EF)", PE: "0", ER: "RE - PE"}
rounding: {ER: floor}
examples:
  - title: one
    source: invented
    parameters: {EF: "0.5"}
    units: {a: {EG: "10"}}
    result: {RE: "5", PE: "0", ER: "5"}
`

const projectYAML = `
reference: plant
title: a plant
zone: Asia/Kolkata
methodology: {number: T-1, version: "1.0"}
periods: [{start: 2024-05-15, end: 2024-05-20}]
parameters: {EF: {value: "0.533", unit: tCO2/MWh, source: invented}}
meters: [{key: one, register: site-1/m-1/energy, parameter: EG}]
`

// start is midnight in Kolkata, ms UTC.
var start = time.Date(2024, 5, 14, 18, 30, 0, 0, time.UTC).UnixMilli()

// site is an edge with all it has recorded.
type site struct {
	id    string
	epoch wire.Epoch
	key   ed25519.PrivateKey
	recs  []wire.Record
	after []wire.Hash
	sent  int
}

func newSite(id string, n byte) *site {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return &site{id: id, epoch: wire.Epoch{n}, key: ed25519.NewKeyFromSeed(seed), after: []wire.Hash{{}}}
}

func (s *site) add(r wire.Record) {
	r.Seq = uint64(len(s.recs) + 1)
	s.recs, s.after = append(s.recs, r), append(s.after, wire.Chain(s.after[len(s.recs)], r.Encode()))
}

// meter declares a point of every kind of number.
func meter(device string) *wire.Declaration {
	at := func(name string, address uint16, typ wire.Type, words uint16, scale int8, unit string, kind wire.Kind) wire.Point {
		return wire.Point{Name: name, Function: 3, Address: address, Type: typ, Words: words, Scale: scale, ScaleAt: wire.NoScale, Unit: unit, Kind: kind}
	}
	return &wire.Declaration{Device: device, Energy: "energy", Blocks: []wire.Block{{Function: 3, Address: 0, Count: 22}},
		Points: []wire.Point{
			at("energy", 0, wire.Uint32, 2, -2, "kWh", wire.Counter),
			at("power", 2, wire.Uint16, 1, 0, "W", wire.Gauge),
			at("signed", 3, wire.Int64, 4, 0, "Wh", wire.Counter),
			at("unsigned", 7, wire.Uint64, 4, 0, "Wh", wire.Counter),
			at("scaled", 11, wire.Uint64, 4, -3, "kWh", wire.Counter),
			at("float", 15, wire.Float32, 2, 0, "Cel", wire.Gauge),
			at("odd, name=x", 17, wire.Uint16, 1, 0, "", wire.State),
			at("text", 18, wire.String, 4, 0, "", wire.Label),
		}}
}

// numbers are the registers of one reading.
type numbers struct {
	energy   uint32
	power    uint16
	signed   int64
	unsigned uint64
	scaled   uint64
	float    float32
	text     string
}

func (n *numbers) words() []uint16 {
	w := make([]uint16, 22)
	w[0], w[1], w[2] = uint16(n.energy>>16), uint16(n.energy), n.power
	four := func(at int, v uint64) {
		for i := range 4 {
			w[at+i] = uint16(v >> (48 - 16*i))
		}
	}
	four(3, uint64(n.signed))
	four(7, n.unsigned)
	four(11, n.scaled)
	f := math.Float32bits(n.float)
	w[15], w[16], w[17] = uint16(f>>16), uint16(f), 7
	text := n.text + strings.Repeat("\x00", 8)
	for i := range 4 {
		w[18+i] = uint16(text[2*i])<<8 | uint16(text[2*i+1])
	}
	return w
}

func (s *site) declare(d *wire.Declaration) { s.add(wire.Record{Wall: start, Declaration: d}) }

// read records a reading at ms after start.
func (s *site) read(d *wire.Declaration, ms int64, n numbers) {
	s.add(wire.Record{Wall: start + ms, Mono: max(0, ms), Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{{Words: n.words()}}}})
}

// fail records a reading without an answer.
func (s *site) fail(d *wire.Declaration, ms int64) {
	s.add(wire.Record{Wall: start + ms, Mono: ms, Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{{Status: wire.Timeout}}}})
}

// minutes records one reading a minute from from to before to.
func (s *site) minutes(d *wire.Declaration, from, to int) {
	for m := from; m < to; m++ {
		s.read(d, int64(m)*60_000, numbers{energy: uint32(m), power: uint16(m), signed: -int64(m), unsigned: uint64(m), scaled: uint64(m), float: float32(m) / 3, text: "on"})
	}
}

// batch returns what was not sent yet.
func (s *site) batch(t testing.TB) collector.Message {
	t.Helper()
	first, last := s.sent+1, len(s.recs)
	s.sent = last
	b := &wire.Batch{Edge: s.id, Epoch: s.epoch, First: uint64(first), Last: uint64(last), Prev: s.after[first-1], Chain: s.after[last], Records: s.recs[first-1 : last]}
	payload, err := wire.EncodeBatch(b, nil)
	if err == nil {
		payload, err = wire.Seal(wire.BatchType, payload, s.key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return collector.Message{Topic: wire.UpTopic(wire.DefaultRoot, s.id), Payload: payload}
}

type noAcks struct{}

func (noAcks) Publish(string, []byte, bool) error { return nil }

// rig is a running collector.
type rig struct {
	*collector.Collector
	t    testing.TB
	dir  string
	logs *logs
}

// logs keeps what was logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}
func (l *logs) Sync() error { return nil }

// count returns how many lines hold a text.
func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func newRig(t testing.TB, sites ...*site) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), logs: &logs{}}
	cfg := collector.Config{Name: "test", Dir: r.dir, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Root: wire.DefaultRoot, Limits: collector.DefaultLimits,
		Methodologies: []collector.File{{Name: "t-1.yaml", Text: []byte(methodologyYAML)}}, Projects: []collector.File{{Name: "plant.yaml", Text: []byte(projectYAML)}},
		Acks: noAcks{}, Clock: edge.RealClock(), Log: zap.NewNop()}
	for _, s := range sites {
		cfg.Edges = append(cfg.Edges, collector.Edge{ID: s.id, Key: s.key.Public().(ed25519.PublicKey)})
	}
	var err error
	if r.Collector, err = collector.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// take sends what sites have not sent and waits until it is settled.
func (r *rig) take(sites ...*site) {
	r.t.Helper()
	for _, s := range sites {
		taken := make(chan bool)
		m := s.batch(r.t)
		m.Done = func() { close(taken) }
		r.Receive(r.t.Context(), m)
		select {
		case <-taken:
		case <-time.After(time.Minute):
			r.t.Fatal("a batch is not taken within a minute")
		}
	}
	until(r.t, "settled", r.Settled)
}

// project opens a projection; its folder is that of the rig.
func (r *rig) project(s Server) *Projection {
	r.t.Helper()
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), r.logs, zap.DebugLevel))
	p, err := Open(Config{Server: s, Dir: r.dir + "/influx", Collector: r.Collector, Log: log, longest: 200 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.Close)
	return p
}

// run runs a projection until the returned function is called.
func (r *rig) run(p *Projection) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(stop)
	return stop
}

// caughtUp waits until the server has everything, and compares.
func (r *rig) caughtUp(p *Projection, days ...int) {
	r.t.Helper()
	until(r.t, "the server has all records", func() bool { s := p.Status(); return s.Health == up && s.Behind == 0 })
	r.same(p, days...)
}

// same compares the first two days and others, counted from there.
func (r *rig) same(p *Projection, days ...int) {
	r.t.Helper()
	for _, day := range append(days, 0, 1) {
		at := time.UnixMilli(start).AddDate(0, 0, day)
		n, err := p.Check(r.t.Context(), at, at, false, func(d Difference) {
			r.t.Errorf("edge %s, day %s: %d values stored, %d in the server, devices %q", d.Edge, d.Day, d.Stored, d.Server, d.Devices)
		})
		if err != nil || n == 0 {
			r.t.Fatalf("%d days compared: %v", n, err)
		}
	}
}

// values returns what the server has of a field, newest last, by measurement.
func (r *rig) values(p *Projection, device, field string) map[string][]any {
	r.t.Helper()
	out := make(map[string][]any)
	res, err := p.link.query.Query(r.t.Context(), `from(bucket: "`+p.cfg.Server.Bucket+`") |> range(start: 2020-01-01T00:00:00Z, stop: 2030-01-01T00:00:00Z) |> filter(fn: (r) => r.device == "`+device+`" and r._field == "`+field+`")`)
	if err != nil {
		r.t.Fatal(err)
	}
	for res.Next() {
		m := res.Record().Measurement()
		out[m] = append(out[m], res.Record().Value())
	}
	if res.Err() != nil {
		r.t.Fatal(res.Err())
	}
	return out
}
