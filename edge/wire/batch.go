package wire

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"sync"

	"google.golang.org/protobuf/proto"

	"kenshin/edge/wire/wirepb"
)

// Batch is a run of one edge's records, First to Last without holes.
type Batch struct {
	Edge    string
	Epoch   Epoch
	Boot    [16]byte // of the boot that sent it
	First   uint64
	Last    uint64
	Prev    Hash   // chain hash before First
	Chain   Hash   // chain hash after Last
	Kept    uint64 // oldest record the edge still has: what a collector lacks before it is gone; 0 when not said
	Records []Record

	after []Hash // chain hash after each record, filled by DecodeBatch
}

// ChainAfter returns the chain hash after record seq of a decoded batch;
// seq First-1 gives Prev. It reports false outside the batch.
func (b *Batch) ChainAfter(seq uint64) (Hash, bool) {
	switch {
	case seq+1 == b.First:
		return b.Prev, true
	case seq < b.First || seq > b.Last || len(b.after) == 0:
		return Hash{}, false
	}
	return b.after[seq-b.First], true
}

// Limits bounds what DecodeBatch will take from a stranger.
type Limits struct {
	Payload int // bytes of the signed payload
	Body    int // bytes of the body after decompression
	Records int
	Ratio   int // of body to its compressed form, for bodies over 256 KiB; 0 for any
}

// freeBody is what a body may have whatever it was compressed to: readings of
// meters that stand still all night shrink a hundredfold.
const freeBody = 256 << 10

// DefaultLimits are the collector's limits of FORMAT.md.
var DefaultLimits = Limits{Payload: 256 << 10, Body: 4 << 20, Records: 1000, Ratio: 20}

const (
	plain   = 0
	deflate = 1
)

// EncodeBatch returns the payload for b: b.Records in columns, compressed. It
// trusts First, Last, Prev and Chain to be those of the records. declarations
// are those the readings name, as far as the caller knows them: they only make
// the batch smaller.
func EncodeBatch(b *Batch, declarations map[Hash]*Declaration) ([]byte, error) {
	if n := uint64(len(b.Records)); n == 0 || b.Last-b.First+1 != n || b.Records[0].Seq != b.First {
		return nil, fmt.Errorf("encode batch %d to %d: %d records do not fit", b.First, b.Last, n)
	}
	c := columns(b.Records, declarations)
	body, err := proto.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode batch: %w", err)
	}
	compress := squeeze
	if len(c.Wall) == len(c.Groups) { // one reading of each device
		compress = squash
	}
	m := &wirepb.Batch{
		Format: Format, Edge: b.Edge, Epoch: b.Epoch[:], Boot: b.Boot[:], First: b.First, Last: b.Last,
		Prev: b.Prev[:], Chain: b.Chain[:], Compression: deflate, Size: uint32(len(body)), Body: compress(body), Kept: b.Kept,
	}
	if len(m.Body) >= len(body) {
		m.Compression, m.Body = plain, body
	}
	return proto.Marshal(m)
}

// DecodeBatch reads a payload within lim. What it returns is whole: every
// record is canonical, numbered without holes, and together they lead from Prev
// to Chain. Any other payload is refused with an error that wraps ErrMalformed.
func DecodeBatch(payload []byte, lim Limits) (*Batch, error) {
	b, err := decodeBatch(payload, lim)
	if err != nil {
		return nil, fmt.Errorf("%w batch: %w", ErrMalformed, err)
	}
	return b, nil
}

func decodeBatch(payload []byte, lim Limits) (*Batch, error) {
	if len(payload) > lim.Payload {
		return nil, fmt.Errorf("%d bytes, at most %d", len(payload), lim.Payload)
	}
	var m wirepb.Batch
	if err := proto.Unmarshal(payload, &m); err != nil {
		return nil, err
	}
	b, err := header(&m, lim)
	if err != nil {
		return nil, err
	}
	body, err := unsqueeze(&m, lim)
	if err != nil {
		return nil, err
	}
	var c wirepb.Columns
	if err := proto.Unmarshal(body, &c); err != nil {
		return nil, err
	}
	n := int(b.Last - b.First + 1)
	if b.Records, err = records(&c, b.First, n); err != nil {
		return nil, err
	}
	b.after = make([]Hash, n)
	chain, buf := b.Prev, []byte(nil)
	for i := range b.Records {
		if err := b.Records[i].Validate(); err != nil {
			return nil, fmt.Errorf("record %d: %w", b.Records[i].Seq, err)
		}
		buf = b.Records[i].Append(buf[:0])
		chain = Chain(chain, buf)
		b.after[i] = chain
	}
	if chain != b.Chain {
		return nil, fmt.Errorf("records %d to %d lead to chain hash %.8s, the batch says %.8s", b.First, b.Last, chain, b.Chain)
	}
	return b, nil
}

