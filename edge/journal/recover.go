package journal

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	suffix    = ".seg" // of a segment, whose name is its first entry in 20 digits
	newSuffix = ".new" // of one that is being made
	badSuffix = ".bad" // of one moved aside
)

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, suffix) }

// recover finds the segments, checks them and makes the last one ready.
func (l *Log) recover(verifyFrom uint64, report *Report) error {
	if err := l.list(); err != nil {
		return err
	}
	if len(l.segments) == 0 {
		return nil
	}
	last := len(l.segments) - 1
	for i, s := range l.segments[:last] {
		limit := l.segments[i+1].first
		if limit <= verifyFrom {
			continue
		}
		if err := l.verify(s, limit, report); err != nil {
			return err
		}
	}
	return l.recoverLast(l.segments[last], report)
}

// look is recover for one who only reads. The process that writes may drop a
// segment between its name being read and its bytes: then all is looked at again.
func (l *Log) look(verifyFrom uint64, report *Report) (err error) {
	for range 3 {
		l.segments, report.Damages = nil, nil
		if err = l.recover(verifyFrom, report); !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return err
}

// list finds the segments and removes one that was not finished.
func (l *Log) list() error {
	names, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return err
	}
	unfinished := false
	for _, name := range names {
		if strings.HasSuffix(name, newSuffix) && !l.readOnly {
			if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil {
				return err
			}
			unfinished = true
		}
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		first, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 10, 64)
		if err != nil || first == 0 || name != segmentName(first) {
			return fmt.Errorf("%s is not the name of a segment; move the file elsewhere", filepath.Join(l.dir, name))
		}
		l.segments = append(l.segments, &segment{first: first, name: name})
	}
	slices.SortFunc(l.segments, func(a, b *segment) int { return strings.Compare(a.name, b.name) })
	for _, s := range l.segments {
		if err := l.measure(s); err != nil {
			return err
		}
	}
	if unfinished {
		return l.fs.SyncDir(l.dir)
	}
	return nil
}

func (l *Log) measure(s *segment) error {
	f, err := l.fs.Open(l.path(s), 0)
	if err != nil {
		return err
	}
	s.bytes, err = f.Size()
	return errors.Join(err, f.Close())
}

// damage describes entries from to to, which should stand at off of s.
func (l *Log) damage(s *segment, off int64, from, to uint64, cause string) Damage {
	return Damage{File: l.path(s), Offset: off, From: from, To: to, Cause: cause}
}

const (
	causeBytes   = "the bytes there are not those that were written"
	causeDurable = "they were durable and are not there"
	causeEnd     = "nothing is written there, or the segment behind is missing"
)

// header checks the header of s. Damage to it concerns no entry: the name of
// the file says the same.
func (l *Log) header(w *walker, s *segment) (*Damage, error) {
	var b []byte
	if w.end >= headerBytes {
		var err error
		if b, err = w.peek(0, headerBytes); err != nil {
			return nil, fmt.Errorf("%s: %w", l.path(s), err)
		}
	}
	err := checkHeader(b, s.first)
	if err == nil {
		return nil, nil
	}
	if errors.Is(err, errVersion) {
		return nil, fmt.Errorf("%s: %w; use the program that wrote it", l.path(s), err)
	}
	d := l.damage(s, 0, s.first, s.first-1, err.Error())
	return &d, nil
}

// verify reads a segment that others follow and reports what is missing.
func (l *Log) verify(s *segment, limit uint64, report *Report) error {
	f, err := l.fs.Open(l.path(s), 0)
	if err != nil {
		return err
	}
	defer f.Close()
	w := &walker{file: f, end: s.bytes, limit: limit, chunk: 64 << 10, off: headerBytes, seq: s.first}
	bad, err := l.header(w, s)
	if err != nil {
		return err
	}
	if bad != nil {
		report.Damages = append(report.Damages, *bad)
	}
	for w.seq < limit {
		off, seq := w.off, w.seq
		fr, err := w.next()
		if err != nil {
			cause := causeEnd
			if err != io.EOF {
				cause = err.Error() // the disk cannot read it
			}
			report.Damages = append(report.Damages, l.damage(s, off, seq, limit-1, cause))
			return nil
		}
		if fr.seq > seq {
			report.Damages = append(report.Damages, l.damage(s, off, seq, fr.seq-1, causeBytes))
		}
		l.note(s, fr.seq, fr.off)
	}
	return nil
}

// tail says how a segment ends.
type tail struct {
	seq     uint64 // number of the next entry
	off     int64  // where its frame will begin
	last    int64  // where the last whole Append begins
	damages []Damage
	cut     int64 // bytes of an unfinished Append behind off
}

// tail reads the last segment and tells what a crash left of an unfinished
// Append, which is to be removed, from damage, which is to be kept.
//
// An Append begins only when all before it is durable. So frames that are
// missing before the begin of another Append are damage. Where only frames of
// the same Append follow, a crash may have kept the later sectors and lost
// earlier ones, which then still hold zeros: that Append was not finished. With
// its last frame there and no such sector, it was, and is damaged.
func (l *Log) tail(w *walker, s *segment) (tail, error) {
	t := tail{seq: s.first, off: headerBytes, last: headerBytes}
	var gaps []Damage // of the last Append, so far
	torn, open := true, false
	begun := t.off
	for {
		off, seq := w.off, w.seq
		fr, err := w.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return t, err
		}
		if fr.seq > seq {
			lost, err := w.unwritten(off, fr.off)
			if err != nil {
				return t, err
			}
			gaps = append(gaps, l.damage(s, off, seq, fr.seq-1, causeBytes))
			torn = torn && lost
		}
		if fr.begins && len(gaps) > 0 {
			t.damages = append(t.damages, gaps...)
			t.seq, t.off = fr.seq, fr.off
			gaps, torn = nil, true
		}
		if fr.begins {
			begun = fr.off
		}
		open = !fr.ends
		if fr.ends && len(gaps) == 0 {
			t.seq, t.off, t.last = fr.seq+1, fr.off+fr.size, begun
			l.note(s, fr.seq, fr.off)
		}
	}
	if len(gaps) > 0 && !open && !torn { // all of it was written, and some of it changed since
		t.damages = append(t.damages, gaps...)
		t.seq, t.off = w.seq, w.off
	}
	if t.seq <= l.known {
		t.damages = append(t.damages, gaps...)
		if w.seq <= l.known {
			t.damages = append(t.damages, l.damage(s, w.off, w.seq, l.known, causeDurable))
		}
		t.seq, t.off = max(w.seq, l.known+1), w.off
		return t, nil
	}
	last, err := w.written(t.off)
	t.cut = last - t.off
	return t, err
}

