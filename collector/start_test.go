package collector

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

// TestNoNewBookBesideFigures: a book whose disk is not mounted is no reason to
// begin another. What was settled from it is then all that is there.
func TestNoNewBookBesideFigures(t *testing.T) {
	s := newSite("site-1", 1)
	r := newRig(t, s)
	d := meter("m-1")
	s.declare(d)
	s.read(d, 0, 1)
	r.send(s.batch(t, 1, uint64(len(s.recs))))
	r.catchUp()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	book := filepath.Join(r.cfg.Dir, store.BookDir)
	if err := os.Rename(book, book+".away"); err != nil {
		t.Fatal(err)
	}
	for _, mount := range []bool{false, true} {
		if mount {
			if err := os.Mkdir(book, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Open(t.Context(), r.cfg)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "is missing, but") {
			t.Errorf("folder there %v: %v, want that the book is missing", mount, err)
		}
		if files, err := os.ReadDir(book); len(files) > 0 || mount == (err != nil) {
			t.Errorf("folder there %v: %d files in it now, %v", mount, len(files), err)
		}
	}
	if err := errors.Join(os.Remove(book), os.Rename(book+".away", book)); err != nil {
		t.Fatal(err)
	}
	r.open()
	if got := r.store.Size(); got == 0 {
		t.Error("the book is empty")
	}
}
