package calc

import (
	"errors"
	"fmt"
	"go/token"
	"maps"
	"slices"
)

// checker collects what is wrong with a methodology.
type checker struct {
	m      *Methodology
	faults []*Fault
}

func (c *checker) fault(path, problem, remedy string) {
	c.faults = append(c.faults, &Fault{path, problem, remedy})
}

// Faults returns all that does not hold of a resolved methodology, in the order of
// its file. Formulas are only read when their symbols are in order, and examples
// only run when the formulas are.
func (m *Methodology) Faults() []*Fault {
	c := checker{m: m}
	c.head()
	head, symbols := len(c.faults), make(map[string]bool)
	c.parameters(symbols)
	c.tables(symbols)
	c.terms(symbols)
	if len(c.faults) > head {
		return c.faults
	}
	f, faults := m.compileAll()
	if len(faults) > 0 {
		return append(c.faults, faults...)
	}
	c.unused(f)
	for i := range m.Examples {
		c.example(f, i)
	}
	return c.faults
}

func (c *checker) head() {
	m := c.m
	if m.Number == "" || m.Version == "" || m.Title == "" {
		c.fault("$", "a methodology needs number, version and title", "write all three")
	}
	if m.Extends != nil {
		c.fault("$.extends", fmt.Sprintf("it extends %v, whose parts are not at hand", *m.Extends), "check it together with that file")
	}
	if m.Status != Template && m.Status != Published && m.Status != Unverified {
		c.fault("$.status", fmt.Sprintf("status %q", m.Status), fmt.Sprintf("want %s, %s or %s", Template, Published, Unverified))
	}
	if len(m.Sources) == 0 {
		c.fault("$", "sources are missing", "name at least one document with what is published of it")
	}
	published := false
	for i, s := range m.Sources {
		published = published || s.Tag == "P" || s.Tag == "S"
		if s.Document == "" || s.Tag != "P" && s.Tag != "S" && s.Tag != "R" {
			c.fault(fmt.Sprintf("$.sources[%d]", i), fmt.Sprintf("source %d: want document, and tag P (published text), S (structure of a published summary) or R (recall)", i+1), "")
		}
	}
	if len(m.Sources) > 0 && !published && m.Status != Unverified {
		c.fault("$.sources", "no source is published (tag P or S)", fmt.Sprintf("name one, or set the status to %s", Unverified))
	}
	if m.Rounding.ER != Floor {
		c.fault("$.rounding", fmt.Sprintf("rounding of ER %q", m.Rounding.ER), fmt.Sprintf("want %s, the one there is", Floor))
	}
	if len(m.Examples) == 0 {
		c.fault("$", "examples are missing", "give at least one, with numbers and what must come out")
	}
}

// symbol checks a name and that it stands once. It says what is named, such as
// "parameter 3".
func (c *checker) symbol(path, what, symbol string, seen map[string]bool) {
	switch {
	case !token.IsIdentifier(symbol) || reserved(symbol):
		c.fault(path+".symbol", fmt.Sprintf("%s: symbol %q", what, symbol), "want letters, digits and '_', and no unit or function of the formulas")
	case seen[symbol]:
		c.fault(path+".symbol", symbol+" stands twice", "give each its own symbol")
	}
	seen[symbol] = true
}

func (c *checker) unit(path, what, text string) {
	if _, err := parseUnit(text); err != nil {
		c.fault(path, fmt.Sprintf("%s: %v", what, err), "")
	}
}

