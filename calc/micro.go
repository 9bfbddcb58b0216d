package calc

import (
	"encoding/json"
	"math"
	"math/bits"

	"github.com/shopspring/decimal"
)

// micro is an energy in 10^-6 kWh, in which rule 7 keeps what a register may
// still catch up. Written out it is a decimal of kWh.
type micro int64

// endless is more than any register counts.
const endless micro = math.MaxInt64 / 4

// MarshalText writes kWh.
func (m micro) MarshalText() ([]byte, error) { return decimal.New(int64(m), -6).MarshalText() }

// UnmarshalJSON reads kWh, as a string.
func (m *micro) UnmarshalJSON(text []byte) error {
	var d decimal.Decimal
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	*m = microUp(d)
	return nil
}

// exactMicro returns d in 10^-6 kWh if it is a whole number of them below 10^17.
func exactMicro(d decimal.Decimal) (micro, bool) {
	e := d.Exponent() + 6
	if e < 0 || e > 11 || d.NumDigits() > int(17-e) {
		return 0, false
	}
	return micro(d.CoefficientInt64() * pow10[e]), true
}

var pow10 = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11}

// microUp rounds up to 10^-6 kWh. What is too large is endless.
func microUp(d decimal.Decimal) micro {
	if m, ok := exactMicro(d); ok {
		return m
	}
	r := d.RoundCeil(6)
	switch limit := decimal.New(int64(endless), -6); {
	case r.GreaterThan(limit):
		return endless
	case r.LessThan(limit.Neg()):
		return -endless
	}
	return micro(r.Shift(6).IntPart())
}

// rise returns by how much b is above a, rounded up to 10^-6 kWh; its sign is exact.
func rise(a, b decimal.Decimal) (m micro, sign int) {
	x, ok := exactMicro(a)
	if y, ok2 := exactMicro(b); ok && ok2 {
		switch m = y - x; {
		case m > 0:
			return m, 1
		case m < 0:
			return m, -1
		}
		return 0, 0
	}
	d := b.Sub(a)
	return microUp(d), d.Sign()
}

// possible returns what rated power makes in a time, rounded down. What is too
// large for that is as good as no limit.
func (c *Curve) possible(ms int64) micro {
	const msPerHour = 3_600_000
	hi, lo := bits.Mul64(c.rated, uint64(ms))
	if hi >= msPerHour {
		return endless
	}
	q, _ := bits.Div64(hi, lo, msPerHour)
	return micro(min(q, uint64(endless)))
}

// kWh returns m as a decimal.
func (m micro) kWh() decimal.Decimal { return decimal.New(int64(m), -6) }

// microDown rounds down to 10^-6 kWh.
func microDown(d decimal.Decimal) micro { return -microUp(d.Neg()) }

// sum adds up differences, exactly: those of whole 10^-6 kWh without a decimal for each.
type sum struct {
	whole micro
	rest  decimal.Decimal
}

func (s *sum) add(from, to decimal.Decimal) {
	x, ok := exactMicro(from)
	y, ok2 := exactMicro(to)
	if !ok || !ok2 || s.whole > endless || s.whole < -endless {
		s.rest = s.rest.Add(to.Sub(from))
		return
	}
	s.whole += y - x
}

// difference returns to - from.
func difference(from, to decimal.Decimal) decimal.Decimal {
	var s sum
	s.add(from, to)
	return s.kWh()
}

func (s *sum) kWh() decimal.Decimal { return s.whole.kWh().Add(s.rest) }
