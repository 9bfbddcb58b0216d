package influx

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkCatchUp gives a real InfluxDB what a collector has settled: book, decoding,
// lines, HTTP, and the server's own write to its disk.
func BenchmarkCatchUp(b *testing.B) {
	db := emptyBucket(b)
	const devices, minutes = 50, 600
	s := newSite("site-1", 1)
	r := newRig(b, s)
	for range devices {
		d := meter(fmt.Sprintf("m-%d", len(s.recs)))
		s.declare(d)
		s.minutes(d, 0, minutes)
		r.take(s)
	}
	p := r.project(db)
	var lasted time.Duration
	for b.Loop() {
		if err := p.Rewind(); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if err := p.CatchUp(b.Context(), func(uint64) {}); err != nil {
			b.Fatal(err)
		}
		lasted += time.Since(began)
	}
	b.ReportMetric(float64(b.N)*devices*minutes*8/lasted.Seconds(), "points/s")
}
