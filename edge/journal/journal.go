// Package journal keeps byte strings on disk in the order they were appended.
//
// Entries are numbered from 1 without holes. What one Append was given is
// durable once it returns, and after a crash it is there whole or not at all,
// so nothing an Append confirmed is ever lost to a power cut and nothing half
// written is ever read. Every read checks the checksum of what it returns. Open
// removes what a crash left behind the last whole Append; damage anywhere else
// is kept, reported and told apart from it: the entries concerned cannot be
// read, all others can. Old entries leave by whole segments, oldest first, and
// only when told to.
//
// What an entry means, and when it may leave, is left to the caller. FORMAT.md
// beside this file is the form on disk.
package journal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sort"
	"sync"
)

// MaxEntry is the most bytes one entry can have.
const MaxEntry = 256 << 20

const (
	defaultSegment = 4 << 20
	minSegment     = 4 << 10
	prepare        = 4 << 20 // bytes of a segment that are filled with zeros at a time
)

// ErrClosed is returned by the methods of a Log after Close.
var ErrClosed = errors.New("journal is closed")

// ErrReadOnly is wrapped by what would change a journal that was opened to be read.
var ErrReadOnly = errors.New("it was opened for reading only")

// Options says how a Log is kept. The zero value is good.
type Options struct {
	// SegmentBytes is the size of a segment file, at least 4 KiB; 0 means 4 MiB.
	// What one Append is given stays in one segment, which is as large as it needs.
	SegmentBytes int64
	// VerifyFrom is the first entry whose segment, with all later ones, is read
	// and checked by Open. 0 checks everything; the last segment always is.
	// Damage in what was not checked is found when it is read.
	VerifyFrom uint64
	// Durable is an entry that is known, from elsewhere, to have been durable with
	// all before it: what is missing of them at the end is then damage and no
	// trace of a crash, nothing of it is cut off, and their numbers are not given
	// again. 0 when nothing is known.
	Durable uint64
	// ReadOnly opens what is there, changes nothing and takes no lock, so that a
	// journal can be read beside the process that writes it. What that process
	// is just appending may be seen, before it is durable, or not.
	ReadOnly bool
	// FS is where the files are; nil means the machine's own file system.
	FS FS
}

// Log is an open journal. Its methods may be called from several goroutines;
// reading does not wait for an Append that is writing, and sees only what is
// durable.
type Log struct {
	dir      string
	fs       FS
	cap      int64 // bytes of a segment
	spacing  int64 // bytes between two marks
	lock     io.Closer
	readOnly bool
	known    uint64 // Options.Durable

	writing sync.Mutex // held by Append, DropBefore and Close; guards the fields below
	file    File       // the last segment, nil when there is none that may be written to
	ready   int64      // bytes of file, zeros from end on
	broken  bool       // a call on the last segment failed: mend before writing
	closed  bool
	out     []byte // frames of an Append

	mu       sync.Mutex // guards the fields below; held for moments only
	segments []*segment // ascending
	next     uint64     // number of the next entry
	end      int64      // behind the last durable frame of the last segment

	reading sync.Mutex // held by Read; guards cached
	cached  *reader    // of the last Read
}

// segment is a file of the log.
type segment struct {
	first uint64
	name  string // without the folder
	bytes int64  // size of the file
	shut  bool   // damaged: nothing more is written to it
	marks []mark // some of its frames, ascending
}

// mark is where a frame begins.
type mark struct {
	seq uint64
	off int64
}

// Segment describes one file of a Log.
type Segment struct {
	First uint64 // its first entry, or the one that will be
	Name  string // of the file, without the folder
	Bytes int64  // on disk
}

// Open opens the journal in dir, making the folder if there is none. It takes
// the folder's lock; when another process has it the error wraps ErrLocked.
// The report says what a crash had left behind and which entries are damaged:
// neither is an error.
func Open(dir string, o Options) (*Log, Report, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegment
	}
	if o.FS == nil {
		o.FS = OS()
	}
	l := &Log{dir: dir, fs: o.FS, cap: o.SegmentBytes, spacing: max(o.SegmentBytes/128, 1<<10), next: 1, readOnly: o.ReadOnly, known: o.Durable}
	report := Report{Dir: dir, ReadOnly: o.ReadOnly}
	fail := func(err error) (*Log, Report, error) { return nil, report, fmt.Errorf("open journal %s: %w", dir, err) }
	if o.SegmentBytes < minSegment {
		return fail(fmt.Errorf("segments of %d bytes, want at least %d", o.SegmentBytes, minSegment))
	}
	if o.ReadOnly {
		if err := l.look(o.VerifyFrom, &report); err != nil {
			return fail(err)
		}
		return l, report, nil
	}
	if err := l.fs.MkdirAll(dir); err != nil {
		return fail(err)
	}
	var err error
	if l.lock, err = l.fs.Lock(filepath.Join(dir, "lock")); err != nil {
		return fail(err)
	}
	if err := l.recover(o.VerifyFrom, &report); err != nil {
		return fail(errors.Join(err, l.Close()))
	}
	return l, report, nil
}

// First returns the number of the oldest entry that is kept; without any it
// equals Next.
func (l *Log) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return l.next
	}
	return l.segments[0].first
}

// Next returns the number the next entry will have: everything below is durable.
func (l *Log) Next() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Size returns the bytes of all segment files, prepared space included.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, s := range l.segments {
		n += s.bytes
	}
	return n
}

// Segments returns the files of the log, oldest first.
func (l *Log) Segments() []Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Segment, len(l.segments))
	for i, s := range l.segments {
		out[i] = Segment{First: s.first, Name: s.name, Bytes: s.bytes}
	}
	return out
}

// Close releases the files and the lock. Whatever Append confirmed is durable
// already. Closing twice is harmless.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	if l.cached != nil {
		errs = append(errs, l.cached.file.Close())
		l.cached = nil
	}
	if l.file != nil {
		errs = append(errs, l.file.Close())
		l.file = nil
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close journal %s: %w", l.dir, err)
	}
	return nil
}

func (l *Log) path(s *segment) string { return filepath.Join(l.dir, s.name) }

// view is what a reader needs to know of the segment that holds an entry.
type view struct {
	*segment
	start mark   // a frame at or before the entry
	end   int64  // bytes that may be looked at
	limit uint64 // number of the first entry behind the segment
}

// locate returns the segment of entry seq, or false when it is not in the log.
func (l *Log) locate(seq uint64) (view, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first > seq }) - 1
	if i < 0 || seq >= l.next {
		return view{}, false
	}
	s := l.segments[i]
	v := view{segment: s, start: mark{s.first, headerBytes}, end: s.bytes, limit: l.next}
	if i+1 < len(l.segments) {
		v.limit = l.segments[i+1].first
	} else if !s.shut {
		v.end = l.end
	}
	if k := sort.Search(len(s.marks), func(k int) bool { return s.marks[k].seq > seq }); k > 0 {
		v.start = s.marks[k-1]
	}
	return v, true
}

// note remembers where a frame begins, if no mark is near.
func (l *Log) note(s *segment, seq uint64, off int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(s.marks); n == 0 && off >= headerBytes+l.spacing || n > 0 && off >= s.marks[n-1].off+l.spacing {
		s.marks = append(s.marks, mark{seq, off})
	}
}
