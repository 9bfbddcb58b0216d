package outbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/wire"
)

// filled closes an outbox of n large records, acked up to through, and returns
// its folder and that of its records.
func filled(t *testing.T, n int, through uint64) (dir, records string, epoch wire.Epoch) {
	t.Helper()
	dir = t.TempDir()
	b, _ := mustOpen(t, dir, 4*minMax)
	for i := range n {
		mustAppend(t, b, large(i))
	}
	if through > 0 {
		ack(t, b, through)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, b.Epoch().String()), b.Epoch()
}

// garble changes a byte in the middle of record seq.
func garble(t *testing.T, records string, seq uint64) {
	t.Helper()
	r := large(int(seq - 1))
	r.Seq = seq
	files, err := filepath.Glob(filepath.Join(records, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, r.Encode()); at >= 0 {
			b[at+len(r.Encode())/2] ^= 0x10
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("record %d is in no segment", seq)
}

func garbleCursor(t *testing.T, records string) {
	t.Helper()
	path := filepath.Join(records, cursorFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[20] ^= 1
	b[slotDistance+20] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// openFound opens an outbox as an agent does: whatever damage stands in the way of
// delivering ends the agent, and its next start deals with it.
func openFound(t *testing.T, dir string, max int64) (*Outbox, Report) {
	t.Helper()
	b, report := mustOpen(t, dir, max)
	for seq := b.Acked() + 1; report.Renewed == "" && seq <= b.Last(); {
		recs, _, _, err := b.Read(seq, 500, 1<<20)
		if err != nil {
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			return mustOpen(t, dir, max)
		}
		seq += uint64(len(recs))
	}
	return b, report
}

// TestRenew is the table of what takes a new epoch and what goes on in it.
func TestRenew(t *testing.T) {
	const n = 60
	for _, tt := range []struct {
		name   string
		acked  uint64
		harm   func(t *testing.T, records string)
		why    string // "" when the epoch goes on
		copied uint64
		lost   uint64
	}{
		{"nothing", 40, func(*testing.T, string) {}, "", 0, 0},
		{"cursor lost", 40, garbleCursor, "", 0, 0},
		{"damage in what is acked", 40, func(t *testing.T, dir string) { garble(t, dir, 39) }, "", 0, 0},
		{"damage at the last acked", 40, func(t *testing.T, dir string) { garble(t, dir, 40) }, "record 40, the last that was acked, cannot be read", 20, 0},
		{"damage in what is not", 40, func(t *testing.T, dir string) { garble(t, dir, 44); garble(t, dir, 45) }, "records 44 to 45, not all of them acked", 18, 2},
		{"damage and nothing acked", 0, func(t *testing.T, dir string) { garble(t, dir, 1) }, "records 1 to 1", 59, 1},
		{"segments removed", 40, func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
			if err != nil || len(files) < 4 {
				t.Fatal(files, err)
			}
			for _, f := range files[1:] {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
		}, "to 40, which were acked", 0, 0},
		{"all segments removed", 40, func(t *testing.T, dir string) {
			files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
			for _, f := range files {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
		}, "record 40 was acked and only 0", 0, 0},
		{"cursor of another copy", 40, func(t *testing.T, dir string) {
			c := cursor{fs: journal.OS(), path: filepath.Join(dir, cursorFile), turn: 10}
			if err := c.save(mark{50, wire.Hash{1}}); err != nil {
				t.Fatal(err)
			}
		}, "record 50 is not the one that was acked", 10, 0},
	} {
		dir, records, epoch := filled(t, n, tt.acked)
		tt.harm(t, records)
		b, report := openFound(t, dir, 4*minMax)
		if (report.Renewed == "") != (tt.why == "") || !strings.Contains(report.Renewed, tt.why) || report.Copied != tt.copied || report.Lost != tt.lost {
			t.Errorf("%s: report %+v; want %q, %d copied, %d lost", tt.name, report, tt.why, tt.copied, tt.lost)
			continue
		}
		if (b.Epoch() == epoch) != (tt.why == "") {
			t.Errorf("%s: epoch %v, was %v", tt.name, b.Epoch(), epoch)
		}
		if tt.why == "" {
			checkGoesOn(t, tt.name, b, n)
			continue
		}
		if report.Old != records || report.Clean() || !strings.Contains(report.String(), "a new epoch was begun because") {
			t.Errorf("%s: report %v", tt.name, report)
		}
		checkRenewed(t, tt.name, b, tt.copied, tt.lost)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if again, report := mustOpen(t, dir, 4*minMax); !report.Clean() || again.Epoch() != b.Epoch() {
			t.Errorf("%s: opened again: %v, epoch %v, was %v", tt.name, report, again.Epoch(), b.Epoch())
		}
	}
}

func checkGoesOn(t *testing.T, name string, b *Outbox, n uint64) {
	t.Helper()
	first, err := b.Append(large(0))
	if err != nil || first != n+1 {
		t.Errorf("%s: Append = %d, %v; want %d", name, first, err, n+1)
	}
	from := b.Acked() + 1
	if recs, _, _, err := b.Read(from, 1000, 1<<30); err != nil || uint64(len(recs)) != n+2-from {
		t.Errorf("%s: Read from %d = %d records, %v", name, from, len(recs), err)
	}
}

func checkRenewed(t *testing.T, name string, b *Outbox, copied, lost uint64) {
	t.Helper()
	want := copied
	if lost > 0 {
		want++
	}
	if b.Last() != want || b.Acked() != 0 || b.First() != 1 {
		t.Errorf("%s: records %d to %d, acked %d; want 1 to %d, 0", name, b.First(), b.Last(), b.Acked(), want)
		return
	}
	var noted uint64
	if want > 0 {
		recs, prev, _, err := b.Read(1, 1000, 1<<30)
		if err != nil || uint64(len(recs)) != want || prev != (wire.Hash{}) {
			t.Errorf("%s: Read = %d records, %v", name, len(recs), err)
		}
		for _, r := range recs {
			if r.Event != nil {
				noted += r.Event.Count
				if r.Event.Code != wire.EventRepair || r.Event.From == 0 || r.Event.To < r.Event.From {
					t.Errorf("%s: event %+v", name, r.Event)
				}
			}
		}
	}
	if noted != lost {
		t.Errorf("%s: the records say that %d are lost, want %d", name, noted, lost)
	}
	mustAppend(t, b, event(1))
}

// TestRenewFull: an outbox that holds more than it may is renewed too, and
// stays full.
func TestRenewFull(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, 2*minMax)
	n := uint64(0)
	for {
		if _, err := b.Append(large(int(n))); err != nil {
			break
		}
		n++
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	records := filepath.Join(dir, b.Epoch().String())
	garble(t, records, 9)
	b, report := openFound(t, dir, minMax)
	if report.Copied != n-1 || report.Lost != 1 || b.Last() != n {
		t.Errorf("report %v, last %d; want %d copied", report, b.Last(), n-1)
	}
	if _, err := b.Append(event(1)); !errors.Is(err, ErrFull) {
		t.Errorf("Append = %v; want ErrFull", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Dump(&out, dir); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != int(2*n) || strings.Count(out.String(), `"damage"`) != 1 {
		t.Errorf("a dump of both epochs has %d lines, want %d and one with the damage", got, 2*n)
	}
}

// TestCursorAfterKill: without Close the cursor may be behind, never ahead, and
// never before what was dropped.
func TestCursorAfterKill(t *testing.T) {
	dir := t.TempDir()
	f := &faultFS{FS: journal.OS()}
	b, _, err := Open(dir, Options{Edge: "site-1", fs: f})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		mustAppend(t, b, events(600*i+1, 600*i+600)...)
		ack(t, b, uint64(600*i+1))
	}
	f.restart()
	again, report := mustOpen(t, dir, 0)
	if acked := again.Acked(); !report.Clean() || acked > 1201 || acked+saveEvery <= 1201 {
		t.Errorf("after a kill: %v, acked %d; want at most 1201 and less than %d behind", report, acked, saveEvery)
	}
}

// TestDroppedThenKilled: what was dropped stays acked, to the record.
func TestDroppedThenKilled(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, minMax)
	mustAppend(t, b, large(0), large(1))
	ack(t, b, 2) // the cursor on disk says 2
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	f := &faultFS{FS: journal.OS()}
	b, _, err := Open(dir, Options{Edge: "site-1", MaxBytes: minMax, fs: f})
	if err != nil {
		t.Fatal(err)
	}
	for i := 2; ; i++ {
		if _, err := b.Append(large(i)); err != nil {
			break
		}
	}
	segs := b.log.Segments()
	ack(t, b, segs[2].First-1) // exactly two segments
	for i := 0; ; i++ {
		if _, err := b.Append(large(i)); err != nil {
			break
		}
	}
	first, acked, last := b.First(), b.Acked(), b.Last()
	if first == 1 || first > acked+1 {
		t.Errorf("first %d, acked %d: want something dropped and the next record to deliver readable", first, acked)
	}
	if _, _, _, err := b.Read(acked+1, 1, 1); err != nil {
		t.Error(err)
	}
	f.restart()
	again, report := mustOpen(t, dir, minMax)
	if !report.Clean() || again.First() != first || again.Acked() > acked || again.Acked() < first-1 || again.Last() != last {
		t.Errorf("after a kill: %v, first %d, acked %d, last %d; want %d, %d at most, %d", report, again.First(), again.Acked(), again.Last(), first, acked, last)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	garbleCursor(t, filepath.Join(dir, b.Epoch().String()))
	again, report = mustOpen(t, dir, minMax)
	if !report.Clean() || again.Acked() != first-1 || again.First() != first {
		t.Errorf("the cursor lost: %v, first %d, acked %d; want %d, %d", report, again.First(), again.Acked(), first, first-1)
	}
	ack(t, again, last)
}

// TestTornSlot: a slot that is torn while it is written leaves the mark before.
func TestTornSlot(t *testing.T) {
	dir := t.TempDir()
	c, _, err := openCursor(journal.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 5; i++ {
		if err := c.save(mark{i, wire.Hash{byte(i)}}); err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(c.path)
		if err != nil {
			t.Fatal(err)
		}
		torn := bytes.Clone(whole)
		for at := range slotBytes / 2 {
			torn[int(c.turn%2)*slotDistance+at] = 0
		}
		for _, tt := range []struct {
			bytes []byte
			want  uint64
		}{{torn, i - 1}, {whole, i}} {
			if err := os.WriteFile(c.path, tt.bytes, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, m, err := openCursor(journal.OS(), dir); err != nil || m.through != tt.want {
				t.Errorf("save %d: the cursor reads as %d, %v; want %d", i, m.through, err, tt.want)
			}
		}
	}
}

// TestEveryByteOfASlot: a slot with any byte changed is no slot.
func TestEveryByteOfASlot(t *testing.T) {
	slot := appendSlot(nil, 3, mark{7, wire.Hash{1, 2}})
	if turn, m, whole, err := parseSlot(slot); turn != 3 || m.through != 7 || m.chain != (wire.Hash{1, 2}) || !whole || err != nil {
		t.Errorf("slot reads as %d, %+v, %v, %v", turn, m, whole, err)
	}
	for i := range slot {
		for bit := range 8 {
			bad := bytes.Clone(slot)
			bad[i] ^= 1 << bit
			if _, _, whole, _ := parseSlot(bad); whole {
				t.Errorf("bit %d of byte %d changed and not noticed", bit, i)
			}
		}
	}
	if _, _, whole, _ := parseSlot(make([]byte, slotBytes)); whole {
		t.Error("zeros are taken for a slot")
	}
	if _, _, whole, _ := parseSlot(slot[:63]); whole {
		t.Error("63 bytes are taken for a slot")
	}
}

// TestOldCopyFoundByAnAck: a bytewise older copy goes on where it was and finds
// out by an ack of records it never had. The next opening takes what is not acked
// into a new epoch, and nothing that the collector has is given its number again.
func TestOldCopyFoundByAnAck(t *testing.T) {
	dir := t.TempDir()
	b, _ := mustOpen(t, dir, 0)
	mustAppend(t, b, events(1, 30)...)
	ack(t, b, 20)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, report := mustOpen(t, dir, 0)
	if !report.Clean() {
		t.Fatal(report)
	}
	mustAppend(t, b, events(31, 35)...)
	old := b.Epoch()
	if err := b.Ack(90, chainOf(90)); !errors.Is(err, ErrOldCopy) || b.Acked() != 20 {
		t.Fatalf("Ack = %v, acked %d", err, b.Acked())
	}
	if err := b.Disown(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, report = mustOpen(t, dir, 0)
	if report.Renewed == "" || report.Copied != 15 || report.Lost != 0 || b.Epoch() == old || b.Last() != 15 || b.Acked() != 0 {
		t.Errorf("opened again: %v; epoch new: %v, %d records, %d acked", report, b.Epoch() != old, b.Last(), b.Acked())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, report = mustOpen(t, dir, 0); !report.Clean() {
		t.Errorf("opened a third time: %v", report)
	}
}

// TestIdentityIsMissing: with one epoch there the outbox goes on in it; with several
// nobody can tell which was the last, and the report says what stays where.
func TestIdentityIsMissing(t *testing.T) {
	dir, records, epoch := filled(t, 60, 40)
	if err := os.Remove(filepath.Join(dir, identityFile)); err != nil {
		t.Fatal(err)
	}
	b, report := mustOpen(t, dir, 4*minMax)
	if b.Epoch() != epoch || b.Last() != 60 || b.Acked() != 40 || report.Clean() || !strings.Contains(report.String(), "was missing") {
		t.Errorf("epoch as before: %v, %d records, %d acked, %v", b.Epoch() == epoch, b.Last(), b.Acked(), report)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	garble(t, records, 50) // a new epoch begins beside the old one
	b, _ = openFound(t, dir, 4*minMax)
	second := b.Epoch()
	if err := errors.Join(b.Close(), os.Remove(filepath.Join(dir, identityFile))); err != nil {
		t.Fatal(err)
	}
	b, report = mustOpen(t, dir, 4*minMax)
	if b.Epoch() == epoch || b.Epoch() == second || b.Last() != 0 || !strings.Contains(report.String(), "2 epochs") {
		t.Errorf("%d records, %v", b.Last(), report)
	}
}
