package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadBesideTheWriter: who only reads takes no lock, changes nothing, and
// sees what is durable.
func TestReadBesideTheWriter(t *testing.T) {
	s := newSimFS()
	l, _ := mustOpen(t, "log", Options{SegmentBytes: minSegment, FS: s})
	for i := range 20 {
		mustAppend(t, l, strings.Repeat(fmt.Sprint(i%10), 400), "second")
	}
	last := l.Segments()[len(l.Segments())-1]
	copy(s.Bytes("log/" + last.Name)[l.end:], appendFrame(nil, l.next, begins, []byte("half of an append"))) // being written
	if _, err := s.Open("log/"+segmentName(99)+newSuffix, os.O_RDWR|os.O_CREATE); err != nil {               // being made
		t.Fatal(err)
	}
	before := make(map[string]string)
	for _, name := range s.Names() {
		before[name] = string(s.Bytes(name))
	}
	r, report, err := Open("log", Options{ReadOnly: true, FS: s})
	if err != nil || report.Cut == 0 || len(report.Damages) > 0 || !strings.Contains(report.String(), "not finished") {
		t.Fatalf("Open = %v, %v", report, err)
	}
	want, _, err := contents(l)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := contents(r); err != nil || !maps.Equal(got, want) || r.First() != l.First() || r.Next() != l.Next() {
		t.Errorf("read beside the writer: entries %d to %d, %v; want %d to %d", r.First(), r.Next(), err, l.First(), l.Next())
	}
	if _, err := r.Append([]byte("x")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Append = %v", err)
	}
	if _, err := r.DropBefore(5); !errors.Is(err, ErrReadOnly) {
		t.Errorf("DropBefore = %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range s.Names() {
		if string(s.Bytes(name)) != before[name] {
			t.Errorf("reading changed %s", name)
		}
		delete(before, name)
	}
	if len(before) > 0 {
		t.Errorf("reading removed %v", before)
	}
	if _, _, err := Open("nothing", Options{ReadOnly: true, FS: s}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestCopy copies a journal while it grows and drops, and opens each copy.
func TestCopy(t *testing.T) {
	s := newSimFS()
	l, _ := mustOpen(t, "log", Options{SegmentBytes: minSegment, FS: s})
	ever := make(map[uint64]string)
	for i := range 30 {
		e := strings.Repeat(string(rune('a'+i%26)), 50+i*37%900)
		ever[mustAppend(t, l, e)] = e
		if i%7 == 6 {
			if _, err := l.DropBefore(l.Next() / 2); err != nil {
				t.Fatal(err)
			}
		}
		if i%3 > 0 {
			continue
		}
		reader, _ := mustOpen(t, "log", Options{ReadOnly: true, FS: s})
		if err := reader.Copy("copy"); err != nil {
			t.Fatal(err)
		}
		c, report := mustOpen(t, "copy", Options{ReadOnly: true, FS: s})
		got, damages, err := contents(c)
		if err != nil || len(damages) > 0 || !report.Clean() || !maps.Equal(got, ever) {
			t.Fatalf("copy after %d entries: %d of them, %v, %v, %v", len(ever), len(got), report, damages, err)
		}
	}
	if n := len(ever); n < 20 || l.First() == 1 {
		t.Fatalf("%d entries, first %d: nothing was dropped", n, l.First())
	}
	calls := s.Calls()
	if err := l.Copy("copy"); err != nil {
		t.Fatal(err)
	}
	if n := s.Calls() - calls; n > 60 {
		t.Errorf("copying again what did not change took %d calls", n)
	}
	// A copy that is ahead of its journal is that of another one.
	mustOpen(t, "other", Options{SegmentBytes: minSegment, FS: s})
	other, _ := mustOpen(t, "third", Options{SegmentBytes: minSegment, FS: s})
	mustAppend(t, other, "x")
	if err := other.Copy("copy"); err == nil || !strings.Contains(err.Error(), "another one") {
		t.Errorf("Copy over the copy of another journal = %v", err)
	}
}

// TestHeal: what is damaged comes back from a copy, what is damaged in both does
// not, and the damaged file is kept.
func TestHeal(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage []uint64 // entries
		both   uint64   // damaged in the copy too
		refuse bool
		healed uint64
		left   int
	}{
		{"one entry", []uint64{7}, 0, false, 1, 0},
		{"two in one segment and one in the last", []uint64{2, 4, 38}, 0, false, 3, 0},
		{"one that is damaged in the copy", []uint64{2, 20}, 20, false, 1, 1},
		{"one the caller does not take", []uint64{7}, 0, true, 0, 1},
		{"nothing", nil, 0, false, 0, 0},
	} {
		dir, from := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "copy")
		l, _ := mustOpen(t, dir, Options{SegmentBytes: minSegment})
		for i := range 40 {
			mustAppend(t, l, strings.Repeat(string(rune('A'+i)), 300))
		}
		want, _, _ := contents(l)
		if err := errors.Join(l.Copy(from), l.Close()); err != nil {
			t.Fatal(err)
		}
		for _, seq := range tt.damage {
			spoil(t, dir, seq)
		}
		if tt.both > 0 {
			spoil(t, from, tt.both)
		}
		refused := errors.New("another entry")
		healed, left, err := Heal(dir, from, func(seq uint64, e []byte) error {
			if tt.refuse || string(e) != want[seq] {
				return refused
			}
			return nil
		}, Options{SegmentBytes: minSegment})
		if tt.refuse {
			if !errors.Is(err, refused) {
				t.Errorf("%s: Heal = %v", tt.name, err)
			}
			continue
		}
		bad, _ := filepath.Glob(filepath.Join(dir, "*"+badSuffix))
		if err != nil || healed != tt.healed || len(left.Damages) != tt.left || (len(bad) > 0) != (tt.healed > 0) {
			t.Errorf("%s: %d healed, %d files kept, left %v, %v", tt.name, healed, len(bad), left, err)
		}
		l, _ = mustOpen(t, dir, Options{SegmentBytes: minSegment})
		got, _, err := contents(l)
		if err != nil || len(got) != 40-tt.left {
			t.Errorf("%s: %d entries, %v", tt.name, len(got), err)
		}
		for seq, e := range got {
			if e != want[seq] {
				t.Errorf("%s: entry %d is another one", tt.name, seq)
			}
		}
		if n := mustAppend(t, l, "next"); n != 41 {
			t.Errorf("%s: the next entry is %d", tt.name, n)
		}
	}
}

// spoil changes a byte of entry seq of TestHeal.
func spoil(t *testing.T, dir string, seq uint64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, bytes.Repeat([]byte{byte('A' + seq - 1)}, 300)); at >= 0 {
			b[at+150] ^= 1
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("entry %d is in no segment", seq)
}
