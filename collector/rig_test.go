package collector

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"kenshin/collector/store"
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

// projectYAML is a project of two counters in a zone whose day is not that of UTC.
const projectYAML = `
reference: plant
title: a plant
zone: Asia/Kolkata
methodology: {number: T-1, version: "1.0"}
periods:
  - {start: 2020-05-15, end: 2020-05-20}
  - {start: 2020-12-30, end: 2021-01-02}
parameters: {EF: {value: "0.533", unit: tCO2/MWh, source: invented, evidence: 5be2aa8ec1bda821de239f11caa5e71888df421fa4dd29987281a29d15c44977}}
meters:
  - {key: one, register: site-1/m-1/energy, rated_kW: "40", rated_source: invented, parameter: EG}
  - {key: two, register: site-2/m-1/energy, parameter: EG}
`

// start is where the histories of these tests begin: midnight in Kolkata.
var start = time.Date(2020, 5, 14, 18, 30, 0, 0, time.UTC).UnixMilli()

// clock stands still, two years after start unless a test says otherwise. Sleep
// ends with its context.
type clock struct{ at int64 }

func (c clock) Now() time.Time {
	if c.at != 0 {
		return time.UnixMilli(c.at)
	}
	return time.UnixMilli(start).AddDate(2, 0, 0)
}

func (clock) Sleep(ctx context.Context, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

// acks keeps what was published; it may fail before or after that.
type acks struct {
	failBefore, failAfter bool
	sent                  []*wire.Ack
	topics                []string
	key                   ed25519.PublicKey
}

var errLink = errors.New("broker not connected")

func (a *acks) Publish(topic string, payload []byte, retain bool) error {
	if a.failBefore {
		return errLink
	}
	b, err := wire.Unseal(wire.AckType, payload, a.key)
	if err != nil {
		return err
	}
	ack, err := wire.DecodeAck(b)
	if err != nil || !retain {
		return fmt.Errorf("ack that is wrong or not retained: %w", err)
	}
	a.sent, a.topics = append(a.sent, ack), append(a.topics, topic)
	if a.failAfter {
		return errLink
	}
	return nil
}

// site is an edge with all it has ever recorded.
type site struct {
	id    string
	epoch wire.Epoch
	key   ed25519.PrivateKey
	recs  []wire.Record
	after []wire.Hash // chain hash after n records
}

func newSite(id string, n byte) *site {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return &site{id: id, epoch: wire.Epoch{n}, key: ed25519.NewKeyFromSeed(seed), after: []wire.Hash{{}}}
}

func (s *site) public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// add appends a record and returns its sequence number.
func (s *site) add(r wire.Record) uint64 {
	r.Seq = uint64(len(s.recs) + 1)
	s.recs, s.after = append(s.recs, r), append(s.after, wire.Chain(s.after[len(s.recs)], r.Encode()))
	return r.Seq
}

// meter declares a counter in its first block and its power in a second one,
// which is read 40 ms later.
func meter(device string) *wire.Declaration {
	return &wire.Declaration{Device: device, Energy: "energy", Blocks: []wire.Block{{Function: 3, Address: 0, Count: 2}, {Function: 3, Address: 10, Count: 1}},
		Points: []wire.Point{
			{Name: "energy", Function: 3, Address: 0, Type: wire.Uint32, Words: 2, Scale: -2, ScaleAt: wire.NoScale, Unit: "kWh", Kind: wire.Counter},
			{Name: "power", Function: 3, Address: 10, Type: wire.Uint16, Words: 1, ScaleAt: wire.NoScale, Unit: "W", Kind: wire.Gauge},
		}}
}

func (s *site) declare(d *wire.Declaration) { s.add(wire.Record{Wall: start, Declaration: d}) }

// read records a reading of a meter: hundredths of kWh at ms after start.
func (s *site) read(d *wire.Declaration, ms int64, hundredths uint32) {
	s.add(wire.Record{Wall: start + ms, Mono: ms, Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{
		{Words: []uint16{uint16(hundredths >> 16), uint16(hundredths)}}, {Delta: 40, Words: []uint16{uint16(ms)}}}}})
}

// fail records a reading without an answer.
func (s *site) fail(d *wire.Declaration, ms int64) {
	s.add(wire.Record{Wall: start + ms, Mono: ms, Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{{Status: wire.Timeout}, {Status: wire.Skipped}}}})
}

// batch returns records first to last as they are published.
func (s *site) batch(t testing.TB, first, last uint64) Message {
	t.Helper()
	return s.batchKept(t, first, last, 0)
}

