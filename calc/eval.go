package calc

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// inputs are the numbers of one vintage, each in its parameter's unit.
type inputs struct {
	project map[string]*big.Rat
	units   []unitInputs
	days    int                              // of the vintage, for sum_d
	first   Date                             // of them, of a project
	daily   map[string]map[string][]*big.Rat // by unit, "" for the project, and symbol: a value for each day
}

type unitInputs struct {
	name   string
	values map[string]*big.Rat // what is not here is that of the project
}

// of returns the number of a unit, which may be one for all units.
func (in *inputs) of(u *unitInputs, symbol string) *big.Rat {
	if x := u.values[symbol]; x != nil {
		return x
	}
	return in.project[symbol]
}

// evaluation is one run over the inputs.
type evaluation struct {
	in    *inputs
	terms map[string]*big.Rat // those that are the same for all units and days
}

// place is where in the sums an evaluation stands.
type place struct {
	unit *unitInputs // nil outside of sum
	day  int         // from 0; counts inside sum_d only
}

// errUndefined is 0 divided by 0. It is no number, but 0 times it is 0: a factory
// that took no electricity has no mean emission factor, and its machines took none.
var errUndefined = errors.New("0 divided by 0 is no number; only 0 can be multiplied by it")

func (v *evaluation) eval(e *expr, a place) (*big.Rat, error) {
	switch e.op {
	case "number":
		return e.number, nil
	case "symbol":
		return v.value(e, a)
	case "term":
		return v.term(e, a)
	case "sum":
		var total tally
		for k := range v.in.units {
			x, err := v.eval(e.args[0], place{&v.in.units[k], a.day})
			if err != nil {
				return nil, fmt.Errorf("unit %s: %w", v.in.units[k].name, err)
			}
			total.add(x)
		}
		return total.rat(), nil
	case "sum_d":
		var total tally
		for d := range v.in.days {
			x, err := v.eval(e.args[0], place{a.unit, d})
			if err != nil {
				return nil, fmt.Errorf("day %d: %w", d+1, err)
			}
			total.add(x)
		}
		return total.rat(), nil
	case "*":
		return v.times(e, a)
	}
	values := make([]*big.Rat, len(e.args))
	for k, arg := range e.args {
		var err error
		if values[k], err = v.eval(arg, a); err != nil {
			return nil, err
		}
	}
	return e.apply(values)
}

// times multiplies. 0 times what is undefined is 0.
func (v *evaluation) times(e *expr, a place) (*big.Rat, error) {
	x, errX := v.eval(e.args[0], a)
	y, errY := v.eval(e.args[1], a)
	switch {
	case errX == nil && errY == nil:
		return new(big.Rat).Mul(x, y), nil
	case errX == nil && x.Sign() == 0 && errors.Is(errY, errUndefined), errY == nil && y.Sign() == 0 && errors.Is(errX, errUndefined):
		return new(big.Rat), nil
	case errX != nil:
		return nil, errX
	}
	return nil, errY
}

func (v *evaluation) term(e *expr, a place) (*big.Rat, error) {
	if e.each || e.daily {
		return v.eval(e.args[0], a)
	}
	if known := v.terms[e.symbol]; known != nil {
		return known, nil
	}
	x, err := v.eval(e.args[0], place{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.symbol, err)
	}
	v.terms[e.symbol] = x
	return x, nil
}

func (v *evaluation) value(e *expr, a place) (*big.Rat, error) {
	x := v.in.project[e.symbol]
	switch {
	case e.daily:
		unit := ""
		if e.each {
			unit = a.unit.name
		}
		if list := v.in.daily[unit][e.symbol]; a.day < len(list) {
			x = list[a.day]
		} else {
			x = nil
		}
	case e.each:
		x = v.in.of(a.unit, e.symbol)
	}
	if x != nil {
		return x, nil
	}
	return nil, errAt(e.column, "%s has no value", e.symbol)
}

func (e *expr) apply(v []*big.Rat) (*big.Rat, error) {
	out := new(big.Rat)
	switch e.op {
	case "+":
		return out.Add(v[0], v[1]), nil
	case "-":
		return out.Sub(v[0], v[1]), nil
	case "/":
		switch {
		case v[1].Sign() != 0:
			return out.Quo(v[0], v[1]), nil
		case v[0].Sign() == 0:
			return nil, errAt(e.column, "%w: %w", errUndefined, e.args[1].zero())
		}
		return nil, errAt(e.column, "division by zero: %w", e.args[1].zero())
	case "neg":
		return out.Neg(v[0]), nil
	case "convert":
		return out.Mul(v[0], e.number), nil
	case "table":
		return e.table.find(v[0]), nil
	case "min":
		return slices.MinFunc(v, (*big.Rat).Cmp), nil
	default: // max
		return slices.MaxFunc(v, (*big.Rat).Cmp), nil
	}
}

// zeroError names what is 0 and something is divided by.
type zeroError struct {
	text    string
	symbols []string // in it
}

func (z *zeroError) Error() string { return z.text + " is 0" }

// zero is the error of an expression that something is divided by and that is 0.
func (e *expr) zero() error {
	z := &zeroError{}
	z.text = e.write(func(e *expr) string {
		if e.op != "symbol" && e.op != "term" {
			return ""
		}
		z.symbols = append(z.symbols, e.symbol)
		return e.symbol
	})
	return z
}

// find returns the value of the row that x falls into.
func (t *Table) find(x *big.Rat) *big.Rat {
	for i := range t.Rows {
		if r := &t.Rows[i]; r.Below == nil || x.Cmp(r.Below.Rat()) < 0 {
			return r.Value.Rat()
		}
	}
	return nil // a table that was checked ends with a row that takes all
}

// outcome is what the formulas give for one vintage, tCO2.
type outcome struct{ re, pe, er *big.Rat }

// eval applies the formulas. in is left as it was.
func (f *formulas) eval(in *inputs) (outcome, error) {
	out, _, err := f.run(in)
	return out, err
}

// run is eval and returns the terms too.
func (f *formulas) run(in *inputs) (out outcome, terms map[string]*big.Rat, err error) {
	all := *in
	all.project = make(map[string]*big.Rat, len(in.project)+2)
	for symbol, x := range in.project {
		all.project[symbol] = x
	}
	v := evaluation{in: &all, terms: make(map[string]*big.Rat)}
	for _, l := range []struct {
		name string
		e    *expr
		to   **big.Rat
	}{{"RE", f.re, &out.re}, {"PE", f.pe, &out.pe}, {"ER", f.er, &out.er}} {
		x, err := v.eval(l.e, place{})
		if err != nil {
			return out, nil, fmt.Errorf("formula %s: %w", l.name, err)
		}
		*l.to, all.project[l.name] = x, x
	}
	return out, v.terms, nil
}