// recoverLast makes the last segment ready for an Append: what an unfinished
// one left is cut off. A damaged segment stays as it is, for whoever wants to
// see it; the next Append begins a new one.
func (l *Log) recoverLast(s *segment, report *Report) error {
	flag := os.O_RDWR
	if l.readOnly {
		flag = 0
	}
	f, err := l.fs.Open(l.path(s), flag)
	if err != nil {
		return err
	}
	w := &walker{file: f, end: s.bytes, limit: math.MaxUint64, chunk: 64 << 10, off: headerBytes, seq: s.first}
	bad, err := l.header(w, s)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	t, err := l.tail(w, s)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", l.path(s), err), f.Close())
	}
	l.next, l.end = t.seq, t.off
	if bad != nil && t.seq == s.first && !l.readOnly {
		return errors.Join(f.Close(), l.moveAside(s, report))
	}
	if bad != nil {
		report.Damages = append(report.Damages, *bad)
	}
	report.Damages = append(report.Damages, t.damages...)
	s.shut = bad != nil || len(t.damages) > 0
	if l.readOnly {
		if t.cut > 0 && !s.shut {
			report.Cut, report.CutFile, report.CutOffset = t.cut, l.path(s), t.off
		}
		return f.Close()
	}
	if s.shut {
		return errors.Join(f.Sync(), f.Close(), l.fs.SyncDir(l.dir))
	}
	l.file = f
	if err := l.confirm(f, t); err != nil {
		return fmt.Errorf("%s: %w", l.path(s), err)
	}
	if t.cut > 0 {
		report.Cut, report.CutFile, report.CutOffset = t.cut, l.path(s), t.off
		if err := f.Truncate(t.off); err != nil {
			return fmt.Errorf("%s: remove an unfinished append: %w", l.path(s), err)
		}
		s.bytes = t.off
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// confirm writes the last Append again. The process that wrote it may have been
// killed before its sync, or after one that failed and left the system calling
// the bytes clean; they are going to be read, so they must become durable.
func (l *Log) confirm(f File, t tail) error {
	b := make([]byte, min(t.off-t.last, 64<<10))
	for at := t.last; at < t.off; at += int64(len(b)) {
		b = b[:min(int64(len(b)), t.off-at)]
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}

// moveAside renames a segment in which nothing can be read: its name is needed.
func (l *Log) moveAside(s *segment, report *Report) error {
	if err := l.fs.Rename(l.path(s), l.path(s)+badSuffix); err != nil {
		return err
	}
	report.Moved = l.path(s) + badSuffix
	l.segments = l.segments[:len(l.segments)-1]
	if n := len(l.segments); n > 0 {
		l.segments[n-1].shut = true
	}
	return l.fs.SyncDir(l.dir)
}

// mend makes the last segment usable after a failed call: what the call may
// have done is undone, through a new file handle, since the old one may call
// bytes written that are not.
func (l *Log) mend() error {
	if err := l.removeUnknown(); err != nil {
		return err
	}
	n := len(l.segments)
	if n == 0 || l.segments[n-1].shut {
		l.broken = false
		return nil
	}
	s := l.segments[n-1]
	f, err := l.fs.Open(l.path(s), os.O_RDWR)
	if err != nil {
		return err
	}
	whole, err := l.check(f, s)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if !whole { // reads will say so; what comes next goes to another file
		l.mu.Lock()
		s.shut = true
		l.mu.Unlock()
		l.broken = false
		return f.Close()
	}
	if err = f.Truncate(l.end); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: remove a failed append: %w", l.path(s), err), f.Close())
	}
	l.mu.Lock()
	s.bytes = l.end
	l.mu.Unlock()
	l.file, l.broken = f, false
	return nil
}

// removeUnknown removes files that a failed Append made and the log does not count.
func (l *Log) removeUnknown() error {
	names, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		unknown := strings.HasSuffix(name, suffix) && name >= segmentName(l.next) &&
			!slices.ContainsFunc(l.segments, func(s *segment) bool { return s.name == name })
		if !unknown && !strings.HasSuffix(name, newSuffix) {
			continue
		}
		if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return l.fs.SyncDir(l.dir)
}

// check says whether the durable frames that stand nearest to the failed write
// are still there.
func (l *Log) check(f File, s *segment) (bool, error) {
	size, err := f.Size()
	if err != nil || size < l.end {
		return false, err
	}
	w := &walker{file: f, end: l.end, limit: l.next, chunk: 64 << 10, off: headerBytes, seq: s.first}
	if n := len(s.marks); n > 1 {
		w.off, w.seq = s.marks[n-2].off, s.marks[n-2].seq
	}
	for w.seq < l.next {
		seq := w.seq
		fr, err := w.next()
		if err == io.EOF || err == nil && fr.seq != seq {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", l.path(s), err)
		}
	}
	return true, nil
}
