package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

// deliver reads all that is in an outbox, as a collector would get it.
func deliver(t *testing.T, b *Outbox) (out []wire.Record) {
	t.Helper()
	for seq := b.First(); seq <= b.Last(); {
		recs, _, _, err := b.Read(seq, 500, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, recs...)
		seq += uint64(len(recs))
	}
	return out
}

// minutely is reading i of one a minute.
func minutely(i int) wire.Record {
	r := reading(i)
	r.Wall = 1_600_000_000_000/hour*hour + int64(i)*60_000
	return r
}

// TestHeldWhileTheDiskFails: whatever the disk says, nothing is lost, and when it
// works again all is there in order.
func TestHeldWhileTheDiskFails(t *testing.T) {
	for _, x := range []error{syscall.EROFS, syscall.EIO, syscall.ENOSPC} {
		f := &faultFS{FS: journal.OS()}
		b, _, err := Open(t.TempDir(), Options{Edge: "site-1", fs: f})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			if i == 100 {
				f.fault = func(_ int, op, _ string) fault {
					if op == "write" || op == "truncate" || op == "sync" {
						return fault{err: x}
					}
					return fault{}
				}
			}
			if i == 200 {
				held := b.Held()
				if held.Records != 100 || held.Lost != 0 || held.Bytes < 100*60 || b.Last() != 100 {
					t.Errorf("%v: held %+v, on disk %d", x, held, b.Last())
				}
				f.fault = nil
			}
			err := b.Keep(minutely(i))
			if bad := i >= 100 && i < 200; bad != errors.Is(err, ErrHeld) || bad != errors.Is(err, x) {
				t.Fatalf("%v: Keep %d = %v", x, i, err)
			}
		}
		got := deliver(t, b)
		for i := range got {
			if want := minutely(i).Wall; got[i].Wall != want || got[i].Reading == nil {
				t.Fatalf("%v: record %d is of %d, want %d", x, i, got[i].Wall, want)
			}
		}
		if h := b.Held(); len(got) != 300 || h != (Held{}) {
			t.Errorf("%v: %d records, held %+v", x, len(got), h)
		}
		if err := b.Keep(wire.Record{}); err == nil || errors.Is(err, ErrHeld) {
			t.Errorf("a record that is none: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestWhatGoesFirst fills an outbox of what nobody acks. In this order things go:
// what is acked; then, of what is held, what is not the first of its hour; and
// always a record says so before the next reading. What is on disk stays.
func TestWhatGoesFirst(t *testing.T) {
	b, _, err := Open(t.TempDir(), Options{Edge: "site-1", MaxBytes: minMax, HoldBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n, full := 0, 0
	for ; n < 6000; n++ {
		err := b.Keep(minutely(n))
		if err != nil && (!errors.Is(err, ErrHeld) || !errors.Is(err, ErrFull)) {
			t.Fatalf("Keep %d = %v", n, err)
		}
		if err != nil && full == 0 {
			full = n
		}
		if b.log.Size() > minMax {
			t.Fatalf("%d bytes on disk, at most %d", b.log.Size(), minMax)
		}
		if h := b.Held(); h.Bytes > 17<<10 {
			t.Fatalf("held %+v", h)
		}
	}
	if b.First() != 1 || full == 0 {
		t.Fatalf("first %d, full at %d: what was not acked has gone", b.First(), full)
	}
	_, _, chain, err := b.Read(b.Last(), 1, 1)
	if err == nil {
		err = b.Ack(b.Last(), chain)
	}
	before := b.Last()
	if err == nil {
		err = b.Keep(minutely(n)) // there is room now
	}
	if err != nil {
		t.Fatal(err)
	}
	checkThinned(t, deliver(t, b), before, n+1)
}

// checkThinned: every reading is there or told of, and in each hour of those that
// went the first is there unless nothing took it any more.
func checkThinned(t *testing.T, got []wire.Record, fromSeq uint64, n int) {
	t.Helper()
	readings, told, last := 0, uint64(0), int64(0)
	hours := make(map[int64]bool)
	for _, r := range got {
		if r.Event != nil {
			told += r.Event.Count
			if r.Event.Code != wire.EventGap || r.Event.From > r.Event.To || r.Event.Detail == "" {
				t.Errorf("event %+v", r.Event)
			}
			continue
		}
		if r.Wall < last {
			t.Errorf("reading of %d behind one of %d", r.Wall, last)
		}
		last = r.Wall
		readings++
		hours[r.Wall/hour] = true
	}
	if first := got[0].Seq; first > 1 {
		readings += int(first) - 1 // acked and dropped
	}
	if uint64(readings)+told != uint64(n) || told == 0 {
		t.Errorf("%d readings and %d told of as lost, want %d together", readings, told, n)
	}
	if len(hours) < 8 {
		t.Errorf("readings of %d hours only", len(hours))
	}
}

// TestEndedEpochsGo when their space is needed and all that went on is acked, and
// not before.
func TestEndedEpochsGo(t *testing.T) {
	dir, records, epoch := filled(t, 60, 40)
	garble(t, records, 50)
	b, report := openFound(t, dir, minMax)
	if report.Copied != 19 || report.Lost != 1 {
		t.Fatal(report)
	}
	old := func() bool { _, err := os.Stat(filepath.Join(dir, epoch.String())); return err == nil }
	for i := range 10 {
		mustAppend(t, b, large(i))
	}
	if !old() {
		t.Error("the old epoch went before what went on from it was acked")
	}
	ack(t, b, 20)
	if _, err := b.Append(large(1)); err != nil || old() {
		t.Errorf("Append = %v, the old epoch still there: %v", err, old())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if again, report := mustOpen(t, dir, minMax); !report.Clean() || again.Acked() != 20 {
		t.Errorf("opened again: %v, acked %d", report, again.Acked())
	}
}

// TestBack: a collector that was restored is given again what is still here, and
// none of it goes meanwhile.
func TestBack(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, minMax)
	for i := range 200 {
		mustAppend(t, b, large(i))
		ack(t, b, uint64(i+1))
	}
	first := b.First()
	if first < 2 {
		t.Fatal("nothing was dropped")
	}
	for _, tt := range []struct{ through, from, acked uint64 }{
		{300, 301, 200}, {200, 201, 200}, {199, 200, 199}, {first, first + 1, first}, {first - 2, first, first - 1}, {0, first, first - 1},
	} {
		from, err := b.Back(tt.through)
		if err != nil || from != tt.from || b.Acked() != tt.acked {
			t.Errorf("Back(%d) = %d, %v, acked %d; want %d, %d", tt.through, from, err, b.Acked(), tt.from, tt.acked)
		}
	}
	var err error
	for i := 0; err == nil; i++ {
		_, err = b.Append(large(i))
	}
	if !errors.Is(err, ErrFull) || b.First() != first {
		t.Errorf("%v, first %d, was %d: what has to be given again went", err, b.First(), first)
	}
	last := b.Last()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, report := mustOpen(t, dir, minMax)
	if !report.Clean() || b.Acked() != first-1 || b.First() != first || b.Last() != last {
		t.Errorf("opened again: %v, %d to %d, acked %d", report, b.First(), b.Last(), b.Acked())
	}
	ack(t, b, last)
	mustAppend(t, b, large(1))
}

// TestCloseTellsOfWhatIsHeld: what no disk took is not forgotten in silence.
func TestCloseTellsOfWhatIsHeld(t *testing.T) {
	f := &faultFS{FS: journal.OS()}
	b, _, err := Open(t.TempDir(), Options{Edge: "site-1", fs: f})
	if err != nil {
		t.Fatal(err)
	}
	f.fault = func(_ int, op, _ string) fault {
		if op == "write" {
			return fault{err: syscall.EIO}
		}
		return fault{}
	}
	if err := b.Keep(reading(1), reading(2)); !errors.Is(err, ErrHeld) {
		t.Fatal(err)
	}
	if err := b.Close(); !errors.Is(err, ErrHeld) || !bytes.Contains([]byte(fmt.Sprint(err)), []byte("2 records that were held")) {
		t.Errorf("Close = %v", err)
	}
}
