package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// simFS is a file system in memory that forgets what was not synced. Names
// change at once and become durable, in order, by SyncDir; bytes become durable
// by Sync, in sectors. A failed Sync leaves its sectors neither durable nor to be
// written again, as Linux does.
type simFS struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode
	pending []func(map[string]*inode) // changes of names since the last SyncDir
	locked  map[string]bool

	calls int
	fault func(call int, op string) fault
	off   bool // the power is gone: every call fails
}

// fault is what happens to a call.
type fault struct {
	err   error
	after bool // the call takes effect and fails all the same
	half  bool // a write takes effect by half
	power bool // and then the power is gone
}

type inode struct {
	data, synced []byte
	dirty        map[int64]bool // sectors to be written by the next Sync
}

var errPower = errors.New("no power")

func newSimFS() *simFS {
	return &simFS{names: map[string]*inode{}, durable: map[string]*inode{}, locked: map[string]bool{}}
}

// simOf returns a file system with these files in the folder log, on disk.
func simOf(files map[string][]byte) *simFS {
	s := newSimFS()
	for name, b := range files {
		s.names[filepath.Join("log", name)] = &inode{data: bytes.Clone(b), synced: bytes.Clone(b), dirty: map[int64]bool{}}
	}
	s.durable = maps.Clone(s.names)
	return s
}

// call counts a call and says what happens to it.
func (s *simFS) call(op string) fault {
	if s.off {
		return fault{err: errPower}
	}
	s.calls++
	if s.fault == nil {
		return fault{}
	}
	f := s.fault(s.calls, op)
	s.off = f.power
	return f
}

// do runs a call: before is what keeps it from taking effect.
func (s *simFS) do(op string, effect func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.call(op)
	if f.err != nil && !f.after {
		return f.err
	}
	if err := effect(); err != nil {
		return err
	}
	return f.err
}

// crash takes the power and gives it back: of what was not synced it keeps what
// rnd says, and every handle and lock is gone.
func (s *simFS) crash(rnd *rand.Rand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	some, upTo := rnd.IntN(2) == 0, rnd.IntN(len(s.pending)+1)
	for i, change := range s.pending {
		if some && rnd.IntN(2) == 0 || !some && i < upTo {
			change(s.durable)
		}
	}
	all := rnd.IntN(3) // 0: every unsynced sector is lost, 1: all are kept, 2: some
	for _, n := range s.durable {
		size := len(n.synced)
		if all == 1 || all == 2 && rnd.IntN(2) == 0 {
			size = len(n.data)
		}
		kept := make([]byte, size)
		copy(kept, n.synced)
		for sec := range n.dirty {
			if all == 1 || all == 2 && rnd.IntN(2) == 0 {
				from := min(sec*sector, int64(len(n.data)))
				if from < int64(size) {
					copy(kept[from:min(from+sector, int64(size))], n.data[from:])
				}
			}
		}
		n.data, n.synced, n.dirty = kept, bytes.Clone(kept), map[int64]bool{}
	}
	s.names, s.pending, s.locked = maps.Clone(s.durable), nil, map[string]bool{}
	s.off, s.fault, s.calls = false, nil, 0
}

// kill ends the process: the system keeps what it was given.
func (s *simFS) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = map[string]bool{}
	s.off, s.fault, s.calls = false, nil, 0
}

func (s *simFS) change(f func(map[string]*inode)) {
	f(s.names)
	s.pending = append(s.pending, f)
}

func (s *simFS) MkdirAll(string) error { return s.do("mkdir", func() error { return nil }) }

