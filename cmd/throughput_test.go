package cmd

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"kenshin/edge/wire"
)

// BenchmarkThroughput is signed batches, made beforehand, from 1,000 edges with ten
// devices each through MQTT into the collector as a process of its own: taken is when
// the book has all of them on disk, settled when samples and totals have. With
// KENSHIN_FLEET devices (10,000) and KENSHIN_MINUTES of event time (30). Bringing the
// messages here is in the time and, of this machine, in the processors.
func BenchmarkThroughput(b *testing.B) {
	for _, per := range []int{60, 10, 1} {
		b.Run(fmt.Sprint("readings=", per), func(b *testing.B) {
			minutes := int(number(b, "KENSHIN_MINUTES", 30))
			if per == 1 {
				minutes = max(1, minutes/5)
			}
			for b.Loop() {
				b.StopTimer()
				throughput(b, int(number(b, "KENSHIN_FLEET", 10_000)), minutes, per)
				b.StartTimer()
			}
		})
	}
}

const throughputMethodology = `number: T-1
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
  - {title: one, source: invented, parameters: {EF: "0.5"}, units: {a: {EG: "10"}}, result: {RE: "5", PE: "0", ER: "5"}}
`

func throughput(b *testing.B, devices, minutes, per int) {
	f := newFleetRig(b, devices, minutes, per, freeAddr(b), false, "")
	before := processorTime(b, f.cmd.Process.Pid)
	began := time.Now()
	go f.send(0)
	f.taken()
	taken := time.Since(began).Seconds()
	f.settled()
	settled := time.Since(began).Seconds()
	_, peak := memory(b, f.cmd.Process.Pid)
	b.ReportMetric(f.points/taken, "taken/s")
	b.ReportMetric(f.points/settled, "points/s")
	b.ReportMetric((processorTime(b, f.cmd.Process.Pid)-before)*1e9/f.points, "cpu-ns/point")
	b.ReportMetric(peak, "MB-peak")
	f.interrupt(time.Minute)
}

// reached says how far a counter of /metrics is from a value.
func reached(page, name string, want float64) error {
	resp, err := http.Get("http://" + page + "/metrics")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			if n, err := strconv.ParseFloat(text, 64); err != nil || n < want {
				return fmt.Errorf("%s is %v, want %v, %v", name, n, want, err)
			}
			return nil
		}
	}
	return fmt.Errorf("no %s", name)
}

// processorTime returns the seconds of processor that a process has used.
func processorTime(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skipf("processor time needs /proc: %v", err)
	}
	f := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return (user + system) / 100 // ticks, 100 a second on Linux
}

// fleetEdge is a loadEdge with ten devices of ten points: two counters, seven noisy
// integers and a float, each read once a minute.
type fleetEdge struct {
	*loadEdge
	devices []*wire.Declaration
	known   map[wire.Hash]*wire.Declaration
	counts  [10]uint32
	random  *rand.Rand
	next    int // reading
	packets [][]byte
}

func newFleetEdge(n int) *fleetEdge {
	e := &fleetEdge{loadEdge: newLoadEdge(n, 1), known: make(map[wire.Hash]*wire.Declaration), random: rand.New(rand.NewPCG(uint64(n), 6))}
	for i := range 10 {
		d := &wire.Declaration{Device: fmt.Sprintf("dev-%02d", i), Energy: "point-0", Blocks: []wire.Block{{Function: 3, Count: 13}}}
		at := uint16(0)
		for k, t := range []wire.Type{wire.Uint32, wire.Uint32, wire.Uint16, wire.Uint16, wire.Uint16, wire.Uint16, wire.Uint16, wire.Uint16, wire.Uint16, wire.Float32} {
			p := wire.Point{Name: fmt.Sprint("point-", k), Function: 3, Address: at, Type: t, Words: t.Width(), ScaleAt: wire.NoScale, Unit: "W"}
			if k < 2 {
				p.Kind, p.Unit = wire.Counter, "Wh"
			}
			at += t.Width()
			d.Points = append(d.Points, p)
		}
		e.devices, e.known[d.Hash()] = append(e.devices, d), d
	}
	return e
}

// make adds a packet with the next n readings, before the first ones the declarations.
func (e *fleetEdge) make(b *testing.B, n int) {
	const start = 1_589_500_800_000
	x := &wire.Batch{Edge: e.id, Epoch: e.epoch, First: e.seq + 1, Prev: e.chain}
	add := func(r wire.Record) {
		e.seq++
		r.Seq = e.seq
		e.chain = wire.Chain(e.chain, r.Encode())
		x.Records = append(x.Records, r)
	}
	if e.seq == 0 {
		for _, d := range e.devices {
			add(wire.Record{Wall: start, Declaration: d})
		}
	}
	for range n {
		i, minute := e.next%10, int64(e.next/10)
		e.next++
		e.counts[i] += 20 + uint32(e.random.IntN(10))
		c := e.counts[i]
		w := []uint16{uint16(c >> 16), uint16(c), uint16(c >> 18), uint16(c >> 2)}
		for k := range 7 {
			w = append(w, uint16(1000*(k+1)+e.random.IntN(200)))
		}
		f := math.Float32bits(50 + float32(e.random.IntN(100))/1000)
		w = append(w, uint16(f>>16), uint16(f))
		at := start + minute*60_000 + int64(i*17+e.random.IntN(5))
		add(wire.Record{Wall: at, Mono: at - start, Reading: &wire.Reading{Declaration: e.devices[i].Hash(), Blocks: []wire.BlockResult{{Words: w}}}})
	}
	x.Last, x.Chain = e.seq, e.chain
	payload, err := wire.EncodeBatch(x, e.known)
	if err == nil {
		payload, err = wire.Seal(wire.BatchType, payload, e.key)
	}
	if err != nil {
		b.Fatal(err)
	}
	body := append(text(wire.UpTopic(wire.DefaultRoot, e.id)), byte(e.seq>>8), byte(e.seq)|1)
	e.packets = append(e.packets, packet(0x32, append(body, payload...)))
}
