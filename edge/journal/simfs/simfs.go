// Package simfs is a file system in memory for tests: it forgets what was not
// synced and fails calls when told to.
//
// Names change at once and become durable, in order and folder by folder, by
// SyncDir; bytes become durable by Sync, in sectors of 512 bytes. A failed Sync
// leaves its sectors neither durable nor to be written again, as Linux does
// (PostgreSQL's "fsyncgate", 2018), and a handle whose Sync failed panics when it
// is used for writing again. Programs never link this package.
//
// FS has the methods of journal.FS but for the type that Open returns: the tests
// of journal itself use it too, so it must not import it.
package simfs

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

// Sector is what a disk writes whole or not at all, in bytes.
const Sector = 512

// ErrPower is what every call fails with once the power is gone.
var ErrPower = errors.New("no power")

// Fault is what happens to a call. The zero value lets it be.
type Fault struct {
	Err   error
	After bool // the call takes effect and fails all the same
	Half  bool // a write takes effect by half
	Power bool // and then the power is gone
}

// FS is the file system. Its methods may be called from several goroutines.
type FS struct {
	// Locked is wrapped by the error of Lock when the lock is taken.
	Locked error
	// Fault says what happens to a call; calls count from 1. Set it while no
	// call is running. nil lets every call be.
	Fault func(call int, op, name string) Fault

	mu      sync.Mutex
	now     state
	durable state
	pending []change // since the last SyncDir of its folder
	locked  map[string]bool
	calls   int
	off     bool // the power is gone: every call fails
}

type state struct {
	files map[string]*inode
	dirs  map[string]bool
}

func (s state) clone() state { return state{maps.Clone(s.files), maps.Clone(s.dirs)} }

// change is what happened to the names of a folder.
type change struct {
	dir string
	do  func(state)
}

type inode struct {
	data, synced []byte
	dirty        map[int64]bool // sectors to be written by the next Sync
}

// New returns an empty file system.
func New(locked error) *FS { return Of(locked, nil) }

// Of returns a file system with files that are on disk.
func Of(locked error, files map[string][]byte) *FS {
	s := &FS{Locked: locked, now: state{map[string]*inode{}, map[string]bool{}}, locked: map[string]bool{}}
	for name, b := range files {
		s.now.files[name] = &inode{data: bytes.Clone(b), synced: bytes.Clone(b), dirty: map[int64]bool{}}
		s.now.dirs[filepath.Dir(name)] = true
	}
	s.durable = s.now.clone()
	return s
}

// Calls returns how many calls there were.
func (s *FS) Calls() int { return s.calls }

// Bytes returns the bytes of a file as they are now, nil when there is none. The
// caller may change them: that is a disk that alters what it holds.
func (s *FS) Bytes(name string) []byte {
	if n := s.now.files[name]; n != nil {
		return n.data
	}
	return nil
}

// Names returns the files there are, in lexical order.
func (s *FS) Names() []string { return slices.Sorted(maps.Keys(s.now.files)) }

// call counts a call and says what happens to it; s.mu is held.
func (s *FS) call(op, name string) Fault {
	if s.off {
		return Fault{Err: ErrPower}
	}
	s.calls++
	if s.Fault == nil {
		return Fault{}
	}
	f := s.Fault(s.calls, op, name)
	s.off = f.Power
	return f
}

// do runs a call.
func (s *FS) do(op, name string, effect func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.call(op, name)
	if f.Err != nil && !f.After {
		return f.Err
	}
	if err := effect(); err != nil {
		return err
	}
	return f.Err
}

// Crash takes the power and gives it back: of what was not synced it keeps what
// rnd says, and every handle, lock and fault is gone.
func (s *FS) Crash(rnd *rand.Rand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	some, upTo := rnd.IntN(2) == 0, rnd.IntN(len(s.pending)+1)
	for i, c := range s.pending {
		if some && rnd.IntN(2) == 0 || !some && i < upTo {
			c.do(s.durable)
		}
	}
	all := rnd.IntN(3) // 0: every unsynced sector is lost, 1: all are kept, 2: some
	for _, name := range slices.Sorted(maps.Keys(s.durable.files)) {
		s.durable.files[name].crash(rnd, all)
	}
	s.now, s.pending = s.durable.clone(), nil
	s.restart()
}

func (n *inode) crash(rnd *rand.Rand, all int) {
	keep := func() bool { return all == 1 || all == 2 && rnd.IntN(2) == 0 }
	size := len(n.synced)
	if keep() {
		size = len(n.data)
	}
	kept := make([]byte, size)
	copy(kept, n.synced)
	for _, sec := range slices.Sorted(maps.Keys(n.dirty)) {
		if from := min(sec*Sector, int64(len(n.data))); keep() && from < int64(size) {
			copy(kept[from:min(from+Sector, int64(size))], n.data[from:])
		}
	}
	n.data, n.synced, n.dirty = kept, bytes.Clone(kept), map[int64]bool{}
}

// Kill ends the process: the system keeps what it was given.
func (s *FS) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restart()
}

func (s *FS) restart() {
	s.locked = map[string]bool{}
	s.off, s.Fault, s.calls = false, nil, 0
}

func (s *FS) change(dir string, f func(state)) {
	f(s.now)
	s.pending = append(s.pending, change{dir, f})
}

