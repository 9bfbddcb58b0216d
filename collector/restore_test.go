package collector

import (
	"bytes"
	"crypto/ed25519"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// figures returns all that a rig's collector says of its projects.
func figures(r *rig) string {
	r.t.Helper()
	r.catchUp()
	var out []json.RawMessage
	for i := range 2 {
		report, err := r.Report(r.t.Context(), "plant", i)
		if err != nil {
			r.t.Fatal(err)
		}
		text, err := json.Marshal(report)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, text)
	}
	text, _ := json.Marshal(out)
	return string(text)
}

// restore loses the collector's disk and brings it back from a backup.
func (r *rig) restore(backup string) {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	for _, name := range append(SeriesFiles(r.cfg.Dir), filepath.Join(r.cfg.Dir, store.BookDir), filepath.Join(r.cfg.Dir, "dead")) {
		if err := os.RemoveAll(name); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := store.Restore(r.t.Context(), backup, r.cfg.Dir, r.reader(), time.UnixMilli(start)); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

func (r *rig) reader() store.Reader {
	return store.Reader{Origin: "kenshin/test", Key: r.cfg.Key.Public().(ed25519.PublicKey)}
}

// TestRestoredIsRefilled: a collector restored from yesterday's backup asks for
// what it lacks and ends equal to one that never failed.
func TestRestoredIsRefilled(t *testing.T) {
	one, two := newSite("site-1", 1), newSite("site-2", 2)
	never, failed := newRig(t, one, two), newRig(t, one, two)
	backup := filepath.Join(t.TempDir(), "backup")
	d := meter("m-1")
	sent := make(map[*site]uint64)
	send := func(s *site) {
		first, last := sent[s]+1, uint64(len(s.recs))
		for _, r := range []*rig{never, failed} {
			if err := r.ingest.take([]Message{s.batch(t, first, last)}); err != nil {
				t.Fatal(err)
			}
		}
		sent[s] = last
	}
	var before uint64
	for hour := range int64(60) {
		for _, s := range []*site{one, two} {
			if hour == 0 {
				s.declare(d)
			}
			s.read(d, hour*3_600_000, uint32(1000+hour*hour))
			send(s)
		}
		if hour == 30 { // yesterday's backup, beside the running collector
			if _, err := store.Backup(t.Context(), failed.cfg.Dir, backup, failed.reader()); err != nil {
				t.Fatal(err)
			}
		}
	}
	before = failed.store.Generation()
	failed.restore(backup)
	failed.acks.sent = nil
	for _, s := range []*site{one, two} { // the edge hears of it with its next batch
		s.read(d, 60*3_600_000, 9_000)
		send(s)
		ack := failed.acks.sent[len(failed.acks.sent)-1]
		if ack.Generation <= before || ack.Through >= sent[s]-1 || len(ack.Want) != 1 || ack.Want[0].From != ack.Through+1 || ack.Want[0].To != sent[s]-1 {
			t.Fatalf("ack after restoring %+v; generation was %d, records to %d", ack, before, sent[s])
		}
		if ack.Chain != s.after[ack.Through] {
			t.Error("the ack's chain hash is not that of the edge")
		}
		if err := failed.ingest.take([]Message{s.batch(t, ack.Want[0].From, sent[s])}); err != nil {
			t.Fatal(err)
		}
		if ack := failed.acks.sent[len(failed.acks.sent)-1]; ack.Through != sent[s] || len(ack.Want) != 0 {
			t.Errorf("refilled: %+v, want through %d", ack, sent[s])
		}
	}
	if a, b := figures(never), figures(failed); a != b {
		t.Errorf("never failed:\n%s\nrestored and refilled:\n%s", a, b)
	}
}

// TestHoleThatNobodyCanFill: what neither side has any more is passed over once
// the edge has signed that it is gone, and the rest is let go.
func TestHoleThatNobodyCanFill(t *testing.T) {
	s := newSite("site-1", 1)
	r := newRig(t, s)
	d := meter("m-1")
	s.declare(d)
	for i := range int64(99) {
		s.read(d, i*60_000, uint32(i))
	}
	take := func(first, last, kept uint64) *wire.Ack {
		t.Helper()
		if err := r.ingest.take([]Message{s.batchKept(t, first, last, kept)}); err != nil {
			t.Fatal(err)
		}
		return r.acks.sent[len(r.acks.sent)-1]
	}
	for _, tt := range []struct {
		first, last, kept uint64
		through           uint64
		want              []wire.Range
		gone              uint64
	}{
		{1, 10, 0, 10, nil, 0},
		{81, 90, 1, 10, []wire.Range{{From: 11, To: 80}}, 0}, // restored: all before 81 is still at the edge, as far as is known
		{91, 95, 51, 10, []wire.Range{{From: 51, To: 80}}, 40},
		{51, 80, 51, 95, nil, 40},
		{96, 100, 60, 100, nil, 40},
		{41, 50, 41, 100, nil, 30}, // it comes after all
	} {
		ack := take(tt.first, tt.last, tt.kept)
		if ack.Through != tt.through || len(ack.Want) != len(tt.want) || len(tt.want) > 0 && ack.Want[0] != tt.want[0] || ack.Chain != s.after[tt.through] {
			t.Errorf("records %d to %d, kept from %d on: ack %+v; want through %d, %v", tt.first, tt.last, tt.kept, ack, tt.through, tt.want)
		}
		if n := r.ingest.gone(); n != tt.gone {
			t.Errorf("records %d to %d: %d are gone, want %d", tt.first, tt.last, n, tt.gone)
		}
	}
	r.reopen()
	if n := r.ingest.gone(); n != 30 {
		t.Errorf("after a start %d records are gone, want 30", n)
	}
	if ack := take(99, 100, 60); ack.Through != 100 {
		t.Errorf("after a start: %+v", ack)
	}
}

// TestQuarantinedIsSentAgain: a record that is damaged and was set aside is asked
// for again, and the figures are those of a book that never was damaged.
func TestQuarantinedIsSentAgain(t *testing.T) {
	s := newSite("site-1", 1)
	whole, r := newRig(t, s), newRig(t, s)
	d := meter("m-1")
	s.declare(d)
	for i := range uint64(10) {
		s.read(d, int64(i)*3_600_000, uint32(1000+i*i))
	}
	var spoiled []byte
	for _, part := range [][2]uint64{{1, 4}, {5, 8}, {9, 11}} {
		m := s.batch(t, part[0], part[1])
		if part[0] == 5 {
			spoiled = m.Payload
		}
		for _, x := range []*rig{whole, r} {
			if err := x.ingest.take([]Message{m}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	book := filepath.Join(r.cfg.Dir, store.BookDir)
	path := filepath.Join(book, "records", "00000000000000000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, spoiled)+5] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), r.cfg); err == nil {
		t.Fatal("a damaged book was opened as if nothing was")
	}
	if done, err := store.Repair(t.Context(), book, "", true, r.reader()); err != nil || done.Aside != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, name := range SeriesFiles(r.cfg.Dir) {
		os.Remove(name)
	}
	r.open()
	if _, err := Recompute(t.Context(), r.Store(), "plant", 0); err != nil {
		t.Errorf("Recompute without the record: %v", err)
	}
	r.acks.sent = nil
	if err := r.ingest.take([]Message{s.batch(t, 9, 11)}); err != nil {
		t.Fatal(err)
	}
	if ack := r.acks.sent[0]; ack.Through != 4 || len(ack.Want) != 1 || ack.Want[0] != (wire.Range{From: 5, To: 8}) {
		t.Errorf("ack %+v, want 5 to 8 again", ack)
	}
	if err := r.ingest.take([]Message{s.batch(t, 5, 8)}); err != nil {
		t.Fatal(err)
	}
	if a, b := figures(whole), figures(r); a != b {
		t.Errorf("never damaged:\n%s\nquarantined and sent again:\n%s", a, b)
	}
	if err := Dump(io.Discard, r.Store()); err != nil {
		t.Error(err)
	}
}

// A series store of a former version is made anew from the book, with a line that says so.
func TestFormerSeriesIsMadeAnew(t *testing.T) {
	s := newSite("site-1", 1)
	d := meter("m-1")
	s.declare(d)
	for i := range int64(50) {
		s.read(d, i*3_600_000, uint32(i*i))
	}
	r := newRig(t, s)
	r.send(s.all(t))
	before := r.totals("plant", 2)
	if err := r.db.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Close()
	db, err := sql.Open("sqlite", filepath.Join(r.cfg.Dir, seriesFile))
	if err == nil {
		_, err = db.Exec("PRAGMA user_version = 2")
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	r.cfg.Log = zap.New(core)
	r.open()
	if after := r.totals("plant", 2); after != before {
		t.Errorf("totals\n%s\nbefore\n%s", after, before)
	}
	if n := logs.FilterMessageSnippet("made anew from the book").Len(); n != 1 {
		t.Errorf("%d lines say that the series store is made anew, want 1", n)
	}
}
