package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"kenshin/edge/journal"
	"kenshin/edge/journal/simfs"
)

var crashSeeds = flag.Uint64("seeds", 2, "what a crash leaves is drawn so many times at each call; the long rig takes 20")

// known is what a collector knows of its book.
type known struct {
	n, maybe   int    // records that Append confirmed, and those of one that did not return well
	signed     int    // records of the last checkpoint that was returned
	generation uint64 // the highest that an ack may have named
}

// live appends and signs as a collector does; whatever fails is tried once more,
// as the edges' next try would.
func live(s *Store, k *known) error {
	if s.Generation() <= k.generation {
		return fmt.Errorf("generation %d, an ack may have named %d", s.Generation(), k.generation)
	}
	k.generation = s.Generation()
	for i := range 6 {
		for range 2 {
			var group []*Record
			for j := range 1 + i%3 {
				group = append(group, record(k.n+j))
			}
			first, err := s.Append(group...)
			k.maybe = len(group)
			if err == nil {
				if first != uint64(k.n) {
					return fmt.Errorf("Append = %d, want %d", first, k.n)
				}
				k.n, k.maybe = k.n+len(group), 0
				break
			}
			if errors.Is(err, simfs.ErrPower) {
				return nil
			}
			if s.Size() != uint64(k.n) {
				return fmt.Errorf("%d records after %v, want %d", s.Size(), err, k.n)
			}
		}
		if i%2 == 1 {
			if _, err := s.Checkpoint(); err == nil {
				k.signed = k.n
			}
		}
	}
	return nil
}

// check says in what a book is not what is known of it.
func (k *known) check(s *Store) error {
	n := int(s.Size())
	if n != k.n && n != k.n+k.maybe {
		return fmt.Errorf("%d records, want %d or %d more", n, k.n, k.maybe)
	}
	i := 0
	err := s.Scan(0, func(r *Record) error {
		want := record(i)
		want.Index = uint64(i)
		if fmt.Sprintf("%+v", *r) != fmt.Sprintf("%+v", *want) {
			return fmt.Errorf("record %d is %+v", i, *r)
		}
		i++
		return nil
	})
	if err != nil || i != n {
		return fmt.Errorf("%d of %d records: %w", i, n, err)
	}
	_, size, _, err := s.lastNote()
	if err != nil || int(size) < k.signed {
		return fmt.Errorf("the last checkpoint speaks of %d records, want %d: %v", size, k.signed, err)
	}
	if root, err := s.root(uint64(n)); n > 0 && (err != nil || root != tlog.Hash(naive(leaves(n)))) {
		return fmt.Errorf("root of %d records: %v", n, err)
	}
	var problem error
	if _, err := s.Scrub(context.Background(), nil, func(p Problem) { problem = p }); err != nil || problem != nil {
		return fmt.Errorf("scrub: %v, %v", problem, err)
	}
	k.n, k.maybe = n, 0
	return nil
}

// TestFaultAtEveryCall fails each call that a book's life makes, in every way a
// call can fail, and cuts the power at each; then it opens what is left, twice,
// with another power cut between.
func TestFaultAtEveryCall(t *testing.T) {
	opened := func(f simFS) (*Store, Report, error) {
		return openBook("book", newSigner(options.Origin, options.Key), f, 4<<10, false)
	}
	run := func(f simFS, k *known) error {
		for range 2 { // the second finds a checkpoint and records behind it
			s, _, err := opened(f)
			if err != nil {
				return nil // refusing is fine: nothing was confirmed
			}
			if err := errors.Join(live(s, k), closed(s)); err != nil {
				return err
			}
		}
		return nil
	}
	count := simFS{simfs.New(journal.ErrLocked)}
	if err := run(count, &known{}); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]simfs.Fault{
		"EIO before":    {Err: syscall.EIO},
		"EIO after":     {Err: syscall.EIO, After: true},
		"ENOSPC before": {Err: syscall.ENOSPC},
		"ENOSPC half":   {Err: syscall.ENOSPC, Half: true},
		"EROFS before":  {Err: syscall.EROFS},
		"power before":  {Err: simfs.ErrPower, Power: true},
		"power half":    {Err: simfs.ErrPower, Half: true, Power: true},
		"power after":   {Err: simfs.ErrPower, After: true, Power: true},
	}
	cases, step := 0, 1
	if testing.Short() {
		step = 5
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		x := kinds[name]
		for at := 1; at <= count.Calls(); at += step {
			for seed := range *crashSeeds {
				f, k, what := simFS{simfs.New(journal.ErrLocked)}, &known{}, ""
				f.Fault = func(call int, op, file string) simfs.Fault {
					if call != at || x.Half && op != "write" {
						return simfs.Fault{}
					}
					what = op + " " + file
					return x
				}
				err := run(f, k)
				if f.Kill(); seed > 0 {
					f.Crash(rand.New(rand.NewPCG(seed, uint64(at))))
				}
				for again := uint64(0); err == nil && again < 2; again++ {
					var s *Store
					var report Report
					if s, report, err = opened(f); err != nil {
						break
					}
					if len(report.Records.Damages) > 0 || len(report.Checkpoints.Damages) > 0 {
						err = fmt.Errorf("report: %v", report)
					}
					err = errors.Join(err, k.check(s), live(s, k), k.check(s), closed(s))
					f.Crash(rand.New(rand.NewPCG(seed, uint64(at)+again<<32)))
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

// closed closes a book whose files may fail to close.
func closed(s *Store) error {
	s.Close()
	return nil
}
