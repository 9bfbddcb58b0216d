package calc

import (
	"fmt"
	"slices"
)

// Resolve returns the methodology with all that it takes over from the one it
// extends, and that from the one before. find returns a methodology, nil when it is
// not known. A methodology that extends none is returned as it is.
//
// What the file writes itself counts: a parameter, table or term replaces what has
// the same symbol, a formula the one of the same name. Number, version, country,
// title, status, sources, note and examples are never taken over. What is
// published cannot rest on what is not: only an unverified methodology may extend
// an unverified one.
func (m *Methodology) Resolve(find func(Pin) *Methodology) (*Methodology, error) {
	chain := []*Methodology{m}
	pins := []Pin{{m.Number, m.Version}}
	for at := m; at.Extends != nil; {
		pin := *at.Extends
		if slices.Contains(pins, pin) {
			return nil, &Fault{"$.extends", fmt.Sprintf("%v extends %v, which extends it", pins[len(pins)-1], pin), "let one of them stand on its own"}
		}
		base := find(pin)
		if base == nil {
			return nil, &Fault{"$.extends", fmt.Sprintf("%v extends %v, which is not among the methodology files", pins[len(pins)-1], pin), "add its file, or check number and version"}
		}
		if base.Status == Unverified && m.Status != Unverified {
			return nil, &Fault{"$.extends", fmt.Sprintf("%v is %s and extends %v, which is %s", pins[0], m.Status, pin, Unverified), "write the parts out with their published source"}
		}
		chain, pins, at = append(chain, base), append(pins, pin), base
	}
	out := chain[len(chain)-1]
	for i := len(chain) - 2; i >= 0; i-- {
		out = chain[i].over(out)
	}
	return out, nil
}

// over returns m on top of what it extends.
func (m *Methodology) over(base *Methodology) *Methodology {
	out := *m
	out.Extends = nil
	replaced := func(symbol string) bool {
		return m.parameter(symbol) != nil ||
			slices.ContainsFunc(m.Tables, func(t Table) bool { return t.Symbol == symbol }) ||
			slices.ContainsFunc(m.Terms, func(t Term) bool { return t.Symbol == symbol })
	}
	out.Parameters = merge(base.Parameters, m.Parameters, func(p Parameter) string { return p.Symbol }, replaced)
	out.Tables = merge(base.Tables, m.Tables, func(t Table) string { return t.Symbol }, replaced)
	out.Terms = merge(base.Terms, m.Terms, func(t Term) string { return t.Symbol }, replaced)
	for _, x := range []struct{ to, from *string }{
		{&out.Family, &base.Family}, {&out.Index, &base.Index}, {&out.Rounding.ER, &base.Rounding.ER},
		{&out.Formulas.RE, &base.Formulas.RE}, {&out.Formulas.PE, &base.Formulas.PE}, {&out.Formulas.ER, &base.Formulas.ER},
	} {
		if *x.to == "" {
			*x.to = *x.from
		}
	}
	if len(out.Applicability) == 0 {
		out.Applicability = base.Applicability
	}
	return &out
}

// merge returns own with those of base that own does not replace. One that is
// replaced by one of its kind keeps its place.
func merge[T any](base, own []T, symbol func(T) string, replaced func(string) bool) []T {
	var out []T
	rest := slices.Clone(own)
	for _, b := range base {
		i := slices.IndexFunc(rest, func(o T) bool { return symbol(o) == symbol(b) })
		switch {
		case i >= 0:
			out = append(out, rest[i])
			rest = slices.Delete(rest, i, i+1)
		case !replaced(symbol(b)):
			out = append(out, b)
		}
	}
	return append(out, rest...)
}
