package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Record kinds on the wire. Never renumbered.
const (
	kindDeclaration = 1
	kindReading     = 2
	kindEvent       = 3
)

// Limits of one record. They stand in FORMAT.md; a record beyond them is
// refused by its writer and by its reader alike.
const (
	MaxText   = 256  // bytes of any string
	MaxBlocks = 64   // of a declaration
	MaxPoints = 1024 // of a declaration
	MaxCount  = 125  // registers of a block (Modbus application protocol 1.1b3, 6.3)
	maxAbsent = 16   // contents that mean "not available", of a point
)

// ErrMalformed is wrapped by every error about bytes that are not what they
// should be.
var ErrMalformed = errors.New("malformed")

// Chain returns the chain hash after a record: SHA-256 of the hash before it
// and the record's canonical bytes. The hash before record 1 is all zero.
func Chain(prev Hash, canonical []byte) Hash {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(canonical)
	var out Hash
	h.Sum(out[:0])
	return out
}

// Encode returns the canonical encoding of r: the only one DecodeRecord takes,
// and what the chain hash covers. It does not check limits; Validate does.
func (r *Record) Encode() []byte { return r.Append(make([]byte, 0, 192)) }

// Append appends the canonical encoding of r to b.
func (r *Record) Append(b []byte) []byte {
	b = append(b, Format)
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendVarint(b, r.Wall)
	b = binary.AppendVarint(b, r.Mono)
	b = append(b, byte(r.Clock))
	switch {
	case r.Declaration != nil:
		b = append(b, kindDeclaration)
		b = r.Declaration.append(b)
	case r.Reading != nil:
		b = append(b, kindReading)
		b = r.Reading.append(b)
	case r.Event != nil:
		b = append(b, kindEvent)
		b = r.Event.append(b)
	}
	return b
}

// Validate says what keeps r from being written: not exactly one body, or a
// body beyond the limits.
func (r *Record) Validate() error {
	n := 0
	if r.Declaration != nil {
		n++
		if err := r.Declaration.Validate(); err != nil {
			return err
		}
	}
	if r.Reading != nil {
		n++
		if err := r.Reading.validate(); err != nil {
			return err
		}
	}
	if r.Event != nil {
		n++
		if len(r.Event.Detail) > MaxText {
			return fmt.Errorf("event detail of %d bytes, at most %d", len(r.Event.Detail), MaxText)
		}
	}
	if n != 1 {
		return fmt.Errorf("record with %d bodies, want exactly one", n)
	}
	if r.Clock > ClockUnsynced {
		return fmt.Errorf("clock state %d is unknown", r.Clock)
	}
	return nil
}

// DecodeRecord reads a canonical encoding. Bytes that are not exactly what
// Encode writes for the result are refused, so that one record has one hash.
func DecodeRecord(b []byte) (Record, error) {
	var r Record
	d := &decoder{b: b}
	if f := d.byte(); d.err == nil && f != Format {
		return Record{}, fmt.Errorf("%w record: format %d, this program reads %d", ErrMalformed, f, Format)
	}
	r.Seq = d.uvarint()
	r.Wall = d.varint()
	r.Mono = d.varint()
	r.Clock = ClockState(d.byte())
	switch kind := d.byte(); kind {
	case kindDeclaration:
		r.Declaration = d.declaration()
	case kindReading:
		r.Reading = d.reading()
	case kindEvent:
		r.Event = d.event()
	default:
		d.fail("record kind %d", kind)
	}
	if d.err == nil && len(d.b) != 0 {
		d.fail("%d bytes after the record", len(d.b))
	}
	if d.err != nil {
		return Record{}, fmt.Errorf("%w record: %w", ErrMalformed, d.err)
	}
	if err := r.Validate(); err != nil {
		return Record{}, fmt.Errorf("%w record: %w", ErrMalformed, err)
	}
	return r, nil
}

func (r *Reading) validate() error {
	if len(r.Blocks) > MaxBlocks {
		return fmt.Errorf("reading of %d blocks, at most %d", len(r.Blocks), MaxBlocks)
	}
	for i, b := range r.Blocks {
		if err := b.validate(); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

func (b *BlockResult) validate() error {
	switch {
	case b.Status > Skipped:
		return fmt.Errorf("status %d is unknown", b.Status)
	case b.Status == OK && (len(b.Words) == 0 || len(b.Words) > MaxCount):
		return fmt.Errorf("%d words, want 1 to %d", len(b.Words), MaxCount)
	case b.Status != OK && len(b.Words) != 0:
		return fmt.Errorf("%d words beside status %d", len(b.Words), b.Status)
	case b.Status != Exception && b.Code != 0:
		return fmt.Errorf("exception code %d beside status %d", b.Code, b.Status)
	}
	return nil
}

func (r *Reading) append(b []byte) []byte {
	b = append(b, r.Declaration[:]...)
	b = binary.AppendUvarint(b, uint64(len(r.Blocks)))
	for i := range r.Blocks {
		k := &r.Blocks[i]
		b = append(b, byte(k.Status), k.Code)
		b = binary.AppendVarint(b, int64(k.Delta))
		b = binary.AppendUvarint(b, uint64(len(k.Words)))
		for _, w := range k.Words {
			b = binary.BigEndian.AppendUint16(b, w)
		}
	}
	return b
}

func (d *decoder) reading() *Reading {
	r := &Reading{Declaration: d.hash()}
	n := d.count(MaxBlocks)
	if n > 0 && d.err == nil {
		r.Blocks = make([]BlockResult, n)
	}
	for i := range r.Blocks {
		k := &r.Blocks[i]
		k.Status, k.Code = Status(d.byte()), d.byte()
		k.Delta = d.int32()
		k.Words = d.words(d.count(MaxCount))
	}
	return r
}

func (e *Event) append(b []byte) []byte {
	b = append(b, byte(e.Code))
	b = appendText(b, e.Detail)
	b = binary.AppendVarint(b, e.From)
	b = binary.AppendVarint(b, e.To)
	return binary.AppendUvarint(b, e.Count)
}

func (d *decoder) event() *Event {
	return &Event{Code: EventCode(d.byte()), Detail: d.text(), From: d.varint(), To: d.varint(), Count: d.uvarint()}
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder reads canonical bytes and keeps the first error. It refuses numbers
// written in more bytes than they need: those would be a second encoding.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, a...)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.b) {
		d.fail("%d bytes where %d are needed", len(d.b), n)
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.fail("a number is cut, too large or padded")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) int32() int32 {
	v := d.varint()
	if int64(int32(v)) != v {
		d.fail("%d does not fit 32 bits", v)
	}
	return int32(v)
}

func (d *decoder) uint16() uint16 {
	v := d.uvarint()
	if v > 0xFFFF {
		d.fail("%d does not fit 16 bits", v)
	}
	return uint16(v)
}

// count reads a length that may not exceed limit, so that a hostile length
// cannot make the decoder allocate.
func (d *decoder) count(limit int) int {
	v := d.uvarint()
	if v > uint64(limit) {
		d.fail("%d items, at most %d", v, limit)
		return 0
	}
	return int(v)
}

func (d *decoder) text() string { return string(d.take(d.count(MaxText))) }

func (d *decoder) hash() (h Hash) {
	copy(h[:], d.take(len(h)))
	return h
}

func (d *decoder) words(n int) []uint16 {
	b := d.take(2 * n)
	if len(b) == 0 {
		return nil
	}
	out := make([]uint16, n)
	for i := range out {
		out[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return out
}
