package journal

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Copy makes the folder to hold the entries of the log, segment by segment, and
// keeps there what the log has dropped. Segments that are there already and can
// no longer change are left alone, so that copying again costs what is new. What
// is damaged is copied as it is.
//
// It fails, and changes nothing, when the folder holds entries that the log does
// not have yet: then it is not an earlier state of it.
func (l *Log) Copy(to string) error {
	if err := l.copy(to); err != nil {
		return fmt.Errorf("copy journal %s to %s: %w", l.dir, to, err)
	}
	return nil
}

func (l *Log) copy(to string) error {
	if err := l.fs.MkdirAll(to); err != nil {
		return err
	}
	lock, err := l.fs.Lock(filepath.Join(to, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	names, err := l.fs.ReadDir(to)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, suffix) })
	segs := l.Segments()
	if n := len(names); n > 0 && (len(segs) == 0 || names[n-1] > segs[len(segs)-1].Name) {
		return fmt.Errorf("it holds %s, which is not in the journal: it is the copy of another one, or of a later state", names[n-1])
	}
	for i, s := range segs {
		size := s.Bytes
		if i == len(segs)-1 {
			size = l.durable()
		}
		if k := slices.Index(names, s.Name); k >= 0 && k < len(names)-1 {
			same, err := l.sameSize(filepath.Join(to, s.Name), size)
			if err != nil {
				return err
			}
			if same {
				continue
			}
		}
		if err := l.copySegment(filepath.Join(l.dir, s.Name), filepath.Join(to, s.Name), size); err != nil {
			return err
		}
	}
	return l.fs.SyncDir(to)
}

// durable returns how many bytes of the last segment are to be copied.
func (l *Log) durable() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.segments[len(l.segments)-1]; s.shut {
		return s.bytes
	}
	return l.end
}

func (l *Log) sameSize(path string, size int64) (bool, error) {
	f, err := l.fs.Open(path, 0)
	if err != nil {
		return false, err
	}
	got, err := f.Size()
	return got == size, errors.Join(err, f.Close())
}

// copySegment replaces a file by size bytes of another so that a crash leaves
// the old one or the new.
func (l *Log) copySegment(from, to string, size int64) error {
	in, err := l.fs.Open(from, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	return l.replace(to, func(out File) error {
		b := make([]byte, min(size, 1<<20))
		for at := int64(0); at < size; at += int64(len(b)) {
			b = b[:min(int64(len(b)), size-at)]
			if _, err := in.ReadAt(b, at); err != nil {
				return err
			}
			if _, err := out.WriteAt(b, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// replace writes a file beside, syncs it and gives it its name.
func (l *Log) replace(path string, write func(File) error) error {
	out, err := l.fs.Open(path+newSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	err = write(out)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return l.fs.Rename(path+newSuffix, path)
}

// Heal gives the journal in dir back the entries that are damaged in it and
// whole in the journal in from, a copy of it. Of each segment concerned a new
// one is made and the old one is kept beside it under the suffix .bad. same is
// asked whether the copy's entry may be taken. It returns how many entries came
// back, and the report of what is still damaged.
func Heal(dir, from string, same func(seq uint64, entry []byte) error, o Options) (healed uint64, left Report, err error) {
	fail := func(err error) (uint64, Report, error) {
		return healed, left, fmt.Errorf("heal journal %s: %w", dir, err)
	}
	l, found, err := Open(dir, Options{SegmentBytes: o.SegmentBytes, Durable: o.Durable, FS: o.FS})
	if err != nil {
		return fail(err)
	}
	source, _, err := Open(from, Options{VerifyFrom: math.MaxUint64, ReadOnly: true, FS: o.FS})
	if err != nil {
		return fail(errors.Join(err, l.Close()))
	}
	files := make(map[string]bool)
	for _, d := range found.Damages {
		files[filepath.Base(d.File)] = true
	}
	for i, s := range l.segments {
		if !files[s.name] || err != nil {
			continue
		}
		limit := l.next
		if i+1 < len(l.segments) {
			limit = l.segments[i+1].first
		}
		var n uint64
		n, err = l.heal(s, limit, source, same)
		healed += n
	}
	if err = errors.Join(err, source.Close(), l.Close()); err != nil {
		return fail(err)
	}
	l, left, err = Open(dir, Options{Durable: o.Durable, ReadOnly: true, FS: o.FS})
	if err != nil {
		return fail(err)
	}
	return healed, left, l.Close()
}

// heal makes one segment anew, of its own entries and those of the source. An
// entry that neither has leaves the segment as it is.
func (l *Log) heal(s *segment, limit uint64, source *Log, same func(uint64, []byte) error) (healed uint64, err error) {
	entries := make([][]byte, 0, limit-s.first)
	for seq := s.first; seq < limit; seq++ {
		e, err := l.Read(seq)
		if errors.Is(err, ErrCorrupt) {
			if e, err = source.Read(seq); err != nil {
				return 0, nil // the report of what is left says so
			}
			if err = same(seq, e); err == nil {
				healed++
			}
		}
		if err != nil {
			return 0, err
		}
		entries = append(entries, e)
	}
	l.reading.Lock()
	if l.cached != nil {
		l.cached.file.Close() // it was only read from
		l.cached = nil
	}
	l.reading.Unlock()
	if err := l.copySegment(l.path(s), l.path(s)+badSuffix, s.bytes); err != nil {
		return 0, err
	}
	err = l.replace(l.path(s), func(out File) error {
		b := appendHeader(nil, s.first)
		for i := range entries {
			b = appendGroup(b, s.first+uint64(i), entries[i:i+1])
		}
		_, err := out.WriteAt(b, 0)
		return err
	})
	return healed, errors.Join(err, l.fs.SyncDir(l.dir))
}