// batchKept is batch of an edge that says what it still has.
func (s *site) batchKept(t testing.TB, first, last, kept uint64) Message {
	t.Helper()
	b := &wire.Batch{Kept: kept, Edge: s.id, Epoch: s.epoch, First: first, Last: last, Prev: s.after[first-1], Chain: s.after[last], Records: s.recs[first-1 : last]}
	payload, err := wire.EncodeBatch(b, nil)
	if err == nil {
		payload, err = wire.Seal(wire.BatchType, payload, s.key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return Message{Topic: wire.UpTopic(wire.DefaultRoot, s.id), Payload: payload}
}

func (s *site) all(t testing.TB) Message { return s.batch(t, 1, uint64(len(s.recs))) }

// rig is a collector that does what it is told, one step at a time.
type rig struct {
	*Collector
	t    testing.TB
	cfg  Config
	acks *acks
}

func newRig(t testing.TB, sites ...*site) *rig {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	a := &acks{key: key.Public().(ed25519.PublicKey)}
	r := &rig{t: t, acks: a, cfg: Config{Name: "test", Dir: t.TempDir(), Key: key, Root: wire.DefaultRoot, Limits: DefaultLimits,
		Methodologies: []File{{"t-1.yaml", []byte(methodologyYAML)}}, Projects: []File{{"plant.yaml", []byte(projectYAML)}},
		Acks: a, Clock: clock{}, Log: zap.NewNop()}}
	for _, s := range sites {
		r.cfg.Edges = append(r.cfg.Edges, Edge{s.id, s.public()})
	}
	r.open()
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *rig) open() {
	r.t.Helper()
	c, err := Open(context.Background(), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Collector = c
}

// reopen ends the process as a crash would, as far as a process can tell, and
// starts it again.
func (r *rig) reopen() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// send makes messages durable as one group, without settling them.
func (r *rig) send(group ...Message) {
	r.t.Helper()
	if err := r.ingest.take(group); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) catchUp() {
	r.t.Helper()
	if err := r.settle.catchUp(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	if !r.Settled() {
		r.t.Fatal("not settled")
	}
}

// totals settles and returns the reports of all periods of a project, after
// comparing each with what the book alone gives.
func (r *rig) totals(project string, periods int) string {
	r.t.Helper()
	r.catchUp()
	var out string
	for i := range periods {
		settled, err := r.Report(r.t.Context(), project, i)
		if err != nil {
			r.t.Fatal(err)
		}
		again, err := Recompute(r.t.Context(), r.Store(), project, i)
		if err != nil {
			r.t.Fatal(err)
		}
		a, err := json.MarshalIndent(settled, "", " ")
		if err != nil {
			r.t.Fatal(err)
		}
		b, err := json.MarshalIndent(again, "", " ")
		if err != nil {
			r.t.Fatal(err)
		}
		if string(a) != string(b) {
			r.t.Fatalf("settled\n%s\nrecomputed from the book\n%s", a, b)
		}
		out += string(a)
	}
	return out
}

// measured returns what a meter measured in period 0, kWh.
func (r *rig) measured(meter string) string {
	r.t.Helper()
	r.totals("plant", 2)
	rep, err := r.Report(r.t.Context(), "plant", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return rep.Meters[meter].MeasuredKWh.String()
}

// lastAck returns the last ack, in short: through/want.
func (r *rig) lastAck() string {
	if len(r.acks.sent) == 0 {
		return "none"
	}
	a := r.acks.sent[len(r.acks.sent)-1]
	return fmt.Sprint(a.Edge, " ", a.Through, " ", a.Want)
}

// counts returns the conservation counters: received, stored, repeated, and
// each reason for which something was rejected.
func (r *rig) counts() string {
	m := r.ingest.metrics
	rejected, total := make(map[string]float64), 0.0
	for _, reason := range reasons {
		if n := testutil.ToFloat64(m.rejected.WithLabelValues(reason)); n > 0 {
			rejected[reason] = n
			total += n
		}
	}
	num := func(c prometheus.Counter) float64 { return testutil.ToFloat64(c) }
	if num(m.received) != num(m.stored)+num(m.repeated)+total {
		r.t.Errorf("received %v, stored %v, repeated %v, rejected %v: a message is lost", num(m.received), num(m.stored), num(m.repeated), rejected)
	}
	out := fmt.Sprintf("%v stored %v repeated", num(m.stored), num(m.repeated))
	for _, reason := range slices.Sorted(maps.Keys(rejected)) {
		out += fmt.Sprintf(" %v %s", rejected[reason], reason)
	}
	return out
}

// batches returns the payloads of the batches in the book.
func (r *rig) batches() (out []string) {
	r.t.Helper()
	err := r.store.Scan(0, func(rec *store.Record) error {
		if rec.Kind == store.Batch {
			out = append(out, string(rec.Payload))
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *rig) letters() (out []store.DeadLetter) {
	r.t.Helper()
	if err := store.ReadDeadLetters(r.cfg.Dir, func(l store.DeadLetter) error { out = append(out, l); return nil }); err != nil {
		r.t.Fatal(err)
	}
	return out
}
