package calc

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// notation returns a symbol as the field writes it: EC_PJ of a monitored parameter
// per unit is EC_PJ,i,p, of one fixed ex ante EC_PJ,i.
func (m *Methodology) notation(symbol string, each, daily bool) string {
	var index []string
	if each {
		index = append(index, "i")
	}
	if daily {
		index = append(index, "d")
	}
	if p := m.parameter(symbol); p != nil && (p.Monitored || p.Calendar) {
		index = append(index, "p")
	}
	if len(index) == 0 {
		return symbol
	}
	joint := "_"
	if strings.Contains(symbol, "_") {
		joint = ","
	}
	return symbol + joint + strings.Join(index, ",")
}

// rank is how closely an operator binds.
func (e *expr) rank() int {
	switch e.op {
	case "convert":
		return 0
	case "+", "-":
		return 1
	case "*", "/":
		return 2
	case "neg":
		return 3
	}
	return 4
}

// write writes the expression as on paper. leaf writes a part as a whole, "" to
// have it written out.
func (e *expr) write(leaf func(*expr) string) string {
	if s := leaf(e); s != "" {
		return s
	}
	part := func(k, rank int) string {
		s := e.args[k].write(leaf)
		if e.args[k].rank() < rank && (e.args[k].op == "convert" || leaf(e.args[k]) == "") || strings.HasPrefix(s, "-") {
			return "(" + s + ")"
		}
		return s
	}
	switch e.op {
	case "+":
		return part(0, 1) + " + " + part(1, 1)
	case "-":
		return part(0, 1) + " - " + part(1, 2)
	case "*":
		return part(0, 2) + " × " + part(1, 3)
	case "/":
		return part(0, 2) + " ÷ " + part(1, 3)
	case "neg":
		return "-" + part(0, 4)
	case "sum":
		return "Σ_i (" + e.args[0].write(leaf) + ")"
	case "sum_d":
		return "Σ_d (" + e.args[0].write(leaf) + ")"
	case "convert":
		return e.args[0].write(leaf) + " in " + e.unit.String()
	case "number":
		return numberText(e.number)
	}
	list := make([]string, len(e.args))
	for k, a := range e.args {
		list[k] = a.write(leaf)
	}
	name := e.op
	if e.op == "table" {
		name = e.symbol
	}
	return name + "(" + strings.Join(list, ", ") + ")"
}

// paper writes an expression with symbols.
func (m *Methodology) paper(e *expr) string {
	return e.write(func(e *expr) string {
		switch {
		case e.op != "symbol" && e.op != "term":
			return ""
		case e.symbol == "RE" || e.symbol == "PE":
			return e.symbol + "_p"
		}
		return m.notation(e.symbol, e.each, e.daily)
	})
}

// Show writes the methodology for people: what it is from, its parameters with
// their units, its formulas. It must be resolved and without faults.
func (m *Methodology) Show(w io.Writer) error {
	f, err := m.compile()
	if err != nil {
		return err
	}
	out := &printer{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	out.line("%s %s\t%s", m.Number, m.Version, m.Title)
	out.line("family\t%s", cmp.Or(m.Family, "none"))
	out.line("country\t%s", cmp.Or(m.Country, "none: a family"))
	status := m.Status
	if err := m.Sealable(); err != nil {
		status += ": no period under it can be sealed"
	}
	out.line("status\t%s", status)
	for _, s := range m.Sources {
		out.line("source\t[%s] %s %s", s.Tag, s.Document, s.URL)
	}
	if m.Note != "" {
		out.line("note\t%s", strings.TrimSpace(m.Note))
	}
	for _, a := range m.Applicability {
		out.line("applies to\t%s", a)
	}
	if m.Index != "" {
		out.line("unit i\t%s", m.Index)
	}
	out.line("rules\tsha256 %s", m.Hash())
	out.flush()
	out.line("")
	out.line("parameter\tunit\tkind\tdescription")
	for i := range m.Parameters {
		p := &m.Parameters[i]
		out.line("%s\t%s\t%s\t%s%s", m.notation(p.Symbol, p.each(), p.daily()), p.Unit, p.kind(), p.Description, p.limits())
	}
	for i := range m.Tables {
		m.showTable(out, &m.Tables[i])
	}
	out.flush()
	out.line("")
	for i, e := range f.terms {
		t := &m.Terms[i]
		out.line("%s\t= %s\t[%s]\t%s", m.notation(t.Symbol, e.each, e.daily), m.paper(e), t.Unit, t.Description)
	}
	out.line("RE_p\t= %s\t[tCO2]\treference emissions", m.paper(f.re))
	out.line("PE_p\t= %s\t[tCO2]\tproject emissions", m.paper(f.pe))
	out.line("ER_p\t= %s\t[tCO2]\temission reductions, rounded down to whole tonnes once per calendar year", m.paper(f.er))
	out.flush()
	out.line("")
	for i, e := range m.Examples {
		out.line("example %d\t%s: RE %s, PE %s, ER %s tCO2 (%s)", i+1, e.Title, e.Result.RE, e.Result.PE, e.Result.ER, e.Source)
	}
	return out.flush()
}

func (m *Methodology) showTable(out *printer, t *Table) {
	out.line("%s(x)\t%s\ttable by %s\t%s (%s)", t.Symbol, t.Unit, t.By, t.Description, t.Source)
	for k, r := range t.Rows {
		from, to := "any", ""
		if k > 0 {
			from = "from " + t.Rows[k-1].Below.String()
		}
		if r.Below != nil {
			to = " below " + r.Below.String()
		}
		out.line("\t\t%s%s\t%s", from, to, r.Value)
	}
}

func (p *Parameter) kind() string {
	switch {
	case p.Calendar:
		return "calendar"
	case p.Monitored:
		return "monitored, option " + strings.Join(p.Options, " or ")
	}
	return "fixed ex ante"
}

// limits says what values are refused, but for those below 0.
func (p *Parameter) limits() string {
	text := ""
	if p.Min != nil && !p.Min.IsZero() {
		text += ", at least " + p.Min.String()
	}
	if p.Max != nil {
		text += ", at most " + p.Max.String()
	}
	if p.Range != "" {
		text += ": " + p.Range
	}
	return text
}

// printer keeps the first error of writing lines with columns.
type printer struct {
	w      *tabwriter.Writer
	indent string
	err    error
}

func (p *printer) line(format string, args ...any) {
	if _, err := fmt.Fprintf(p.w, p.indent+format+"\n", args...); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *printer) flush() error {
	if err := p.w.Flush(); err != nil && p.err == nil {
		p.err = err
	}
	return p.err
}
