package calc

import (
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// scribe writes random formulas that are in order.
type scribe struct{ *rand.Rand }

// number returns a formula without unit, energy one in MWh. Both are per unit i when
// each is set.
func (r scribe) number(depth int, each bool) string {
	switch k := r.IntN(7); {
	case depth == 0 || k == 0:
		return pick(r, "2", "0.25", "1", "ZERO")
	case k == 1 && each:
		return "COP"
	case k <= 3:
		return fmt.Sprintf("(%s %s %s)", r.number(depth-1, each), pick(r, "+", "-", "*", "/"), r.number(depth-1, each))
	case k == 4:
		return fmt.Sprintf("(%s / %s)", r.energy(depth-1, each), r.energy(depth-1, each))
	case k == 5:
		return fmt.Sprintf("%s(%s, %s)", pick(r, "min", "max"), r.number(depth-1, each), r.number(depth-1, each))
	}
	return "(-" + r.number(depth-1, each) + ")"
}

func (r scribe) energy(depth int, each bool) string {
	switch k := r.IntN(7); {
	case each && (depth == 0 || k == 0):
		return pick(r, "EG", "MWh(EGK)")
	case depth == 0 || k == 1:
		return pick(r, "GRID", "MWh(KW * DAYS)", "MWh(FC * NCV)")
	case k <= 3:
		return fmt.Sprintf("(%s %s %s)", r.energy(depth-1, each), pick(r, "+", "-"), r.energy(depth-1, each))
	case k == 4 && !each:
		return fmt.Sprintf("sum(EG + %s)", r.energy(depth-1, true))
	case k == 5:
		return fmt.Sprintf("(%s * %s)", r.number(depth-1, each), r.energy(depth-1, each))
	}
	return fmt.Sprintf("%s(%s, %s)", pick(r, "min", "max"), r.energy(depth-1, each), r.energy(depth-1, each))
}

func pick(r scribe, from ...string) string { return from[r.IntN(len(from))] }

// valueIn computes a formula, as text: its value, or that it has none.
func valueIn(t *testing.T, text string, s scope, in *inputs) string {
	t.Helper()
	e, err := compile(text, s)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	x, err := (&evaluation{in: in, terms: make(map[string]*big.Rat)}).eval(e, place{})
	if err != nil {
		return "none"
	}
	return x.RatString() + " " + e.unit.String()
}

// TestOrderOfEvaluationDoesNotMatter: a formula has one value, whatever is added or
// multiplied first, in whatever order the units come, and whether a part of it is
// written out or has a name.
func TestOrderOfEvaluationDoesNotMatter(t *testing.T) {
	r := scribe{rand.New(rand.NewPCG(1, 2))}
	s, in := bench()
	_, turned := bench()
	slices.Reverse(turned.units)
	numbers := 0
	for range 3000 {
		a, b, c := r.energy(3, false), r.energy(3, false), r.energy(2, false)
		n, m := r.number(3, false), r.number(2, false)
		part, err := (&compiler{scope: s}).read(a)
		if err != nil {
			t.Fatal(err)
		}
		named := maps.Clone(s)
		named["A"] = kind{unit: unit{"MWh": 1}, term: part}
		sum := "(" + a + " + " + b + ") + " + c
		want := valueIn(t, sum, s, in)
		if want != "none" {
			numbers++
		}
		for _, other := range []string{
			valueIn(t, a+" + ("+b+" + "+c+")", s, in), valueIn(t, c+" + "+b+" + "+a, s, in), valueIn(t, sum, s, turned),
			valueIn(t, "(A + "+b+") + "+c, named, in), valueIn(t, a+" - (0 - "+b+") - (-"+c+")", s, in),
		} {
			if other != want {
				t.Fatalf("%s is %s and %s", sum, want, other)
			}
		}
		// A product that holds 0/0 has a value or not by what it is multiplied with first.
		product := valueIn(t, n+" * "+m+" * "+a, s, in)
		for _, other := range []string{valueIn(t, a+" * ("+m+" * "+n+")", s, in), valueIn(t, m+" * "+a+" * "+n, s, in)} {
			if product != "none" && other != "none" && other != product {
				t.Fatalf("%s * %s * %s is %s and %s", n, m, a, product, other)
			}
		}
	}
	if numbers < 1000 {
		t.Errorf("only %d of 3000 formulas have a value", numbers)
	}
}

// TestWhatIsShownIsWhatIsComputed: a formula that is written as on paper and read
// again has the same value.
func TestWhatIsShownIsWhatIsComputed(t *testing.T) {
	r := scribe{rand.New(rand.NewPCG(3, 4))}
	s, in := bench()
	back := strings.NewReplacer("×", "*", "÷", "/", "Σ_i (", "sum(")
	for range 3000 {
		text := r.energy(4, false)
		e, err := compile(text, s)
		if err != nil {
			if strings.Contains(err.Error(), "at most 1000") {
				continue
			}
			t.Fatal(err)
		}
		paper := e.write(func(e *expr) string {
			switch e.op {
			case "symbol":
				return e.symbol
			case "convert": // "in MWh" is not read
				return "MWh(" + back.Replace(e.args[0].write(func(e *expr) string { return e.symbol })) + ")"
			}
			return ""
		})
		if a, b := valueIn(t, text, s, in), valueIn(t, back.Replace(paper), s, in); a != b {
			t.Fatalf("%s is %s, written as %s it is %s", text, a, paper, b)
		}
	}
}

// TestUnitAlgebra: units multiply as numbers do, and conversions undo each other.
func TestUnitAlgebra(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	names := strings.Fields(unitNames)
	any := func() unit {
		u := unit{}
		for range r.IntN(4) {
			u.add(names[r.IntN(len(names))], r.IntN(5)-2)
		}
		return u
	}
	for range 5000 {
		u, v, w := any(), any(), any()
		same := func(law string, a, b unit) {
			if !maps.Equal(a, b) {
				t.Fatalf("%s: u %v, v %v, w %v: %v and %v", law, u, v, w, a, b)
			}
		}
		same("u v = v u", u.times(v, 1), v.times(u, 1))
		same("(u v) w = u (v w)", u.times(v, 1).times(w, 1), u.times(v.times(w, 1), 1))
		same("u v / v = u", u.times(v, 1).times(v, -1), u)
		same("u / (v w) = u / v / w", u.times(v.times(w, 1), -1), u.times(v, -1).times(w, -1))
		same("1 u = u", unit{}.times(u, 1), u)
		if text := u.String(); len(text) <= maxUnitText {
			if again, err := parseUnit(text); err != nil || !maps.Equal(again, u) {
				t.Fatalf("%v is written %s, which is read as %v, %v", map[string]int(u), text, again, err)
			}
		}
	}
	for _, a := range names {
		for _, b := range names {
			there, err := conversion(unit{a: 1}, b)
			back, err2 := conversion(unit{b: 1}, a)
			if (err == nil) != (err2 == nil) {
				t.Fatalf("%s to %s: %v, back: %v", a, b, err, err2)
			}
			if err == nil && new(big.Rat).Mul(there, back).Cmp(big.NewRat(1, 1)) != 0 {
				t.Errorf("%s to %s and back is %v × %v", a, b, there, back)
			}
			qa, _, _ := size(a)
			qb, _, _ := size(b)
			if want := a == b || qa == qb && qa != ""; (err == nil) != want {
				t.Errorf("%s to %s: %v, want convertible: %v", a, b, err, want)
			}
		}
	}
}
