package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"kenshin/edge/journal/simfs"
)

// book is what a caller of a Log knows of it.
type book struct {
	kept    map[uint64][]byte // what Append confirmed
	next    uint64
	failed  [][]byte // of the last Append, which did not return well
	dropped uint64   // DropBefore was asked for this
}

func entryOf(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(1 + rnd.IntN(255)) // no zeros: a lost sector must show
	}
	return b
}

// script is a small life of a log. Whatever fails is tried once more, as an
// agent would at its next poll; after that the life goes on, or ends if it is to
// be a short one.
func script(l *Log, b *book, rnd *rand.Rand, short bool) error {
	var errs []error
	for i := range 12 {
		group := make([][]byte, 1+i%3)
		for k := range group {
			group[k] = entryOf(rnd, []int{0, 1, 7, 40, 600, 1500, 5000}[rnd.IntN(7)])
		}
		for range 2 {
			first, err := l.Append(group...)
			if err != nil {
				errs, b.failed = append(errs, err), group
				if errors.Is(err, simfs.ErrPower) {
					return nil
				}
				group = group[:1] // of what failed nothing may come to light behind it
				continue
			}
			if first != b.next {
				return fmt.Errorf("Append gave number %d, want %d", first, b.next)
			}
			for _, e := range group {
				b.kept[b.next] = e
				b.next++
			}
			b.failed = nil
			break
		}
		if n := l.Next(); n != b.next {
			return fmt.Errorf("Next = %d after %v, want %d", n, errs, b.next)
		}
		if short && len(errs) > 0 {
			return nil
		}
		if i == 8 {
			b.dropped = b.next / 2
			for range 2 {
				if _, err := l.DropBefore(b.dropped); err == nil {
					break
				}
			}
		}
		if i%4 == 3 {
			if err := compare(l, b); err != nil && !isFault(err) {
				return err
			}
		}
	}
	return nil
}

func isFault(err error) bool {
	return errors.Is(err, simfs.ErrPower) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC)
}

// compare says in what the log is not what was confirmed.
func compare(l *Log, b *book) error {
	first := l.First()
	if first > max(b.dropped, 1) {
		return fmt.Errorf("First = %d, nobody asked to drop from %d on", first, b.dropped)
	}
	next := first
	err := l.Scan(first, func(seq uint64, e []byte) error {
		want, ok := b.kept[seq]
		if i := seq - b.next; !ok && i < uint64(len(b.failed)) {
			want, ok = b.failed[i], true
		}
		if seq != next || !ok || !bytes.Equal(e, want) {
			return fmt.Errorf("entry %d where %d is due: %d bytes, want %d (known: %v)", seq, next, len(e), len(want), ok)
		}
		next++
		return nil
	})
	if err != nil {
		return err
	}
	if next != b.next && next != b.next+uint64(len(b.failed)) {
		return fmt.Errorf("entries end before %d, want %d, or %d more", next, b.next, len(b.failed))
	}
	for _, seq := range []uint64{next - 1, first, (first + next) / 2} {
		if seq < first || seq >= next {
			continue
		}
		if _, err := l.Read(seq); err != nil {
			return err
		}
	}
	return nil
}

// reopen opens what a fault left, without faults, checks it and goes on. What
// it could read counts as confirmed from then on.
func reopen(s simFS, b *book) error {
	l, report, err := Open("log", Options{SegmentBytes: minSegment, FS: s})
	if err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	defer l.Close()
	if len(report.Damages) > 0 || report.Moved != "" {
		return fmt.Errorf("reopen reports damage: %v", report)
	}
	if err := compare(l, b); err != nil {
		return fmt.Errorf("reopened: %w", err)
	}
	if l.Next() == b.next {
		b.failed = nil
	}
	group := append(b.failed, []byte("after"), bytes.Repeat([]byte("x"), 3000))
	for i, e := range group {
		b.kept[b.next+uint64(i)] = e
	}
	b.next, b.failed = b.next+uint64(len(group)), nil
	if first, err := l.Append(group[len(group)-2:]...); err != nil || first != b.next-2 {
		return fmt.Errorf("append after reopening: %d, %v; want %d", first, err, b.next-2)
	}
	if err := compare(l, b); err != nil {
		return fmt.Errorf("appended after reopening: %w", err)
	}
	return nil
}

func newBook() *book { return &book{kept: map[uint64][]byte{}, next: 1} }

// TestFaultAtEveryCall fails each call a life makes, one life a call, in every
// way a call can fail; and cuts the power at each, before and after its effect.
func TestFaultAtEveryCall(t *testing.T) {
	run := func(s simFS, b *book, short bool) error {
		l, _, err := Open("log", Options{SegmentBytes: minSegment, FS: s})
		if err != nil {
			return nil // refusing is fine: nothing was confirmed
		}
		err = script(l, b, rand.New(rand.NewPCG(1, 1)), short)
		l.Close()
		return err
	}
	count := newSimFS()
	if err := run(count, newBook(), false); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]simfs.Fault{
		"EIO before":   {Err: syscall.EIO},
		"EIO after":    {Err: syscall.EIO, After: true},
		"ENOSPC half":  {Err: syscall.ENOSPC, Half: true},
		"power before": {Err: simfs.ErrPower, Power: true},
		"power half":   {Err: simfs.ErrPower, Half: true, Power: true},
		"power after":  {Err: simfs.ErrPower, After: true, Power: true},
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		f, cases, seeds := kinds[name], 0, uint64(4)
		if testing.Short() {
			seeds = 2
		}
		for k := 1; k <= count.Calls(); k++ {
			for seed := range seeds {
				s, b := newSimFS(), newBook()
				what := ""
				s.Fault = func(call int, op, _ string) simfs.Fault {
					if call != k || f.Half && op != "write" {
						return simfs.Fault{}
					}
					what = op
					return f
				}
				if err := run(s, b, seed%2 == 1); err != nil {
					t.Fatalf("%s at call %d (%s): %v", name, k, what, err)
				}
				s.Fault = nil
				if seed == 0 {
					s.Kill()
				} else {
					s.Crash(rand.New(rand.NewPCG(seed, uint64(k))))
				}
				for again := range uint64(2) { // and once more after a power cut
					if err := reopen(s, b); err != nil {
						t.Fatalf("%s at call %d (%s), seed %d, opened %d times: %v", name, k, what, seed, again+1, err)
					}
					s.Crash(rand.New(rand.NewPCG(seed, uint64(k)+again<<32)))
				}
				cases++
			}
		}
		t.Logf("%s: %d cases", name, cases)
	}
}

