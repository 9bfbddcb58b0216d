package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// small writes a log of three Appends into one segment, with letters and no
// zeros in it, and returns the file and the offset behind each Append.
func small() (b []byte, ends []int64, groups [][]string) {
	groups = [][]string{{"alpha"}, {"beta, longer than one word", "gamma"}, {strings.Repeat("delta", 5), "epsilon", "zeta"}}
	b = appendHeader(nil, 1)
	seq := uint64(1)
	for _, g := range groups {
		b = appendGroup(b, seq, byteSlices(g))
		seq += uint64(len(g))
		ends = append(ends, int64(len(b)))
	}
	return b, ends, groups
}

// TestTornAtEveryByte cuts a log at every byte, as a crash may, with and
// without zeros and with old bytes behind the cut.
func TestTornAtEveryByte(t *testing.T) {
	whole, ends, groups := small()
	for _, rest := range []string{"", "zeros", "rubbish"} {
		for cut := headerBytes; cut <= len(whole); cut++ {
			b := bytes.Clone(whole[:cut])
			switch rest {
			case "zeros":
				b = append(b, make([]byte, 512+len(whole)-cut)...)
			case "rubbish":
				b = append(b, bytes.Repeat([]byte{0xA5}, 100)...)
			}
			var want []string
			kept := int64(headerBytes)
			for i, end := range ends {
				if bytes.HasPrefix(b, whole[:end]) { // padding may be among the zeros
					want, kept = append(want, groups[i]...), end
				}
			}
			o := Options{SegmentBytes: minSegment, FS: simOf(map[string][]byte{segmentName(1): b})}
			l, report := mustOpen(t, "log", o)
			got, damages, err := contents(l)
			if err != nil || damages != nil || len(report.Damages) > 0 || report.Moved != "" || len(got) != len(want) {
				t.Fatalf("cut at %d, %s behind: %v, damages %v, report %v, %v; want %q", cut, rest, got, damages, report, err, want)
			}
			for i, w := range want {
				if got[uint64(i+1)] != w {
					t.Errorf("cut at %d, %s behind: entry %d is %q, want %q", cut, rest, i+1, got[uint64(i+1)], w)
				}
			}
			left := int64(len(bytes.TrimRight(b, "\x00"))) - kept
			if report.Cut != max(left, 0) || report.Clean() != (left <= 0) || left > 0 && report.CutOffset != kept {
				t.Errorf("cut at %d, %s behind: report %+v; want %d bytes cut from %d on", cut, rest, report, max(left, 0), kept)
			}
			n := mustAppend(t, l, "after")
			if e, err := l.Read(n); err != nil || string(e) != "after" || n != uint64(len(want)+1) {
				t.Errorf("cut at %d, %s behind: appended %d, read %q, %v", cut, rest, n, e, err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, report := mustOpen(t, "log", o); !report.Clean() || l.Next() != n+1 {
				t.Errorf("cut at %d, %s behind: opened again: %v, next %d", cut, rest, report, l.Next())
			}
		}
	}
}

// TestEveryFlippedBit flips each byte of a log of three segments: what can be
// read is what was written, and what cannot is reported. Only the last Append
// may go as if a crash had interrupted it.
func TestEveryFlippedBit(t *testing.T) {
	dir := t.TempDir()
	l, _ := mustOpen(t, dir, Options{SegmentBytes: minSegment})
	for i := range 15 {
		mustAppend(t, l, strings.Repeat(string(rune('a'+i)), 500), strings.Repeat(string(rune('A'+i)), 300+i))
	}
	segs := l.Segments()
	want, _, err := contents(l)
	if err != nil || len(segs) != 4 {
		t.Fatalf("%d segments, %v", len(segs), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, s := range segs {
		if files[s.Name], err = os.ReadFile(filepath.Join(dir, s.Name)); err != nil {
			t.Fatal(err)
		}
	}
	lost := 0
	for k, s := range segs {
		used := int64(len(bytes.TrimRight(files[s.Name], "\x00")))
		for at := int64(0); at < used; at += stride(at) {
			flipped := maps.Clone(files)
			flipped[s.Name] = bytes.Clone(files[s.Name])
			flipped[s.Name][at] ^= 1 << (at % 8)
			where := fmt.Sprintf("segment %d byte %d", k+1, at)
			lost += checkFlipped(t, where, flipped, want, k == len(segs)-1)
		}
	}
	if lost == 0 {
		t.Error("no flip cost an entry: nothing was tested")
	}
}

// stride keeps the test short: all of each frame's header, some of the payload.
func stride(at int64) int64 {
	if at%64 < 40 && !testing.Short() {
		return 1
	}
	return 7
}

func checkFlipped(t *testing.T, where string, files map[string][]byte, want map[uint64]string, last bool) int {
	t.Helper()
	l, report, err := Open("log", Options{SegmentBytes: minSegment, FS: simOf(files)})
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	defer l.Close()
	if report.Clean() {
		t.Fatalf("%s: not noticed", where)
	}
	got, damages, err := contents(l)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	missing := 0
	for seq, w := range want {
		g, ok := got[seq]
		if ok && g != w {
			t.Fatalf("%s: entry %d reads as %.20q, want %.20q", where, seq, g, w)
		}
		if ok {
			continue
		}
		missing++
		in := func(d Damage) bool { return d.From <= seq && seq <= d.To }
		if cut := last && report.Cut > 0 && seq >= l.Next(); !cut && (!slices.ContainsFunc(report.Damages, in) || !slices.ContainsFunc(damages, in)) {
			t.Fatalf("%s: entry %d is gone; report %v, damages %v", where, seq, report, damages)
		}
	}
	if missing > 2 || !last && missing > 1 {
		t.Fatalf("%s: %d entries cannot be read", where, missing)
	}
	next := l.Next()
	if n, err := l.Append([]byte("goes on")); err != nil || n != next {
		t.Fatalf("%s: Append = %d, %v; want %d", where, n, err, next)
	}
	if e, err := l.Read(next); err != nil || string(e) != "goes on" {
		t.Fatalf("%s: the entry behind reads as %q, %v", where, e, err)
	}
	return missing
}

// TestTornOrDamaged is the table of what is missing in a last segment and what
// is made of it.
func TestTornOrDamaged(t *testing.T) {
	type span struct {
		from, to int // bytes relative to the frame of the entry
		fill     byte
	}
	long := func(c byte) string { return strings.Repeat(string(rune(c)), 1500) } // more than two sectors
	groups := [][]string{{long('a')}, {long('b'), long('c'), long('d')}}
	offs := []int{headerBytes}
	b := appendHeader(nil, 1)
	seq := uint64(1)
	for _, g := range groups {
		for i, e := range byteSlices(g) {
			var flags uint32
			if i == 0 {
				flags |= begins
			}
			if i == len(g)-1 {
				flags |= ends
			}
			b = appendFrame(b, seq, flags, e)
			seq++
			offs = append(offs, len(b))
		}
	}
	for _, tt := range []struct {
		name   string
		entry  int // from 1
		span   span
		next   uint64
		damage string // "from-to", "" when it is torn
	}{
		{"last entry half written", 4, span{600, 1520, 0}, 2, ""},
		{"last entry garbled: indistinguishable from torn", 4, span{600, 620, 0x55}, 2, ""},
		{"a lost sector before written ones of the same Append", 3, span{480, 1100, 0}, 2, ""},
		{"first entry of the last Append lost, later ones there", 2, span{0, 1520, 0}, 2, ""},
		{"garbled before others of the same Append", 3, span{600, 620, 0x55}, 5, "3-3"},
		{"garbled header before others of the same Append", 2, span{0, 16, 0x55}, 5, "2-2"},
		{"zeros in what was durable when the next Append began", 1, span{0, 1520, 0}, 5, "1-1"},
		{"garbled in what was durable when the next Append began", 1, span{900, 901, 0x55}, 5, "1-1"},
	} {
		c := bytes.Clone(b)
		at := offs[tt.entry-1]
		for i := at + tt.span.from; i < min(at+tt.span.to, offs[tt.entry]); i++ {
			c[i] = tt.span.fill
		}
		dir := fresh(t, map[string][]byte{segmentName(1): append(c, make([]byte, 600)...)})
		l, report := mustOpen(t, dir, Options{})
		got := ""
		if len(report.Damages) > 0 {
			got = fmt.Sprintf("%d-%d", report.Damages[0].From, report.Damages[0].To)
			if report.Damages[0].Offset != int64(at) || !strings.Contains(report.String(), segmentName(1)) {
				t.Errorf("%s: report %v; want file and byte %d", tt.name, report, at)
			}
		}
		if got != tt.damage || l.Next() != tt.next || (report.Cut > 0) != (tt.damage == "") {
			t.Errorf("%s: damage %q, next %d, cut %d; want %q, %d", tt.name, got, l.Next(), report.Cut, tt.damage, tt.next)
		}
		mustAppend(t, l, "goes on")
		if e, err := l.Read(tt.next); err != nil || string(e) != "goes on" {
			t.Errorf("%s: the entry behind reads as %q, %v", tt.name, e, err)
		}
		kept, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
		if err != nil {
			t.Fatal(err)
		}
		if tt.damage != "" && !bytes.HasPrefix(kept, c) {
			t.Errorf("%s: the damaged segment was changed", tt.name)
		}
	}
}

// TestLostFiles: a missing segment, an unreadable one, an unfinished one.
func TestLostFiles(t *testing.T) {
	seg := func(first uint64, entries ...string) []byte {
		return append(appendGroup(appendHeader(nil, first), first, byteSlices(entries)), make([]byte, 64)...)
	}
	badHeader := func(b []byte) []byte { b[3] ^= 1; return b }
	for _, tt := range []struct {
		name   string
		files  map[string][]byte
		verify uint64
		want   string // report without the folder
		reads  string
		next   uint64
	}{
		{"missing in the middle", map[string][]byte{segmentName(1): seg(1, "a", "b"), segmentName(5): seg(5, "e")}, 0,
			"entries 3 to 4 cannot be read", "map[1:a 2:b 5:e]", 6},
		{"missing in the middle, not verified", map[string][]byte{segmentName(1): seg(1, "a", "b"), segmentName(5): seg(5, "e")}, 5,
			"clean", "map[1:a 2:b 5:e]", 6},
		{"missing in the middle, verified from there", map[string][]byte{segmentName(1): seg(1, "a", "b"), segmentName(5): seg(5, "e")}, 4,
			"entries 3 to 4 cannot be read", "map[1:a 2:b 5:e]", 6},
		{"header of an older one", map[string][]byte{segmentName(1): badHeader(seg(1, "a")), segmentName(2): seg(2, "b")}, 0,
			"header is damaged; no entry is concerned", "map[1:a 2:b]", 3},
		{"header of the last", map[string][]byte{segmentName(1): seg(1, "a"), segmentName(2): badHeader(seg(2, "b"))}, 0,
			"header is damaged; no entry is concerned", "map[1:a 2:b]", 3},
		{"nothing readable in the last", map[string][]byte{segmentName(1): seg(1, "a"), segmentName(2): bytes.Repeat([]byte{7}, 100)}, 0,
			segmentName(2) + ".bad holds nothing that can be read and was moved aside", "map[1:a]", 2},
		{"the only one is empty", map[string][]byte{segmentName(4): nil}, 0, "moved aside", "map[]", 4},
		{"unfinished", map[string][]byte{segmentName(1): seg(1, "a"), segmentName(2) + newSuffix: seg(2)}, 0, "clean", "map[1:a]", 2},
		{"header of another", map[string][]byte{segmentName(3): seg(4, "a")}, 0, "moved aside", "map[]", 3},
	} {
		dir := fresh(t, tt.files)
		l, report := mustOpen(t, dir, Options{VerifyFrom: tt.verify})
		got, _, err := contents(l)
		if err != nil || !strings.Contains(report.String(), tt.want) || fmt.Sprint(got) != tt.reads || l.Next() != tt.next {
			t.Errorf("%s: %v, next %d, report %q, %v; want %s, %d, %q", tt.name, got, l.Next(), report, err, tt.reads, tt.next, tt.want)
		}
		if n := mustAppend(t, l, "goes on"); n != tt.next {
			t.Errorf("%s: appended %d, want %d", tt.name, n, tt.next)
		}
		if e, err := l.Read(tt.next); err != nil || string(e) != "goes on" {
			t.Errorf("%s: reads %q, %v", tt.name, e, err)
		}
	}
}

// TestDamageWhileOpen: what goes bad under an open log is named when it is read.
func TestDamageWhileOpen(t *testing.T) {
	dir := t.TempDir()
	l, _ := mustOpen(t, dir, Options{})
	for i := range 5 {
		mustAppend(t, l, strings.Repeat(fmt.Sprint(i), 100))
	}
	path := filepath.Join(dir, segmentName(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := headerBytes + int(frameSize(100))
	if binary.LittleEndian.Uint64(b[second+8:]) != 2 {
		t.Fatal("entry 2 is not where it is looked for")
	}
	b[second+50] ^= 4
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = l.Read(2)
	if want := fmt.Sprintf("%s at byte %d: entries 2 to 2 cannot be read", path, second); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Read(2) = %v; want %q", err, want)
	}
	got, damages, err := contents(l)
	if err != nil || len(got) != 4 || len(damages) != 1 || damages[0].From != 2 || damages[0].To != 2 {
		t.Errorf("contents %v, %v, %v", got, damages, err)
	}
	if _, err := l.Read(3); err != nil {
		t.Errorf("Read(3), behind the damage: %v", err)
	}
}

// TestFrameInAPayload: an entry that holds a journal's frames is not taken for
// them when the frame around it is damaged.
func TestFrameInAPayload(t *testing.T) {
	inner := appendGroup(nil, 900, byteSlices([]string{"not", "entries", "of this log"}))
	b := appendGroup(appendHeader(nil, 1), 1, [][]byte{inner})
	b = appendGroup(b, 2, byteSlices([]string{"behind"}))
	b[headerBytes+4] ^= 1
	l, report := mustOpen(t, fresh(t, map[string][]byte{segmentName(1): b}), Options{})
	if got, _, err := contents(l); err != nil || fmt.Sprint(got) != "map[2:behind]" || len(report.Damages) != 1 || l.Next() != 3 {
		t.Errorf("contents %v, next %d, report %v, %v", got, l.Next(), report, err)
	}
}

func FuzzOpen(f *testing.F) {
	whole, _, _ := small()
	f.Add(whole, []byte(nil))
	f.Add(whole[:len(whole)-9], []byte{1, 2, 3})
	f.Add(append(bytes.Clone(whole), make([]byte, 600)...), appendGroup(appendHeader(nil, 7), 7, byteSlices([]string{"seven"})))
	f.Add(appendHeader(nil, 1), appendHeader(nil, 7))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		files := map[string][]byte{segmentName(1): first}
		if len(second) > 0 {
			files[segmentName(7)] = second
		}
		s := simOf(files)
		l, _, err := Open("log", Options{SegmentBytes: minSegment, FS: s})
		if err != nil {
			return // a later version
		}
		before, damages, err := contents(l)
		if err != nil {
			t.Fatal(err)
		}
		covered := uint64(len(before))
		for _, d := range damages {
			covered += d.To - d.From + 1
		}
		if covered != l.Next()-l.First() {
			t.Fatalf("entries %d to before %d: %d can be read, damages %v", l.First(), l.Next(), len(before), damages)
		}
		next := l.Next()
		if n, err := l.Append([]byte("x"), []byte("y")); err != nil || n != next {
			t.Fatalf("Append = %d, %v; want %d", n, err, next)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, report, err := Open("log", Options{SegmentBytes: minSegment, FS: s})
		if err != nil {
			t.Fatal(err)
		}
		if report.Cut > 0 || report.Moved != "" {
			t.Fatalf("opened again: %v", report)
		}
		after, _, err := contents(l)
		if err != nil || after[next] != "x" || after[next+1] != "y" {
			t.Fatalf("appended entries read as %q, %q, %v", after[next], after[next+1], err)
		}
		delete(after, next)
		delete(after, next+1)
		if !maps.Equal(before, after) {
			t.Fatalf("read before %v, after %v", before, after)
		}
	})
}

// FuzzScan walks bytes behind a whole header as a segment that others follow.
func FuzzScan(f *testing.F) {
	whole, behind, _ := small()
	f.Add(whole[headerBytes:], uint64(7))
	f.Add(whole[behind[0]:], uint64(4))
	f.Add(append(bytes.Clone(whole[headerBytes:behind[0]]), whole[behind[1]:]...), uint64(7))
	f.Fuzz(func(t *testing.T, frames []byte, limit uint64) {
		limit = 1 + limit%1000
		b := append(appendHeader(nil, 1), frames...)
		w := &walker{file: bytes.NewReader(b), end: int64(len(b)), limit: limit, chunk: 512, off: headerBytes, seq: 1}
		for {
			off, seq := w.off, w.seq
			fr, err := w.next()
			if err != nil {
				if w.off != off || w.seq != seq {
					t.Fatalf("the end moved the walker from %d, %d to %d, %d", off, seq, w.off, w.seq)
				}
				return
			}
			var flags uint32
			if fr.begins {
				flags |= begins
			}
			if fr.ends {
				flags |= ends
			}
			again := appendFrame(nil, fr.seq, flags, fr.payload)
			if fr.seq < seq || fr.seq >= limit || fr.off < off || !bytes.Equal(again, b[fr.off:fr.off+fr.size]) {
				t.Fatalf("at %d, due %d: frame %d at %d of %d bytes is not what stands there", off, seq, fr.seq, fr.off, fr.size)
			}
		}
	})
}