func (s *simFS) ReadDir(dir string) (names []string, err error) {
	err = s.do("readdir", func() error {
		for name := range s.names {
			if filepath.Dir(name) == dir {
				names = append(names, filepath.Base(name))
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

func (s *simFS) Open(name string, flag int) (File, error) {
	var n *inode
	err := s.do("open", func() error {
		n = s.names[name]
		if n == nil && flag&os.O_CREATE == 0 {
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if n == nil {
			n = &inode{dirty: map[int64]bool{}}
			made := n
			s.change(func(names map[string]*inode) { names[name] = made })
		}
		if flag&os.O_TRUNC != 0 {
			n.data = nil
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &handle{s: s, n: n, name: name}, nil
}

func (s *simFS) Rename(from, to string) error {
	return s.do("rename", func() error {
		if s.names[from] == nil {
			return fs.ErrNotExist
		}
		s.change(func(names map[string]*inode) {
			if n := names[from]; n != nil {
				names[to] = n
				delete(names, from)
			}
		})
		return nil
	})
}

func (s *simFS) Remove(name string) error {
	return s.do("remove", func() error {
		if s.names[name] == nil {
			return fs.ErrNotExist
		}
		s.change(func(names map[string]*inode) { delete(names, name) })
		return nil
	})
}

func (s *simFS) SyncDir(string) error {
	return s.do("syncdir", func() error {
		for _, change := range s.pending {
			change(s.durable)
		}
		s.pending = nil
		return nil
	})
}

func (s *simFS) Lock(name string) (io.Closer, error) {
	err := s.do("lock", func() error {
		if s.locked[name] {
			return fmt.Errorf("%w: %s", ErrLocked, name)
		}
		s.locked[name] = true
		return nil
	})
	return closer(func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.locked, name)
		return nil
	}), err
}

type closer func() error

func (c closer) Close() error { return c() }

// handle is an open file. After a failed Sync it must not be used again.
type handle struct {
	s      *simFS
	n      *inode
	name   string
	closed bool
	failed bool
}

func (h *handle) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.s.do("read", func() error {
		if h.closed {
			return fs.ErrClosed
		}
		if off < int64(len(h.n.data)) {
			n = copy(b, h.n.data[off:])
		}
		if n < len(b) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (h *handle) touch(from, to int64) {
	for sec := from / sector; sec*sector < to; sec++ {
		h.n.dirty[sec] = true
	}
}

func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.closed || h.failed {
		panic("write to " + h.name + " through a handle that is closed or whose sync failed")
	}
	f := h.s.call("write")
	if f.err != nil && !f.after && !f.half {
		return 0, f.err
	}
	if f.half {
		b = b[:len(b)/2]
	}
	if need := off + int64(len(b)); need > int64(len(h.n.data)) {
		h.n.data = append(h.n.data, make([]byte, need-int64(len(h.n.data)))...)
	}
	copy(h.n.data[off:], b)
	h.touch(off, off+int64(len(b)))
	return len(b), f.err
}

func (h *handle) Truncate(size int64) error {
	return h.s.do("truncate", func() error {
		if size <= int64(len(h.n.data)) {
			h.n.data = h.n.data[:size:size]
		} else {
			h.n.data = append(h.n.data, make([]byte, size-int64(len(h.n.data)))...)
		}
		h.touch(size, size+1) // the rest of the sector is zeroed
		return nil
	})
}

func (h *handle) Size() (size int64, err error) {
	err = h.s.do("size", func() error { size = int64(len(h.n.data)); return nil })
	return size, err
}

func (h *handle) Sync() error {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.failed {
		panic("sync of " + h.name + " again on a handle whose sync failed")
	}
	f := h.s.call("sync")
	if f.err != nil {
		h.failed = true
	}
	if f.err != nil && !f.after {
		h.n.dirty = map[int64]bool{}
		return f.err
	}
	synced := make([]byte, len(h.n.data))
	copy(synced, h.n.synced)
	for sec := range h.n.dirty {
		if from := sec * sector; from < int64(len(synced)) {
			copy(synced[from:min(from+sector, int64(len(synced)))], h.n.data[from:])
		}
	}
	h.n.synced, h.n.dirty = synced, map[int64]bool{}
	return f.err
}

func (h *handle) Close() error {
	return h.s.do("close", func() error { h.closed = true; return nil })
}