func (c *checker) parameters(seen map[string]bool) {
	for i := range c.m.Parameters {
		p := &c.m.Parameters[i]
		path, what := fmt.Sprintf("$.parameters[%d]", i), "parameter "+p.Symbol
		c.symbol(path, fmt.Sprintf("parameter %d", i+1), p.Symbol, seen)
		if p.Description == "" {
			c.fault(path, what+" has no description", "say what it is")
		}
		if !slices.Contains([]string{PerUnit, PerProject, PerDay, PerUnitDay}, p.Per) {
			c.fault(path+".per", fmt.Sprintf("%s: per %q", what, p.Per), fmt.Sprintf("want %s, %s, %s or %s", PerUnit, PerProject, PerDay, PerUnitDay))
		}
		switch {
		case p.Calendar && (p.Unit != "d" && p.Unit != "a" || p.Monitored || len(p.Options) > 0 || p.daily()):
			c.fault(path, what+": the calendar gives days and years", "write unit d or a, per unit or project, not monitored and without options")
		case !p.Calendar && p.Monitored == (len(p.Options) == 0):
			c.fault(path, what+": monitoring options belong to a monitored parameter, and only there", "")
		case p.daily() && !p.Monitored:
			c.fault(path, what+": what is fixed ex ante is the same every day", fmt.Sprintf("write per: %s or %s", PerUnit, PerProject))
		}
		for _, o := range p.Options {
			if o != "A" && o != "B" && o != "C" {
				c.fault(path+".options", fmt.Sprintf("%s: option %q", what, o), "want A, B or C")
			}
		}
		if p.Signed && (!p.Monitored || p.Min != nil && !p.Min.IsNegative()) {
			c.fault(path+".signed", what+": signed is for a monitored parameter whose min, if any, is below 0", "")
		}
		if p.Min != nil && p.Max != nil && p.Max.LessThan(p.Min.Decimal) {
			c.fault(path+".max", fmt.Sprintf("%s: max %s is below min %s", what, p.Max, p.Min), "")
		}
		c.unit(path+".unit", what, p.Unit)
	}
}

func (c *checker) tables(seen map[string]bool) {
	for i := range c.m.Tables {
		t := &c.m.Tables[i]
		path, what := fmt.Sprintf("$.tables[%d]", i), "table "+t.Symbol
		c.symbol(path, fmt.Sprintf("table %d", i+1), t.Symbol, seen)
		c.unit(path+".by", what, t.By)
		c.unit(path+".unit", what, t.Unit)
		if t.Description == "" || t.Source == "" {
			c.fault(path, what+" needs a description and a source", "name the document and table its numbers are from")
		}
		if len(t.Rows) == 0 {
			c.fault(path, what+" has no rows", "")
		}
		for k, r := range t.Rows {
			at := fmt.Sprintf("%s.rows[%d]", path, k)
			switch last := k == len(t.Rows)-1; {
			case !r.Value.sane() || r.Below != nil && !r.Below.sane():
				c.fault(at, fmt.Sprintf("%s, row %d has more than 30 digits before or after the point", what, k+1), "")
			case last != (r.Below == nil):
				c.fault(at, fmt.Sprintf("%s, row %d: every row but the last has a limit", what, k+1), "write below in all but the last, which takes what is left")
			case k > 0 && !last && !r.Below.GreaterThan(t.Rows[k-1].Below.Decimal):
				c.fault(at, fmt.Sprintf("%s, row %d: below %s comes after below %s", what, k+1, r.Below, t.Rows[k-1].Below), "let the limits rise")
			}
			if r.Below == nil && k < len(t.Rows)-1 {
				return // the next row has nothing to be compared with
			}
		}
	}
}

func (c *checker) terms(seen map[string]bool) {
	for i := range c.m.Terms {
		t := &c.m.Terms[i]
		path, what := fmt.Sprintf("$.terms[%d]", i), "term "+t.Symbol
		c.symbol(path, fmt.Sprintf("term %d", i+1), t.Symbol, seen)
		c.unit(path+".unit", what, t.Unit)
		if t.Description == "" {
			c.fault(path, what+" has no description", "say what it is")
		}
	}
}

// unused reports a symbol that no formula uses: it is misspelt somewhere, or a
// person would monitor it for nothing.
func (c *checker) unused(f *formulas) {
	used := make(map[string]bool)
	for _, e := range []*expr{f.re, f.pe, f.er} {
		e.uses(used)
	}
	for i := range c.m.Parameters {
		if s := c.m.Parameters[i].Symbol; !used[s] {
			c.fault(fmt.Sprintf("$.parameters[%d]", i), s+" is used by no formula", "take it out, or use it")
		}
	}
	for i := range c.m.Terms {
		if s := c.m.Terms[i].Symbol; !used[s] {
			c.fault(fmt.Sprintf("$.terms[%d]", i), s+" is used by no formula", "take it out, or use it")
		}
	}
}

func (e *expr) uses(seen map[string]bool) {
	if e.symbol != "" {
		if e.op == "term" && seen[e.symbol] {
			return
		}
		seen[e.symbol] = true
	}
	for _, a := range e.args {
		a.uses(seen)
	}
}

// formulas are the compiled formulas of a methodology.
type formulas struct {
	re, pe, er *expr
	terms      []*expr // beside Methodology.Terms
}

func (m *Methodology) compile() (*formulas, error) {
	f, faults := m.compileAll()
	if len(faults) > 0 {
		return nil, faults[0]
	}
	return f, nil
}

