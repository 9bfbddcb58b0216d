package journal

import (
	"encoding/binary"
	"fmt"
	"io"
)

// walker goes through the frames of a segment. Where bytes are no frame it goes
// on at the next frame that can be one.
type walker struct {
	file  io.ReaderAt
	end   int64  // bytes of the file that may be looked at
	limit uint64 // no frame of the segment has this number or a higher one
	chunk int    // bytes read at a time

	off int64  // where the next frame should begin
	seq uint64 // the number it should have
	was mark   // the frame before, as it was found

	buf []byte // bytes of the file from at on
	at  int64
}

// peek returns n bytes from off on, which must lie before end. They are valid
// until the next call.
func (w *walker) peek(off int64, n int64) ([]byte, error) {
	if off < w.at || off+n > w.at+int64(len(w.buf)) {
		want := min(max(n, int64(w.chunk)), w.end-off)
		if int64(cap(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		w.buf, w.at = w.buf[:want], off
		if _, err := w.file.ReadAt(w.buf, off); err != nil {
			w.buf = w.buf[:0]
			return nil, fmt.Errorf("read %d bytes at %d: %w", want, off, err)
		}
	}
	return w.buf[off-w.at:][:n], nil
}

// frameAt returns the frame that begins at off; whole is false when none does.
func (w *walker) frameAt(off int64) (fr frame, whole bool, err error) {
	if off+frameBytes > w.end {
		return frame{}, false, nil
	}
	b, err := w.peek(off, frameBytes)
	if err != nil {
		return frame{}, false, err
	}
	size := frameSize(int(binary.LittleEndian.Uint32(b) & lenMask))
	if off+size > w.end {
		return frame{}, false, nil
	}
	if b, err = w.peek(off, size); err != nil {
		return frame{}, false, err
	}
	fr, whole = parseFrame(b, off)
	return fr, whole, nil
}

// next returns the next frame. If it does not follow the one before, entries
// w.seq to fr.seq-1 are missing at w.off as both were before the call. io.EOF
// means there is no further frame, and leaves both where they are. The payload
// is valid until the next call.
func (w *walker) next() (fr frame, err error) {
	if w.seq >= w.limit {
		return frame{}, io.EOF
	}
	fr, whole, err := w.frameAt(w.off)
	if err != nil {
		return frame{}, err
	}
	if !whole || fr.seq != w.seq || fr.seq >= w.limit {
		if fr, whole, err = w.search(); err != nil {
			return frame{}, err
		}
		if !whole {
			return frame{}, io.EOF
		}
	}
	w.off, w.seq, w.was = fr.off+fr.size, fr.seq+1, mark{fr.seq, fr.off}
	return fr, nil
}

// begin puts the walker at the last frame that is known to begin at or before
// that of entry seq.
func (w *walker) begin(v view, seq uint64) {
	at := v.start
	for _, m := range [...]mark{w.was, {w.seq, w.off}} {
		if m.seq <= seq && m.seq > at.seq {
			at = m
		}
	}
	w.seq, w.off, w.end, w.limit = at.seq, at.off, v.end, v.limit
}

// shrink lets go of a buffer that one large entry has made.
func (w *walker) shrink() {
	if cap(w.buf) > 1<<20 {
		w.buf, w.at = nil, 0
	}
}

// search looks behind a bad frame for a good one. Its number must be one that
// the bytes between leave room for, so that hardly anything else is ever
// taken for a frame and its checksum computed.
func (w *walker) search() (frame, bool, error) {
	for off := w.off + frameBytes; off+frameBytes <= w.end; off += 8 {
		b, err := w.peek(off, frameBytes)
		if err != nil {
			return frame{}, false, err
		}
		seq := binary.LittleEndian.Uint64(b[8:])
		if seq <= w.seq || seq >= w.limit || seq-w.seq > uint64(off-w.off)/frameBytes {
			continue
		}
		fr, whole, err := w.frameAt(off)
		if err != nil || whole {
			return fr, whole, err
		}
	}
	return frame{}, false, nil
}

// sector is what a disk writes whole or not at all.
const sector = 512

// unwritten says whether some sector between from and to, as far as it lies
// between them, still holds the zeros it was prepared with.
func (w *walker) unwritten(from, to int64) (bool, error) {
	for from < to {
		stop := min(to, from/sector*sector+sector)
		b, err := w.peek(from, stop-from)
		if err != nil {
			return false, err
		}
		if zero(b) {
			return true, nil
		}
		from = stop
	}
	return false, nil
}

// written returns how far from off on there are bytes other than zero.
func (w *walker) written(off int64) (int64, error) {
	last := off
	for off < w.end {
		n := min(w.end-off, int64(w.chunk))
		b, err := w.peek(off, n)
		if err != nil {
			return 0, err
		}
		for i := len(b); i > 0; i-- {
			if b[i-1] != 0 {
				last = off + int64(i)
				break
			}
		}
		off += n
	}
	return last, nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