func header(m *wirepb.Batch, lim Limits) (*Batch, error) {
	if m.Format != Format {
		return nil, fmt.Errorf("format %d, this program reads %d", m.Format, Format)
	}
	b := &Batch{Edge: m.Edge, First: m.First, Last: m.Last, Kept: m.Kept}
	if err := CheckEdgeID(m.Edge); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name     string
		dst, src []byte
	}{{"epoch", b.Epoch[:], m.Epoch}, {"boot", b.Boot[:], m.Boot}, {"prev", b.Prev[:], m.Prev}, {"chain", b.Chain[:], m.Chain}} {
		if len(f.src) != len(f.dst) {
			return nil, fmt.Errorf("%s of %d bytes, want %d", f.name, len(f.src), len(f.dst))
		}
		copy(f.dst, f.src)
	}
	if b.First == 0 || b.Last < b.First || b.Last-b.First >= uint64(lim.Records) {
		return nil, fmt.Errorf("records %d to %d, want 1 to %d of them from 1 on", b.First, b.Last, lim.Records)
	}
	if b.Kept > b.First {
		return nil, fmt.Errorf("records from %d on, and the oldest that is kept is %d", b.First, b.Kept)
	}
	if b.First == 1 && b.Prev != (Hash{}) {
		return nil, fmt.Errorf("record 1 has a chain hash before it")
	}
	return b, nil
}

// writers are compressors of the standard library, for batches of many readings of
// each device, as long as they are used.
var writers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, 6)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// An inflater has 44 KB of tables.
var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

func squeeze(body []byte) []byte {
	var out bytes.Buffer
	w := writers.Get().(*flate.Writer)
	defer writers.Put(w)
	w.Reset(&out)
	w.Write(body) // a bytes.Buffer takes everything
	w.Close()
	return out.Bytes()
}

func unsqueeze(m *wirepb.Batch, lim Limits) ([]byte, error) {
	if int64(m.Size) > int64(lim.Body) {
		return nil, fmt.Errorf("body of %d bytes, at most %d", m.Size, lim.Body)
	}
	if lim.Ratio > 0 && m.Size > freeBody && int64(m.Size) > int64(lim.Ratio)*int64(len(m.Body)) {
		return nil, fmt.Errorf("body of %d bytes in %d, at most %d times as many", m.Size, len(m.Body), lim.Ratio)
	}
	switch m.Compression {
	case plain:
		if len(m.Body) != int(m.Size) {
			return nil, fmt.Errorf("body of %d bytes, announced %d", len(m.Body), m.Size)
		}
		return m.Body, nil
	case deflate:
		r := inflaters.Get().(io.Reader)
		defer inflaters.Put(r)
		if err := r.(flate.Resetter).Reset(bytes.NewReader(m.Body), nil); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		var body bytes.Buffer // grows with what really comes, not with what was announced
		body.Grow(min(int(m.Size), 8*len(m.Body)) + bytes.MinRead)
		n, err := io.Copy(&body, io.LimitReader(r, int64(m.Size)+1))
		if err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		if n != int64(m.Size) {
			return nil, fmt.Errorf("body is not the announced %d bytes", m.Size)
		}
		return body.Bytes(), nil
	}
	return nil, fmt.Errorf("compression %d is unknown", m.Compression)
}

// DecodeHeader reads all of a payload but its records, unchecked: for batches
// that were checked whole when they were stored.
func DecodeHeader(payload []byte) (*Batch, error) {
	var m wirepb.Batch
	err := proto.Unmarshal(payload, &m)
	if err == nil {
		var b *Batch
		if b, err = header(&m, Limits{Records: 1 << 20}); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%w batch: %w", ErrMalformed, err)
}
