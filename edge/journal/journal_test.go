package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew: only with a new format version")

func mustOpen(t testing.TB, dir string, o Options) (*Log, Report) {
	t.Helper()
	l, report, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, report
}

func mustAppend(t testing.TB, l *Log, entries ...string) uint64 {
	t.Helper()
	group := make([][]byte, len(entries))
	for i, e := range entries {
		group[i] = []byte(e)
	}
	first, err := l.Append(group...)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// contents returns what can be read, and what is damaged.
func contents(l *Log) (entries map[uint64]string, damages []Damage, err error) {
	entries = map[uint64]string{}
	from := l.First()
	for from < l.Next() {
		err := l.Scan(from, func(seq uint64, e []byte) error {
			entries[seq], from = string(e), seq+1
			return nil
		})
		var d *Damage
		if errors.As(err, &d) {
			if !errors.Is(err, ErrCorrupt) || d.To < from {
				return nil, nil, fmt.Errorf("damage %+v at entry %d: %w", d, from, err)
			}
			damages = append(damages, *d)
			from = d.To + 1
			continue
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return entries, damages, nil
}

func fresh(t testing.TB, segments map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range segments {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestEntriesComeBackInOrder(t *testing.T) {
	dir := t.TempDir()
	l, report := mustOpen(t, dir, Options{SegmentBytes: minSegment})
	if !report.Clean() || report.String() != "clean" || l.First() != 1 || l.Next() != 1 || l.Size() != 0 {
		t.Fatalf("a new journal: %v, entries %d to before %d, %d bytes", report, l.First(), l.Next(), l.Size())
	}
	var want []string
	for i := range 40 {
		want = append(want, strings.Repeat(fmt.Sprint(i%10), i*i%700)) // the first is empty
	}
	want = append(want, strings.Repeat("large", 4000), "behind it") // one that gets its own segment
	for i := 0; i < len(want); {
		n := min(1+i%4, len(want)-i)
		before, growth := l.Size(), l.Growth(byteSlices(want[i:i+n])...)
		if first := mustAppend(t, l, want[i:i+n]...); first != uint64(i+1) {
			t.Fatalf("Append of entry %d gave number %d", i+1, first)
		}
		if l.Size() != before+growth {
			t.Fatalf("entry %d: Growth said %d, Size went from %d to %d", i+1, growth, before, l.Size())
		}
		i += n
	}
	for range 2 { // as written, and opened again
		for i, w := range want {
			if got, err := l.Read(uint64(i + 1)); err != nil || string(got) != w {
				t.Fatalf("Read(%d) = %.20q, %v; want %.20q", i+1, got, err, w)
			}
			if back := uint64(len(want) - i); i%5 == 0 {
				if got, err := l.Read(back); err != nil || string(got) != want[back-1] {
					t.Fatalf("Read(%d) = %.20q, %v; want %.20q", back, got, err, want[back-1])
				}
			}
		}
		for from := range len(want) + 1 {
			n := from
			err := l.Scan(uint64(from+1), func(seq uint64, e []byte) error {
				if seq != uint64(n+1) || string(e) != want[n] {
					return fmt.Errorf("entry %d: %.20q, want %d: %.20q", seq, e, n+1, want[n])
				}
				n++
				return nil
			})
			if err != nil || n != len(want) {
				t.Fatalf("Scan(%d) ended before %d: %v", from+1, n+1, err)
			}
		}
		for _, seq := range []uint64{0, uint64(len(want) + 1), 1 << 60} {
			if _, err := l.Read(seq); err == nil || errors.Is(err, ErrCorrupt) {
				t.Errorf("Read(%d) of an entry that never was: %v", seq, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, report = mustOpen(t, dir, Options{SegmentBytes: minSegment})
		if !report.Clean() {
			t.Fatalf("after Close: %v", report)
		}
	}
}

func byteSlices(s []string) (out [][]byte) {
	for _, e := range s {
		out = append(out, []byte(e))
	}
	return out
}

func TestDropBefore(t *testing.T) {
	dir := t.TempDir()
	l, _ := mustOpen(t, dir, Options{SegmentBytes: minSegment})
	for range 30 {
		mustAppend(t, l, strings.Repeat("x", 900))
	}
	segs := l.Segments()
	if len(segs) < 5 {
		t.Fatalf("only %d segments", len(segs))
	}
	for _, tt := range []struct {
		seq   uint64
		drops int
	}{{0, 0}, {1, 0}, {segs[1].First - 1, 0}, {segs[1].First, 1}, {segs[3].First + 1, 2}, {segs[3].First, 0}, {1 << 40, len(segs) - 4}, {1 << 40, 0}} {
		if _, err := l.Read(l.First()); err != nil { // holds the file that goes
			t.Fatal(err)
		}
		if n, err := l.DropBefore(tt.seq); err != nil || n != tt.drops {
			t.Errorf("DropBefore(%d) = %d, %v; want %d", tt.seq, n, err, tt.drops)
		}
	}
	last := segs[len(segs)-1]
	if l.First() != last.First || l.Next() != 31 || l.Size() != last.Bytes {
		t.Errorf("left: entries %d to before %d, %d bytes; want %d to before 31, %d", l.First(), l.Next(), l.Size(), last.First, last.Bytes)
	}
	if err := l.Scan(1, func(uint64, []byte) error { return nil }); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("holds entries %d to 30", last.First)) {
		t.Errorf("Scan of dropped entries: %v", err)
	}
	if _, err := l.Read(2); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("Read of a dropped entry: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, report := mustOpen(t, dir, Options{SegmentBytes: minSegment})
	if !report.Clean() || again.First() != last.First || again.Next() != 31 {
		t.Errorf("opened again: %v, entries %d to before %d", report, again.First(), again.Next())
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	l, _ := mustOpen(t, dir, Options{})
	_, _, err := Open(dir, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("second Open: %v; want ErrLocked with the process and what to do", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, Options{})
}

func TestRefused(t *testing.T) {
	later := appendHeader(nil, 1)
	later[8] = 9
	binary.LittleEndian.PutUint32(later[28:], crc(later[:28]))
	for _, tt := range []struct {
		name  string
		files map[string][]byte
		o     Options
		want  string
	}{
		{"later version", map[string][]byte{segmentName(1): later}, Options{}, "unknown version 9, this program reads 1"},
		{"later version, not last", map[string][]byte{segmentName(1): later, segmentName(5): appendHeader(nil, 5)}, Options{}, "unknown version 9"},
		{"strange name", map[string][]byte{"12.seg": nil}, Options{}, "12.seg is not the name of a segment"},
		{"tiny segments", nil, Options{SegmentBytes: 100}, "want at least 4096"},
	} {
		_, _, err := Open(fresh(t, tt.files), tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open = %v; want %q", tt.name, err, tt.want)
		}
	}
	l, _ := mustOpen(t, t.TempDir(), Options{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, appendErr := l.Append([]byte("x"))
	_, readErr := l.Read(1)
	_, dropErr := l.DropBefore(1)
	for what, err := range map[string]error{"Append": appendErr, "Read": readErr, "DropBefore": dropErr} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

// TestScanStopsWithTheError: what fn returns comes back as it is.
func TestScanStopsWithTheError(t *testing.T) {
	l, _ := mustOpen(t, t.TempDir(), Options{SegmentBytes: minSegment})
	for _, e := range []string{"a", "b", "c"} {
		mustAppend(t, l, strings.Repeat(e, 2500)) // a segment each
	}
	enough, seen := errors.New("enough"), 0
	err := l.Scan(2, func(seq uint64, e []byte) error {
		seen++
		return enough
	})
	if err != enough || seen != 1 {
		t.Errorf("Scan = %v after %d entries, want the error of fn after 1", err, seen)
	}
	seen = 0
	err = l.Scan(1, func(uint64, []byte) error {
		seen++
		_, err := l.Append([]byte("more"))
		return err
	})
	if err != nil || seen != 3 {
		t.Errorf("Scan while appending = %v after %d entries, want the 3 there were", err, seen)
	}
	if err := l.Scan(9, func(uint64, []byte) error { return nil }); err == nil {
		t.Error("Scan from beyond Next: no error")
	}
}

// TestReadersBesideAppend: readers see only whole, durable entries, in order,
// while others append and drop.
func TestReadersBesideAppend(t *testing.T) {
	l, _ := mustOpen(t, t.TempDir(), Options{SegmentBytes: minSegment})
	const total = 120
	entry := func(seq uint64) []byte { return bytes.Repeat([]byte{byte(seq)}, int(seq*37%997)) }
	var wg sync.WaitGroup
	var ticks []chan uint64 // of each reader, the entries appended
	reader := func(read func(seq uint64) error) {
		tick := make(chan uint64, total)
		ticks = append(ticks, tick)
		wg.Go(func() {
			for seq := range tick {
				if err := read(seq); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		reader(func(seq uint64) error {
			from := l.First()
			err := l.Scan(from, func(n uint64, e []byte) error {
				if n != from || !bytes.Equal(e, entry(n)) {
					return fmt.Errorf("entry %d: %d bytes, at %d", n, len(e), from)
				}
				from++
				return nil
			})
			if err == nil && from <= seq {
				return fmt.Errorf("scan ended before %d, %d was durable", from, seq)
			}
			if l.First() > from {
				return nil // dropped meanwhile
			}
			return err
		})
	}
	reader(func(seq uint64) error {
		e, err := l.Read(seq)
		if err == nil && !bytes.Equal(e, entry(seq)) {
			return fmt.Errorf("Read(%d): %d bytes", seq, len(e))
		}
		if l.First() > seq {
			return nil
		}
		return err
	})
	for seq := uint64(1); seq <= total; seq++ {
		if first, err := l.Append(entry(seq)); err != nil || first != seq {
			t.Fatalf("Append = %d, %v; want %d", first, err, seq)
		}
		if seq%25 == 0 {
			if _, err := l.DropBefore(seq - 20); err != nil {
				t.Fatal(err)
			}
		}
		for _, tick := range ticks {
			tick <- seq
		}
	}
	for _, tick := range ticks {
		close(tick)
	}
	wg.Wait()
}

// TestGolden keeps version 1 readable: these bytes were written once and stay.
func TestGolden(t *testing.T) {
	b := appendHeader(nil, 7)
	b = appendGroup(b, 7, byteSlices([]string{"alone"}))
	b = appendGroup(b, 8, byteSlices([]string{"of three", "", "the last"}))
	b = append(b, make([]byte, 40)...)
	path := filepath.Join("testdata", "segment.golden")
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	then, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, then) {
		t.Errorf("a segment is now written as\n%x, version 1 is\n%x", b, then)
	}
	l, report := mustOpen(t, fresh(t, map[string][]byte{segmentName(7): then}), Options{})
	got, damages, err := contents(l)
	want := map[uint64]string{7: "alone", 8: "of three", 9: "", 10: "the last"}
	if err != nil || !report.Clean() || damages != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("segment.golden reads as %v, %v, %v, %v; want %v", got, report, damages, err, want)
	}
	if first := mustAppend(t, l, "next"); first != 11 {
		t.Errorf("the entry behind got number %d, want 11", first)
	}
}
