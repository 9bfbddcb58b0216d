package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"kenshin/edge/journal"
	"kenshin/edge/journal/simfs"
	"kenshin/edge/wire"
)

// faultFS is the machine's file system with calls that fail. Nothing is synced:
// what a power cut does is tested in edge/journal; here a process ends.
type faultFS struct {
	journal.FS

	mu    sync.Mutex // guards the fields below
	calls int
	fault func(call int, op, name string) fault
	dead  bool // the process has ended: every call fails
	open  []journal.File
}

// fault is what happens to a call.
type fault struct {
	err   error
	after bool // it takes effect and fails all the same
	dead  bool // and nothing comes after it
}

var errDead = errors.New("the process has ended")

func (f *faultFS) call(op, name string) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return fault{err: errDead}
	}
	f.calls++
	if f.fault == nil {
		return fault{}
	}
	x := f.fault(f.calls, op, name)
	f.dead = x.dead
	return x
}

func (f *faultFS) do(op, name string, effect func() error) error {
	x := f.call(op, name)
	if x.err != nil && !x.after {
		return x.err
	}
	if err := effect(); err != nil {
		return err
	}
	return x.err
}

// restart ends the process, if it had not, and lets the next one begin.
func (f *faultFS) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.open {
		o.Close()
	}
	f.open, f.dead, f.fault, f.calls = nil, false, nil, 0
}

func (f *faultFS) MkdirAll(dir string) error {
	return f.do("mkdir", dir, func() error { return os.MkdirAll(dir, 0o755) })
}

func (f *faultFS) SyncDir(dir string) error {
	return f.do("syncdir", dir, func() error { return nil })
}

func (f *faultFS) Rename(from, to string) error {
	return f.do("rename", to, func() error { return os.Rename(from, to) })
}

func (f *faultFS) Remove(name string) error {
	return f.do("remove", name, func() error { return os.Remove(name) })
}

func (f *faultFS) Lock(name string) (io.Closer, error) {
	return io.NopCloser(nil), f.do("lock", name, func() error { return nil })
}