// MkdirAll and the methods below are those of journal.FS.
func (s *FS) MkdirAll(dir string) error {
	return s.do("mkdir", dir, func() error {
		for d := dir; d != "." && d != "/"; d = filepath.Dir(d) {
			s.now.dirs[d], s.durable.dirs[d] = true, true
		}
		return nil
	})
}

func (s *FS) ReadDir(dir string) (names []string, err error) {
	err = s.do("readdir", dir, func() error {
		if !s.now.dirs[dir] {
			return &fs.PathError{Op: "readdir", Path: dir, Err: fs.ErrNotExist}
		}
		names = s.children(dir)
		return nil
	})
	return names, err
}

func (s *FS) children(dir string) (names []string) {
	for name := range s.now.files {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	for name := range s.now.dirs {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names
}

func (s *FS) Rename(from, to string) error {
	return s.do("rename", to, func() error {
		if s.now.files[from] == nil {
			return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
		}
		s.change(filepath.Dir(to), func(st state) {
			if n := st.files[from]; n != nil {
				st.files[to] = n
				delete(st.files, from)
			}
		})
		return nil
	})
}

func (s *FS) Remove(name string) error {
	return s.do("remove", name, func() error {
		switch {
		case s.now.dirs[name] && len(s.children(name)) > 0:
			return &fs.PathError{Op: "remove", Path: name, Err: errors.New("directory not empty")}
		case s.now.dirs[name]:
			s.change(filepath.Dir(name), func(st state) { delete(st.dirs, name) })
		case s.now.files[name] == nil:
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
		default:
			s.change(filepath.Dir(name), func(st state) { delete(st.files, name) })
		}
		return nil
	})
}

func (s *FS) SyncDir(dir string) error {
	return s.do("syncdir", dir, func() error {
		s.pending = slices.DeleteFunc(s.pending, func(c change) bool {
			if c.dir == dir {
				c.do(s.durable)
			}
			return c.dir == dir
		})
		return nil
	})
}

func (s *FS) Lock(name string) (io.Closer, error) {
	err := s.do("lock", name, func() error {
		if s.locked[name] {
			return fmt.Errorf("%w: %s", s.Locked, name)
		}
		s.locked[name] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return closer(func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.locked, name)
		return nil
	}), nil
}

type closer func() error

func (c closer) Close() error { return c() }

func (s *FS) Open(name string, flag int) (*Handle, error) {
	var n *inode
	err := s.do("open", name, func() error {
		n = s.now.files[name]
		if n == nil && flag&os.O_CREATE == 0 {
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if n == nil {
			n = &inode{dirty: map[int64]bool{}}
			made := n
			s.change(filepath.Dir(name), func(st state) { st.files[name] = made })
		}
		if flag&os.O_TRUNC != 0 {
			n.data = nil
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Handle{s: s, n: n, name: name, readOnly: flag&os.O_RDWR == 0}, nil
}

// Handle is an open file.
type Handle struct {
	s        *FS
	n        *inode
	name     string
	readOnly bool
	closed   bool
	failed   bool // its Sync failed
}

func (h *Handle) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.s.do("read", h.name, func() error {
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

func (h *Handle) touch(from, to int64) {
	for sec := from / Sector; sec*Sector < to; sec++ {
		h.n.dirty[sec] = true
	}
}

func (h *Handle) WriteAt(b []byte, off int64) (int, error) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.closed || h.failed || h.readOnly {
		panic("write to " + h.name + " through a handle that is closed, only for reading, or whose sync failed")
	}
	f := h.s.call("write", h.name)
	if f.Err != nil && !f.After && !f.Half {
		return 0, f.Err
	}
	if f.Half {
		b = b[:len(b)/2]
	}
	if need := off + int64(len(b)); need > int64(len(h.n.data)) {
		h.n.data = append(h.n.data, make([]byte, need-int64(len(h.n.data)))...)
	}
	copy(h.n.data[off:], b)
	h.touch(off, off+int64(len(b)))
	return len(b), f.Err
}

func (h *Handle) Truncate(size int64) error {
	return h.s.do("truncate", h.name, func() error {
		if size <= int64(len(h.n.data)) {
			h.n.data = h.n.data[:size:size]
		} else {
			h.n.data = append(h.n.data, make([]byte, size-int64(len(h.n.data)))...)
		}
		h.touch(size, size+1) // the rest of the sector is zeroed
		return nil
	})
}

func (h *Handle) Size() (size int64, err error) {
	err = h.s.do("size", h.name, func() error { size = int64(len(h.n.data)); return nil })
	return size, err
}

func (h *Handle) Sync() error {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.failed {
		panic("sync of " + h.name + " again on a handle whose sync failed")
	}
	f := h.s.call("sync", h.name)
	if f.Err != nil {
		h.failed = true
	}
	if f.Err != nil && !f.After {
		h.n.dirty = map[int64]bool{}
		return f.Err
	}
	synced := make([]byte, len(h.n.data))
	copy(synced, h.n.synced)
	for sec := range h.n.dirty {
		if from := sec * Sector; from < int64(len(synced)) {
			copy(synced[from:min(from+Sector, int64(len(synced)))], h.n.data[from:])
		}
	}
	h.n.synced, h.n.dirty = synced, map[int64]bool{}
	return f.Err
}

func (h *Handle) Close() error {
	return h.s.do("close", h.name, func() error { h.closed = true; return nil })
}
