package calc

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/shopspring/decimal"
)

// Number is a decimal of a file that a person edits. It is read from the text as
// it stands, quoted or not: never by way of a float.
type Number struct{ decimal.Decimal }

// decimalText keeps out what YAML takes for a number and a reader may not: 0x10,
// 1_000, 1e3, .inf.
var decimalText = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?$`)

// UnmarshalYAML reads a decimal such as 0.533.
func (n *Number) UnmarshalYAML(text []byte) error {
	s := strings.TrimSpace(string(text))
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		s = s[1 : len(s)-1]
	}
	if !decimalText.MatchString(s) {
		return fmt.Errorf("number %q: write it as a decimal, like 0.533", s)
	}
	d, err := decimal.NewFromString(s)
	n.Decimal = d
	return err
}

// sane reports whether arithmetic on n stays small.
func (n Number) sane() bool {
	return n.Exponent() >= -30 && n.Exponent() <= 30 && n.NumDigits() <= 30
}

// displayDecimals is how many decimals of a figure that does not end are shown.
const displayDecimals = 9

// numberText writes a figure exactly when its decimals end, without trailing
// zeros; otherwise with 9 decimals, to the nearest. It is for display: nothing
// is computed from the text.
func numberText(r *big.Rat) string {
	if text, ok := shortText(r); ok {
		return text
	}
	if n, exact := r.FloatPrec(); exact {
		return r.FloatString(n)
	}
	return r.FloatString(displayDecimals)
}

// floor rounds towards minus infinity: -0.5 t is -1 t, so that a rounding is
// never in the project's favour.
func floor(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }

// percent returns a of b in percent with two decimals, cut off.
func percent(a, b int64) string { return decimal.New(a*10_000/b, -2).StringFixed(2) }
