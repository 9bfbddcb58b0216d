package outbox

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/journal/simfs"
	"kenshin/edge/wire"
)

var crashSeeds = flag.Uint64("seeds", 1, "what a crash leaves is drawn so many times at each call; the long rig takes 20")

// simFS is a file system in memory as a journal wants it.
type simFS struct{ *simfs.FS }

func (s simFS) Open(name string, flag int) (journal.File, error) {
	h, err := s.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// TestPowerCutAtEveryCall cuts the power at each call of an outbox's life, or
// fails the call and cuts it later; what is left is opened and lived in twice.
func TestPowerCutAtEveryCall(t *testing.T) {
	open := func(f simFS) (*Outbox, Report, error) {
		return Open("box", Options{Edge: "site-1", MaxBytes: minMax, fs: f})
	}
	run := func(f simFS) (*life, error) {
		l := &life{}
		b, _, err := open(f)
		if err != nil {
			return l, nil // nothing was confirmed
		}
		err = live(b, l)
		b.Close()
		return l, err
	}
	count := simFS{simfs.New(journal.ErrLocked)}
	if l, err := run(count); err != nil || l.acked == 0 {
		t.Fatal(l.acked, err)
	}
	kinds := map[string]simfs.Fault{
		"EIO before":   {Err: syscall.EIO},
		"EIO after":    {Err: syscall.EIO, After: true},
		"ENOSPC half":  {Err: syscall.ENOSPC, Half: true},
		"EROFS before": {Err: syscall.EROFS},
		"power before": {Err: simfs.ErrPower, Power: true},
		"power half":   {Err: simfs.ErrPower, Half: true, Power: true},
		"power after":  {Err: simfs.ErrPower, After: true, Power: true},
	}
	cases, step := 0, 1
	if testing.Short() {
		step = 9
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		x := kinds[name]
		for at := 1; at <= count.Calls(); at += step {
			for seed := range *crashSeeds {
				f, what := simFS{simfs.New(journal.ErrLocked)}, ""
				f.Fault = func(call int, op, file string) simfs.Fault {
					if call != at || x.Half && op != "write" {
						return simfs.Fault{}
					}
					what = op + " " + file
					return x
				}
				l, err := run(f)
				f.Crash(rand.New(rand.NewPCG(seed, uint64(at))))
				if err == nil {
					err = survived(f, open, l)
				}
				if err != nil {
					t.Fatalf("%s at call %d (%s), seed %d: %v", name, at, what, seed, err)
				}
				cases++
			}
		}
	}
	t.Logf("%d calls in a life, %d cases", count.Calls(), cases)
}

// survived opens what a crash left, without faults.
func survived(f simFS, open func(simFS) (*Outbox, Report, error), l *life) error {
	b, report, err := open(f)
	if err != nil || report.Renewed != "" {
		return fmt.Errorf("reopen: %v, %w", report, err)
	}
	defer b.Close()
	if l.epoch == (wire.Epoch{}) || len(l.kept)+len(l.maybe) == 0 {
		l.epoch = b.Epoch() // nothing was kept under the one before
	}
	if err := l.check(b); err != nil {
		return err
	}
	if _, err := b.Append(large(1)); err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("append after reopening: %w", err)
	}
	return nil
}
