package influx

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"kenshin/collector"
	"kenshin/edge/wire"
)

// Measurements of samples. The type of a field is that of its measurement, so no
// two points can ever want different types of one field.
const (
	wholeNumber = "kenshin_int"     // integer fields: registers that count in whole units
	number      = "kenshin_float"   // float64 fields
	exactNumber = "kenshin_exact"   // string fields: all digits of a number that the field beside it has not
	label       = "kenshin_text"    // string fields
	quality     = "kenshin_quality" // string fields: why there is no value
)

// A line has one time; what lies outside these years InfluxDB cannot keep. ms UTC.
const (
	earliest = int64(-9_214_560_000_000) // 1678
	latest   = int64(9_214_646_400_000)  // 2262
)

// line is one line of the protocol, with milliseconds, and how many fields it has.
type line struct {
	text   string
	fields int
}

// field is a sample on its way into a line.
type field struct {
	measurement string
	at          int64
	key, value  string
}

// encoder turns samples into lines: those of one device, time and type share one.
type encoder struct {
	rounding bool // numbers only: the server keeps float64 and nothing else
	prefixes map[device]string
	fields   []field
	lines    []line
	beyond   []line // whose time no server can keep
}

type device struct{ edge, name string }

func newEncoder(rounding bool) *encoder {
	return &encoder{rounding: rounding, prefixes: make(map[device]string)}
}

// add encodes samples, of which those of one reading follow one another.
func (e *encoder) add(list []collector.Followed) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Device == list[0].Device && list[n].Edge == list[0].Edge && list[n].Seq == list[0].Seq && n < 1000 {
			n++
		}
		e.fields = e.fields[:0]
		for i := range list[:n] {
			e.sample(&list[i])
		}
		e.flush(device{list[0].Edge, list[0].Device})
		list = list[n:]
	}
}

func (e *encoder) sample(x *collector.Followed) {
	for _, v := range values(x) {
		if !e.rounding || v.measurement == wholeNumber || v.measurement == number {
			e.fields = append(e.fields, field{v.measurement, x.At, fieldKey(x.Point), v.text})
		}
	}
}

// flush writes the lines of the fields of one device.
func (e *encoder) flush(d device) {
	slices.SortStableFunc(e.fields, func(a, b field) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.measurement, b.measurement))
	})
	tags, ok := e.prefixes[d]
	if !ok {
		tags = ",edge=" + tagValue(d.edge) + ",device=" + tagValue(d.name) + " "
		if len(e.prefixes) > 1<<17 {
			clear(e.prefixes)
		}
		e.prefixes[d] = tags
	}
	var b []byte
	for i := 0; i < len(e.fields); {
		f := &e.fields[i]
		b = append(append(b[:0], f.measurement...), tags...)
		n := 0
		for ; i < len(e.fields) && e.fields[i].at == f.at && e.fields[i].measurement == f.measurement; i++ {
			if n > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, e.fields[i].key...), '='), e.fields[i].value...)
			n++
		}
		b = strconv.AppendInt(append(b, ' '), f.at, 10)
		if l := (line{string(b), n}); f.at < earliest || f.at > latest {
			e.beyond = append(e.beyond, l)
		} else {
			e.lines = append(e.lines, l)
		}
	}
}

// value is one value of a sample as it stands in a line.
type value struct{ measurement, text string }

// values returns what is written of a sample: one value, and its digits when a
// number has more of them than the field can hold.
func values(x *collector.Followed) []value {
	switch {
	case x.Quality != wire.Good:
		return []value{{quality, stringValue(x.Quality.String())}}
	case x.Kind == wire.Label:
		return []value{{label, stringValue(x.Text)}}
	}
	if x.Integer && x.Number.IsInteger() {
		if n := x.Number.BigInt(); n.IsInt64() {
			out := []value{{wholeNumber, n.String() + "i"}}
			if _, exact := float(x.Number); !exact { // for readers that take every number for a float64
				out = append(out, value{exactNumber, stringValue(x.Number.String())})
			}
			return out
		}
	}
	f, exact := float(x.Number)
	if math.IsInf(f, 0) {
		return []value{{exactNumber, stringValue(x.Number.String())}}
	}
	out := []value{{number, floatText(f)}}
	if !exact {
		out = append(out, value{exactNumber, stringValue(x.Number.String())})
	}
	return out
}

// float returns the float64 nearest to a number, and whether the number can be had
// from it again: its shortest text or its binary fraction is the number.
func float(d decimal.Decimal) (f float64, exact bool) {
	if exp := d.Exponent(); d.NumDigits() <= 15 && exp >= -22 && exp <= 0 {
		return float64(d.CoefficientInt64()) / pow10[-exp], true // both are exact: rounded once
	}
	f, exact = d.Rat().Float64()
	if !exact {
		again, err := decimal.NewFromString(floatText(f))
		exact = err == nil && again.Equal(d)
	}
	return f, exact
}

var pow10 = func() (p [23]float64) {
	for i := range p {
		p[i], _ = new(big.Float).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(i)), nil)).Float64()
	}
	return p
}()

func floatText(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

var inString = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func stringValue(s string) string {
	return `"` + inString.Replace(strings.ToValidUTF8(s, "\uFFFD")) + `"`
}

var (
	inKey = strings.NewReplacer(` `, `\ `, `,`, `\,`, `=`, `\=`)
	odd   = func(r rune) bool {
		return r < ' ' || r == 0x7F || r == '\\' || r == '%' || r == '"' || r == utf8.RuneError
	}
)

// tagValue escapes a name. Characters that no line can hold are written as in a
// URL, so that two names stay two.
func tagValue(s string) string { return inKey.Replace(name(s)) }

// fieldKey is tagValue for the name of a field; InfluxDB keeps some for itself.
func fieldKey(s string) string {
	if s == "time" || strings.HasPrefix(s, "_") {
		return "%" + tagValue(s)
	}
	return tagValue(s)
}

func name(s string) string {
	if s == "" {
		return "%"
	}
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if odd(r) {
			for _, c := range []byte(s[i : i+n]) {
				const hex = "0123456789ABCDEF"
				b.Write([]byte{'%', hex[c>>4], hex[c&15]})
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}
