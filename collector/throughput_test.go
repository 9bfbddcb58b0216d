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
	next    int // reading
	chain   wire.Hash
	seq     uint64
}

func newFleetEdge(n, devices int) *fleetEdge {
	e := &fleetEdge{site: newSite(fmt.Sprintf("edge-%05d", n), byte(n)), known: make(map[wire.Hash]*wire.Declaration), counts: make([]uint32, devices), random: rand.New(rand.NewPCG(uint64(n), 6))}
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
		i, minute := e.next%len(e.devices), int64(e.next/len(e.devices))
		e.next++
		e.counts[i] += 20 + uint32(e.random.IntN(10))
		w := []uint16{uint16(e.counts[i] >> 16), uint16(e.counts[i]), 0, uint16(minute)}
		w[2] = uint16(e.counts[i] >> 18)
		for k := range 7 {
			w = append(w, uint16(1000*(k+1)+e.random.IntN(200)))
		}
		f := math.Float32bits(50 + float32(e.random.IntN(100))/1000)
		w = append(w, uint16(f>>16), uint16(f))
		at := start + minute*60_000 + int64(i*17+e.random.IntN(5))
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
			r := newRig(b)
			r.Close()
			r.cfg.Dir = b.TempDir()
			for _, e := range edges {
				r.cfg.Edges = append(r.cfg.Edges, Edge{e.site.id, e.site.public()})
			}
			r.cfg.Projects = []File{{"fleet.yaml", []byte(fleetProject(edges))}}
			r.cfg.Acks = silentAcks{}
			r.open()
			var messages []Message
			for range rounds {
				for _, e := range edges {
					messages = append(messages, e.batch(b, per))
				}
			}
			var before, after syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			for b.Loop() {
				ctx, stop := context.WithCancel(b.Context())
				done := make(chan error)
				go func() { done <- r.Run(ctx) }()
				for _, m := range messages {
					r.Receive(ctx, m)
				}
				for testutil.ToFloat64(r.metrics.stored) < float64(len(messages)) || !r.Settled() {
					<-time.After(time.Millisecond)
				}
				stop()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			points := float64(len(messages) * per * 10)
			b.ReportMetric(points/b.Elapsed().Seconds(), "points/s")
			b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/points, "cpu-ns/point")
			b.ReportMetric(float64(after.Maxrss)/1024, "MB-peak")
		})
	}
}
