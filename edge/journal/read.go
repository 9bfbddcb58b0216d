package journal

import (
	"bytes"
	"fmt"
	"io"
)

// reader is an open segment and where reading in it stopped.
type reader struct {
	*segment
	file File
	w    walker
}

// Read returns a copy of entry seq. The error wraps ErrCorrupt when the entry
// was durable once and cannot be read any more. Reading on where the last Read
// stopped is fastest; any other entry costs a walk of 1/128 of a segment.
func (l *Log) Read(seq uint64) ([]byte, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	entry, err := l.read(seq)
	if err != nil {
		return nil, fmt.Errorf("read entry %d of journal %s: %w", seq, l.dir, err)
	}
	return entry, nil
}

func (l *Log) read(seq uint64) ([]byte, error) {
	if l.closed {
		return nil, ErrClosed
	}
	v, ok := l.locate(seq)
	if !ok {
		return nil, l.absent()
	}
	r, err := l.reader(v)
	if err != nil {
		return nil, err
	}
	r.w.begin(v, seq)
	fr, err := l.walkTo(&r.w, v, seq)
	if err != nil {
		return nil, err
	}
	entry := bytes.Clone(fr.payload)
	r.w.shrink()
	return entry, nil
}

// reader returns an open reader of a segment.
func (l *Log) reader(v view) (*reader, error) {
	if l.cached != nil {
		if l.cached.segment == v.segment {
			return l.cached, nil
		}
		l.cached.file.Close() // it was only read from
		l.cached = nil
	}
	r, err := l.open(v, 16<<10)
	if err != nil {
		return nil, err
	}
	l.cached = r
	return r, nil
}

// open opens a reader of a segment.
func (l *Log) open(v view, chunk int) (*reader, error) {
	f, err := l.fs.Open(l.path(v.segment), 0)
	if err != nil {
		return nil, err
	}
	return &reader{segment: v.segment, file: f, w: walker{file: f, chunk: chunk}}, nil
}

// walkTo returns the frame of entry seq, which is at or behind where w stands.
func (l *Log) walkTo(w *walker, v view, seq uint64) (frame, error) {
	for {
		off, at := w.off, w.seq
		fr, err := w.next()
		if err == io.EOF {
			d := l.damage(v.segment, off, at, v.limit-1, causeEnd)
			return frame{}, &d
		}
		if err != nil {
			return frame{}, fmt.Errorf("%s: %w", l.path(v.segment), err)
		}
		if fr.seq > seq {
			d := l.damage(v.segment, off, at, fr.seq-1, causeBytes)
			return frame{}, &d
		}
		l.note(v.segment, fr.seq, fr.off)
		if fr.seq == seq {
			return fr, nil
		}
	}
}

// absent says which entries there are, in answer to one that is not.
func (l *Log) absent() error {
	first, next := l.First(), l.Next()
	if first == next {
		return fmt.Errorf("it holds no entries, the next is %d", next)
	}
	return fmt.Errorf("it holds entries %d to %d", first, next-1)
}

// Scan calls fn for the entries from from on, in order, up to what is durable
// when it is called; from may be Next, for none. The entry is valid during fn
// only. An error of fn ends the scan and is returned as it is. So does a
// damaged entry, with an error that wraps ErrCorrupt: the *Damage in it says
// behind which entry to go on. Several scans may run at once.
func (l *Log) Scan(from uint64, fn func(seq uint64, entry []byte) error) error {
	stop := l.Next()
	if from > stop {
		return fmt.Errorf("scan journal %s from entry %d: %w", l.dir, from, l.absent())
	}
	for from < stop {
		l.reading.Lock()
		closed := l.closed
		l.reading.Unlock()
		if closed {
			return ErrClosed
		}
		v, ok := l.locate(from)
		if !ok {
			return fmt.Errorf("scan journal %s from entry %d: %w", l.dir, from, l.absent())
		}
		v.limit = min(v.limit, stop)
		if err := l.scanSegment(v, from, fn); err != nil {
			return err
		}
		from = v.limit
	}
	return nil
}

// scanSegment calls fn for the entries of one segment from from on.
func (l *Log) scanSegment(v view, from uint64, fn func(uint64, []byte) error) error {
	r, err := l.borrow(v)
	if err != nil {
		return fmt.Errorf("scan journal %s: %w", l.dir, err)
	}
	defer l.giveBack(r)
	w := &r.w
	w.begin(v, from)
	for seq := from; seq < v.limit; seq++ {
		fr, err := l.walkTo(w, v, seq)
		if err != nil {
			return fmt.Errorf("scan journal %s: %w", l.dir, err)
		}
		if err := fn(fr.seq, fr.payload); err != nil {
			return err
		}
	}
	return nil
}

// borrow returns a reader of a segment for the caller alone: the one of the last
// Read or Scan, when nobody has it and it fits.
func (l *Log) borrow(v view) (*reader, error) {
	l.reading.Lock()
	r := l.cached
	if r != nil && r.segment == v.segment {
		l.cached = nil
		l.reading.Unlock()
		return r, nil
	}
	l.reading.Unlock()
	return l.open(v, 64<<10)
}

// giveBack keeps a reader of the last segment for the next, who will most likely
// go on there, and closes any other: its segment may have been dropped meanwhile.
func (l *Log) giveBack(r *reader) {
	l.reading.Lock()
	defer l.reading.Unlock()
	l.mu.Lock()
	last := l.segments[len(l.segments)-1] == r.segment
	l.mu.Unlock()
	if l.closed || l.cached != nil || !last {
		r.file.Close() // it was only read from
		return
	}
	r.w.shrink()
	l.cached = r
}
