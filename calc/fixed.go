package calc

import (
	"errors"
	"fmt"
)

// checkFixed reports a period over the end of a year under a methodology in which a
// part of RE, PE or ER is fixed ex ante by itself: each vintage would count it whole.
func (p *Project) checkFixed(m *Methodology) error {
	for i, s := range p.Periods {
		if s.Start.Year == s.End.Year {
			continue
		}
		f, err := m.compile()
		if err != nil {
			return err
		}
		for _, l := range []struct {
			name string
			e    *expr
		}{{"RE", f.re}, {"PE", f.pe}, {"ER", f.er}} {
			if part := m.fixed(l.e); part != nil {
				return &Fault{Path: fmt.Sprintf("$.periods[%d]", i),
					Problem: fmt.Sprintf("period %v goes over the end of a year, and in methodology %v a part of %s is fixed ex ante by itself: %s. It would count whole in each calendar year", s, p.Methodology, l.name, m.paper(part)),
					Remedy:  "end one period on 31 December and begin the next on 1 January, each with the amount that the design document gives for it; or register under a version that multiplies an amount per year by the years of the vintage (calendar: true, unit: a)"}
			}
		}
	}
	return nil
}

// fixed returns a part that an expression adds whatever was monitored and however long
// the vintage is, nil when there is none. A limit of min and max is one.
func (m *Methodology) fixed(e *expr) *expr {
	if !m.varies(e) {
		if e.op == "number" && e.number.Sign() == 0 {
			return nil
		}
		return e
	}
	switch e.op {
	case "+", "-", "min", "max":
		for _, a := range e.args {
			if part := m.fixed(a); part != nil {
				return part
			}
		}
	case "neg", "convert", "sum", "term":
		return m.fixed(e.args[0])
	case "*":
		if x, y := m.fixed(e.args[0]), m.fixed(e.args[1]); x != nil && y != nil {
			return e
		}
	case "/":
		if !m.varies(e.args[1]) {
			return m.fixed(e.args[0])
		}
	}
	return nil // a sum over days grows with them
}

// varies reports whether an expression holds anything that is monitored or that the
// calendar gives.
func (m *Methodology) varies(e *expr) bool {
	if e.op == "symbol" {
		p := m.parameter(e.symbol)
		return p == nil || p.Monitored || p.Calendar // RE and PE in ER are no parameters
	}
	for _, a := range e.args {
		if m.varies(a) {
			return true
		}
	}
	return false
}

// zeroRemedy says what to do about a division by zero.
func (m *Methodology) zeroRemedy(err error) string {
	var z *zeroError
	if !errors.As(err, &z) {
		return ""
	}
	text := ""
	for _, symbol := range z.symbols {
		switch p := m.parameter(symbol); {
		case p == nil:
		case p.Monitored:
			text += fmt.Sprintf("; of %s nothing was measured or put in by then: bring in readings or an input", symbol)
		case !p.Calendar:
			text += fmt.Sprintf("; %s is fixed ex ante: correct it in the project's file", symbol)
		}
	}
	return text
}
