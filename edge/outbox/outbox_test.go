package outbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

func mustOpen(t testing.TB, dir string, max int64) (*Outbox, Report) {
	t.Helper()
	b, report, err := Open(dir, Options{Edge: "site-1", MaxBytes: max})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, report
}

func mustAppend(t testing.TB, b *Outbox, recs ...wire.Record) {
	t.Helper()
	if _, err := b.Append(recs...); err != nil {
		t.Fatal(err)
	}
}

func event(i int) wire.Record {
	return wire.Record{Wall: int64(1_600_000_000_000 + i), Mono: int64(i), Event: &wire.Event{Code: wire.EventBoot, Detail: fmt.Sprint("event ", i)}}
}

func events(from, to int) (out []wire.Record) {
	for i := from; i <= to; i++ {
		out = append(out, event(i))
	}
	return out
}

// chainOf computes the chain hash after the events 1 to n of a new outbox.
func chainOf(n int) (h wire.Hash) {
	for i := 1; i <= n; i++ {
		r := event(i)
		r.Seq = uint64(i)
		h = wire.Chain(h, r.Encode())
	}
	return h
}

// ack acks through with the chain hash that is right for it.
func ack(t testing.TB, b *Outbox, through uint64) {
	t.Helper()
	_, _, chain, err := b.Read(through, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ack(through, chain); err != nil {
		t.Fatal(err)
	}
}

func TestRestartContinues(t *testing.T) {
	dir := t.TempDir()
	b, report := mustOpen(t, dir, 0)
	if !report.Clean() || report.String() != "clean" || b.First() != 1 || b.Last() != 0 || b.Acked() != 0 || b.Epoch() == (wire.Epoch{}) {
		t.Fatalf("a new outbox: %v, records %d to %d, acked %d, epoch %v", report, b.First(), b.Last(), b.Acked(), b.Epoch())
	}
	epoch := b.Epoch()
	for i := 1; i <= 9; i += 3 {
		recs := events(i, i+2)
		if first, err := b.Append(recs...); err != nil || first != uint64(i) {
			t.Fatalf("Append = %d, %v; want %d", first, err, i)
		}
		if recs[0].Seq != 0 {
			t.Error("Append changed what it was given")
		}
		ack(t, b, uint64(i+1))
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if b, report = mustOpen(t, dir, 0); !report.Clean() || b.Epoch() != epoch || b.Last() != uint64(i+2) || b.Acked() != uint64(i+1) {
			t.Fatalf("opened again: %v, epoch %v, last %d, acked %d", report, b.Epoch(), b.Last(), b.Acked())
		}
	}
	for seq := 1; seq <= 9; seq++ {
		for _, limit := range []struct{ records, bytes, want int }{{100, 1 << 20, 10 - seq}, {2, 1 << 20, 2}, {1, 1 << 20, 1}, {0, 0, 1}, {100, 1, 1}, {100, 60, 2}} {
			want := min(limit.want, 10-seq)
			recs, prev, chain, err := b.Read(uint64(seq), limit.records, limit.bytes)
			if err != nil || len(recs) != want || recs[0].Seq != uint64(seq) || prev != chainOf(seq-1) || chain != chainOf(seq-1+want) {
				t.Errorf("Read(%d, %d, %d) = %d records, %v; want %d with the chain of them", seq, limit.records, limit.bytes, len(recs), err, want)
			}
			if len(recs) > 0 && recs[0].Event.Detail != fmt.Sprint("event ", seq) {
				t.Errorf("record %d is %q", seq, recs[0].Event.Detail)
			}
		}
	}
	for _, seq := range []uint64{0, 10} {
		if _, _, _, err := b.Read(seq, 1, 1); err == nil || !strings.Contains(err.Error(), "it holds records 1 to 9") {
			t.Errorf("Read(%d) = %v", seq, err)
		}
	}
}

func TestAck(t *testing.T) {
	b, _ := mustOpen(t, t.TempDir(), 0)
	mustAppend(t, b, events(1, 5)...)
	for _, tt := range []struct {
		name    string
		through uint64
		chain   wire.Hash
		want    string // of the error
		acked   uint64
	}{
		{"nothing", 0, wire.Hash{}, "acked already", 0},
		{"first", 2, chainOf(2), "", 2},
		{"again", 2, chainOf(2), "acked already", 2},
		{"older", 1, chainOf(1), "acked already", 2},
		{"of other records", 4, chainOf(3), ErrOldCopy.Error(), 2},
		{"beyond", 6, chainOf(6), "the last record here is 5: " + ErrOldCopy.Error(), 2},
		{"all", 5, chainOf(5), "", 5},
	} {
		err := b.Ack(tt.through, tt.chain)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || b.Acked() != tt.acked {
			t.Errorf("%s: Ack(%d) = %v, acked %d; want %q, %d", tt.name, tt.through, err, b.Acked(), tt.want, tt.acked)
		}
		if errors.Is(err, ErrOldAck) != (tt.want == "acked already") {
			t.Errorf("%s: Ack = %v, is ErrOldAck: %v", tt.name, err, errors.Is(err, ErrOldAck))
		}
	}
}

func TestAppendIsAllOrNothing(t *testing.T) {
	b, _ := mustOpen(t, t.TempDir(), 0)
	bad := event(2)
	bad.Event.Detail = strings.Repeat("x", wire.MaxText+1)
	_, err := b.Append(event(1), bad, event(3))
	if err == nil || !strings.Contains(err.Error(), "record 2 of 3: event detail of 257 bytes") || b.Last() != 0 {
		t.Errorf("Append of an impossible record = %v, last %d", err, b.Last())
	}
	mustAppend(t, b, event(1))
	if first, err := b.Append(); first != 2 || err != nil {
		t.Errorf("Append of nothing = %d, %v; want 2", first, err)
	}
	if _, _, chain, err := b.Read(1, 1, 1); err != nil || chain != chainOf(1) {
		t.Errorf("the chain took in records that were refused: %v", err)
	}
}

func TestChanged(t *testing.T) {
	b, _ := mustOpen(t, t.TempDir(), 0)
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	c := b.Changed()
	if closed(c) {
		t.Error("closed before anything happened")
	}
	mustAppend(t, b, event(1))
	if !closed(c) {
		t.Error("not closed by Append")
	}
	c = b.Changed()
	if err := b.Ack(1, wire.Hash{1}); err == nil || closed(c) {
		t.Errorf("an ack that does not hold: %v, closed %v", err, closed(c))
	}
	if err := b.Ack(1, chainOf(1)); err != nil || !closed(c) {
		t.Errorf("an ack: %v, closed %v", err, closed(c))
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, 0)
	open := func(dir, edge string, max int64) error {
		other, _, err := Open(dir, Options{Edge: edge, MaxBytes: max})
		if err == nil {
			other.Close()
		}
		return err
	}
	if err := open(dir, "site-1", 0); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("open twice: %v; want ErrLocked", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	damaged, later := t.TempDir(), t.TempDir()
	text := identity{edge: "site-1"}.text()
	for dir, text := range map[string]string{damaged: strings.Replace(text, "site-1", "site-2", 1), later: strings.Replace(text, "outbox 1", "outbox 2", 1)} {
		if err := os.WriteFile(filepath.Join(dir, identityFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		dir, edge string
		max       int64
		want      string
	}{
		{dir, "site-2", 0, "it belongs to edge site-1, not to site-2"},
		{dir, "Site 1", 0, `edge id "Site 1"`},
		{dir, "site-1", 1000, "at most 1000 bytes are too few"},
		{damaged, "site-2", 0, "identity: it is damaged: move the file away"},
		{later, "site-1", 0, `"kenshin outbox 2" is of a later version`},
	} {
		if err := open(tt.dir, tt.edge, tt.max); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open for %s, %d bytes = %v; want %q", tt.edge, tt.max, err, tt.want)
		}
	}
	if err := Dump(io.Discard, t.TempDir()); err == nil || !strings.Contains(err.Error(), "not an outbox") {
		t.Errorf("Dump of an empty folder: %v", err)
	}
}

// TestMaxBytes: what is acked makes room, what is not never does.
func TestMaxBytes(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, minMax)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = b.Append(large(n))
	}
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "of 262144 bytes") || b.First() != 1 || b.Last() != uint64(n-1) {
		t.Fatalf("full: %v, records %d to %d of %d", err, b.First(), b.Last(), n-1)
	}
	if size := onDisk(t, b); size > minMax || size < minMax*3/4 {
		t.Errorf("full at %d of %d bytes", size, minMax)
	}
	ack(t, b, 5) // not a whole segment
	if _, err := b.Append(large(n)); !errors.Is(err, ErrFull) {
		t.Errorf("five records acked: %v; want still ErrFull", err)
	}
	ack(t, b, b.Last()-3)
	for range 200 {
		mustAppend(t, b, large(n))
		n++
		ack(t, b, b.Last()-2)
		if size := onDisk(t, b); size > minMax {
			t.Fatalf("%d bytes on disk, at most %d", size, minMax)
		}
	}
	first := b.First()
	if first == 1 || first > b.Acked() {
		t.Errorf("First = %d, acked %d: acked records must leave, and only those", first, b.Acked())
	}
	if recs, _, _, err := b.Read(first, 1000, 1<<30); err != nil || uint64(len(recs)) != b.Last()-first+1 {
		t.Errorf("Read from First = %d records, %v", len(recs), err)
	}
	if _, _, _, err := b.Read(first-1, 1, 1); err == nil {
		t.Error("Read before First: no error")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again, report := mustOpen(t, dir, minMax)
	if !report.Clean() || again.First() != first || again.Acked() != b.Acked() {
		t.Errorf("opened again: %v, first %d, acked %d; want %d, %d", report, again.First(), again.Acked(), first, b.Acked())
	}
	mustAppend(t, again, large(n))
}

func onDisk(t *testing.T, b *Outbox) (size int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, b.epoch.String(), "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// TestSmallerMaxBytes: an outbox that was allowed more shrinks when it is opened.
func TestSmallerMaxBytes(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, 16*minMax)
	for i := range 600 {
		mustAppend(t, b, large(i))
	}
	ack(t, b, 500)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, report := mustOpen(t, dir, minMax)
	if !report.Clean() || b.First() == 1 || b.First() > 501 || b.Last() != 600 {
		t.Errorf("shrunk: %v, records %d to %d", report, b.First(), b.Last())
	}
	if _, err := b.Append(large(0)); !errors.Is(err, ErrFull) {
		t.Errorf("Append with more unacked than is allowed: %v; want ErrFull", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	b, _ := mustOpen(t, t.TempDir(), minMax)
	const total = 250
	var wg sync.WaitGroup
	wg.Go(func() { // the publisher and the collector
		chain, next := wire.Hash{}, uint64(1)
		for next <= total {
			changed := b.Changed()
			if b.Last() < next {
				<-changed
				continue
			}
			recs, prev, after, err := b.Read(next, 20, 1<<20)
			if err != nil || prev != chain || recs[0].Seq != next {
				t.Errorf("Read(%d): prev %.8s, want %.8s, %v", next, prev, chain, err)
				return
			}
			chain, next = after, next+uint64(len(recs))
			if err := b.Ack(next-1, chain); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Go(func() { // whoever looks on
		for b.Acked() < total {
			changed := b.Changed()
			if first, acked, last := b.First(), b.Acked(), b.Last(); acked > last || first > last+1 {
				t.Errorf("first %d, acked %d, last %d", first, acked, last)
				return
			}
			if b.Acked() < total {
				<-changed
			}
		}
	})
	for i := 0; i < total; {
		changed := b.Changed()
		_, err := b.Append(large(i))
		if errors.Is(err, ErrFull) {
			<-changed
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		i++
	}
	wg.Wait()
	if b.Acked() != total {
		t.Errorf("acked %d, want %d", b.Acked(), total)
	}
}

func TestDump(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, 0)
	d := wire.Declaration{Device: "meter-1", Blocks: []wire.Block{{Function: 3, Address: 10, Count: 1}}}
	reading := wire.Record{Wall: 1_589_500_800_123, Mono: 7, Clock: wire.ClockSynced,
		Reading: &wire.Reading{Declaration: d.Hash(), Blocks: []wire.BlockResult{{Words: []uint16{513}}}}}
	mustAppend(t, b, event(1), wire.Record{Declaration: &d}, reading)
	ack(t, b, 2)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Dump(&out, dir); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var kinds []string
	for i, text := range lines {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.Seq != uint64(i+1) || l.Epoch != b.Epoch() || l.Acked != (i < 2) {
			t.Errorf("line %d: %s: %v", i+1, text, err)
		}
		kinds = append(kinds, l.Kind)
	}
	if fmt.Sprint(kinds) != "[event declaration reading]" || !strings.Contains(lines[2], `"at":"2020-05-15T00:00:00.123Z","mono_ms":7,"clock":1`) || !strings.Contains(lines[2], `"Words":[513]`) {
		t.Errorf("dump is\n%s", out.String())
	}
}
