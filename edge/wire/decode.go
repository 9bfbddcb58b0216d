package wire

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/shopspring/decimal"
)

// Values decodes every point of r by d. It returns one value for each point, in
// order; what could not be read or is not available carries its quality and no
// number. Numbers are exact: an integer or the binary fraction a float really
// is, times a power of ten.
//
// Source for what means "not implemented": SunSpec Information Model
// Specification, point types; accumulators also as all ones, as some libraries
// write them.
func (d *Declaration) Values(r *Reading) []Value {
	out := make([]Value, len(d.Points))
	for i := range d.Points {
		out[i] = d.Value(i, r)
	}
	return out
}

// Value returns what point i of the declaration is in a reading.
func (d *Declaration) Value(i int, r *Reading) Value {
	x := d.Raw(i, d.BlockOf(&d.Points[i]), r)
	v := Value{Point: i, Quality: x.Quality, Text: x.Text, Reason: x.Reason}
	if x.Quality == Good && x.Form != Text {
		v.Number = x.Number()
	}
	return v
}

// Form says what the bits of a Raw are.
type Form uint8

const (
	Signed   Form = iota // an int64
	Unsigned             // a uint64 beyond the int64
	Single               // a float32, in the low 32 bits
	Double               // a float64
	Text                 // none: the text counts
)

// Raw is a value as the device counts it, before any arithmetic.
type Raw struct {
	Form    Form
	Bits    uint64
	Exp     int32 // the number is Bits × 10^Exp
	Text    string
	Quality Quality
	Reason  string // when not Good
}

// Number returns the exact number.
func (x Raw) Number() decimal.Decimal {
	switch x.Form {
	case Unsigned:
		return decimal.NewFromUint64(x.Bits).Shift(x.Exp)
	case Single:
		return exact(float64(math.Float32frombits(uint32(x.Bits)))).Shift(x.Exp)
	case Double:
		return exact(math.Float64frombits(x.Bits)).Shift(x.Exp)
	}
	return decimal.New(int64(x.Bits), x.Exp)
}

// Raw decodes point i of r, which is in block k as BlockOf tells.
func (d *Declaration) Raw(i, k int, r *Reading) Raw {
	p := &d.Points[i]
	bad := func(q Quality, reason string) Raw { return Raw{Quality: q, Reason: reason} }
	if k < 0 || k >= len(r.Blocks) {
		return bad(NotAvailable, "not in the reading")
	}
	res := &r.Blocks[k]
	if res.Status != OK {
		return bad(res.quality(), res.Reason())
	}
	if len(res.Words) != int(d.Blocks[k].Count) {
		return bad(NoAnswer, fmt.Sprintf("%d words instead of %d", len(res.Words), d.Blocks[k].Count))
	}
	at := int(p.Address) - int(d.Blocks[k].Address)
	words := res.Words[at : at+int(p.Words)]
	for _, a := range p.Absent {
		if slices.Equal(a, words) {
			return bad(NotAvailable, hexWords(words))
		}
	}
	if p.Type == String {
		return Raw{Form: Text, Text: text(words)}
	}
	x, ok := number(p.Type, p.Order, words)
	if !ok {
		return bad(NotAvailable, hexWords(words))
	}
	x.Exp = int32(p.Scale)
	if p.ScaleAt != NoScale {
		sf := int16(res.Words[int(p.ScaleAt)-int(d.Blocks[k].Address)])
		if sf < -10 || sf > 10 { // 0x8000 is "not implemented"; sunssf is -10 to 10
			return bad(NotAvailable, fmt.Sprintf("scale factor 0x%04X", uint16(sf)))
		}
		x.Exp += int32(sf)
	}
	return x
}

func (b *BlockResult) quality() Quality {
	if b.Status == Exception {
		return Refused
	}
	return NoAnswer
}

// Reason says for people why a block has no words.
func (b *BlockResult) Reason() string {
	switch b.Status {
	case Exception:
		return fmt.Sprintf("exception %d", b.Code)
	case Timeout:
		return "no answer in time"
	case Unreachable:
		return "no connection"
	case Malformed:
		return "answer garbled"
	default:
		return "not asked after failures"
	}
}

// number returns what words say, or false when they say "not implemented" for
// their type.
func number(t Type, o WordOrder, words []uint16) (Raw, bool) {
	var raw uint64
	for i := range words {
		w := words[i]
		if o == LowFirst {
			w = words[len(words)-1-i]
		}
		raw = raw<<16 | uint64(w)
	}
	bits := 16 * len(words)
	ones := uint64(1)<<bits - 1 // bits 64: the shift gives 0, less 1 is all ones
	x := Raw{Bits: raw}
	switch t {
	case Int16, Int32, Int64:
		x.Bits = uint64(int64(raw<<(64-bits)) >> (64 - bits))
		return x, raw != 1<<(bits-1)
	case Float32:
		x.Form = Single
		return x, !isOdd(float64(math.Float32frombits(uint32(raw))))
	case Float64:
		x.Form = Double
		return x, !isOdd(math.Float64frombits(raw))
	}
	if raw > math.MaxInt64 {
		x.Form = Unsigned
	}
	return x, raw != ones && (raw != 0 || t != Acc16 && t != Acc32 && t != Acc64)
}

func isOdd(f float64) bool { return math.IsNaN(f) || math.IsInf(f, 0) }

// exact returns the number a binary float stands for, to its last digit:
// m × 2^e with e < 0 is m × 5^-e × 10^e.
func exact(f float64) decimal.Decimal {
	if f == 0 || isOdd(f) {
		return decimal.Zero
	}
	frac, exp := math.Frexp(f)
	m := big.NewInt(int64(frac * (1 << 53)))
	exp -= 53
	zeros := m.TrailingZeroBits()
	m.Rsh(m, zeros)
	exp += int(zeros)
	if exp >= 0 {
		return decimal.NewFromBigInt(m.Lsh(m, uint(exp)), 0)
	}
	five := new(big.Int).Exp(big.NewInt(5), big.NewInt(int64(-exp)), nil)
	return decimal.NewFromBigInt(m.Mul(m, five), int32(exp))
}

func text(words []uint16) string {
	b := make([]byte, 0, 2*len(words))
	for _, w := range words {
		b = append(b, byte(w>>8), byte(w))
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(b), "\uFFFD"))
}

func hexWords(words []uint16) string {
	var b strings.Builder
	b.WriteString("0x")
	for _, w := range words {
		fmt.Fprintf(&b, "%04X", w)
	}
	return b.String()
}

// parseNumber reads decimal text within the lexical limits of this package: at
// most 32 characters and no exponent, since one such as 1e20000000 would cost
// seconds of arithmetic.
func parseNumber(s string) (decimal.Decimal, error) {
	if len(s) == 0 || len(s) > 32 || strings.ContainsAny(s, "eE") {
		return decimal.Decimal{}, fmt.Errorf("number %q: want up to 32 digits without an exponent", s)
	}
	return decimal.NewFromString(s)
}
