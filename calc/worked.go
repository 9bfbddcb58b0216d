package calc

import (
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
	"text/tabwriter"
)

// explanation writes every number that goes into a figure.
type explanation struct {
	m   *Methodology
	f   *formulas
	in  *inputs
	v   evaluation
	out *printer
}

// ExplainExample writes every number that goes into a worked example, counted from 0.
func (m *Methodology) ExplainExample(w io.Writer, example int) error {
	if example < 0 || example >= len(m.Examples) {
		return fmt.Errorf("methodology %s %s has %d examples, there is no example %d", m.Number, m.Version, len(m.Examples), example+1)
	}
	in, fault := m.enter(&m.Examples[example])
	if fault != nil {
		return fault
	}
	return m.explain(w, in)
}

func (m *Methodology) explain(w io.Writer, in *inputs) error {
	f, err := m.compile()
	if err != nil {
		return err
	}
	x := m.explanation(w, f, in)
	x.numbers()
	x.formulas()
	return x.out.flush()
}

func (m *Methodology) explanation(w io.Writer, f *formulas, in *inputs) *explanation {
	return &explanation{m: m, f: f, in: in, v: evaluation{in: in, terms: make(map[string]*big.Rat)}, out: &printer{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}}
}

// formulas writes terms and formulas, each with symbols, then what each unit brings
// into it, then the result.
func (x *explanation) formulas() {
	for i, e := range x.f.terms {
		t := &x.m.Terms[i]
		x.formula(x.m.notation(t.Symbol, e.each, e.daily), t.Unit, e)
	}
	x.formula("RE_p", "tCO2", x.f.re)
	x.formula("PE_p", "tCO2", x.f.pe)
	if out, err := x.f.eval(x.in); err != nil {
		x.out.line("ER_p\t= nothing: %v", err)
	} else {
		x.out.line("ER_p\t= %s = %s tCO2, rounded down %v tCO2", x.m.paper(x.f.er), numberText(out.er), floor(out.er))
	}
	x.out.flush()
}

// numbers lists the values of the parameters.
func (x *explanation) numbers() {
	row := func(p *Parameter, unit string, value *big.Rat) {
		if value != nil {
			x.out.line("%s\t%s\t%s %s", x.m.notation(p.Symbol, p.each(), p.daily()), unit, numberText(value), strings.TrimPrefix(p.Unit, "1"))
		}
	}
	for i := range x.m.Parameters {
		p := &x.m.Parameters[i]
		switch p.Per {
		case PerProject:
			row(p, "", x.in.project[p.Symbol])
		case PerUnit:
			for k := range x.in.units {
				u := &x.in.units[k]
				row(p, u.name, x.in.of(u, p.Symbol))
			}
		default:
			for _, unit := range slices.Sorted(maps.Keys(x.in.daily)) {
				if (unit != "") == p.each() {
					for d, value := range x.in.daily[unit][p.Symbol] {
						row(p, strings.TrimSpace(fmt.Sprintf("%s day %d", unit, d+1)), value)
					}
				}
			}
		}
	}
	x.out.flush()
}

// formula writes one of them. What is per day is left to the list of numbers.
func (x *explanation) formula(name, unit string, e *expr) {
	x.out.line("%s\t= %s", name, x.m.paper(e))
	switch {
	case e.daily:
	case e.each:
		x.units(e)
	default:
		x.sums(e)
		x.step("\t= ", e, place{}, " "+unit)
	}
	x.out.flush()
}

// sums writes what each unit brings into the sums of an expression.
func (x *explanation) sums(e *expr) {
	switch e.op {
	case "sum":
		x.units(e.args[0])
	case "term": // has lines of its own
	default:
		for _, a := range e.args {
			x.sums(a)
		}
	}
}

func (x *explanation) units(e *expr) {
	for i := range x.in.units {
		x.step("\ti = "+x.in.units[i].name+": ", e, place{unit: &x.in.units[i]}, "")
	}
}

// step writes an expression with its numbers and what it comes to.
func (x *explanation) step(begin string, e *expr, a place, unit string) {
	value, err := x.v.eval(e, a)
	if err != nil {
		x.out.line("%snothing: %v", begin, err)
		return
	}
	text := e.write(func(e *expr) string { return x.figure(e, a) })
	if result := numberText(value) + unit; text == numberText(value) {
		x.out.line("%s%s", begin, result)
	} else {
		x.out.line("%s%s = %s", begin, text, result)
	}
}

// figure writes what has a value of its own: symbols, terms, sums. A conversion
// becomes what it multiplies by or divides by.
func (x *explanation) figure(e *expr, a place) string {
	switch e.op {
	case "symbol", "term", "sum", "sum_d", "number":
		value, err := x.v.eval(e, a)
		if err != nil {
			return "(0 ÷ 0)"
		}
		return numberText(value)
	case "convert":
		arg := e.args[0].write(func(e *expr) string { return x.figure(e, a) })
		if e.args[0].rank() < 2 {
			arg = "(" + arg + ")"
		}
		if _, exact := e.number.FloatPrec(); !exact {
			return arg + " ÷ " + numberText(new(big.Rat).Inv(e.number))
		}
		return arg + " × " + numberText(e.number)
	}
	return ""
}
