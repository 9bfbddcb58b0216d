package journal

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// Append writes entries in order and returns the number of the first. They are
// durable when it returns without an error, by one sync for all of them; a
// crash keeps all of them or none. After an error none is in the log and the
// next Append takes the same numbers; only a crash before that may bring them
// back, whole. Without entries it returns the next number.
func (l *Log) Append(entries ...[]byte) (first uint64, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.writable(); err != nil {
		return 0, err
	}
	size, err := groupSize(entries)
	if err == nil && size > 0 {
		err = l.append(entries, size)
	}
	if err != nil {
		return 0, fmt.Errorf("append to journal %s: %w", l.dir, err)
	}
	return l.next - uint64(len(entries)), nil
}

// writable says why nothing may be written; l.writing is held.
func (l *Log) writable() error {
	switch {
	case l.closed:
		return ErrClosed
	case l.readOnly:
		return fmt.Errorf("journal %s: %w", l.dir, ErrReadOnly)
	}
	return nil
}

func groupSize(entries [][]byte) (size int64, err error) {
	for i, e := range entries {
		if len(e) > MaxEntry {
			return 0, fmt.Errorf("entry %d of %d has %d bytes, at most %d", i+1, len(entries), len(e), MaxEntry)
		}
		size += frameSize(len(e))
	}
	return size, nil
}

func (l *Log) append(entries [][]byte, size int64) error {
	if l.broken {
		if err := l.mend(); err != nil {
			return err
		}
	}
	if err := l.write(entries, size); err != nil {
		l.abandon()
		return err
	}
	s := l.segments[len(l.segments)-1]
	l.note(s, l.next, l.end)
	l.mu.Lock()
	l.end += size
	l.next += uint64(len(entries))
	l.mu.Unlock()
	return nil
}

func (l *Log) write(entries [][]byte, size int64) error {
	if err := l.room(size); err != nil {
		return err
	}
	l.out = appendGroup(l.out[:0], l.next, entries)
	_, err := l.file.WriteAt(l.out, l.end)
	if cap(l.out) > 1<<20 {
		l.out = nil // one large Append must not hold memory for ever
	}
	if err != nil {
		return err
	}
	return l.file.Sync()
}

// abandon gives up the handle of the last segment. After a failed sync the
// system calls pages clean that never reached the disk, so asking it again
// would be answered with success (PostgreSQL's "fsyncgate", 2018).
func (l *Log) abandon() {
	l.broken = true
	if l.file != nil {
		l.file.Close() // the error that led here is the one to report
		l.file = nil
	}
}

// fits says whether size more bytes go into the last segment. One without
// entries takes any.
func (l *Log) fits(size int64) bool {
	n := len(l.segments)
	return n > 0 && !l.segments[n-1].shut && (l.end == headerBytes || l.end+size <= l.cap)
}

// prepared returns how large a file is made that needs so many bytes.
func (l *Log) prepared(need int64) int64 {
	return max(need, min(l.cap, (need+prepare-1)/prepare*prepare))
}

// Growth returns by how many bytes Size would grow if entries were appended now.
func (l *Log) Growth(entries ...[]byte) int64 {
	l.writing.Lock()
	defer l.writing.Unlock()
	size, err := groupSize(entries)
	if err != nil || size == 0 {
		return 0
	}
	if l.fits(size) {
		bytes := l.segments[len(l.segments)-1].bytes
		if l.end+size <= bytes {
			return 0
		}
		return l.prepared(l.end+size) - bytes
	}
	return l.prepared(headerBytes + size)
}

// room makes the last segment one that can take size bytes: zeros that are on
// disk already, so that a sync writes data and no new file size.
func (l *Log) room(size int64) error {
	if !l.fits(size) {
		return l.roll(size)
	}
	s := l.segments[len(l.segments)-1]
	if l.end+size <= s.bytes {
		return nil
	}
	to := l.prepared(l.end + size)
	if err := fill(l.file, s.bytes, to); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.mu.Lock()
	s.bytes = to
	l.mu.Unlock()
	return nil
}

// roll begins a new segment. It gets its name when it is whole on disk.
func (l *Log) roll(size int64) error {
	s := &segment{first: l.next, name: segmentName(l.next), bytes: l.prepared(headerBytes + size)}
	making := l.path(s) + newSuffix
	f, err := l.fs.Open(making, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if err := errors.Join(l.fillNew(f, s), f.Close()); err != nil {
		return err
	}
	if err := l.fs.Rename(making, l.path(s)); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	if f, err = l.fs.Open(l.path(s), os.O_RDWR); err != nil {
		return err
	}
	if l.file != nil {
		l.file.Close() // all of it is durable, so this can fail and nothing is lost
	}
	l.file = f
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.end = headerBytes
	l.mu.Unlock()
	return nil
}

func (l *Log) fillNew(f File, s *segment) error {
	if _, err := f.WriteAt(appendHeader(nil, s.first), 0); err != nil {
		return err
	}
	if err := fill(f, headerBytes, s.bytes); err != nil {
		return err
	}
	return f.Sync()
}

// fill writes zeros. A hole would do for reading, but the first write into a
// hole changes where the file lies on disk, which a sync then has to write too.
func fill(f File, from, to int64) error {
	zeros := make([]byte, min(to-from, 64<<10))
	for from < to {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// DropBefore removes the segments all of whose entries are below seq and
// returns how many those were. The last segment always stays. Each removal is
// durable before the next, so a crash leaves no hole.
func (l *Log) DropBefore(seq uint64) (segments int, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.writable(); err != nil {
		return 0, err
	}
	for len(l.segments) > 1 && l.segments[1].first <= seq {
		if err := l.drop(l.segments[0]); err != nil {
			return segments, fmt.Errorf("drop from journal %s: %w", l.dir, err)
		}
		segments++
	}
	return segments, nil
}

func (l *Log) drop(s *segment) error {
	l.reading.Lock()
	if l.cached != nil && l.cached.segment == s {
		l.cached.file.Close() // it was only read from
		l.cached = nil
	}
	l.reading.Unlock()
	l.mu.Lock()
	l.segments = slices.Delete(l.segments, 0, 1) // first, so that whoever misses the file finds First moved
	l.mu.Unlock()
	if err := l.fs.Remove(l.path(s)); err != nil && !errors.Is(err, os.ErrNotExist) {
		l.mu.Lock()
		l.segments = slices.Insert(l.segments, 0, s)
		l.mu.Unlock()
		return err
	}
	return l.fs.SyncDir(l.dir)
}
