package outbox

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/journal/simfs"
)

// told returns how many readings an outbox has, and the losses it tells of.
func told(t *testing.T, b *Outbox) (readings int, gaps []string, lost uint64) {
	t.Helper()
	for _, r := range deliver(t, b) {
		switch {
		case r.Reading != nil:
			readings++
		case r.Event != nil:
			gaps = append(gaps, fmt.Sprintf("%d from %d to %d, %s", r.Event.Count, (r.Event.From-minutely(0).Wall)/60_000, (r.Event.To-minutely(0).Wall)/60_000, r.Event.Detail))
			lost += r.Event.Count
		}
	}
	return readings, gaps, lost
}

// TestHeldWhenTheProcessEnds: what was in memory only is gone with the process; the
// next one says so before its first record, as far as the disk let that be noted.
func TestHeldWhenTheProcessEnds(t *testing.T) {
	const detail = ", held in memory when the process ended, at least so many"
	for _, tt := range []struct {
		name  string
		fails func(op, file string) bool
		close bool // the process is ended as it should be
		heals bool // before the process ends
		want  string
	}{
		{"disk full, killed", func(op, file string) bool { return op == "write" && strings.HasSuffix(file, ".seg") }, false, false, "[8 from 20 to 27" + detail + "]"},
		{"disk full, stopped", func(op, file string) bool { return op == "write" && strings.HasSuffix(file, ".seg") }, true, false, "[11 from 20 to 30" + detail + "]"},
		{"disk full, and then not", func(op, file string) bool { return op == "write" && strings.HasSuffix(file, ".seg") }, false, true, "[]"},
		{"no write at all", func(op, _ string) bool { return op == "write" }, true, false, "[]"}, // nobody can know
	} {
		f := simFS{simfs.New(journal.ErrLocked)}
		open := func() (*Outbox, Report) {
			b, report, err := Open("box", Options{Edge: "site-1", MaxBytes: minMax, fs: f})
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			return b, report
		}
		b, report := open()
		for i := range 31 {
			if i == 20 {
				f.Fault = func(_ int, op, file string) simfs.Fault {
					if tt.fails(op, file) {
						return simfs.Fault{Err: syscall.ENOSPC}
					}
					return simfs.Fault{}
				}
			}
			if i == 30 && tt.heals {
				f.Fault = nil
			}
			_ = b.Keep(minutely(i))
		}
		if tt.close {
			_ = b.Close()
		}
		f.Fault = nil
		f.Crash(rand.New(rand.NewPCG(1, 2)))
		for again := range 3 {
			b, report = open()
			if _, gaps, lost := told(t, b); again == 0 && (lost > 0 || (report.Held > 0) != (tt.want != "[]") || report.Clean() != (tt.want == "[]")) {
				t.Errorf("%s: on opening %v, %v", tt.name, report, gaps)
			} else if again > 0 && (fmt.Sprint(gaps) != tt.want || report.Held > 0) {
				t.Errorf("%s, opened again: %v, %v; want %s", tt.name, report, gaps, tt.want)
			}
			if err := b.Keep(minutely(40 + again)); err != nil {
				t.Fatal(err)
			}
			if state, err := inspect(f, "box", false); err != nil || state.Held != 0 {
				t.Errorf("%s: inspected %+v, %v", tt.name, state, err)
			}
			f.Crash(rand.New(rand.NewPCG(1, uint64(again))))
		}
	}
}

// TestNoteAtEveryCall ends the process at each call of a life in which the disk is
// full for a while: never are more readings told to be lost than are.
func TestNoteAtEveryCall(t *testing.T) {
	run := func(f simFS, at int) (kept int) {
		fault := func(full bool) func(int, string, string) simfs.Fault {
			return func(call int, op, file string) simfs.Fault {
				if call == at {
					return simfs.Fault{Err: simfs.ErrPower, Half: op == "write", Power: true}
				}
				if full && op == "write" && strings.HasSuffix(file, ".seg") {
					return simfs.Fault{Err: syscall.ENOSPC}
				}
				return simfs.Fault{}
			}
		}
		for life := range 2 { // the second one begins with the loss of the first
			f.Fault = fault(false)
			b, _, err := Open("box", Options{Edge: "site-1", MaxBytes: minMax, fs: f})
			if err != nil {
				return kept
			}
			for i := range 12 {
				f.Fault = fault(i >= 4 && (life == 0 || i < 9))
				_ = b.Keep(minutely(kept))
				if kept++; at > 0 && f.Calls() >= at {
					return kept
				}
			}
			_ = b.Close()
		}
		return kept
	}
	count := simFS{simfs.New(journal.ErrLocked)}
	run(count, 0)
	for at := 1; at <= count.Calls(); at++ {
		f := simFS{simfs.New(journal.ErrLocked)}
		kept := run(f, at)
		for again := range 2 {
			f.Fault = nil
			f.Crash(rand.New(rand.NewPCG(1, uint64(at))))
			b, _, err := Open("box", Options{Edge: "site-1", MaxBytes: minMax, fs: f})
			if err != nil {
				t.Fatalf("call %d: %v", at, err)
			}
			if err := b.Keep(minutely(kept)); err != nil {
				t.Fatal(err)
			}
			kept++
			readings, gaps, lost := told(t, b)
			if readings+int(lost) > kept {
				t.Errorf("call %d, opened %d times: %d readings, and %d told to be lost, of %d: %v", at, again+1, readings, lost, kept, gaps)
			}
		}
	}
	t.Logf("%d calls", count.Calls())
}