// linker compiles terms in whatever order they are written.
type linker struct {
	m       *Methodology
	scope   scope
	pending []string       // terms that are being compiled, to find one that needs itself
	failed  map[int]*Fault // by place in Methodology.Terms; nil when another term is to blame
}

var errTerm = errors.New("a term is not in order")

// compileAll compiles terms and formulas and says all that is wrong with them.
func (m *Methodology) compileAll() (*formulas, []*Fault) {
	l := linker{m: m, scope: scope{}, failed: make(map[int]*Fault)}
	for i := range m.Parameters {
		p := &m.Parameters[i]
		u, err := parseUnit(p.Unit)
		if err != nil {
			return nil, []*Fault{{fmt.Sprintf("$.parameters[%d].unit", i), fmt.Sprintf("parameter %s: %v", p.Symbol, err), ""}}
		}
		l.scope[p.Symbol] = kind{unit: u, each: p.each(), daily: p.daily()}
	}
	for i := range m.Tables {
		u, err := parseUnit(m.Tables[i].Unit)
		if err != nil {
			return nil, []*Fault{{fmt.Sprintf("$.tables[%d].unit", i), fmt.Sprintf("table %s: %v", m.Tables[i].Symbol, err), ""}}
		}
		l.scope[m.Tables[i].Symbol] = kind{unit: u, table: &m.Tables[i]}
	}
	f := &formulas{}
	for i := range m.Terms {
		_, _, err := l.term(m.Terms[i].Symbol)
		if err == nil {
			f.terms = append(f.terms, l.scope[m.Terms[i].Symbol].term)
		}
	}
	var faults []*Fault
	for _, i := range slices.Sorted(maps.Keys(l.failed)) {
		if l.failed[i] != nil {
			faults = append(faults, l.failed[i])
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	tCO2 := unit{"tCO2": 1}
	for _, x := range []struct {
		name, text string
		to         **expr
	}{{"RE", m.Formulas.RE, &f.re}, {"PE", m.Formulas.PE, &f.pe}, {"ER", m.Formulas.ER, &f.er}} {
		e, err := compile(x.text, l.scope)
		if err == nil && !e.unit.fits(tCO2) {
			err = fmt.Errorf("comes out in %s, want tCO2", e.unit)
		}
		if err != nil {
			faults = append(faults, &Fault{"$.formulas." + x.name, fmt.Sprintf("formula %s = %s: %v", x.name, x.text, err), ""})
		}
		*x.to = e
		l.scope[x.name] = kind{unit: tCO2}
	}
	return f, faults
}

// term compiles the term of a symbol, false when there is none.
func (l *linker) term(symbol string) (kind, bool, error) {
	if k, ok := l.scope[symbol]; ok {
		return k, true, nil
	}
	i := slices.IndexFunc(l.m.Terms, func(t Term) bool { return t.Symbol == symbol })
	if i < 0 {
		return kind{}, false, nil
	}
	t := &l.m.Terms[i]
	if _, failed := l.failed[i]; failed {
		return kind{}, false, fmt.Errorf("%w: %s", errTerm, symbol)
	}
	if k := slices.Index(l.pending, symbol); k >= 0 {
		path := ""
		for _, s := range l.pending[k:] {
			path += s + " needs "
		}
		return kind{}, false, fmt.Errorf("%s%s: a term cannot be made of itself", path, symbol)
	}
	l.pending = append(l.pending, symbol)
	k, err := l.read(t)
	l.pending = l.pending[:len(l.pending)-1]
	if err != nil {
		l.failed[i] = nil
		if !errors.Is(err, errTerm) {
			l.failed[i] = &Fault{fmt.Sprintf("$.terms[%d].formula", i), fmt.Sprintf("term %s = %s: %v", symbol, t.Formula, err), ""}
		}
		return kind{}, false, fmt.Errorf("%w: %s", errTerm, symbol)
	}
	l.scope[symbol] = k
	return k, true, nil
}

func (l *linker) read(t *Term) (kind, error) {
	want, err := parseUnit(t.Unit)
	if err != nil {
		return kind{}, err
	}
	e, err := (&compiler{scope: l.scope, term: l.term}).read(t.Formula)
	if err != nil {
		return kind{}, err
	}
	if !e.unit.fits(want) {
		return kind{}, fmt.Errorf("comes out in %s, the file says %s", e.unit, want)
	}
	return kind{unit: want, each: e.each, daily: e.daily, term: e}, nil
}
