package series

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"

	"github.com/shopspring/decimal"

	"kenshin/edge/wire"
)

// A row's payload is one or more parts and a CRC; FORMAT.md has it in words.
//
//	payload := part+ crc32c:4
//	part    := epoch:u seq:u shape:u value*(points of the shape)
//	value   := head:byte body
const (
	headSmall   = 0  // to 30: a number, exponent head-15, mantissa:s
	headBig     = 31 // a number: exponent:s negative:byte n:u magnitude:n
	headLabel   = 32 // text: n:u bytes:n
	headBad     = 64 // plus the quality: reason n:u bytes:n
	headBadSame = 96 // plus the quality: the reason of the value before that had one
	smallBias   = 15
	maxQuality  = 31
	maxExponent = 2000 // float64 needs 1074, a scale and a scale factor 28 more
)

// errPayload is wrapped when stored bytes are not a payload.
var errPayload = errors.New("not a payload of the series store")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends the CRC, which also covers where the row stands.
func seal(b []byte, device, at int64) []byte {
	return binary.BigEndian.AppendUint32(b, rowCRC(b, device, at))
}

func rowCRC(parts []byte, device, at int64) uint32 {
	var place [16]byte
	binary.BigEndian.PutUint64(place[:], uint64(device))
	binary.BigEndian.PutUint64(place[8:], uint64(at))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, parts)
}

// unseal checks the CRC and returns the parts.
func unseal(payload []byte, device, at int64) ([]byte, error) {
	if len(payload) < 4 {
		return nil, fmt.Errorf("%w: %d bytes", errPayload, len(payload))
	}
	parts, sum := payload[:len(payload)-4], payload[len(payload)-4:]
	if rowCRC(parts, device, at) != binary.BigEndian.Uint32(sum) {
		return nil, fmt.Errorf("%w: the CRC is another one", errPayload)
	}
	return parts, nil
}

// closingCRC covers a row of closings: where it stands and what it says.
func closingCRC(register string, day int64, text []byte) int64 {
	b := append([]byte(register), 0)
	return int64(crc32.Checksum(append(binary.BigEndian.AppendUint64(b, uint64(day)), text...), castagnoli))
}

func checkClosing(register string, day int64, text []byte, crc int64) error {
	if closingCRC(register, day, text) != crc {
		return fmt.Errorf("%w: closing of %q on %d: the CRC is another one", errPayload, register, day)
	}
	return nil
}

// settledCRC covers the row of settled.
func settledCRC(cursor int64, state []byte) int64 {
	b := binary.BigEndian.AppendUint64(nil, uint64(cursor))
	return int64(crc32.Checksum(append(b, state...), castagnoli))
}

// appendPart appends what one record says of one device at one time. The
// samples are in the order of the shape's points.
func appendPart(b []byte, epoch int64, shape int64, samples []*wire.Sample) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(epoch))
	b = binary.AppendUvarint(b, samples[0].Seq)
	b = binary.AppendUvarint(b, uint64(shape))
	reason, hasReason := "", false
	for _, s := range samples {
		switch {
		case s.Quality > maxQuality:
			return nil, fmt.Errorf("sample of %s: quality %d is unknown", s.Key(), s.Quality)
		case s.Quality != wire.Good && hasReason && s.Reason == reason:
			b = append(b, headBadSame+byte(s.Quality))
		case s.Quality != wire.Good:
			b = appendText(append(b, headBad+byte(s.Quality)), s.Reason)
			reason, hasReason = s.Reason, true
		case s.Kind == wire.Label:
			b = appendText(append(b, headLabel), s.Text)
		case s.Number.Exponent() < -maxExponent || s.Number.Exponent() > maxExponent:
			return nil, fmt.Errorf("sample of %s: exponent %d, want %d to %d", s.Key(), s.Number.Exponent(), -maxExponent, maxExponent)
		default:
			b = appendNumber(b, s.Number)
		}
	}
	return b, nil
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendNumber writes mantissa and exponent as they are: the number that comes
// back is the same decimal, to the last trailing zero.
func appendNumber(b []byte, d decimal.Decimal) []byte {
	exp := d.Exponent()
	if d.NumDigits() <= 18 && exp >= -smallBias && exp <= smallBias { // 18 digits always fit 64 bits
		return binary.AppendVarint(append(b, headSmall+byte(exp+smallBias)), d.CoefficientInt64())
	}
	m := d.Coefficient()
	negative := byte(0)
	if m.Sign() < 0 {
		negative = 1
	}
	b = binary.AppendVarint(append(b, headBig), int64(exp))
	b = append(b, negative)
	magnitude := m.Bytes()
	b = binary.AppendUvarint(b, uint64(len(magnitude)))
	return append(b, magnitude...)
}

// reader takes a payload apart and keeps the first error.
type reader struct {
	b      []byte
	reason []byte // of the last value that was not good
	err    error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errPayload, what)
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("a number is cut or too large")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("a number is cut or too large")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("cut short")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail("a text is cut short")
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// part is the beginning of a part; its values follow in the reader.
type part struct {
	epoch, shape int64
	seq          uint64
}

func (r *reader) part() part {
	p := part{epoch: int64(r.uvarint()), seq: r.uvarint()}
	p.shape = int64(r.uvarint())
	r.reason = nil
	return p
}

// value reads one value into s, whose kind says whether it is a text or a
// number; with s nil it is skipped, which costs little.
func (r *reader) value(s *wire.Sample) {
	head := r.byte()
	if s != nil && head <= headLabel && (head == headLabel) != (s.Kind == wire.Label) {
		r.fail("a text in place of a number or the other way round")
		return
	}
	switch {
	case head <= headSmall+2*smallBias:
		m := r.varint()
		if s != nil {
			s.Number = decimal.New(m, int32(head)-smallBias)
		}
	case head == headBig:
		r.big(s)
	case head == headLabel:
		if text := r.bytes(); s != nil {
			s.Text = string(text)
		}
	case head > headBad && head <= headBad+maxQuality:
		r.reason = r.bytes()
		r.bad(s, head-headBad)
	case head > headBadSame && head <= headBadSame+maxQuality && r.reason != nil:
		r.bad(s, head-headBadSame)
	default:
		r.fail("unknown head of a value")
	}
}

func (r *reader) bad(s *wire.Sample, quality byte) {
	if s != nil {
		s.Quality, s.Reason = wire.Quality(quality), string(r.reason)
	}
}

func (r *reader) big(s *wire.Sample) {
	exp, negative, magnitude := r.varint(), r.byte(), r.bytes()
	switch {
	case exp < -maxExponent || exp > maxExponent: // 10 to such a power would cost seconds of arithmetic
		r.fail("an exponent beyond its limits")
	case negative > 1:
		r.fail("a sign that is none")
	case s != nil:
		m := new(big.Int).SetBytes(magnitude)
		if negative == 1 {
			m.Neg(m)
		}
		s.Number = decimal.NewFromBigInt(m, int32(exp))
	}
}
