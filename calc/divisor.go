package calc

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Computable reports what keeps a project that fits its methodology from ever being
// computed under it, as far as its file shows that: it is in another country than the
// methodology, or a number fixed ex ante is a divisor and 0. It is asked when files are
// loaded, not for every report.
func (p *Project) Computable(m *Methodology) error {
	if m.Country != "" && !strings.EqualFold(strings.TrimSpace(p.Country), m.Country) {
		return faultAt("$.country", fmt.Errorf("project %s is in %q, methodology %v is one of %s: write the country as the methodology does, or name the methodology that the project is registered under",
			p.Reference, p.Country, p.Methodology, m.Country))
	}
	f, err := m.compile()
	if err != nil {
		return err
	}
	var divisions []*expr
	for _, e := range []*expr{f.re, f.pe, f.er} {
		divisions = e.divisions(divisions)
	}
	if len(divisions) == 0 {
		return nil
	}
	// What is monitored is not known yet. A divisor that is 0 with two different sets of
	// numbers in its place is 0 by what is fixed.
	one, two := p.supposed(m, 1), p.supposed(m, 2)
	for _, d := range divisions {
		for k := range max(1, len(one.units)) {
			if d.zeroIn(one, k) && d.zeroIn(two, k) {
				return p.zeroDivisor(m, d, one, k)
			}
			if !d.args[1].each {
				break
			}
		}
	}
	return nil
}

// divisions appends the divisions of a formula, those of its terms included.
func (e *expr) divisions(to []*expr) []*expr {
	if e.op == "/" && !slices.Contains(to, e) {
		to = append(to, e)
	}
	for _, a := range e.args {
		to = a.divisions(to)
	}
	return to
}

// zeroIn reports whether the divisor of a division is 0 for unit k.
func (e *expr) zeroIn(in *inputs, k int) bool {
	at := place{}
	if len(in.units) > 0 {
		at.unit = &in.units[k]
	} else if e.args[1].each {
		return false
	}
	x, err := (&evaluation{in: in, terms: make(map[string]*big.Rat)}).eval(e.args[1], at)
	return err == nil && x.Sign() == 0
}

// supposed returns what the project fixes, and numbers that have nothing in common for
// what is monitored.
func (p *Project) supposed(m *Methodology, set int64) *inputs {
	in := &inputs{project: make(map[string]*big.Rat), days: 1, daily: make(map[string]map[string][]*big.Rat)}
	n := set
	next := func() *big.Rat {
		n += 2
		return big.NewRat(7919+n*n*n, 1000+n)
	}
	for symbol, v := range p.Parameters {
		in.project[symbol] = v.Value.Rat()
	}
	in.project["RE"], in.project["PE"] = next(), next()
	for _, name := range p.unitNames(m) {
		u := unitInputs{name, make(map[string]*big.Rat)}
		for symbol, v := range p.Units[name].Parameters {
			u.values[symbol] = v.Value.Rat()
		}
		in.units = append(in.units, u)
	}
	for i := range m.Parameters {
		a := &m.Parameters[i]
		switch {
		case !a.Monitored && !a.Calendar:
		case a.daily():
			for _, u := range append([]unitInputs{{}}, in.units...) {
				if in.daily[u.name] == nil {
					in.daily[u.name] = make(map[string][]*big.Rat)
				}
				in.daily[u.name][a.Symbol] = []*big.Rat{next()}
			}
		case a.each():
			for k := range in.units {
				in.units[k].values[a.Symbol] = next()
			}
		default:
			in.project[a.Symbol] = next()
		}
	}
	return in
}

// zeroDivisor says which number makes a divisor 0, and where it stands.
func (p *Project) zeroDivisor(m *Methodology, d *expr, in *inputs, k int) error {
	used := make(map[string]bool)
	d.args[1].uses(used)
	path, zeros := "$.parameters", []string(nil)
	for i := range m.Parameters {
		symbol := m.Parameters[i].Symbol
		if !used[symbol] || m.Parameters[i].Monitored || m.Parameters[i].Calendar {
			continue
		}
		at, unit := "$.parameters", ""
		if len(in.units) > 0 && in.units[k].values[symbol] != nil {
			at, unit = unitPath(in.units[k].name)+".parameters", in.units[k].name
		}
		x := in.project[symbol]
		if unit != "" {
			x = in.units[k].values[symbol]
		}
		if len(zeros) == 0 || x.Sign() == 0 {
			path = at + "." + symbol
		}
		zeros = append(zeros, fmt.Sprintf("%s%s is %s", symbol, of(unit), numberText(x)))
	}
	return &Fault{path, fmt.Sprintf("%s: what methodology %v divides by, %s, is 0 with that", strings.Join(zeros, ", "), p.Methodology, m.paper(d.args[1])), "correct the value; nothing can be divided by 0"}
}
