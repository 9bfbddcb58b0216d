package collector

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"kenshin/edge/wire"
)

// fleetPoints is a device as the figures of deploy/docs/performance.md know it: two
// counters, seven noisy integers and a float.
func fleetDevice(name string) *wire.Declaration {
	d := &wire.Declaration{Device: name, Energy: "energy", Blocks: []wire.Block{{Function: 3, Address: 0, Count: 13}}}
	at := uint16(0)
	add := func(name string, t wire.Type, unit string, k wire.Kind) {
		d.Points = append(d.Points, wire.Point{Name: name, Function: 3, Address: at, Type: t, Words: t.Width(), ScaleAt: wire.NoScale, Unit: unit, Kind: k})
		at += t.Width()
	}
	add("energy", wire.Uint32, "Wh", wire.Counter)
	add("reactive", wire.Uint32, "varh", wire.Counter)
	for i := range 7 {
		add(fmt.Sprint("noise-", i), wire.Uint16, "W", wire.Gauge)
	}
	add("frequency", wire.Float32, "Hz", wire.Gauge)
	return d
}

// fleetEdge makes signed batches of some devices, one reading of each a minute.
type fleetEdge struct {
	site    *site
	devices []*wire.Declaration
	known   map[wire.Hash]*wire.Declaration
	counts  []uint32
	random  *rand.Rand
	next    int   // device
	minute  int64 // after start, of the next reading
	every   int64 // minutes from reading to reading
	shift   int64 // ms after the minute
	chain   wire.Hash
	seq     uint64
}

func newFleetEdge(n, devices int) *fleetEdge {
	e := &fleetEdge{site: newSite(fmt.Sprintf("edge-%05d", n), byte(n)), known: make(map[wire.Hash]*wire.Declaration), counts: make([]uint32, devices), every: 1, random: rand.New(rand.NewPCG(uint64(n), 6))}
	seed := make([]byte, ed25519.SeedSize)
	seed[0], seed[1], seed[2] = byte(n), byte(n>>8), byte(n>>16)
	e.site.key, e.site.epoch = ed25519.NewKeyFromSeed(seed), wire.Epoch{byte(n), byte(n >> 8), byte(n >> 16)}
	for i := range devices {
		d := fleetDevice(fmt.Sprintf("dev-%02d", i))
		e.devices, e.known[d.Hash()] = append(e.devices, d), d
	}
	return e
}

