package wire

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
)

// deflater compresses a body into one DEFLATE block with the fixed codes. What
// the standard library has for it takes 1.2 MB and clears much of that for each
// batch, which is most of the memory of an edge that delivers every second, and
// more time than compressing takes. This one takes 20 kB and 4 bytes for one of
// the body; a snapshot comes out as small, as codes of its own do not pay for it.
// Source: RFC 1951.
type deflater struct {
	head [1 << hashBits]uint32 // by hash of four bytes: where they came last, plus one
	prev []uint32              // by position: where bytes of that hash came before, plus one
	out  []byte
	acc  uint64 // bits that are not in out yet
	n    uint
}

const (
	hashBits  = 12
	window    = 1 << 15 // how far back a copy may begin
	copyLeast = 4       // shorter ones are not looked for
	copyMost  = 258
	tries     = 8 // places where a copy is looked for
)

var deflaters = sync.Pool{New: func() any { return new(deflater) }}

// squash returns body compressed.
func squash(body []byte) []byte {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.begin(len(body))
	for at := 0; at < len(body); {
		length, back := d.find(body, at)
		if length == 0 {
			d.symbol(uint(body[at]))
			d.note(body, at)
			at++
			continue
		}
		d.copy(uint(length), uint(back))
		for range length {
			d.note(body, at)
			at++
		}
	}
	d.symbol(endOfBlock)
	d.bits(0, 7) // the last byte is full
	return slices.Clone(d.out)
}

func (d *deflater) begin(size int) {
	clear(d.head[:])
	d.prev = slices.Grow(d.prev[:0], size)[:size]
	d.out, d.acc, d.n = d.out[:0], 0, 0
	d.bits(0b011, 3) // the last block, fixed codes
}

func hashOf(b []byte) uint32 { return binary.LittleEndian.Uint32(b) * 0x9E3779B1 >> (32 - hashBits) }

// note makes the bytes at a position known.
func (d *deflater) note(body []byte, at int) {
	if at+copyLeast <= len(body) {
		h := hashOf(body[at:])
		d.prev[at], d.head[h] = d.head[h], uint32(at+1)
	}
}

// find returns the longest copy of what comes at a position, and how far back it
// begins; 0 when there is none.
func (d *deflater) find(body []byte, at int) (length, back int) {
	if at+copyLeast > len(body) {
		return 0, 0
	}
	most := min(copyMost, len(body)-at)
	from := d.head[hashOf(body[at:])]
	for range tries {
		if from == 0 || at-int(from-1) > window {
			break
		}
		n, old := 0, body[from-1:]
		for n < most && old[n] == body[at+n] {
			n++
		}
		if n >= copyLeast && n > length {
			length, back = n, at-int(from-1)
		}
		from = d.prev[from-1]
	}
	return length, back
}

const endOfBlock = 256

// symbol writes a literal, the end of the block or the length of a copy.
// Source: RFC 1951, 3.2.6.
func (d *deflater) symbol(v uint) {
	switch {
	case v < 144:
		d.code(0x30+v, 8)
	case v < 256:
		d.code(0x190+v-144, 9)
	case v < 280:
		d.code(v-256, 7)
	default:
		d.code(0xC0+v-280, 8)
	}
}

// copy writes a length and a distance. Both have a class, of which there are
// four or two to each power of two, and the rest in extra bits.
// Source: RFC 1951, 3.2.5.
func (d *deflater) copy(length, back uint) {
	switch l := length - 3; {
	case length == copyMost:
		d.symbol(285)
	case l < 8:
		d.symbol(257 + l)
	default:
		extra := uint(bits.Len(l)) - 3
		d.symbol(257 + 4*extra + l>>extra)
		d.bits(l&(1<<extra-1), extra)
	}
	b := back - 1
	if b < 4 {
		d.code(b, 5)
		return
	}
	extra := uint(bits.Len(b)) - 2
	d.code(2*extra+b>>extra, 5)
	d.bits(b&(1<<extra-1), extra)
}

// code writes a code of n bits, the highest first.
func (d *deflater) code(v, n uint) { d.bits(uint(bits.Reverse64(uint64(v))>>(64-n)), n) }

// bits writes n bits, the lowest first.
func (d *deflater) bits(v, n uint) {
	d.acc |= uint64(v) << d.n
	for d.n += n; d.n >= 8; d.n -= 8 {
		d.out = append(d.out, byte(d.acc))
		d.acc >>= 8
	}
}
