package collector

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"kenshin/edge/wire"
)

// plantOf returns the configuration of a project of n meters of one edge.
func plantOf(n int) string {
	var b strings.Builder
	b.WriteString(projectYAML[:strings.Index(projectYAML, "periods:")])
	b.WriteString("periods: [{start: 2020-05-15, end: 2020-12-31}]\nparameters: {EF: {value: \"0.533\", unit: tCO2/MWh, source: invented}}\nmeters:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {key: m-%d, register: site-1/m-%d/energy, rated_kW: \"100\", rated_source: invented, parameter: EG}\n", i, i)
	}
	return b.String()
}

// BenchmarkLateReading is a reading six months back among 500 meters, from its
// batch to the totals: step, transaction and report included.
func BenchmarkLateReading(b *testing.B) {
	const meters, days = 500, 200
	x, y := newSite("site-1", 1), newSite("site-2", 2)
	r := newRig(b, x, y)
	r.cfg.Projects[0].Text = []byte(plantOf(meters))
	r.reopen()
	// A year of closings for all; of one meter every quarter hour is there too.
	d := meter("m-0")
	x.declare(d)
	for i := range int64(days * 96) {
		if i%96 != 50 {
			x.read(d, i*900_000+1, uint32(1000*i))
		}
	}
	n := uint64(len(x.recs))
	for first := uint64(1); first <= n; first += 500 {
		r.send(x.batch(b, first, min(first+499, n)))
	}
	for m := 1; m < meters; m++ {
		d := meter(fmt.Sprint("m-", m))
		x.declare(d)
		for i := range int64(days) {
			x.read(d, i*day+day-900_000+1, uint32(100_000*i))
		}
	}
	for first := n + 1; first <= uint64(len(x.recs)); first += 500 {
		r.send(x.batch(b, first, min(first+499, uint64(len(x.recs)))))
	}
	r.catchUp()
	late := int64(10)
	b.ResetTimer()
	was, spent := int64(0), int64(0)
	for b.Loop() {
		b.StopTimer()
		i := late*96 + 50
		seq := x.add(wire.Record{Wall: start + i*900_000 + 1, Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{{Words: []uint16{uint16(uint32(1000*i) >> 16), uint16(1000 * i)}}, {Delta: 40, Words: []uint16{1}}}}})
		late = (late + 1) % days
		r.send(x.batch(b, seq, seq))
		b.StartTimer()
		was = cpu()
		r.catchUp()
		if _, err := r.Collector.Totals(b.Context(), "plant", 0); err != nil {
			b.Fatal(err)
		}
		spent += cpu() - was
	}
	b.ReportMetric(float64(spent)/1e6/float64(b.N), "cpu-ms/op")
}

// cpu returns the processor time of this process, ns: what others take does not count.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkRecompute is the way from the book to figures without anything that
// was kept: a year of meters at 1 minute would be 526,000 readings of each.
// KENSHIN_RECOMPUTE_METERS and KENSHIN_RECOMPUTE_DAYS make it longer.
func BenchmarkRecompute(b *testing.B) {
	meters, days := fromEnv("KENSHIN_RECOMPUTE_METERS", 20), fromEnv("KENSHIN_RECOMPUTE_DAYS", 10)
	x, y := newSite("site-1", 1), newSite("site-2", 2)
	r := newRig(b, x, y)
	r.cfg.Projects[0].Text = []byte(plantOf(meters))
	r.reopen()
	var ds []*wire.Declaration
	for m := range meters {
		d := meter(fmt.Sprint("m-", m))
		d.Points, d.Blocks = d.Points[:1], d.Blocks[:1]
		x.declare(d)
		ds = append(ds, d)
	}
	samples := 0
	sent := uint64(0)
	flush := func() {
		if n := uint64(len(x.recs)); n > sent {
			size := r.store.Size()
			r.send(x.batch(b, sent+1, n))
			if got := r.store.Size(); got == size {
				b.Fatal("refused")
			}
			sent = n
			for i := range x.recs[:n] {
				x.recs[i].Reading = nil // the site does not need them any more
			}
		}
	}
	for i := range int64(days * 1440) {
		for m, d := range ds {
			v := uint32(100*i + int64(m))
			x.add(wire.Record{Wall: start + i*60_000 + 1, Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{{Words: []uint16{uint16(v >> 16), uint16(v)}}}}})
			samples++
		}
		if len(x.recs)-int(sent)+meters > 1000 { // most that a batch may have
			flush()
		}
	}
	flush()
	*x = site{} // what the edge remembers is not the collector's
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak begins anew
	b.ResetTimer()
	b.ReportAllocs()
	was := cpu()
	for b.Loop() {
		if _, err := Recompute(b.Context(), r.Store(), "plant", 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*samples)/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(float64(b.N*samples)/(float64(cpu()-was)/1e9), "samples/cpu-s")
	b.ReportMetric(peak(), "MB-peak")
}

// peak returns the most memory that the process had at once, MB; 0 where Linux does not tell.
func peak() (mb float64) {
	text, _ := os.ReadFile("/proc/self/status")
	if _, rest, ok := strings.Cut(string(text), "VmHWM:"); ok {
		fmt.Sscan(rest, &mb)
	}
	return mb / 1000
}