// TestKillThenPowerCut is the sequence in which what was read after a restart
// could vanish after all: written, not synced, killed, opened, power cut.
func TestKillThenPowerCut(t *testing.T) {
	for _, syncFails := range []bool{false, true} {
		for seed := range uint64(20) {
			s := newSimFS()
			l, _, err := Open("log", Options{SegmentBytes: minSegment, FS: s})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append([]byte("first")); err != nil {
				t.Fatal(err)
			}
			s.Fault = func(_ int, op, _ string) simfs.Fault {
				if op == "sync" {
					return simfs.Fault{Err: syscall.EIO, Power: true} // nothing after it gets through
				}
				return simfs.Fault{Power: op == "write" && !syncFails}
			}
			if _, err := l.Append([]byte("second")); err == nil {
				t.Fatal("Append returned well without a sync")
			}
			s.Kill()
			l, _, err = Open("log", Options{SegmentBytes: minSegment, FS: s})
			if err != nil {
				t.Fatal(err)
			}
			seen := l.Next()
			s.Crash(rand.New(rand.NewPCG(seed, 9)))
			l, _, err = Open("log", Options{SegmentBytes: minSegment, FS: s})
			if err != nil {
				t.Fatal(err)
			}
			if l.Next() != seen {
				t.Fatalf("sync failed %v, seed %d: entries up to %d could be read, after a power cut they end before %d", syncFails, seed, seen-1, l.Next())
			}
		}
	}
}

// TestDamageFoundByMending: what a failed write took with it is named when it is
// read, and the log goes on in another segment.
func TestDamageFoundByMending(t *testing.T) {
	s := newSimFS()
	l, _ := mustOpen(t, "log", Options{SegmentBytes: minSegment, FS: s})
	mustAppend(t, l, "one", "two")
	mustAppend(t, l, "three")
	s.Fault = func(_ int, op, _ string) simfs.Fault {
		if op == "sync" {
			s.Bytes("log/" + segmentName(1))[headerBytes+24+frameBytes] ^= 1 // in "two"
			return simfs.Fault{Err: syscall.EIO}
		}
		return simfs.Fault{}
	}
	if _, err := l.Append([]byte("four")); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Append = %v", err)
	}
	s.Fault = nil
	if n := mustAppend(t, l, "four"); n != 4 || len(l.Segments()) != 2 {
		t.Errorf("appended %d into %d segments, want 4 into a second", n, len(l.Segments()))
	}
	got, damages, err := contents(l)
	if err != nil || fmt.Sprint(got) != "map[1:one 3:three 4:four]" || len(damages) != 1 || damages[0].From != 2 || damages[0].To != 2 {
		t.Errorf("contents %v, damages %v, %v", got, damages, err)
	}
}

// TestLargeIntoEmptySegment: a segment that a failed Append left empty takes
// what is larger than a segment, rather than be made twice.
func TestLargeIntoEmptySegment(t *testing.T) {
	s := newSimFS()
	l, _ := mustOpen(t, "log", Options{SegmentBytes: minSegment, FS: s})
	syncs := 0
	s.Fault = func(_ int, op, _ string) simfs.Fault {
		if op == "sync" {
			if syncs++; syncs == 2 { // the first makes the segment
				return simfs.Fault{Err: syscall.EIO}
			}
		}
		return simfs.Fault{}
	}
	if _, err := l.Append([]byte("small")); !errors.Is(err, syscall.EIO) || len(l.Segments()) != 1 {
		t.Fatalf("Append = %v, %d segments", err, len(l.Segments()))
	}
	large := bytes.Repeat([]byte("large"), minSegment)
	if n, err := l.Append(large); n != 1 || err != nil || len(l.Segments()) != 1 {
		t.Errorf("Append = %d, %v, %d segments; want 1 and one", n, err, len(l.Segments()))
	}
	if e, err := l.Read(1); err != nil || !bytes.Equal(e, large) {
		t.Errorf("Read = %d bytes, %v", len(e), err)
	}
}

// TestFullDisk: nothing half visible, and it works again once there is space.
func TestFullDisk(t *testing.T) {
	s, b := newSimFS(), newBook()
	l, _, err := Open("log", Options{SegmentBytes: minSegment, FS: s})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rnd := rand.New(rand.NewPCG(3, 3))
	for i := range 60 {
		full := i%10 >= 4
		s.Fault = func(call int, op, _ string) simfs.Fault {
			if full && op == "write" {
				return simfs.Fault{Err: syscall.ENOSPC, Half: true}
			}
			return simfs.Fault{}
		}
		e := entryOf(rnd, 900)
		first, err := l.Append(e)
		if (err == nil) == full || full && !NoSpace(err) {
			t.Fatalf("append %d, disk full %v: %v", i, full, err)
		}
		if err == nil {
			b.kept[first] = e
			b.next++
		}
		if err := compare(l, b); err != nil {
			t.Fatal(err)
		}
	}
}