func (f *faultFS) Open(name string, flag int) (file journal.File, err error) {
	err = f.do("open", name, func() error {
		if file, err = f.FS.Open(name, flag); err == nil {
			f.mu.Lock()
			f.open = append(f.open, file)
			f.mu.Unlock()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return faultFile{file, f, name}, nil
}

type faultFile struct {
	journal.File
	f    *faultFS
	name string
}

func (h faultFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = h.f.do("write", h.name, func() error { n, err = h.File.WriteAt(b, off); return err })
	return n, err
}

func (h faultFile) Truncate(size int64) error {
	return h.f.do("truncate", h.name, func() error { return h.File.Truncate(size) })
}

func (h faultFile) Sync() error { return h.f.do("sync", h.name, func() error { return nil }) }

// life is what an agent and a collector know of an outbox.
type life struct {
	epoch wire.Epoch
	kept  [][]byte // canonical records that Append confirmed
	maybe [][]byte // of the last Append, when it did not return well
	acked uint64
}

// large is a reading of some 4 KB, so that few of them fill segments.
func large(i int) wire.Record {
	r := wire.Record{Wall: int64(1_600_000_000_000 + i), Reading: &wire.Reading{Blocks: make([]wire.BlockResult, 16)}}
	for k := range r.Reading.Blocks {
		r.Reading.Blocks[k].Words = make([]uint16, wire.MaxCount)
		r.Reading.Blocks[k].Words[i%wire.MaxCount] = uint16(i + 1)
	}
	return r
}

// live appends and acks as an agent does, going on after failures.
func live(b *Outbox, l *life) error {
	l.epoch = b.Epoch()
	for i := range 30 {
		group := []wire.Record{large(3 * i), large(3*i + 1), large(3*i + 2)}
		var maybe [][]byte
		for k := range group {
			group[k].Seq = uint64(len(l.kept) + k + 1)
			maybe = append(maybe, group[k].Encode())
		}
		l.maybe = maybe
		first, err := b.Append(group...)
		if errors.Is(err, errDead) || errors.Is(err, simfs.ErrPower) {
			return nil
		}
		if err == nil {
			if first != uint64(len(l.kept)+1) {
				return fmt.Errorf("Append gave number %d, want %d", first, len(l.kept)+1)
			}
			l.kept, l.maybe = append(l.kept, maybe...), nil
		}
		if b.Last() != uint64(len(l.kept)) {
			return fmt.Errorf("Last = %d after Append: %v; want %d", b.Last(), err, len(l.kept))
		}
		if i%2 == 1 && b.Last() > 0 {
			through := b.Last() - uint64(i%3)
			_, _, chain, err := b.Read(through, 1, 1)
			if err == nil && b.Ack(through, chain) == nil {
				l.acked = through
			}
		}
		if b.log.Size() > b.max {
			return fmt.Errorf("%d bytes on disk, at most %d", b.log.Size(), b.max)
		}
	}
	return nil
}

// check says in what an outbox is not what is known of it.
func (l *life) check(b *Outbox) error {
	n := len(l.kept)
	if got := int(b.Last()); got != n && got != n+len(l.maybe) {
		return fmt.Errorf("records end with %d, want %d or %d more", got, n, len(l.maybe))
	}
	if b.Epoch() != l.epoch {
		return fmt.Errorf("epoch %v, was %v", b.Epoch(), l.epoch)
	}
	if b.Acked() > l.acked || b.First() > b.Acked()+1 {
		return fmt.Errorf("first %d, acked %d; acked was %d", b.First(), b.Acked(), l.acked)
	}
	all := append(l.kept[:n:n], l.maybe...)
	for seq := b.First(); seq <= b.Last(); {
		recs, _, _, err := b.Read(seq, 7, 1<<20)
		if err != nil {
			return err
		}
		for _, r := range recs {
			if r.Seq != seq || !bytes.Equal(r.Encode(), all[seq-1]) {
				return fmt.Errorf("record %d is not the one that was appended", seq)
			}
			seq++
		}
	}
	return nil
}

// TestFaultAtEveryCall fails each call, or ends the process at it, in one life
// a call, and looks at what the next process finds.
func TestFaultAtEveryCall(t *testing.T) {
	run := func(f *faultFS, dir string) (*life, error) {
		l := &life{}
		b, _, err := Open(dir, Options{Edge: "site-1", MaxBytes: minMax, fs: f})
		if err != nil {
			return l, nil // nothing was confirmed
		}
		err = live(b, l)
		b.Close()
		return l, err
	}
	count := &faultFS{FS: journal.OS()}
	l, err := run(count, t.TempDir())
	if err != nil || l.acked == 0 {
		t.Fatal(l.acked, err)
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for _, x := range []fault{
		{err: syscall.EIO}, {err: syscall.EIO, after: true}, {err: syscall.ENOSPC},
		{err: errDead, dead: true}, {err: errDead, after: true, dead: true},
	} {
		for k := 1; k <= count.calls; k += step {
			dir, what := t.TempDir(), ""
			f := &faultFS{FS: journal.OS()}
			f.fault = func(call int, op, name string) fault {
				if call != k {
					return fault{}
				}
				what = op + " " + filepath.Base(name)
				return x
			}
			l, err := run(f, dir)
			if err != nil {
				t.Fatalf("%+v at call %d (%s): %v", x, k, what, err)
			}
			f.restart()
			b, report, err := Open(dir, Options{Edge: "site-1", MaxBytes: minMax, fs: f})
			if err != nil || report.Renewed != "" {
				t.Fatalf("%+v at call %d (%s): reopen: %v, %v", x, k, what, report, err)
			}
			if l.epoch == (wire.Epoch{}) {
				l.epoch = b.Epoch() // it was not opened before
			}
			if err := l.check(b); err != nil {
				t.Fatalf("%+v at call %d (%s): %v", x, k, what, err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			f.restart()
			os.RemoveAll(dir)
		}
	}
	t.Logf("%d calls in a life", count.calls)
}

// TestFullDisk: acked segments make room, and what is not acked stays.
func TestFullDisk(t *testing.T) {
	f := &faultFS{FS: journal.OS()}
	b, _, err := Open(t.TempDir(), Options{Edge: "site-1", fs: f})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var used int64 // of a disk of three segments
	f.fault = func(_ int, op, name string) fault {
		switch {
		case filepath.Ext(name) == ".new" && op == "open":
			used++
		case op == "remove" && filepath.Ext(name) != "":
			used--
		case filepath.Ext(name) == ".new" && op == "write" && used > 3:
			return fault{err: syscall.ENOSPC}
		}
		return fault{}
	}
	appendUntil := func(limit int) (n int, err error) {
		for n = range limit {
			if _, err := b.Append(large(n), large(n+1), large(n+2), large(n+3)); err != nil {
				return n, err
			}
		}
		return limit, nil
	}
	_, err = appendUntil(2000)
	if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("disk full of what is not acked: %v; want ErrFull and the disk's error", err)
	}
	first, last := b.First(), b.Last()
	if first != 1 {
		t.Errorf("First = %d: records went that were not acked", first)
	}
	_, _, chain, err := b.Read(last, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ack(last, chain); err != nil {
		t.Fatal(err)
	}
	if n, err := appendUntil(200); err != nil {
		t.Errorf("after an ack: %v at append %d", err, n)
	}
	if b.First() == first {
		t.Error("nothing was dropped to make room")
	}
}