// batch returns the next n readings as one message, its first one with the declarations.
func (e *fleetEdge) batch(tb testing.TB, n int) Message {
	b := &wire.Batch{Edge: e.site.id, Epoch: e.site.epoch, First: e.seq + 1, Prev: e.chain}
	add := func(r wire.Record) {
		e.seq++
		r.Seq = e.seq
		e.chain = wire.Chain(e.chain, r.Encode())
		b.Records = append(b.Records, r)
	}
	if e.seq == 0 {
		for _, d := range e.devices {
			add(wire.Record{Wall: start, Declaration: d})
		}
	}
	for range n {
		i, minute := e.next, e.minute
		if e.next++; e.next == len(e.devices) {
			e.next, e.minute = 0, e.minute+e.every
		}
		e.counts[i] += 20 + uint32(e.random.IntN(10))
		w := []uint16{uint16(e.counts[i] >> 16), uint16(e.counts[i]), 0, uint16(minute)}
		w[2] = uint16(e.counts[i] >> 18)
		for k := range 7 {
			w = append(w, uint16(1000*(k+1)+e.random.IntN(200)))
		}
		f := math.Float32bits(50 + float32(e.random.IntN(100))/1000)
		w = append(w, uint16(f>>16), uint16(f))
		at := start + minute*60_000 + e.shift + int64(i*17+e.random.IntN(5))
		add(wire.Record{Wall: at, Mono: at - start, Reading: &wire.Reading{Declaration: e.devices[i].Hash(), Blocks: []wire.BlockResult{{Words: w}}}})
	}
	b.Last, b.Chain = e.seq, e.chain
	payload, err := wire.EncodeBatch(b, e.known)
	if err == nil {
		payload, err = wire.Seal(wire.BatchType, payload, e.site.key)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return Message{Topic: wire.UpTopic(wire.DefaultRoot, e.site.id), Payload: payload}
}

// fleetProject asks for the energy of every device.
func fleetProject(edges []*fleetEdge) string {
	var text strings.Builder
	text.WriteString("reference: fleet\ntitle: all\nzone: Asia/Kolkata\nmethodology: {number: T-1, version: \"1.0\"}\nperiods:\n  - {start: 2020-05-15, end: 2020-12-31}\nparameters: {EF: {value: \"0.533\", unit: tCO2/MWh, source: invented}}\nmeters:\n")
	for _, e := range edges {
		for _, d := range e.devices {
			fmt.Fprintf(&text, "  - {key: %s-%s, register: %s/%s/energy, parameter: EG}\n", e.site.id, d.Device, e.site.id, d.Device)
		}
	}
	return text.String()
}

func fromEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

type silentAcks struct{}

func (silentAcks) Publish(string, []byte, bool) error { return nil }

// fleetRig is a collector with a project of all devices of edges.
func fleetRig(b *testing.B, edges []*fleetEdge) *rig {
	r := newRig(b)
	r.Close()
	r.cfg.Dir = b.TempDir()
	for _, e := range edges {
		r.cfg.Edges = append(r.cfg.Edges, Edge{e.site.id, e.site.public()})
	}
	r.cfg.Projects = []File{{"fleet.yaml", []byte(fleetProject(edges))}}
	r.cfg.Acks = silentAcks{}
	r.open()
	return r
}

// through runs the collector until messages are settled.
func (r *rig) through(messages []Message) {
	ctx, stop := context.WithCancel(r.t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	want := testutil.ToFloat64(r.metrics.stored) + float64(len(messages))
	for _, m := range messages {
		r.Receive(ctx, m)
	}
	for testutil.ToFloat64(r.metrics.stored) < want || !r.Settled() {
		<-time.After(time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

// BenchmarkLate is a million samples of 500 devices that come three months late, into
// a store that has a reading an hour of each since: settled below 5 s.
func BenchmarkLate(b *testing.B) {
	var edges []*fleetEdge
	for i := range 50 {
		edges = append(edges, newFleetEdge(i, 10))
		edges[i].every = 60
	}
	r := fleetRig(b, edges)
	const perDevice = 91 * 24
	for range perDevice / 24 {
		var messages []Message
		for _, e := range edges {
			messages = append(messages, e.batch(b, 240))
		}
		r.through(messages)
	}
	if err := r.db.Merge(b.Context()); err != nil {
		b.Fatal(err)
	}
	var late []Message
	for _, e := range edges {
		e.minute, e.every, e.shift = 2*24*60+5, 1, 30_000
		for i := range e.counts { // as they stood then
			e.counts[i] = 48 * 25
		}
		for range 10 {
			late = append(late, e.batch(b, 200))
		}
	}
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	r.through(late) // a second time they would not be late: the benchmark runs once
	b.StopTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	b.ReportMetric(1e6/b.Elapsed().Seconds(), "points/s")
	b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/1e9, "cpu-s")
	began := time.Now()
	if err := r.db.Merge(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s-merge")
	if n := testutil.ToFloat64(r.metrics.samples); n != 10*(500*perDevice+100_000) {
		b.Fatalf("%v samples", n)
	}
}

// BenchmarkMonthByDay is the energy by day of 500 devices in a month, as the report has it
// and as readings of every 15 minutes have it: below 100 ms.
func BenchmarkMonthByDay(b *testing.B) {
	var edges []*fleetEdge
	for i := range 50 {
		edges = append(edges, newFleetEdge(i, 10))
		edges[i].every = 15
	}
	r := fleetRig(b, edges)
	for range 31 {
		var messages []Message
		for _, e := range edges {
			messages = append(messages, e.batch(b, 960))
		}
		r.through(messages)
	}
	if err := r.db.Merge(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Run("report", func(b *testing.B) {
		for b.Loop() {
			rep, err := r.Report(b.Context(), "fleet", 0)
			if err != nil || len(rep.Meters) != 500 {
				b.Fatal(len(rep.Meters), err)
			}
		}
	})
	b.Run("readings", func(b *testing.B) {
		n := 0
		for b.Loop() {
			for _, e := range edges {
				for _, d := range e.devices {
					if err := r.db.Scan(b.Context(), e.site.id+"/"+d.Device+"/energy", math.MinInt64, math.MaxInt64, func(wire.Sample) error { n++; return nil }); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "samples/s")
	})
}

// BenchmarkPipeline is signed messages, made beforehand, through book, series and
// totals, without the broker. KENSHIN_FLEET is how many devices (10,000), ten an edge.
func BenchmarkPipeline(b *testing.B) {
	for _, per := range []int{60, 10, 1} {
		b.Run(fmt.Sprintf("readings=%d", per), func(b *testing.B) {
			devices := fromEnv("KENSHIN_FLEET", 10_000)
			var edges []*fleetEdge
			for i := range devices / 10 {
				edges = append(edges, newFleetEdge(i, 10))
			}
			rounds := max(1, fromEnv("KENSHIN_MINUTES", 24)*10/per) // of event time
			r := fleetRig(b, edges)
			var messages []Message
			for range rounds {
				for _, e := range edges {
					messages = append(messages, e.batch(b, per))
				}
			}
			var before, after syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			for b.Loop() {
				r.through(messages)
			}
			syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			points := float64(len(messages) * per * 10)
			b.ReportMetric(points/b.Elapsed().Seconds(), "points/s")
			b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/points, "cpu-ns/point")
			b.ReportMetric(float64(after.Maxrss)/1024, "MB-peak")
		})
	}
}
