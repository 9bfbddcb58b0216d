package calc

import (
	"math/big"
	"math/bits"
	"strconv"
)

// tally adds up fractions, exactly. As long as numerator and common denominator fit
// into 64 bits it does so without a big number for each.
type tally struct {
	num  int64
	den  int64    // 0 for 1
	rest *big.Rat // what did not fit; nil for nothing
}

func (t *tally) add(x *big.Rat) {
	if t.den == 0 {
		t.den = 1
	}
	if x.Num().IsInt64() && x.Denom().IsInt64() && t.join(x.Num().Int64(), x.Denom().Int64()) {
		return
	}
	if t.rest == nil {
		t.rest = new(big.Rat)
	}
	t.rest.Add(t.rest, x)
}

// join adds num/den and reports false, with nothing changed, when that does not fit.
func (t *tally) join(num, den int64) bool {
	if t.den%den != 0 {
		more := den / gcd(t.den, den)
		wider, ok := times(t.den, more)
		n, ok2 := times(t.num, more)
		if !ok || !ok2 {
			return false
		}
		t.num, t.den = n, wider
	}
	n, ok := times(num, t.den/den)
	sum := t.num + n
	if !ok || (n > 0) != (sum > t.num) && n != 0 {
		return false
	}
	t.num = sum
	return true
}

// rat returns the sum.
func (t *tally) rat() *big.Rat {
	if t.den == 0 {
		return new(big.Rat)
	}
	r := big.NewRat(t.num, t.den)
	if t.rest != nil {
		r.Add(r, t.rest)
	}
	return r
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// times returns a × b, b not below 0, and whether it fits.
func times(a, b int64) (int64, bool) {
	m := uint64(a)
	if a < 0 {
		m = -m
	}
	hi, lo := bits.Mul64(m, uint64(b))
	if hi != 0 || lo > 1<<62 {
		return 0, false
	}
	if a < 0 {
		return -int64(lo), true
	}
	return int64(lo), true
}

// shortText writes a fraction whose decimals end, as long as it and its digits fit
// into 64 bits. It reports false for any other.
func shortText(r *big.Rat) (string, bool) {
	if !r.Num().IsInt64() || !r.Denom().IsInt64() {
		return "", false
	}
	num, den, places := r.Num().Int64(), r.Denom().Int64(), 0
	for den != 1 {
		more := int64(10)
		if places++; places > 18 {
			return "", false
		}
		if g := gcd(more, den); g == 1 {
			return "", false // its decimals do not end
		} else {
			den, more = den/g, more/g
		}
		n, ok := times(num, more)
		if !ok {
			return "", false
		}
		num = n
	}
	text := strconv.FormatInt(num, 10)
	if places == 0 {
		return text, true
	}
	sign := ""
	if num < 0 {
		sign, text = "-", text[1:]
	}
	for len(text) <= places {
		text = "0" + text
	}
	return sign + text[:len(text)-places] + "." + text[len(text)-places:], true
}
