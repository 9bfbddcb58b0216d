package collector

import (
	"bytes"
	"flag"
	"runtime"
	"testing"
	"time"

	"kenshin/collector/store"
)

var startReadings = flag.Int("start.readings", 100_000, "readings in the book that BenchmarkStart opens")

// BenchmarkStart opens a collector that was killed, with its figures settled,
// and takes one message: killed to first ack. 20 readings a batch, 100 edges.
func BenchmarkStart(b *testing.B) {
	const edges, perBatch = 100, 20
	var sites []*site
	d := meter("m-1")
	for i := range edges {
		sites = append(sites, newSite("site-"+string(rune('a'+i/26))+string(rune('a'+i%26)), byte(i+1)))
		sites[i].declare(d)
	}
	r := newRig(b, sites...)
	for batch := range *startReadings / edges / perBatch {
		var recs []*store.Record
		for _, s := range sites {
			first := uint64(len(s.recs) + 1)
			if batch == 0 {
				first = 1
			}
			for k := range perBatch {
				n := batch*perBatch + k
				s.read(d, int64(n)*60_000, uint32(n))
			}
			m := s.batch(b, first, uint64(len(s.recs)))
			recs = append(recs, &store.Record{Kind: store.Batch, Received: start, Subject: s.id, Epoch: s.epoch, First: first, Last: uint64(len(s.recs)), Payload: bytes.Clone(m.Payload)})
		}
		if _, err := r.store.Append(recs...); err != nil {
			b.Fatal(err)
		}
	}
	r.catchUp()
	b.Logf("%d records in the book, %d readings", r.store.Size(), *startReadings)
	for i := 1; i < edges; i++ {
		sites[i] = nil // a collector does not hold what edges recorded
	}
	runtime.GC()
	for b.Loop() {
		b.StopTimer()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		for _, s := range sites[:1] {
			s.read(d, int64(len(s.recs))*60_000, uint32(len(s.recs)))
		}
		n := uint64(len(sites[0].recs))
		m := sites[0].batch(b, n, n)
		b.StartTimer()
		begin := time.Now()
		r.open()
		opened := time.Since(begin)
		r.acks.sent = nil
		if err := r.ingest.take([]Message{m}); err != nil {
			b.Fatal(err)
		}
		if len(r.acks.sent) != 1 || r.acks.sent[0].Through != n {
			b.Fatalf("acks %+v, want through %d", r.acks.sent, n)
		}
		b.ReportMetric(opened.Seconds(), "s/open")
	}
}
