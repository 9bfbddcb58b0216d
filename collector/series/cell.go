package series

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"kenshin/edge/wire"
)

// A cell is one value: a code that says what it is and a number. What does not
// fit a number is a text, and the number its place among the texts.
//
// The low three bits of a code are its class, the rest is the argument.
const (
	classInt    = iota // number × 10^argument (zigzag)
	classSingle        // the bits of a float32, times 10^argument (zigzag)
	classDouble        // the bits of a float64, times 10^argument (zigzag)
	classBig           // a number as text: mantissa, "e", exponent
	classLabel         // a text
	classBad           // no number: the argument is the quality, the text its reason
	classes

	maxQuality  = 31
	maxExponent = 2000 // float64 needs 1074, a scale and a scale factor 28 more
)

// cell is a value as it is stored. text counts when the class has one.
type cell struct {
	code uint16
	num  int64
	text string
}

func (c *cell) hasText() bool { return c.code&7 >= classBig }

// errPayload is wrapped when stored bytes are not what this package writes.
var errPayload = errors.New("not written by the series store")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func code(class uint16, exp int32) uint16 { return class | uint16(uint32(exp)<<1^uint32(exp>>31))<<3 }

func exponent(code uint16) int32 {
	u := int32(code >> 3)
	return u>>1 ^ -(u & 1)
}

// cellOf returns a sample as it is stored: the number that comes back is the
// same decimal, to the last trailing zero.
func cellOf(s *wire.Sample) (cell, error) {
	switch {
	case s.Quality > maxQuality:
		return cell{}, fmt.Errorf("sample of %s: quality %d is unknown", s.Key(), s.Quality)
	case s.Quality != wire.Good:
		return cell{code: classBad | uint16(s.Quality)<<3, text: s.Reason}, nil
	case s.Kind == wire.Label:
		return cell{code: classLabel, text: s.Text}, nil
	}
	exp := s.Number.Exponent()
	if exp < -maxExponent || exp > maxExponent {
		return cell{}, fmt.Errorf("sample of %s: exponent %d, want %d to %d", s.Key(), exp, -maxExponent, maxExponent)
	}
	if s.Number.NumDigits() <= 18 { // they always fit 64 bits
		return cell{code: code(classInt, exp), num: s.Number.CoefficientInt64()}, nil
	}
	return cell{code: classBig, text: bigText(s.Number)}, nil
}

func bigText(d decimal.Decimal) string {
	return d.Coefficient().String() + "e" + strconv.Itoa(int(d.Exponent()))
}

// rawCell is cellOf of a value that no arithmetic was done on.
func rawCell(x *wire.Raw) cell {
	switch {
	case x.Quality != wire.Good:
		return cell{code: classBad | uint16(x.Quality)<<3, text: x.Reason}
	case x.Form == wire.Text:
		return cell{code: classLabel, text: x.Text}
	case x.Form == wire.Single:
		return cell{code: code(classSingle, x.Exp), num: int64(x.Bits)}
	case x.Form == wire.Double:
		return cell{code: code(classDouble, x.Exp), num: int64(x.Bits)}
	case x.Form == wire.Unsigned:
		return cell{code: classBig, text: bigText(x.Number())}
	}
	return cell{code: code(classInt, x.Exp), num: int64(x.Bits)}
}

// fill puts a cell into a sample.
func (c *cell) fill(s *wire.Sample) error {
	class := c.code & 7
	if class < classBad && (class == classLabel) != (s.Kind == wire.Label) {
		return fmt.Errorf("%w: a text in place of a number or the other way round", errPayload)
	}
	if class <= classBig && (exponent(c.code) < -maxExponent || exponent(c.code) > maxExponent) {
		return fmt.Errorf("%w: an exponent beyond its limits", errPayload)
	}
	switch class {
	case classInt:
		s.Number = decimal.New(c.num, exponent(c.code))
	case classSingle:
		s.Number = wire.Raw{Form: wire.Single, Bits: uint64(c.num), Exp: exponent(c.code)}.Number()
	case classDouble:
		s.Number = wire.Raw{Form: wire.Double, Bits: uint64(c.num), Exp: exponent(c.code)}.Number()
	case classBig:
		mantissa, exp, _ := strings.Cut(c.text, "e")
		m, ok := new(big.Int).SetString(mantissa, 10)
		n, err := strconv.Atoi(exp)
		if !ok || err != nil || n < -maxExponent || n > maxExponent { // 10 to such a power would cost seconds of arithmetic
			return fmt.Errorf("%w: %q is no number", errPayload, c.text)
		}
		s.Number = decimal.NewFromBigInt(m, int32(n))
	case classLabel:
		s.Text = c.text
	case classBad:
		if q := c.code >> 3; q == 0 || q > maxQuality {
			return fmt.Errorf("%w: quality %d", errPayload, q)
		}
		s.Quality, s.Reason = wire.Quality(c.code>>3), c.text
	default:
		return fmt.Errorf("%w: a value of class %d", errPayload, class)
	}
	return nil
}
